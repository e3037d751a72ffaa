//! Sentinels: who the primary is by the newest of their configurations, whichever of them live.
//!
//! Each failover gives the configuration of a service a higher epoch. Of several answers the one of the highest counts, and of several of that the
//! one of the most. So a sentinel that was cut off and still names the old primary is not believed; the old primary itself, back and writable until
//! a sentinel reaches it, is not asked at all.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, ConnectionInfo};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::error::Error;
use super::look::{PrimaryLook, SentinelLook};
use super::peer::Peer;
use super::route::{Asked, Named};

/// How often sentinels are asked besides listening to what they announce.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// An answer so young is not asked for again: after a failure everything connects at once.
const FRESH: Duration = Duration::from_millis(100);
/// How long each further answer is waited for once more than half have answered: a machine that died says nothing for long.
const LAGGARDS: Duration = Duration::from_millis(100);

/// The sentinels of one service. Clones share what they know.
#[derive(Clone)]
pub(super) struct Sentinels(Arc<Inner>);

struct Inner {
    /// What they call the primary.
    service: String,
    sentinels: Vec<Peer>,
    /// How the servers of the service are reached, but for their address.
    server: ConnectionInfo,
    known: Mutex<Option<Known>>,
    generation: AtomicU64,
    watched: AtomicBool,
}

/// The newest configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    configuration: Configuration,
    /// When the question began that this is the answer to.
    asked: Instant,
    /// How many answered it, without those that contradict.
    answered: usize,
}

/// What a sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Configuration {
    epoch: u64,
    host: String,
    port: u16,
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.sentinels.iter().map(|sentinel| sentinel.name.as_str()).collect();
        write!(f, "{} at {}", self.0.service, names.join(", "))
    }
}

impl Sentinels {
    pub(super) fn new(service: &str, sentinels: Vec<(String, Client)>, server: ConnectionInfo, timeout: Duration) -> Self {
        let sentinels = sentinels.into_iter().map(|(name, client)| Peer::new(&name, client, timeout)).collect();
        Self(Arc::new(Inner {
            service: service.to_owned(),
            sentinels,
            server,
            known: Mutex::default(),
            generation: AtomicU64::new(0),
            watched: AtomicBool::new(false),
        }))
    }

    #[cfg(test)]
    pub(super) fn server(&self) -> &ConnectionInfo {
        &self.0.server
    }

    /// What the sentinels call the primary.
    pub(super) fn service(&self) -> &str {
        &self.0.service
    }

    /// As [`super::route::Route::generation`].
    pub(super) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// As [`super::route::Route::primary`].
    pub(super) async fn primary(&self) -> Result<Named, Error> {
        if !self.0.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(watch(Arc::downgrade(&self.0)));
        }
        let (known, generation) = self.0.learn(Instant::now().checked_sub(FRESH)).await?;
        let client = Client::open(self.0.server_at(&known.configuration)).map_err(Error::Url)?;
        Ok(Named { client, generation, epoch: Some(known.configuration.epoch) })
    }

    /// As [`super::route::Route::ask_now`].
    pub(super) async fn ask_now(&self, who: Asked) -> Result<(), Error> {
        let (known, _) = self.0.learn(Some(Instant::now())).await?;
        let of = self.0.sentinels.len();
        let enough = match who {
            Asked::Any => known.answered > 0,
            Asked::Most => is_most(known.answered, of),
        };
        if enough { Ok(()) } else { Err(Error::Unsure { service: self.0.service.clone(), answered: known.answered, of }) }
    }

    /// Fails while one of them carries out a failover, or takes the primary for dead and may begin one at any moment: two at once may take the same epoch.
    pub(super) async fn have_no_failover(&self) -> Result<(), Error> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("MASTER").arg(&self.0.service);
        let mut pipeline = redis::pipe();
        pipeline.add_command(command);
        for sentinel in &self.0.sentinels {
            let said = sentinel.ask::<(HashMap<String, String>,)>(&pipeline).await;
            let flags = said.ok().and_then(|(mut facts,)| facts.remove("flags")).unwrap_or_default();
            let name = &sentinel.name;
            let why = if flags.contains("failover_in_progress") {
                format!("a failover is under way, says the sentinel {name}: wait until it is over")
            } else if flags.contains("s_down") || flags.contains("o_down") {
                format!(
                    "the sentinel {name} takes the primary for dead, and a failover may begin: look why, and wait until it answers that one or is over"
                )
            } else {
                continue;
            };
            return Err(Error::Unfit { why });
        }
        Ok(())
    }

    /// What each of them says.
    pub(super) async fn look(&self) -> Vec<SentinelLook> {
        let one = async |sentinel: &Peer| {
            let said = ask(sentinel, &self.0.service).await;
            let primary = said.map(|Configuration { epoch, host, port }| PrimaryLook { address: format!("{host}:{port}"), epoch });
            SentinelLook { name: sentinel.name.clone(), primary }
        };
        join_all(self.0.sentinels.iter().map(one)).await
    }

    /// A connection to the first sentinel that answers.
    pub(super) async fn somebody(&self) -> Result<MultiplexedConnection, Error> {
        for sentinel in &self.0.sentinels {
            if let Ok(connection) = sentinel.connection().await {
                return Ok(connection);
            }
        }
        Err(self.0.nobody("none of them can be reached".to_owned()))
    }
}

