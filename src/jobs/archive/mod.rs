//! Archives: what the log of a shard says into SQL, then trims what SQL holds.
//!
//! Consumes `{s}:log` (frames of outcomes) behind the position that SQL itself keeps, as the holder of the shard's lease. Writes rows by
//! key, many frames a transaction, and moves the position in the same one; a repeat changes nothing. Sets `{s}:archived`. There is no
//! limit of attempts: while SQL is away the log grows, and nothing of it is trimmed.
//!
//! A transaction is fenced by the highest epoch that was allocated when its frames were read. So what a shard is told at the begin of an
//! epoch is all that SQL will ever hold of the older ones, but for what still stands in the log and the shard knows itself. An epoch that
//! was allocated and that nobody begins, for whoever asked for it was too late, is told to the owner: it begins another. One is not given
//! up while the rows are gathered that it begins with, however long that takes.

mod log;
mod trim;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::{self, Redis, StreamEntry, StreamId, keys};
use crate::clock::Clock;
use crate::config;
use crate::retry::ErrorClass;
use crate::store::{self, ArchiveBatch, Position, Store};
use crate::telemetry;
use crate::telemetry::trace::{self, Hop};
use crate::topic::frame::LogFrame;
use crate::worker::deadletter::{self, DeadLetter};
use crate::worker::{Classed, Ordered, Tenure, chain, note_waiting};
use log::{Found, Log};
use trim::Trimmer;

/// The most frames read at a time.
const FRAMES_MAX: usize = 64;
/// The most bytes of frames in a transaction; the last frame may go above it.
const BATCH_BYTES_MAX: u64 = 16 << 20;
/// How often the log is compared with what SQL holds, and trimmed.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether an epoch began that was allocated.
const EPOCH_LOOK: Duration = Duration::from_millis(200);
/// See [`Settings::epoch_patience`].
const EPOCH_PATIENCE: Duration = Duration::from_secs(30);
/// How long an archive stands still over what a human must mend.
const STAND_STILL: Duration = Duration::from_secs(30);

/// How the archive works; see `[offline]` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many messages make a transaction.
    pub batch_entries_max: usize,
    /// How long a transaction waits to become so big.
    pub linger: Duration,
    /// How long the log keeps what SQL holds.
    pub retention: Duration,
    /// The most bytes of the log of one shard; at the bound what SQL holds goes before its time.
    pub log_bytes_max: u64,
    /// After how long an epoch that was allocated is begun by nobody any more: well above what an owner takes to read what SQL has, and to ask again.
    pub epoch_patience: Duration,
}

impl Settings {
    /// As configured for a deployment of `shards`.
    pub fn new(config: &config::Offline, shards: u32) -> Self {
        Self {
            batch_entries_max: config.archive_batch_entries_max,
            linger: config.archive_linger,
            retention: config.retention,
            log_bytes_max: config.log_bytes_max / u64::from(shards.max(1)),
            epoch_patience: EPOCH_PATIENCE,
        }
    }
}

/// The job: archives shards.
#[derive(Clone, Debug)]
pub struct Archive {
    redis: Redis,
    store: Store,
    clock: Clock,
    settings: Settings,
    /// Where a shard stands still, so that there is one letter about it.
    buried: Arc<Mutex<BTreeMap<u32, Position>>>,
}

/// Why the archive of a shard stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis did not do what it was asked.
    #[error("archive of shard {shard}")]
    Broker {
        /// The shard.
        shard: u32,
        /// What failed.
        #[source]
        source: broker::Error,
    },
    /// SQL did not do what it was asked.
    #[error("archive of shard {shard}")]
    Store {
        /// The shard.
        shard: u32,
        /// What failed.
        #[source]
        source: store::Error,
    },
    /// A dead letter could not be filed.
    #[error("archive of shard {shard}")]
    Bury {
        /// The shard.
        shard: u32,
        /// What failed.
        #[source]
        source: deadletter::Error,
    },
}

