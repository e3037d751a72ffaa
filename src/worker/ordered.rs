//! Ordered work: leases on shards, shared out fairly among the workers that live.
//!
//! Every worker renews its leases and its heartbeat five times in the lifetime of a lease. Its share is the number of shards divided by
//! the number of workers, rounded up: below it a worker takes leases that are free, above it it gives some up. The leases decide who
//! works on what; the heartbeats only how much each wants. A lease lapses when its holder no longer renews it; that of a process of this
//! machine that is seen to be no more is free at once. Neither is a fence: that is the commit of the job.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use rand::seq::SliceRandom as _;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::job::{Ordered, Tenure, chain};
use super::measure;
use super::readiness::Part;
use super::tenure::keep_serving;
use super::{Progress, job};
use crate::broker::{Error, Pauses, Redis};
use crate::clock::Clock;
use crate::shutdown::Shutdown;
use crate::telemetry;

/// How shards are shared out.
#[derive(Clone, Copy, Debug)]
pub struct OrderedSettings {
    shards: u32,
    lease_ttl: Duration,
    patience: Duration,
}

/// Settings that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    /// There must be a shard.
    #[error("the number of shards must be at least 1")]
    NoShards,
    /// The lifetime of a lease is too short to renew it in time.
    #[error("the lifetime of a lease must be at least 100 ms")]
    ShortLease,
}

impl OrderedSettings {
    /// `shards` of the deployment from 1; `lease_ttl` from 100 ms: how long a lease, and a heartbeat, outlive a worker that died.
    pub fn new(shards: u32, lease_ttl: Duration) -> Result<Self, BadSettings> {
        if shards == 0 {
            return Err(BadSettings::NoShards);
        }
        if lease_ttl < Duration::from_millis(100) {
            return Err(BadSettings::ShortLease);
        }
        Ok(Self { shards, lease_ttl, patience: Duration::from_secs(10) })
    }

    /// How long a tenure may take for a turn of its loop before the worker no longer counts as ready; 10 s unless set.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn lease_ms(&self) -> u64 {
        self.lease_ttl.as_millis() as u64
    }
}

/// Serves the worker's share of the shards until the shutdown, then hands over at once what it has. Failures of Redis are sat out.
pub async fn run_ordered<J: Ordered>(job: J, redis: Redis, settings: OrderedSettings, clock: Clock, shutdown: Shutdown, part: Part) {
    let name = job::own_name();
    tracing::info!(job = J::JOB, worker = name, "worker starts");
    let mut worker = Worker {
        job,
        redis,
        settings,
        clock,
        part,
        name,
        held: BTreeMap::new(),
        tasks: JoinSet::new(),
        ready: false,
        shards: HashMap::new(),
        measured: None,
    };
    worker.work(&shutdown).await;
    worker.stop(shutdown.grace()).await;
    tracing::info!(job = J::JOB, worker = worker.name, "worker stopped");
}

/// A lease that is held, and the tenure it carries.
struct Held {
    tenure: Tenure,
    /// Until when Redis keeps it, at least.
    until: Instant,
}

/// How a task ended.
type Ended = Result<(Id, ()), JoinError>;

struct Worker<J> {
    job: J,
    redis: Redis,
    settings: OrderedSettings,
    clock: Clock,
    part: Part,
    name: String,
    held: BTreeMap<u32, Held>,
    tasks: JoinSet<()>,
    /// What the last round said of the worker.
    ready: bool,
    /// Which shard a task serves.
    shards: HashMap<Id, u32>,
    /// When the streams were measured last.
    measured: Option<Instant>,
}

/// Who else there is.
struct Others {
    live: u64,
    holders: Vec<Option<String>>,
    pauses: Pauses,
}