impl Inner {
    fn server_at(&self, configuration: &Configuration) -> ConnectionInfo {
        self.server.clone().set_addr(ConnectionAddr::Tcp(configuration.host.clone(), configuration.port))
    }

    fn nobody(&self, why: String) -> Error {
        Error::NoPrimary { service: self.service.clone(), why }
    }

    /// The newest configuration, asked for unless somebody asked `since` then, and the number of its answer.
    async fn learn(&self, since: Option<Instant>) -> Result<(Known, u64), Error> {
        // Who waits for the lock finds the answer of the one before, if that one asked late enough.
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|known| since.is_some_and(|since| known.asked >= since)) {
            return Ok((known.clone(), self.generation.load(Ordering::Acquire)));
        }
        let asked = Instant::now();
        let (said, silent) = self.ask_all().await;
        let before = known.as_ref().map(|known| &known.configuration);
        let Some(newest) = newest(&said, before, self.sentinels.len()) else { return Err(self.nobody(silent.join("; "))) };
        if before != Some(&newest) {
            tracing::info!(
                service = self.service,
                primary = format!("{}:{}", newest.host, newest.port),
                epoch = newest.epoch,
                "sentinels name a primary"
            );
            // Also when it names the same server: it may have been another one meanwhile, and a history is known by the epoch.
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        // Whoever names another one of the same epoch is no witness.
        let answered = said.iter().filter(|one| one.epoch < newest.epoch || **one == newest).count();
        let newest = known.insert(Known { configuration: newest, asked, answered }).clone();
        Ok((newest, self.generation.load(Ordering::Acquire)))
    }

    /// What they say, and why others say nothing.
    async fn ask_all(&self) -> (Vec<Configuration>, Vec<String>) {
        let one = async |sentinel| (sentinel, ask(sentinel, &self.service).await);
        let mut asking: FuturesUnordered<_> = self.sentinels.iter().map(one).collect();
        let (mut said, mut silent) = (Vec::new(), Vec::new());
        loop {
            let next = if is_most(said.len(), self.sentinels.len()) {
                timeout(LAGGARDS, asking.next()).await.ok().flatten()
            } else {
                asking.next().await
            };
            match next {
                Some((_, Ok(configuration))) => said.push(configuration),
                Some((sentinel, Err(why))) => silent.push(format!("{}: {why}", sentinel.name)),
                None => return (said, silent),
            }
        }
    }
}

/// Whether more than half are so many.
fn is_most(count: usize, of: usize) -> bool {
    count * 2 > of
}

