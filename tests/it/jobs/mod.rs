//! The jobs of the program offline, over a real Redis and real databases; the shard's owner is played by the test.

mod archive;
mod fence;
mod floor;
mod locate;
mod replay;
mod replicas;

use roger::broker::{Commit, CommitAnswer, Fence, Redis, StreamId};
use roger::clock::Clock;
use roger::jobs::archive::{Archive, Settings};
use roger::model::TopicId;
use roger::shutdown::Shutdown;
use roger::store::{Position, Store};
use roger::topic::frame::{LogFrame, Outcome};
use roger::worker::{OrderedSettings, Readiness, run_ordered};
use std::time::Duration;
use tokio::task::JoinHandle;

use crate::store::entry;
use crate::support::eventually;

const SHARDS: u32 = 1;

/// The owner of shard 0: commits to its log.
pub struct Owner {
    redis: Redis,
    fence: Fence,
    pub at: StreamId,
}

impl Owner {
    /// Claims the shard and begins an epoch.
    pub async fn begin(redis: &Redis, epoch: u64) -> Self {
        let mut fence = Fence::new(0);
        assert!(redis.renew_lease(0, "deliver", "test", 600_000).await.unwrap());
        redis.claim(&mut fence, "deliver", "test").await.unwrap().unwrap();
        assert_eq!(redis.begin_epoch(&mut fence, epoch, "run", None).await.unwrap(), CommitAnswer::Done);
        Self { redis: redis.clone(), fence, at: StreamId(epoch, 0) }
    }

    pub async fn commit(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        let StreamId(epoch, previous) = self.at;
        let outcomes = outcomes.into_iter().map(Into::into).collect();
        let frame = LogFrame { epoch, commit: previous + 1, time_ms: 1, outcomes, feeds: Vec::new() };
        let commit = Commit { epoch, previous, frame: Some(frame), ..Commit::default() };
        assert_eq!(self.redis.commit(&mut self.fence, &commit).await.unwrap(), CommitAnswer::Done);
        self.at.1 += 1;
    }

    /// Commits messages `seqs` of a topic, each alone.
    pub async fn post(&mut self, topic: TopicId, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            let message = entry(topic, self.at.0, seq, seq);
            self.commit([Outcome::Entry(message)]).await;
        }
    }

    pub async fn checkpoint(&mut self, commit: u64) {
        let at = StreamId(self.at.0, commit);
        assert_eq!(self.redis.checkpoint(&mut self.fence, Some(at), &[], &[]).await.unwrap(), CommitAnswer::Done);
    }
}

/// The archive at work.
pub struct Archiving {
    pub shutdown: Shutdown,
    pub readiness: Readiness,
    pub task: JoinHandle<()>,
}

impl Archiving {
    pub fn start(redis: &Redis, store: &Store, retention: Duration) -> Self {
        Self::start_with(redis, store, retention, Duration::from_secs(600))
    }

    /// With the patience for an epoch to begin.
    pub fn start_with(redis: &Redis, store: &Store, retention: Duration, epoch_patience: Duration) -> Self {
        let settings =
            Settings { batch_entries_max: 7, linger: Duration::from_millis(5), retention, log_bytes_max: 1 << 30, epoch_patience };
        let job = Archive::new(redis.clone(), store.clone(), Clock::system(), settings);
        let leases = OrderedSettings::new(SHARDS, Duration::from_millis(500)).unwrap();
        let (shutdown, readiness) = (Shutdown::manual(), Readiness::new());
        let part = readiness.part("archive");
        let task = tokio::spawn(run_ordered(job, redis.clone(), leases, Clock::system(), shutdown.clone(), part));
        Self { shutdown, readiness, task }
    }
}

/// Waits until SQL holds the log up to `at`.
pub async fn archived(store: &Store, at: StreamId) {
    let wanted = Position { epoch: at.0, commit: at.1 };
    eventually(&format!("the archive reaches {at}"), async || (store.archive_position(0).await.ok()? == wanted).then_some(())).await;
}
