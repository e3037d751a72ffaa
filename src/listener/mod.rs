//! The listener of supervisord: hears what happens to programs, and tells it by text to whoever is on call.
//!
//! Needs neither Redis nor SQL, for it tells of their absence too. What it hears is on the disk before supervisord is answered, within
//! milliseconds; from there it is told, however long that takes. Two listeners run on a machine, each with a name and a folder of its
//! own: each event is claimed by one of them, the first that lives; when that falls silent the other does its work and says so.
//!
//! stdout belongs to the protocol alone; the log goes to stderr.

mod book;
mod event;
mod hear;
mod lines;
mod protocol;
mod redact;
mod revive;
mod rpc;
mod rules;
mod share;
mod spool;
mod tell;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use rules::{BadRules, Rules};
pub use share::signs;

use crate::clock::Clock;
use crate::config::Config;
use crate::retry::{Delays, ErrorClass};
use crate::shutdown::Shutdown;
use crate::sms;
use book::{Book, Pace};
use hear::{Ear, End, Heard, Serials};
use revive::Revival;
use rpc::Supervisord;
use share::Share;
use spool::{Held, Spool};
use tell::{Teller, Way};

/// How often signs of life are given, at most; a quarter of `listener.peer_silent_s` when that is less.
const BEAT: Duration = Duration::from_secs(5);
/// How long a listener that is stopped goes on hearing: as a rule supervisord stops too, and has just said so.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Who tells has stopped doing so when a turn takes longer: then signs of life stop too. A call of the provider may take 15 s.
const STUCK_MS: u64 = 45_000;

/// Why the listener does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its rules cannot be used.
    #[error("sms-listener cannot use its rules")]
    Rules(#[source] BadRules),
    /// Nobody can carry its texts.
    #[error("sms-listener cannot send texts")]
    Sms(#[source] sms::Error),
    /// Its folder cannot be used.
    #[error("sms-listener cannot use its folder {}", dir.display())]
    Folder {
        /// `listener.dir`.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// supervisord no longer talks to it.
    #[error("supervisord has said nothing for minutes, not even TICK_60: a new sms-listener is needed to be heard again")]
    Deaf,
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Rules(_) | Self::Sms(_) => ErrorClass::Permanent,
            Self::Folder { .. } | Self::Deaf => ErrorClass::Transient,
        }
    }
}

/// A name of a listener, as `--name` takes it.
///
/// # Errors
/// What it must be.
pub fn name(text: &str) -> Result<String, String> {
    let good =
        (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if good && text != "claims" { Ok(text.to_owned()) } else { Err("must be 1 to 32 lower-case letters, digits and hyphens".to_owned()) }
}

/// Listens on stdin and answers on stdout until supervisord is gone, or it is told to stop. What is not told by then is told by the next one.
///
/// # Errors
/// What keeps it from running.
pub async fn run(config: Config, name: String, clock: Clock, shutdown: Shutdown) -> Result<(), Error> {
    let parts = Parts::open(&config, &name, clock)?;
    let (ear, teller, share) = (parts.ear, parts.teller, parts.share);
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _stopped = sender.send(ear.run(io::stdin(), io::stdout()));
    });
    let beat = BEAT.min(config.listener.peer_silent / 4);
    let (turned_ms, clock) = (Arc::clone(&teller.turned_ms), teller.clock.clone());
    let signs = tokio::spawn(give_signs(share, turned_ms, clock, beat, config.listener.heartbeat_url, config.listener.heartbeat_interval));
    let telling = tokio::spawn(teller.run());
    let stopped = async {
        shutdown.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    let end = tokio::select! {
        end = ended => end.unwrap_or(End::Gone),
        () = stopped => End::Gone,
    };
    telling.abort();
    signs.abort();
    tracing::info!(?end, "stopped");
    if end == End::Deaf { Err(Error::Deaf) } else { Ok(()) }
}

struct Parts {
    ear: Ear,
    teller: Teller,
    share: Share,
}