/// The configuration of the highest epoch, and of several of that the one that most of them name. One that is not above what was known already is
/// from a sentinel that was cut off, unless most of them agree: then they were made anew. `None` when nobody said anything, and nothing was known.
///
/// An epoch can have two primaries. Nobody votes on a failover that is asked for (SENTINEL FAILOVER): the sentinel that is asked takes the next
/// epoch, and others may have elected somebody for that same one. Each then takes the other for the loser, until the next failover.
fn newest(said: &[Configuration], before: Option<&Configuration>, sentinels: usize) -> Option<Configuration> {
    let agreeing = |configuration: &Configuration| said.iter().filter(|other| *other == configuration).count();
    let best = said.iter().max_by_key(|configuration| (configuration.epoch, agreeing(configuration)));
    match (best, before) {
        (Some(best), Some(before)) if best.epoch <= before.epoch => {
            Some(if is_most(agreeing(best), sentinels) { best } else { before }.clone())
        }
        // With nobody to ask the last good answer is as good as any: the server itself says whether it is a primary.
        (best, before) => best.or(before).cloned(),
    }
}

async fn ask(sentinel: &Peer, service: &str) -> Result<Configuration, String> {
    // The facts have the new epoch with the old address while replicas are told; the address that is advertised is of that epoch.
    let mut pipeline = redis::pipe();
    pipeline.cmd("SENTINEL").arg("MASTER").arg(service).cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let (facts, (host, port)): (HashMap<String, String>, (String, u16)) = sentinel.ask(&pipeline).await?;
    let epoch = facts.get("config-epoch").and_then(|epoch| epoch.parse().ok()).ok_or("says nothing of the epoch of its configuration")?;
    Ok(Configuration { epoch, host, port })
}

/// Follows what sentinels announce, and asks them every second, until nobody uses the handle any more.
async fn watch(inner: Weak<Inner>) {
    let (mut announcements, mut turn, mut silent) = (None, 0, false);
    loop {
        let Some(inner) = inner.upgrade() else { return };
        match inner.learn(Some(Instant::now())).await {
            Ok(_) => silent = false,
            Err(error) if !silent => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no sentinel answers; the last primary they named stays in use");
                silent = true;
            }
            Err(_) => {}
        }
        if announcements.is_none() {
            // Another one each time: the first may be dead for long.
            announcements = inner.sentinels[turn % inner.sentinels.len()].announcements("+switch-master").await;
            turn += 1;
        }
        drop(inner);
        let announced = async {
            match announcements.as_mut() {
                Some(stream) => stream.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        if timeout(ASK_EVERY, announced).await == Ok(false) {
            announcements = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16, epoch: u64) -> Configuration {
        Configuration { epoch, host: "10.0.0.1".to_owned(), port }
    }

    #[test]
    fn the_configuration_of_the_highest_epoch_counts_and_an_older_one_only_when_most_agree() {
        let newest = |said: &[Configuration], before: Option<&Configuration>| newest(said, before, 3).map(|newest| newest.port);
        assert_eq!(newest(&[at(1, 4), at(2, 5), at(1, 4)], None), Some(2));
        assert_eq!(newest(&[], Some(&at(1, 4))), Some(1));
        assert_eq!(newest(&[], None), None);
        // Cut off since before the failover.
        assert_eq!(newest(&[at(1, 4)], Some(&at(2, 5))), Some(2));
        // Made anew.
        assert_eq!(newest(&[at(3, 0), at(3, 0)], Some(&at(2, 5))), Some(3));
        // Two primaries of one epoch, in whatever order they are heard of.
        assert_eq!(newest(&[at(1, 5), at(2, 5), at(2, 5)], None), Some(2));
        assert_eq!(newest(&[at(2, 5), at(2, 5), at(1, 5)], Some(&at(1, 5))), Some(2));
        assert_eq!(newest(&[at(2, 5), at(1, 5)], Some(&at(2, 5))), Some(2));
        assert_eq!(newest(&[at(1, 5), at(2, 5)], Some(&at(2, 5))), Some(2));
        assert_eq!(newest(&[at(1, 5)], Some(&at(2, 5))), Some(2));
    }
}
