//! What a job is.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

use super::Progress;
use crate::broker::StreamEntry;
use crate::retry::ErrorClass;

/// An error that says what trying again would change.
pub trait Classed: std::error::Error + Send + Sync + 'static {
    /// Transient, permanent or defect.
    fn class(&self) -> ErrorClass;
}

impl Classed for crate::broker::Error {
    fn class(&self) -> ErrorClass {
        self.class()
    }
}

impl Classed for crate::store::Error {
    fn class(&self) -> ErrorClass {
        self.class()
    }
}

/// Work that goes in order: one worker at a time has a shard, by lease.
pub trait Ordered: Clone + Send + Sync + 'static {
    /// `deliver` or `archive`: the name of the leases and of the workers' heartbeats on Redis, and of the counters.
    const JOB: &'static str;
    /// Why a tenure failed.
    type Error: Classed;

    /// Serves one shard until `tenure.stop` is cancelled; then finishes what is begun and returns `Ok`. When it fails or panics while the
    /// lease is kept, it is called again after a delay. Takes a turn ([`Progress::turn`]) each time its loop goes round, idle or not.
    fn serve(&self, tenure: Tenure) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Measures what a shard that this worker serves has for it, while metrics are served: see [`crate::worker::measure_stream`].
    fn measure(&self, shard: u32) -> impl Future<Output = Result<(), crate::broker::Error>> + Send {
        let _nothing_to_measure = shard;
        std::future::ready(Ok(()))
    }
}

/// A shard in the hands of this worker.
#[derive(Clone, Debug)]
pub struct Tenure {
    /// The shard.
    pub shard: u32,
    /// Who holds the lease: what [`crate::broker::Redis::claim`] wants to know.
    pub holder: String,
    /// Cancelled when the shard is to be given up: a stop, a new worker that wants its share, or a lease that lapsed.
    pub stop: CancellationToken,
    /// Where the work shows that it goes on.
    pub progress: Progress,
}

/// Work that any worker may take, each entry for itself: a stream with a consumer group.
pub trait Competing: Clone + Send + Sync + 'static {
    /// For counters, logs and dead letters: `replay`.
    const JOB: &'static str;
    /// The name of the consumer group.
    const GROUP: &'static str;
    /// How long one attempt may take; then it is stopped and counts as failed. Below the idle time of the reclaim.
    const DEADLINE: Duration;
    /// How often an entry is tried before it becomes a dead letter.
    const ATTEMPTS_MAX: u64 = 10;

    /// How often an entry may be taken over from a worker that died with it before it becomes a dead letter.
    const DEATHS_MAX: u64 = 3;

    /// The key of the stream.
    fn stream(&self) -> String;

    /// Does the work of one entry. It may be done before, or elsewhere at the same time: the effect must be harmless to repeat.
    fn run(&self, work: Work) -> impl Future<Output = Verdict> + Send;
}

/// An entry in the hands of this worker.
#[derive(Clone, Debug)]
pub struct Work {
    /// The entry.
    pub entry: StreamEntry,
    /// Cancelled when the program stops or another worker has taken the entry over: what is done from then on may be done twice.
    pub stop: CancellationToken,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The effect is durable.
    Done,
    /// Not this time: once more after `after`, or after a delay that grows with the attempts.
    Retry {
        /// How long to wait, when the job knows better.
        after: Option<Duration>,
        /// What went wrong, with causes.
        error: String,
    },
    /// Never: a dead letter with this reason.
    Reject(String),
    /// The program stops: costs no attempt.
    Interrupted,
}

impl Verdict {
    /// What a failure means for the entry: what trying again may mend is tried again, all else is rejected.
    pub fn of(error: &impl Classed) -> Self {
        match error.class() {
            ErrorClass::Transient => Self::Retry { after: None, error: chain(error) },
            ErrorClass::Permanent | ErrorClass::Defect => Self::Reject(chain(error)),
        }
    }
}

/// A name for this process among the workers of a fleet: host, process id, and in hexadecimal where that process id counts and a nonce.
pub fn own_name() -> String {
    format!("{}-{}-{}{:08x}", host_name(), std::process::id(), *PLACE, rand::random::<u32>())
}

/// Where process ids are those of this process: one start of one machine, one namespace. Whatever cannot be read is like no other.
static PLACE: LazyLock<String> = LazyLock::new(|| {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
    let place =
        boot.zip(namespace).map(|(boot, namespace)| xxhash_rust::xxh3::xxh3_64(format!("{boot}{}", namespace.display()).as_bytes()));
    format!("{:08x}", place.unwrap_or_else(rand::random) & 0xffff_ffff)
});

/// Whether a name is that of a process that can be seen from here to be dead. Of one elsewhere nothing can be seen.
pub(super) fn is_seen_dead(name: &str) -> bool {
    let mut parts = name.rsplitn(3, '-');
    let (Some(nonce), Some(pid), Some(host)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let here = nonce.len() == 16 && nonce.starts_with(PLACE.as_str()) && host == host_name();
    let pid = pid.parse::<i32>().ok().filter(|pid| *pid > 0);
    pid.is_some_and(|pid| here && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

/// The name of this machine.
pub fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "host".to_owned() } else { host.to_owned() }
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some causes repeat what their outer error said already.
        let inner = error.to_string();
        if !text.ends_with(&inner) {
            let _ = write!(text, ": {inner}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("open the log")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "open the log: disk on fire");
    }

    #[test]
    fn two_starts_have_two_names() {
        assert_ne!(own_name(), own_name());
        assert!(own_name().contains(&format!("-{}-", std::process::id())));
    }

    #[test]
    fn only_a_process_of_this_place_is_seen_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let name = own_name().replacen(&format!("-{}-", std::process::id()), &format!("-{pid}-"), 1);
        child.wait().unwrap();
        assert!(is_seen_dead(&name), "{name}");
        assert!(!is_seen_dead(&own_name()));
        let (elsewhere, long_ago) = (format!("x{name}"), format!("{}-{pid}-{:08x}", host_name(), 7));
        let other_place = format!("{}-{pid}-{:016x}", host_name(), u64::from_str_radix(&PLACE, 16).unwrap().wrapping_add(1) << 32);
        for name in [elsewhere, long_ago, other_place, format!("{}-0-{}00000000", host_name(), *PLACE), "worker".to_owned()] {
            assert!(!is_seen_dead(&name), "{name}");
        }
    }
}