impl Classed for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Broker { source, .. } => source.class(),
            Self::Store { source, .. } => source.class(),
            Self::Bury { source, .. } => source.class(),
        }
    }
}

impl Archive {
    /// The job.
    pub fn new(redis: Redis, store: Store, clock: Clock, settings: Settings) -> Self {
        Self { redis, store, clock, settings, buried: Arc::default() }
    }
}

impl Ordered for Archive {
    const JOB: &'static str = "archive";
    type Error = Error;

    /// Of the log only what SQL does not hold yet waits; the rest is kept for a while.
    async fn measure(&self, shard: u32) -> Result<(), broker::Error> {
        let look = self.redis.look_at_shard(shard).await?;
        note_waiting(Self::JOB, &keys::log(shard), look.archive_lag.unwrap_or(look.log), None);
        Ok(())
    }

    async fn serve(&self, tenure: Tenure) -> Result<(), Error> {
        let shard = tenure.shard;
        loop {
            let served = match Shelf::open(self, &tenure).await {
                Ok(mut shelf) => shelf.fill().await,
                Err(error) => Err(error),
            };
            match served {
                // A newer epoch: what is in memory may be of what Redis lost. Or another primary, or an older file: it holds less. Read again, from
                // where SQL now says.
                Err(Error::Store { source: source @ (store::Error::Fenced { .. } | store::Error::Regressed { .. }), .. }) => {
                    tracing::info!(shard, reason = chain(&source), "archive begins again from where SQL is");
                    if tenure.stop.is_cancelled() {
                        return Ok(());
                    }
                }
                Err(Error::Store { source, .. }) if source.class() == ErrorClass::Transient => {
                    tenure.progress.waits_for("SQL");
                    return Err(Error::Store { shard, source });
                }
                served => return served,
            }
        }
    }
}

/// The archive of one shard at work.
struct Shelf<'a> {
    job: &'a Archive,
    tenure: &'a Tenure,
    shard: u32,
    log: Log,
    /// The last commit in SQL.
    at: StreamId,
    /// The highest epoch allocated when `at` was read.
    allocated: u64,
    trimmer: Trimmer,
    tended: Option<Instant>,
    unseated: bool,
    /// The trimmer knows what was there before.
    begun: bool,
}

impl<'a> Shelf<'a> {
    async fn open(job: &'a Archive, tenure: &'a Tenure) -> Result<Self, Error> {
        let shard = tenure.shard;
        let state = job.store.archive_state(shard).await.map_err(|source| Error::Store { shard, source })?;
        let at = StreamId(state.position.epoch, state.position.commit);
        Ok(Self {
            job,
            tenure,
            shard,
            log: Log::new(&job.redis, shard),
            at,
            allocated: state.allocated,
            trimmer: Trimmer::new(job.settings.retention, job.settings.log_bytes_max),
            tended: None,
            unseated: false,
            begun: false,
        })
    }

