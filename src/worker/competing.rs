//! Competing work: a consumer group, whose entries any worker may take.
//!
//! An entry belongs to a worker from its reading until it is finished. As long as the worker lives it shows so for each, thrice in the
//! idle time, however slow the work is; when it shows nothing for the idle time, another one takes its entries over. An attempt that
//! fails is tried again here with a growing delay; after the last one, and when three workers died over it, the entry becomes a dead
//! letter. What is held is bounded by permits; at the bound nothing more is read. Heartbeats tell operators who lives; nothing else goes by them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Bench, Next};
use super::job::{self, Competing, chain};
use super::measure;
use super::progress::Progress;
use super::read::{Read, Reading, read_on};
use super::readiness::Part;
use crate::broker::{Delivery, Group, Redis, StreamId};
use crate::clock::Clock;
use crate::shutdown::Shutdown;

/// The most entries of one read, and of one look for those of dead workers.
pub(super) const READ_MAX: usize = 64;
/// The most entries shown alive in one call.
const KEEP_MAX: usize = 256;
/// How often it is judged whether the worker makes progress.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a worker says that it lives, and looks whether its job is paused; and for how long its word holds.
const BEAT_EVERY: Duration = Duration::from_secs(2);
const ALIVE: Duration = Duration::from_secs(15);
/// How long a reader may be silent before the worker no longer counts as ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// How entries are shared out.
#[derive(Clone, Copy, Debug)]
pub struct CompetingSettings {
    concurrency: usize,
    held_max: usize,
    reclaim_idle: Duration,
}

/// Settings that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGroup {
    /// Nothing would ever run.
    #[error("concurrency must be at least 1 and at most what is held")]
    Concurrency,
    /// An entry could be taken over while its first attempt is still allowed to run.
    #[error("{job}: the reclaim idle of {idle:?} must exceed the deadline of {deadline:?}")]
    ShortIdle {
        /// The job.
        job: &'static str,
        /// After which an entry is taken over.
        idle: Duration,
        /// Of an attempt.
        deadline: Duration,
    },
}

impl CompetingSettings {
    /// For job `J`: at most `concurrency` attempts at once, and `held_max` new entries and a quarter more taken over held, those included that wait for
    /// another attempt; entries of a worker that shows no life are taken over after `reclaim_idle`.
    pub fn new<J: Competing>(concurrency: usize, held_max: usize, reclaim_idle: Duration) -> Result<Self, BadGroup> {
        if concurrency == 0 || concurrency > held_max {
            return Err(BadGroup::Concurrency);
        }
        if reclaim_idle <= J::DEADLINE {
            return Err(BadGroup::ShortIdle { job: J::JOB, idle: reclaim_idle, deadline: J::DEADLINE });
        }
        Ok(Self { concurrency, held_max, reclaim_idle })
    }
}

/// Takes entries and works on them until the shutdown, then finishes what runs within the grace period and gives the rest back. Failures
/// of Redis are sat out.
pub async fn run_competing<J: Competing>(job: J, redis: Redis, settings: CompetingSettings, clock: Clock, shutdown: Shutdown, part: Part) {
    let group = Group { stream: job.stream(), group: J::GROUP.to_owned(), consumer: job::own_name() };
    tracing::info!(job = J::JOB, worker = group.consumer, "worker starts");
    let room = Arc::new(Semaphore::new(settings.held_max));
    // Apart, for the reader sits on what room there is while it waits.
    let room_for_old = Arc::new(Semaphore::new(settings.held_max.div_ceil(4)));
    let (sender, read) = mpsc::channel(READ_MAX);
    let progress = Progress::default();
    let (pause, paused) = watch::channel(None);
    let reader = tokio::spawn(read_on::<J>(Reading {
        redis: redis.clone(),
        group: group.clone(),
        room: room.clone(),
        sender,
        progress: progress.clone(),
        paused,
        shutdown: shutdown.clone(),
    }));
    let measuring = tokio::spawn(measure::measure_group(redis.clone(), J::JOB, group.clone()));
    let bench = Arc::new(Bench { job, redis, group, clock, stopping: shutdown.token().clone() });
    let mut worker = Worker {
        bench,
        settings,
        room,
        room_for_old,
        progress,
        part,
        pause,
        held: HashMap::new(),
        ready: VecDeque::new(),
        due: BTreeSet::new(),
        running: JoinSet::new(),
    };
    worker.work(read, &shutdown).await;
    measuring.abort();
    let bench = worker.bench.clone();
    let retire = bench.redis.retire_worker(J::JOB, &bench.group.consumer);
    // The last read comes to its end too: what it was given is given back with the rest.
    let ((), reader, retired) = tokio::join!(worker.finish(shutdown.grace()), reader, retire);
    if let Err(error) = retired {
        tracing::debug!(job = J::JOB, error = chain(&error), "cannot retire, the heartbeat lapses");
    }
    if reader.is_err() {
        tracing::error!(job = J::JOB, "the reader of a consumer group died");
    }
    worker.give_back().await;
    tracing::info!(job = J::JOB, worker = worker.bench.group.consumer, "worker stopped");
}

