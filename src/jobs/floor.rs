//! Floors: what SQL knows of a shard that lost state, with a new epoch.
//!
//! Consumes the stream `floor` (floor requests, consumer group `offline`). Allocates an epoch in SQL, then writes all rows of the shard and
//! the directory's memberships to the reply stream that the request names; the last frame carries the epoch. A repeat allocates another
//! epoch, which is harmless. There is no limit of attempts, for a shard without a floor serves nobody; but a request is given up once its
//! reply stream is gone, because its owner asked again or is no more.
//!
//! While SQL is asked the owner hears every second that it still is, in frames with nothing in them, and so does the archive: within the
//! deadline of an attempt neither gives up an epoch for the size of a shard, or because SQL is slow.
//!
//! The epoch comes first: from then on the archive writes nothing that it read before, so the rows are all there will be. And whether the Redis
//! of the request is the primary still is asked last: an owner that is connected to a primary of before gets no epoch above the one that the
//! present primary began.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;

use crate::broker::{self, Asked, Facts, Redis, keys};
use crate::retry::ErrorClass;
use crate::store::{self, Store};
use crate::topic::frame::{FloorFrame, FloorRequest};
use crate::worker::{Classed, Competing, Verdict, Work};

/// How many rows make a frame.
const ROWS_A_FRAME: u32 = 1_000;
/// How many frames a reply has at most: far above what a shard needs.
const FRAMES_MAX: usize = 1 << 20;
/// How often it is said that an answer is being gathered; and for how long one word holds, which is below the patience of whoever waits.
const BEAT_EVERY: Duration = Duration::from_secs(1);
const BEAT_HOLDS: Duration = Duration::from_secs(8);
/// How long a reply stays for the owner to read it.
const REPLY_LIFETIME: Duration = Duration::from_secs(60);
/// The longest wait until a request is tried again: owners ask again after 10 s.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The job: answers floor requests.
#[derive(Clone, Debug)]
pub struct Floor {
    redis: Redis,
    store: Store,
}

/// Why a request is not answered this time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis did not do what it was asked.
    #[error("floor of shard {shard}")]
    Broker {
        /// The shard.
        shard: u32,
        /// What failed.
        #[source]
        source: broker::Error,
    },
    /// SQL did not do what it was asked.
    #[error("floor of shard {shard}")]
    Store {
        /// The shard.
        shard: u32,
        /// What failed.
        #[source]
        source: store::Error,
    },
}

impl Classed for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Broker { source, .. } => source.class(),
            Self::Store { source, .. } => source.class(),
        }
    }
}

impl Floor {
    /// The job.
    pub fn new(redis: Redis, store: Store) -> Self {
        Self { redis, store }
    }

    async fn answer(&self, request: &FloorRequest) -> Result<(), Error> {
        let shard = request.shard;
        let broker_failed = |source| Error::Broker { shard, source };
        // All of it over one connection, and so at one server.
        let (redis, facts) = self.redis.hold(&request.reply).await.map_err(broker_failed)?;
        if !redis.exists(&request.reply).await.map_err(broker_failed)? {
            tracing::debug!(shard, "a floor that nobody waits for any more");
            return Ok(());
        }
        let mut gathering = pin!(self.gather(&redis, request, [facts]));
        loop {
            tokio::select! {
                done = &mut gathering => return done,
                () = tokio::time::sleep(BEAT_EVERY) => {
                    reply(&redis, request, FloorFrame::default()).await?;
                    redis.note_gathering(shard, BEAT_HOLDS).await.map_err(broker_failed)?;
                }
            }
        }
    }

    async fn gather(&self, redis: &Redis, request: &FloorRequest, asker: [Arc<Facts>; 1]) -> Result<(), Error> {
        let shard = request.shard;
        let failed = |source| Error::Store { shard, source };
        let broker_failed = |source| Error::Broker { shard, source };
        // Before, too: an epoch that nobody begins costs the shard one more, and its archive the time until that.
        redis.confirm(&asker, Asked::Any).await.map_err(broker_failed)?;
        let epoch = self.store.allocate_epoch(shard, request.epoch_above).await.map_err(failed)?;
        let (mut cursor, mut rows) = (None, 0);
        loop {
            let page = self.store.floor_rows(shard, cursor.take(), ROWS_A_FRAME).await.map_err(failed)?;
            rows += page.rows.len();
            if !page.rows.is_empty() {
                reply(redis, request, FloorFrame { rows: page.rows, ..FloorFrame::default() }).await?;
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let mut current = self.store.current(request.shards, shard).await.map_err(failed)?;
        let items = current.len();
        while !current.is_empty() {
            let rest = current.split_off(current.len().min(ROWS_A_FRAME as usize));
            reply(redis, request, FloorFrame { current: std::mem::replace(&mut current, rest), ..FloorFrame::default() }).await?;
        }
        let archived = self.store.archive_state(shard).await.map_err(failed)?.position.epoch;
        redis.confirm(&asker, Asked::Any).await.map_err(broker_failed)?;
        reply(redis, request, FloorFrame { epoch, archived, ..FloorFrame::default() }).await?;
        tracing::info!(shard, epoch, rows, items, why = request.why, "epoch allocated");
        Ok(())
    }
}

/// Each frame renews the expiry, so that nothing stays of an answer that was broken off.
async fn reply(redis: &Redis, request: &FloorRequest, frame: FloorFrame) -> Result<(), Error> {
    let failed = |source| Error::Broker { shard: request.shard, source };
    redis.add_existing(FRAMES_MAX, [(request.reply.clone(), frame.encode_to_vec())]).await.map_err(failed)?;
    redis.expire(&request.reply, REPLY_LIFETIME).await.map_err(failed)?;
    Ok(())
}

impl Competing for Floor {
    const JOB: &'static str = "floor";
    const GROUP: &'static str = "offline";
    // A large shard has many rows, and owners are patient while frames come.
    const DEADLINE: Duration = Duration::from_secs(120);
    // As long as it takes: see the head of this file.
    const ATTEMPTS_MAX: u64 = u64::MAX;

    fn stream(&self) -> String {
        keys::floor()
    }

    async fn run(&self, work: Work) -> Verdict {
        let request: FloorRequest = match work.entry.decode(&keys::floor()) {
            Ok(request) => request,
            Err(error) => return Verdict::of(&error),
        };
        if request.shard >= request.shards || !request.reply.starts_with(&keys::floor_replies(request.shard)) {
            return Verdict::Reject(format!("shard {} of {} does not read {}", request.shard, request.shards, request.reply));
        }
        match self.answer(&request).await {
            Ok(()) => Verdict::Done,
            Err(error) => match Verdict::of(&error) {
                Verdict::Retry { error, .. } => Verdict::Retry { after: Some(RETRY_AFTER.mul_f64(rand::random_range(0.5..1.5))), error },
                verdict => verdict,
            },
        }
    }
}
