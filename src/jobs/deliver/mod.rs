//! Delivers: a shard's input through the core to its log and to the edges.
//!
//! Consumes `{s}:urgent` and `{s}:in` (frames of inputs), as the holder of the shard's lease. Writes `{s}:log` in the commit, `out:<edge>` after
//! it, and forwards to other shards' input. A repeat is known by frame number and by client sequence; there is no limit of attempts, but
//! an entry that panics three times, or kills its owner again and again, becomes a dead letter and its sender is told.
//!
//! A turn: step what was read ahead, commit, then write to the edges while the next one is waited for. Whatever fails, memory is dropped and the shard
//! is claimed and loaded again; what the edges were not told they ask for, because a new owner makes them attach again. A claim lives no
//! longer than the connection it was made over: a new connection may be to a Redis that lost its last writes.

mod aside;
mod forward;
mod intake;
mod load;
mod outlet;
mod poison;
mod program;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{self, Redis, keys};
use crate::clock::Clock;
use crate::floor::Limits;
use crate::retry::ErrorClass;
use crate::topic::LostTail;
use crate::worker::{Classed, Ordered, Tenure, deadletter, measure_stream};

use intake::UnderWay;

pub use poison::Hook;
pub use program::{ProgramError, run};

/// How delivery works; see `[delivery]` and `[fleet]` of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many shards there are.
    pub shards: u32,
    /// The most frames in one commit.
    pub batch_frames_max: usize,
    /// How often the state is written beside the log.
    pub checkpoint_interval: Duration,
    /// The bounds of the floors of rooms.
    pub floor: Limits,
}

/// The job: owns shards and moves them forward.
#[derive(Clone)]
pub struct Deliver {
    redis: Redis,
    clock: Clock,
    settings: Arc<Settings>,
    under_way: UnderWay,
    hook: Option<Hook>,
}

/// Why a shard had to be let go.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis did not do what it was asked.
    #[error("shard {shard}")]
    Broker {
        /// The shard.
        shard: u32,
        /// What failed.
        #[source]
        source: broker::Error,
    },
    /// Another owner has it, or Redis lost a tail.
    #[error("shard {shard} was fenced off: another owner claimed it, or Redis lost the last commits; claiming it again")]
    Fenced {
        /// The shard.
        shard: u32,
    },
    /// An edge saw a commit that Redis no longer has.
    #[error("shard {shard} needs a new epoch")]
    LostTail {
        /// The shard.
        shard: u32,
        /// How it shows.
        #[source]
        source: LostTail,
    },
    /// A dead letter could not be filed.
    #[error("shard {shard}")]
    Bury {
        /// The shard.
        shard: u32,
        /// What failed.
        #[source]
        source: deadletter::Error,
    },
    /// An entry panicked the core; it will be tried again, and put aside in the end.
    #[error("shard {shard}: entry {id} panicked the core")]
    Panicked {
        /// The shard.
        shard: u32,
        /// The stream entry.
        id: broker::StreamId,
    },
}

impl Classed for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Broker { source, .. } => source.class(),
            Self::Bury { source, .. } => source.class(),
            Self::Fenced { .. } | Self::LostTail { .. } => ErrorClass::Transient,
            Self::Panicked { .. } => ErrorClass::Defect,
        }
    }
}

impl Deliver {
    /// The job, over one connection to Redis.
    pub fn new(redis: Redis, clock: Clock, settings: Settings) -> Self {
        Self { redis, clock, settings: Arc::new(settings), under_way: UnderWay::default(), hook: None }
    }

    /// Looks at every input before the core does; tests use it to plant what a defect would do.
    pub fn with_hook(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }
}

impl std::fmt::Debug for Deliver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deliver").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Ordered for Deliver {
    const JOB: &'static str = "deliver";
    type Error = Error;

    async fn measure(&self, shard: u32) -> Result<(), broker::Error> {
        for stream in [keys::urgent(shard), keys::input(shard)] {
            measure_stream(&self.redis, Self::JOB, stream).await?;
        }
        Ok(())
    }

    async fn serve(&self, tenure: Tenure) -> Result<(), Error> {
        let mut poison = poison::Poison::new(self.hook.clone());
        let mut lost: Option<String> = None;
        loop {
            let Some(mut owner) = load::take(self, &tenure, lost.as_deref()).await? else { return Ok(()) };
            lost = None;
            match owner.run(&mut poison).await {
                Ok(()) => return owner.leave().await,
                // These are cured by loading again at once; everything else waits for the engine's backoff.
                Err(Error::Panicked { id, .. }) => tracing::error!(shard = tenure.shard, entry.id = %id, "loading again after a panic"),
                Err(Error::LostTail { source, .. }) => {
                    let how = source.to_string();
                    owner.note_loss(&how).await;
                    lost = Some(how);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