    async fn fill(&mut self) -> Result<(), Error> {
        while !self.tenure.stop.is_cancelled() {
            if self.tended.is_none_or(|tended| tended.elapsed() >= TEND_EVERY) {
                self.tend().await?;
            }
            self.tenure.progress.turn();
            let (shard, stop) = (self.shard, &self.tenure.stop);
            let found = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                found = self.log.wait(self.at, FRAMES_MAX, self.allocated) => found.map_err(|source| Error::Broker { shard, source })?,
            };
            match found {
                Found::Frames(entries) if entries.is_empty() => {}
                Found::Frames(entries) => self.archive(entries).await?,
                Found::Older(since) => self.await_epoch(since).await?,
            }
        }
        Ok(())
    }

    /// The log is of an older epoch than was allocated: either this is a primary of before, or an owner is about to begin that epoch, or nobody is.
    async fn await_epoch(&mut self, since: Duration) -> Result<(), Error> {
        let shard = self.shard;
        if since >= self.job.settings.epoch_patience {
            if self.job.redis.exists(&keys::floor_under_way(shard)).await.map_err(|source| self.broker(source))? {
                self.log = Log::new(&self.job.redis, shard);
                return Ok(());
            }
            let how = format!("SQL allocated epoch {}, and nobody began it within {} ms", self.allocated, since.as_millis());
            tracing::warn!(shard, allocated = self.allocated, "nobody begins the epoch that was allocated: a new one is needed");
            self.job.redis.note_loss(shard, None, &how).await.map_err(|source| self.broker(source))?;
            self.log = Log::new(&self.job.redis, shard);
        }
        self.tenure.progress.waits_for("an owner to begin the epoch that SQL allocated");
        tokio::select! {
            () = self.tenure.stop.cancelled() => {}
            () = tokio::time::sleep(EPOCH_LOOK) => {}
        }
        Ok(())
    }

    /// Writes one transaction, which begins with `entries`.
    async fn archive(&mut self, mut entries: Vec<StreamEntry>) -> Result<(), Error> {
        let begun = Instant::now();
        let held = Position { epoch: self.at.0, commit: self.at.1 };
        let mut batch = ArchiveBatch::new(self.shard).fenced_by(self.allocated).behind(held);
        let (mut at, mut frames, mut bytes, mut first_ms) = (self.at, 0, 0, None);
        let mut trail = Vec::new();
        loop {
            for entry in entries {
                frames += 1;
                bytes += entry.payload.as_ref().map_or(0, |payload| payload.len() as u64);
                let frame: LogFrame = match entry.decode(self.log.key()) {
                    Ok(frame) => frame,
                    Err(error) => return self.stand_still(entry.id, entry.payload.as_deref(), chain(&error)).await,
                };
                self.look_for_holes(at, entry.id);
                first_ms.get_or_insert(frame.time_ms);
                trail.extend(trace::traced(frame.messages()).into_iter().map(|(trace, topic)| (trace, topic, frame.time_ms)));
                if let Err(error) = batch.take(frame) {
                    return self.stand_still(entry.id, entry.payload.as_deref(), chain(&error)).await;
                }
                at = entry.id;
            }
            let most = self.job.settings.batch_entries_max;
            if batch.messages() >= most || frames >= most || bytes >= BATCH_BYTES_MAX {
                break;
            }
            // Waits for more once; after that the batch ends where the log does.
            let left = self.job.settings.linger.saturating_sub(begun.elapsed());
            tokio::select! {
                () = self.tenure.stop.cancelled() => {}
                () = tokio::time::sleep(left) => {}
            }
            let shard = self.shard;
            let found = self.log.look(at, FRAMES_MAX, self.allocated).await.map_err(|source| Error::Broker { shard, source })?;
            match found {
                Found::Frames(more) if !more.is_empty() => entries = more,
                _ => break,
            }
        }
        let (messages, upto) = (batch.messages() as u64, batch.upto());
        let shard = self.shard;
        match self.job.store.archive(batch).await {
            Ok(archived) => {
                metrics::counter!("roger_archived_messages_total").increment(messages);
                metrics::counter!("roger_archived_repeats_total").increment(archived.repeated);
                if let Some(first_ms) = first_ms {
                    telemetry::hop("archive", first_ms, self.job.clock.now_ms());
                }
                for (trace, topic, time_ms) in trail {
                    trace.over(Hop::Archive, time_ms, telemetry::now_ms(), topic);
                }
                tracing::debug!(shard, messages, repeated = archived.repeated, upto = %upto, ms = begun.elapsed().as_millis() as u64, "archived");
            }
            Err(source) if source.class() == ErrorClass::Defect => return self.stand_still(at, None, chain(&source)).await,
            Err(source) => return Err(Error::Store { shard, source }),
        }
        self.at = at;
        self.allocated = self.allocated.max(at.0);
        self.trimmer.archived(at, bytes, self.job.clock.now_ms());
        self.job.redis.set_archived(self.shard, at).await.map_err(|source| self.broker(source))
    }

    /// Commits are numbered without holes: one that is missing was deleted from the log before it was archived.
    fn look_for_holes(&self, before: StreamId, id: StreamId) {
        if id.0 == before.0 && id.1 > before.1 + 1 {
            let lost = id.1 - before.1 - 1;
            metrics::counter!("roger_log_commits_lost_total").increment(lost);
            tracing::error!(shard = self.shard, after = %before, before = %id, lost, "commits are missing in the log: somebody trimmed it");
        }
    }

    /// Something a human must mend: says so once, keeps everything, and looks again after a while.
    async fn stand_still(&self, at: StreamId, payload: Option<&[u8]>, reason: String) -> Result<(), Error> {
        let shard = self.shard;
        let position = Position { epoch: self.at.0, commit: self.at.1 };
        metrics::counter!("roger_archive_defects_total").increment(1);
        let buried = || self.job.buried.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = buried().get(&shard) == Some(&position);
        if !is_known {
            let mut letter = DeadLetter {
                job: Archive::JOB.to_owned(),
                reason,
                attempts: 1,
                deliveries: 1,
                time_ms: self.job.clock.now_ms(),
                ..DeadLetter::about(self.log.key(), at, payload)
            };
            letter.summary =
                format!("commits of shard {shard} behind {position} up to {at}; the archive of the shard stands still: {}", letter.summary);
            deadletter::add(&self.job.redis, &letter).await.map_err(|source| Error::Bury { shard, source })?;
            buried().insert(shard, position);
        }
        self.tenure.progress.waits_for("the end of a defect, see the dead letters");
        tokio::select! {
            () = self.tenure.stop.cancelled() => {}
            () = tokio::time::sleep(STAND_STILL) => {}
        }
        Ok(())
    }

    /// Looks whether Redis still has what SQL holds, and trims what both have.
    async fn tend(&mut self) -> Result<(), Error> {
        let marks = self.job.redis.log_marks(self.shard).await.map_err(|source| self.broker(source))?;
        self.tended = Some(Instant::now());
        let Some(marks) = marks else { return Ok(()) };
        if marks.last < self.at {
            if !self.unseated {
                tracing::warn!(shard = self.shard, archived = %self.at, log = %marks.last, "Redis lost a tail that SQL has: a new epoch is needed");
                let how = format!("SQL holds it up to {}, its log ends at {}", self.at, marks.last);
                self.job.redis.note_loss(self.shard, None, &how).await.map_err(|source| self.broker(source))?;
            }
            self.unseated = true;
            return Ok(());
        }
        self.unseated = false;
        if !self.begun {
            self.begun = true;
            // When it was archived is not known, so its time begins now.
            let bytes = self.job.redis.memory_bytes(self.log.key()).await.map_err(|source| self.broker(source))?;
            self.trimmer.archived(self.at, bytes, self.job.clock.now_ms());
            // A Redis that lost its last moments may have lost that, too, and a shard in which nothing happens would look late for ever.
            self.job.redis.set_archived(self.shard, self.at).await.map_err(|source| self.broker(source))?;
        }
        let Some(last) = self.trimmer.trimmable(marks.checkpoint, self.job.clock.now_ms()) else { return Ok(()) };
        let trimmed = self.job.redis.trim(self.log.key(), last.next()).await.map_err(|source| self.broker(source))?;
        if trimmed > 0 {
            metrics::counter!("roger_log_trimmed_frames_total").increment(trimmed);
            tracing::debug!(shard = self.shard, upto = %last, frames = trimmed, "log trimmed");
        }
        Ok(())
    }

    fn broker(&self, source: broker::Error) -> Error {
        Error::Broker { shard: self.shard, source }
    }
}