impl Parts {
    fn open(config: &Config, name: &str, clock: Clock) -> Result<Self, Error> {
        let settings = &config.listener;
        // Clients of HTTP want it, also where nothing is encrypted. The first call of a process counts.
        drop(rustls::crypto::ring::default_provider().install_default());
        let rules = settings.rules_file.as_deref().map(Rules::read).transpose().map_err(Error::Rules)?;
        let rules = Arc::new(rules.unwrap_or_else(Rules::none));
        let provider = sms::provider(&config.sms).map_err(Error::Sms)?;
        let folder = |source| Error::Folder { dir: settings.dir.clone(), source };
        let share = Share::open(&settings.dir, name).map_err(folder)?;
        let now_ms = clock.now_ms();
        share.beat(now_ms).map_err(folder)?;
        let (spool, held) = Spool::open(&share.own()).map_err(folder)?;
        let boot = boot();
        let spool = Arc::new(Mutex::new(spool));
        let heard = Arc::new(Heard::default());
        let pace = Pace {
            group_ms: settings.group.as_millis() as u64,
            repeat_ms: settings.repeat.as_millis() as u64,
            steady_ms: settings.steady.as_millis() as u64,
            per_hour_max: settings.messages_per_hour_max,
        };
        let known = held.ids.clone();
        // The other one may have heard it stop when this one was stopped already, and may have heard it begin by now.
        let others = share.peers().into_iter().filter_map(|(peer, _)| Held::read(&share.of(&peer)).ok()?.supervisor);
        let earlier = others.filter(|said| said.id.split_once('/').is_none_or(|(of, _)| of != boot));
        let supervisor = earlier.chain(held.supervisor.clone()).max_by_key(|said| said.at_ms).map(|said| said.kind);
        let (book, way) = resume(held, pace, &heard);
        let teller = Teller {
            share: share.clone(),
            name: name.to_owned(),
            boot: boot.clone(),
            spool: Arc::clone(&spool),
            heard: Arc::clone(&heard),
            rules: Arc::clone(&rules),
            clock: clock.clone(),
            host: rules.host.clone().unwrap_or_else(host),
            provider,
            supervisord: Supervisord::of_environment(),
            silent_ms: settings.peer_silent.as_millis() as u64,
            parts_max: settings.text_parts_max,
            book,
            revival: Revival::new(settings.revive_first.as_millis() as u64, settings.revive_longest.as_millis() as u64),
            turned_ms: Arc::new(AtomicU64::new(now_ms)),
            way,
            silent: BTreeMap::new(),
            began_ms: now_ms,
            followed_ms: 0,
            tidied_ms: now_ms,
        };
        let serials = Serials::open(&share.own(), &boot);
        let ear = Ear { spool, heard, rules, clock, boot, known, supervisor, serials, matches: HashMap::new(), deaf: hear::DEAF };
        Ok(Self { ear, teller, share })
    }
}

/// Goes on where the last listener of this name stopped.
fn resume(held: Held, pace: Pace, heard: &Heard) -> (Book, Way) {
    let mut book = Book::new(pace);
    for (changes, at_ms) in held.told {
        book.composed(&changes, at_ms);
    }
    let mut message = None;
    if let Some((on_its_way, changes)) = held.message {
        book.composed(&changes, on_its_way.at_ms);
        message = Some(on_its_way);
    }
    book.set_trouble(held.trouble);
    held.pending.into_values().for_each(|change| heard.add(change));
    let delays = Delays::new(Duration::from_millis(500), Duration::from_secs(30)).expect("500 ms is at most 30 s");
    (book, Way { message, sent: held.sent, refusals: HashMap::new(), delays, next_ms: 0 })
}

/// As long as who tells takes its turns: a file for the other listener, and a call for whoever watches from elsewhere.
async fn give_signs(share: Share, turned_ms: Arc<AtomicU64>, clock: Clock, beat: Duration, url: Option<String>, interval: Duration) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
    let mut called_ms = 0;
    loop {
        let now_ms = clock.now_ms();
        if turned_ms.load(Ordering::Relaxed) + STUCK_MS > now_ms {
            if let Err(error) = share.beat(now_ms) {
                tracing::error!(error = &error as &dyn std::error::Error, "no sign of life can be given");
            }
            if let (Some(url), Ok(client), true) = (&url, &client, now_ms >= called_ms + interval.as_millis() as u64) {
                called_ms = now_ms;
                let call = client.get(url).send();
                tokio::spawn(async move {
                    if let Err(error) = call.await.and_then(reqwest::Response::error_for_status) {
                        tracing::warn!(error = &error.without_url() as &dyn std::error::Error, "listener.heartbeat_url does not answer");
                    }
                });
            }
        }
        tokio::time::sleep(beat).await;
    }
}

/// Names this start of supervisord, which started this program: its process id, and when it was started.
fn boot() -> String {
    let parent = std::os::unix::process::parent_id();
    let began =
        i32::try_from(parent).ok().and_then(|pid| procfs::process::Process::new(pid).ok()?.stat().ok()).map_or(0, |stat| stat.starttime);
    format!("{parent}-{began}")
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "this machine".to_owned(), |name| name.trim().to_owned())
}