struct Held {
    delivery: Delivery,
    stop: CancellationToken,
    /// Its place in `due`, while it waits for another attempt.
    due: Option<Instant>,
    _room: OwnedSemaphorePermit,
}

struct Worker<J> {
    bench: Arc<Bench<J>>,
    settings: CompetingSettings,
    room: Arc<Semaphore>,
    room_for_old: Arc<Semaphore>,
    progress: Progress,
    part: Part,
    /// Tells the reader whether operators paused the job.
    pause: watch::Sender<Option<bool>>,
    held: HashMap<StreamId, Held>,
    ready: VecDeque<StreamId>,
    due: BTreeSet<(Instant, StreamId)>,
    running: JoinSet<(StreamId, Next)>,
}

impl<J: Competing> Worker<J> {
    async fn work(&mut self, mut read: mpsc::Receiver<Read>, shutdown: &Shutdown) {
        // A fifth: the life of an entry is shown often enough, and a dead worker's entries are seen soon.
        let mut ticks = tokio::time::interval(self.settings.reclaim_idle / 5);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut beats = tokio::time::interval(BEAT_EVERY);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0_u64;
        let mut stray = false;
        loop {
            self.dispatch();
            let due = self.due.first().map(|(at, _)| *at);
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(ended) = self.running.join_next() => self.ended(ended),
                Some(read) = read.recv() => match read {
                    Read::Entry(delivery, room) => self.take(delivery, room),
                    Read::Stray => stray = true,
                },
                () = until(due) => self.wake(),
                _ = looks.tick() => self.report(),
                _ = beats.tick() => self.beat().await,
                _ = ticks.tick() => {
                    rounds += 1;
                    match self.tend(rounds, stray).await {
                        Ok(()) => stray = false,
                        Err(error) => tracing::debug!(job = J::JOB, error = chain(&error), "cannot tend the consumer group"),
                    }
                    metrics::gauge!("roger_entries_held", "job" => J::JOB).set(self.held.len() as f64);
                }
            }
        }
    }

    /// Says that it lives, to operators: Redis itself shows no consumer that never had anything to do.
    async fn beat(&self) {
        let Bench { redis, group, clock, .. } = &*self.bench;
        let now_ms = clock.now_ms();
        if let Err(error) = redis.beat_worker(J::JOB, &group.consumer, now_ms, ALIVE.as_millis() as u64).await {
            tracing::debug!(job = J::JOB, error = chain(&error), "cannot say that the worker lives");
        }
        match redis.pauses(now_ms).await {
            Ok(pauses) => {
                let pause = pauses.of(J::JOB);
                let before = self.pause.send_replace(Some(pause.is_some()));
                match pause {
                    Some(pause) if before != Some(true) => {
                        tracing::warn!(job = J::JOB, by = pause.by, why = pause.why, until_ms = pause.until_ms, "paused by an operator");
                    }
                    None if before == Some(true) => tracing::info!(job = J::JOB, "goes on after a pause"),
                    _ => {}
                }
            }
            Err(error) => {
                tracing::debug!(job = J::JOB, error = chain(&error), "cannot look for pauses");
                // What was known goes on; who knows nothing yet works.
                self.pause.send_if_modified(|paused| paused.is_none() && paused.replace(false).is_none());
            }
        }
        metrics::gauge!("roger_paused", "job" => J::JOB).set(if self.is_paused() { 1.0 } else { 0.0 });
    }

    fn is_paused(&self) -> bool {
        *self.pause.borrow() == Some(true)
    }

    fn report(&self) {
        match self.progress.trouble(PATIENCE) {
            None => self.part.goes_on(),
            Some(_) if self.room.available_permits() == 0 && !self.due.is_empty() => {
                self.part.waits_for("room: all that it holds waits for another attempt");
            }
            Some(what) => self.part.waits_for(what),
        }
    }

    fn take(&mut self, delivery: Delivery, room: OwnedSemaphorePermit) {
        let id = delivery.entry.id;
        // A stray one that the reader had all the time.
        if self.held.contains_key(&id) {
            return;
        }
        self.held.insert(id, Held { delivery, stop: self.bench.stopping.child_token(), due: None, _room: room });
        self.ready.push_back(id);
    }

    fn dispatch(&mut self) {
        while self.running.len() < self.settings.concurrency && !self.is_paused() {
            let Some(id) = self.ready.pop_front() else { return };
            let Some(held) = self.held.get(&id) else { continue };
            let (bench, delivery, stop) = (self.bench.clone(), held.delivery.clone(), held.stop.clone());
            self.running.spawn(async move { (id, bench.attempt(delivery, stop).await) });
        }
    }

    fn ended(&mut self, ended: Result<(StreamId, Next), tokio::task::JoinError>) {
        // The job's own panics end in the attempt; one of the attempt itself leaves the entry to be shown alive until the program ends.
        let Ok((id, next)) = ended else { return };
        match next {
            Next::Gone | Next::GiveBack => self.forget(id),
            Next::Again(delay) => {
                if let Some(held) = self.held.get_mut(&id) {
                    let at = Instant::now() + delay;
                    held.due = Some(at);
                    self.due.insert((at, id));
                }
            }
        }
    }

    fn forget(&mut self, id: StreamId) {
        if let Some(Held { due: Some(at), .. }) = self.held.remove(&id) {
            self.due.remove(&(at, id));
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            if let Some(held) = self.held.get_mut(&id) {
                held.due = None;
                self.ready.push_back(id);
            }
        }
    }

    /// Shows what is held alive, and takes over what nobody shows alive.
    async fn tend(&mut self, round: u64, stray: bool) -> Result<(), crate::broker::Error> {
        let bench = self.bench.clone();
        let ids: Vec<StreamId> = self.held.keys().copied().collect();
        for ids in ids.chunks(KEEP_MAX) {
            let kept = bench.redis.keep(&bench.group, ids).await?;
            for id in ids.iter().filter(|id| !kept.contains(id)) {
                self.let_go(*id);
            }
        }
        if stray {
            self.find_stray().await?;
        }
        let mut cursor = (!self.is_paused()).then(StreamId::default);
        while let Some(from) = cursor {
            let Some(mut room) = self.some_room() else { break };
            let taken = bench.redis.reclaim(&bench.group, self.settings.reclaim_idle, from, room.num_permits()).await?;
            if taken.adopted > 0 {
                metrics::counter!("roger_entries_adopted_total", "job" => J::JOB).increment(taken.adopted);
                let stream = &bench.group.stream;
                tracing::warn!(
                    job = J::JOB,
                    stream,
                    entries = taken.adopted,
                    "somebody deleted a consumer with what it had; that is done anew"
                );
            }
            for id in &taken.lost {
                metrics::counter!("roger_entries_lost_total", "job" => J::JOB).increment(1);
                tracing::error!(job = J::JOB, entry.id = %id, "an entry was deleted from its stream before it was done");
            }
            for delivery in taken.deliveries {
                metrics::counter!("roger_entries_reclaimed_total", "job" => J::JOB).increment(1);
                tracing::info!(job = J::JOB, entry.id = %delivery.entry.id, deliveries = delivery.count, "entry taken over");
                let Some(permit) = room.split(1) else { break };
                self.take(delivery, permit);
            }
            cursor = taken.next;
        }
        if round % 20 == 1 {
            let gone = bench.redis.reap_consumers(&bench.group, self.settings.reclaim_idle * 4).await?;
            if gone > 0 {
                tracing::info!(job = J::JOB, consumers = gone, "names of dead consumers deleted");
            }
        }
        Ok(())
    }

    /// Another worker took it over while this one slept, or Redis lost it. What runs is told, and its completion will be refused.
    fn let_go(&mut self, id: StreamId) {
        let Some(held) = self.held.get(&id) else { return };
        held.stop.cancel();
        if held.due.is_some() {
            self.forget(id);
        }
    }

    async fn find_stray(&mut self) -> Result<(), crate::broker::Error> {
        let bench = self.bench.clone();
        let mut from = StreamId::default();
        loop {
            let found = bench.redis.stray(&bench.group, from, READ_MAX).await?;
            let Some(last) = found.last().map(|delivery| delivery.entry.id) else { return Ok(()) };
            for delivery in found {
                let Ok(room) = self.room_for_old.clone().try_acquire_owned() else { return Ok(()) };
                self.take(delivery, room);
            }
            from = last.next();
        }
    }

    fn some_room(&self) -> Option<OwnedSemaphorePermit> {
        let wanted = self.room_for_old.available_permits().min(READ_MAX);
        if wanted == 0 { None } else { self.room_for_old.clone().try_acquire_many_owned(wanted as u32).ok() }
    }

    /// Lets what runs come to its end within the grace period.
    async fn finish(&mut self, grace: Duration) {
        self.part.waits_for("nothing: it stops");
        let finishing = async {
            while let Some(ended) = self.running.join_next().await {
                if let Ok((id, Next::Gone)) = ended {
                    self.held.remove(&id);
                }
            }
        };
        if tokio::time::timeout(grace, finishing).await.is_err() {
            tracing::warn!(job = J::JOB, entries = self.running.len(), "attempts were not finished within the grace period");
            self.running.shutdown().await;
        }
    }

    /// Gives back what is not finished, so that another worker takes it at once.
    async fn give_back(&mut self) {
        let bench = self.bench.clone();
        // Asked of Redis, for what the reader had in hand at the end is not known here.
        let own = bench.redis.stray(&bench.group, StreamId::default(), self.settings.held_max + READ_MAX).await;
        let rest: Vec<StreamId> = match own {
            Ok(own) => own.into_iter().map(|delivery| delivery.entry.id).collect(),
            Err(_) => self.held.keys().copied().collect(),
        };
        for ids in rest.chunks(KEEP_MAX) {
            if let Err(error) = bench.redis.give_back(&bench.group, ids).await {
                tracing::debug!(job = J::JOB, error = chain(&error), "cannot give entries back, they are taken over later");
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