impl<J: Ordered> Worker<J> {
    async fn work(&mut self, shutdown: &Shutdown) {
        let mut ticks = tokio::time::interval(self.settings.lease_ttl / 5);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.ended(ended).await;
                    continue;
                }
                _ = ticks.tick() => {}
            }
            let others = {
                let begun = Instant::now();
                let shards: Vec<u32> = self.held.keys().copied().collect();
                let (redis, name, now_ms) = (self.redis.clone(), self.name.clone(), self.clock.now_ms());
                // Side by side, and each counts as soon as it is answered: on a machine out of breath an answer takes a good part of a lease.
                let mut renewed = pin!(renew(J::JOB, &redis, self.settings, &name, shards));
                let mut others = pin!(others(J::JOB, &redis, self.settings, now_ms, &name));
                let (mut waits, mut found) = (true, None);
                loop {
                    let lapse = self.held.values().map(|held| held.until).min();
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => return,
                        renewed = &mut renewed, if waits => {
                            waits = false;
                            self.renewed(begun, renewed);
                        }
                        others = &mut others, if found.is_none() => found = Some(others),
                        () = lapsed(lapse) => self.give_up_lapsed(),
                    }
                    if !waits && let Some(others) = found.take() {
                        break others;
                    }
                }
            };
            match others {
                Ok(mut others) => {
                    failing = false;
                    self.bury(&mut others).await;
                    self.settle(others).await;
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(job = J::JOB, error = chain(&error), "cannot renew leases, trying again");
                    }
                    failing = true;
                    self.part.waits_for("Redis");
                }
            }
            self.give_up_lapsed();
        }
    }

    fn renewed(&mut self, begun: Instant, renewed: Vec<(u32, Result<bool, Error>)>) {
        let until = begun + self.settings.lease_ttl;
        for (shard, renewed) in renewed {
            let Some(held) = self.held.get_mut(&shard) else { continue };
            match renewed {
                Ok(true) => held.until = until,
                Ok(false) => {
                    if !held.tenure.stop.is_cancelled() {
                        tracing::warn!(job = J::JOB, shard, "lease lost to another worker");
                    }
                    held.tenure.stop.cancel();
                }
                Err(_) => {}
            }
        }
    }

    /// Gives the leases back of those that can be seen to be dead: whoever is started again at once does not wait until they lapse.
    async fn bury(&self, round: &mut Others) {
        let mut dead: Vec<String> = round.holders.iter().flatten().filter(|holder| job::is_seen_dead(holder)).cloned().collect();
        dead.sort_unstable();
        dead.dedup();
        for name in dead {
            let shards = (0..).zip(&round.holders).filter(|(_, holder)| holder.as_ref() == Some(&name)).map(|(shard, _)| shard);
            // Only if they still are theirs.
            let releases = join_all(shards.map(|shard: u32| self.redis.release_lease(shard, J::JOB, &name, None)));
            let (retired, released) = tokio::join!(self.redis.retire_worker(J::JOB, &name), releases);
            let buried: Result<(), Error> = released.into_iter().chain([retired]).collect();
            if buried.is_ok() {
                round.holders.iter_mut().filter(|holder| holder.as_ref() == Some(&name)).for_each(|holder| *holder = None);
            }
            match buried {
                Ok(()) => tracing::info!(job = J::JOB, worker = name, "a worker of this machine died, its leases are free"),
                Err(error) => tracing::debug!(job = J::JOB, worker = name, error = chain(&error), "cannot free leases, they lapse"),
            }
            round.live = round.live.saturating_sub(1).max(1);
        }
    }

    /// Takes what is free and gives up what is too much, as far as a round found out.
    async fn settle(&mut self, round: Others) {
        self.pause(&round.pauses);
        let paused = |shard: &u32| round.pauses.of_shard(J::JOB, *shard).is_some();
        let shards = (0..self.settings.shards).filter(|shard| !paused(shard)).count() as u64;
        metrics::gauge!("roger_paused", "job" => J::JOB).set(if shards < u64::from(self.settings.shards) { 1.0 } else { 0.0 });
        // Heartbeats go by clocks of several machines; whoever holds a lease lives in any case.
        let mut holders: Vec<&str> = round.holders.iter().flatten().map(String::as_str).filter(|holder| *holder != self.name).collect();
        holders.sort_unstable();
        let share = shards.div_ceil(round.live.max(holders.chunk_by(|a, b| a == b).count() as u64 + 1)) as usize;
        let greedy = holders.chunk_by(|a, b| a == b).any(|leases| leases.len() > share);

        let active: Vec<u32> = self.held.iter().filter(|(_, held)| !held.tenure.stop.is_cancelled()).map(|(shard, _)| *shard).collect();
        for shard in active.iter().skip(share) {
            tracing::info!(job = J::JOB, shard, share, "giving a shard up to another worker");
            self.held[shard].tenure.stop.cancel();
        }
        // One that was given up while Redis was away is its own still: until it lapses, which is long where a primary of before was ahead of its time.
        let is_free = |holder: &Option<String>| holder.as_ref().is_none_or(|holder| *holder == self.name);
        let mut free: Vec<u32> =
            (0..self.settings.shards).zip(&round.holders).filter(|(_, holder)| is_free(holder)).map(|(shard, _)| shard).collect();
        free.retain(|shard| !self.held.contains_key(shard) && !paused(shard));
        free.shuffle(&mut rand::rng());
        let wanted = share.saturating_sub(active.len());
        self.acquire(free.iter().copied().take(wanted).collect()).await;
        // A worker that was ready stays so while it begins on a shard it took over.
        let (ready, patience) = (self.ready, self.settings.patience);
        let progress = self.held.values().map(|held| &held.tenure.progress).filter(|progress| !(ready && progress.is_starting(patience)));
        let trouble = match progress.filter_map(|progress| progress.trouble(patience)).next() {
            Some(what) => Some(what.to_owned()),
            None if self.held.len() < share && (greedy || free.len() > wanted) => Some(format!("its share of {share} shards")),
            None => None,
        };
        self.ready = trouble.is_none();
        match trouble {
            Some(what) => self.part.waits_for(what),
            None => self.part.goes_on(),
        }
        metrics::gauge!("roger_shards_held", "job" => J::JOB).set(self.held.len() as f64);
        self.measure();
    }

    /// Gives up what operators paused.
    fn pause(&self, pauses: &Pauses) {
        for (shard, held) in self.held.iter().filter(|(_, held)| !held.tenure.stop.is_cancelled()) {
            if let Some(pause) = pauses.of_shard(J::JOB, *shard) {
                let (by, why, until_ms) = (&pause.by, &pause.why, pause.until_ms);
                tracing::warn!(job = J::JOB, shard, by, why, until_ms, "paused by an operator");
                held.tenure.stop.cancel();
            }
        }
    }

    /// Beside the round, which must not wait for it.
    fn measure(&mut self) {
        if telemetry::is_measured() && self.measured.is_none_or(|measured| measured.elapsed() >= measure::EVERY) {
            self.measured = Some(Instant::now());
            tokio::spawn(measure::measure_shards(self.job.clone(), self.held.keys().copied().collect()));
        }
    }

    async fn acquire(&mut self, shards: Vec<u32>) {
        let until = Instant::now() + self.settings.lease_ttl;
        for (shard, taken) in renew(J::JOB, &self.redis, self.settings, &self.name, shards).await {
            match taken {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tracing::debug!(job = J::JOB, shard, error = chain(&error), "cannot take a lease");
                    continue;
                }
            }
            tracing::info!(job = J::JOB, shard, "lease taken");
            let tenure = Tenure { shard, holder: self.name.clone(), stop: CancellationToken::new(), progress: Progress::default() };
            let task = self.tasks.spawn(keep_serving(self.job.clone(), tenure.clone()));
            self.shards.insert(task.id(), shard);
            self.held.insert(shard, Held { tenure, until });
        }
    }

    /// A lease that Redis may have let go is no longer worked on.
    fn give_up_lapsed(&mut self) {
        let now = Instant::now();
        for (shard, held) in self.held.iter_mut().filter(|(_, held)| held.until <= now) {
            if !held.tenure.stop.is_cancelled() {
                tracing::warn!(job = J::JOB, shard, "lease could not be renewed in time");
                held.tenure.stop.cancel();
                self.part.waits_for("Redis");
            }
            // It is over: nothing more to wait for.
            held.until = now + Duration::from_secs(3_600);
        }
    }

    /// A tenure came to its end, and perhaps others with it: somebody else may have their shards.
    async fn ended(&mut self, first: Ended) {
        let mut shards = Vec::new();
        let mut next = Some(first);
        while let Some(ended) = next {
            let task = ended.map_or_else(|error| error.id(), |(id, ())| id);
            shards.extend(self.shards.remove(&task));
            next = self.tasks.try_join_next_with_id();
        }
        for shard in &shards {
            self.held.remove(shard);
        }
        let released = join_all(shards.iter().map(|shard| self.redis.release_lease(*shard, J::JOB, &self.name, None))).await;
        for (shard, released) in shards.into_iter().zip(released) {
            if let Err(error) = released {
                tracing::debug!(job = J::JOB, shard, error = chain(&error), "cannot release a lease, it lapses");
            }
            tracing::info!(job = J::JOB, shard, "shard given up");
        }
    }

    /// Hands everything over. First the heartbeat goes, so that the others already want more when the leases come free.
    async fn stop(&mut self, grace: Duration) {
        let end = Instant::now() + grace;
        self.part.waits_for("nothing: it stops");
        for held in self.held.values() {
            held.tenure.stop.cancel();
        }
        if let Err(error) = self.redis.retire_worker(J::JOB, &self.name).await {
            tracing::debug!(job = J::JOB, error = chain(&error), "cannot retire, the heartbeat lapses");
        }
        let mut ticks = tokio::time::interval(self.settings.lease_ttl / 5);
        while !self.held.is_empty() {
            tokio::select! {
                ended = self.tasks.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended).await,
                    None => return,
                },
                _ = ticks.tick() => {
                    // What is being finished is still ours.
                    let shards: Vec<u32> = self.held.keys().copied().collect();
                    join_all(shards.iter().map(|shard| self.redis.renew_lease(*shard, J::JOB, &self.name, self.settings.lease_ms()))).await;
                }
                () = tokio::time::sleep_until(end) => {
                    let shards: Vec<u32> = self.held.keys().copied().collect();
                    tracing::warn!(job = J::JOB, ?shards, "work was not finished within the grace period");
                    self.tasks.shutdown().await;
                    join_all(shards.iter().map(|shard| self.redis.release_lease(*shard, J::JOB, &self.name, None))).await;
                    self.held.clear();
                }
            }
        }
    }
}

/// Renews leases, and takes those that are free.
async fn renew(
    job: &'static str,
    redis: &Redis,
    settings: OrderedSettings,
    name: &str,
    shards: Vec<u32>,
) -> Vec<(u32, Result<bool, Error>)> {
    let answers = join_all(shards.iter().map(|shard| redis.renew_lease(*shard, job, name, settings.lease_ms()))).await;
    shards.into_iter().zip(answers).collect()
}

/// Shows that the worker lives, and looks at who has what.
async fn others(job: &'static str, redis: &Redis, settings: OrderedSettings, now_ms: u64, name: &str) -> Result<Others, Error> {
    let live = redis.beat_worker(job, name, now_ms, settings.lease_ms());
    let (live, holders, pauses) = tokio::try_join!(live, redis.lease_holders(job, settings.shards), redis.pauses(now_ms))?;
    Ok(Others { live, holders, pauses })
}

async fn lapsed(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
