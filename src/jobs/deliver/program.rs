//! The program `delivery`: owns shards while it runs.

use super::{Deliver, Settings};
use crate::broker::{self, Redis};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::floor::Limits;
use crate::retry::ErrorClass;
use crate::shutdown::Shutdown;
use crate::worker::{BadSettings, OrderedSettings, Readiness, run_ordered, wait_for};

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Redis cannot be used, for good.
    #[error("delivery cannot use its Redis")]
    Broker(#[source] broker::Error),
    /// Another number of shards is pinned.
    #[error("fleet.shards is {configured}, but this deployment was started with {pinned}: set it to {pinned}")]
    Shards {
        /// What the configuration says.
        configured: u32,
        /// What Redis says.
        pinned: u32,
    },
    /// The settings of the leases cannot be.
    #[error("delivery.lease_ttl_ms")]
    Settings(#[source] BadSettings),
}

impl ProgramError {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Broker(source) => source.class(),
            Self::Shards { .. } | Self::Settings(_) => ErrorClass::Permanent,
        }
    }
}

/// Runs until it is told to stop. A Redis that is away is waited for.
///
/// # Errors
/// What keeps it from running for good.
pub async fn run(config: Config, clock: Clock, shutdown: Shutdown) -> Result<(), ProgramError> {
    let shards = u32::from(config.fleet.shards);
    let redis = Redis::new(broker::Settings::from(&config.redis)).map_err(ProgramError::Broker)?;
    let leases = OrderedSettings::new(shards, config.delivery.lease_ttl).map_err(ProgramError::Settings)?;
    let readiness = Readiness::new();
    let part = readiness.part("shards");
    let watch = tokio::spawn(readiness.watch("delivery", shutdown.clone()));
    match wait_for("Redis", &part, &shutdown, || redis.pin_shards(shards)).await.map_err(ProgramError::Broker)? {
        Some(pinned) if pinned != shards => return Err(ProgramError::Shards { configured: shards, pinned }),
        Some(_) => {}
        None => return Ok(()),
    }
    let config::Floor { burst_ms, prepare_ms, vanish_ms, queue_max, age_bursts } = config.floor;
    let settings = Settings {
        shards,
        batch_frames_max: config.delivery.batch_frames_max,
        checkpoint_interval: config.delivery.checkpoint_interval,
        floor: Limits { burst_ms, prepare_ms, vanish_ms, queue_max, age_bursts },
    };
    let job = Deliver::new(redis.clone(), clock.clone(), settings);
    run_ordered(job, redis, leases, clock, shutdown, part).await;
    // It ends with the shutdown; how is of no interest.
    drop(watch.await);
    tracing::info!("stopped");
    Ok(())
}
