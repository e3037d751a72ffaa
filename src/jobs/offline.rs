//! The program `offline`: the archive of the shards, replays and floors. The only program beside the directory that needs SQL.

use std::time::Duration;

use super::archive::{Archive, Settings};
use super::floor::Floor;
use super::replay::Replay;
use crate::broker::{self, Redis};
use crate::clock::Clock;
use crate::config::Config;
use crate::retry::ErrorClass;
use crate::shutdown::Shutdown;
use crate::store::{self, Options, Store};
use crate::worker::{BadGroup, BadSettings, CompetingSettings, OrderedSettings, Readiness, run_competing, run_ordered, wait_for};

/// The most replays answered at once, and the most requests held that wait for SQL.
const REPLAYS: (usize, usize) = (16, 4_096);
/// The most floors answered at once, and the most requests held.
const FLOORS: (usize, usize) = (4, 256);
/// After which a replay request of a dead process is taken over; above its deadline.
const REPLAY_IDLE: Duration = Duration::from_secs(10);
/// The same of a floor request. Its owner does not wait for that: it asks again.
const FLOOR_IDLE: Duration = Duration::from_secs(130);
/// How much of all logs is kept in memory for replays.
const WINDOWS_BYTES_MAX: usize = 128 << 20;

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis cannot be used, for good.
    #[error("offline cannot use its Redis")]
    Broker(#[source] broker::Error),
    /// SQL cannot be used, for good.
    #[error("offline cannot use its database")]
    Store(#[source] store::Error),
    /// Another number of shards is pinned in Redis.
    #[error("fleet.shards is {configured}, but this deployment was started with {pinned}: set it to {pinned}")]
    Shards {
        /// What the configuration says.
        configured: u32,
        /// What Redis says.
        pinned: u32,
    },
    /// The settings of the leases cannot be.
    #[error("delivery.lease_ttl_ms")]
    Leases(#[source] BadSettings),
    /// The settings of a consumer group cannot be.
    #[error("the consumer groups of offline")]
    Groups(#[source] BadGroup),
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Broker(source) => source.class(),
            Self::Store(source) => source.class(),
            Self::Shards { .. } | Self::Leases(_) => ErrorClass::Permanent,
            Self::Groups(_) => ErrorClass::Defect,
        }
    }
}

/// Runs until it is told to stop. A Redis or a database that is away is waited for.
///
/// # Errors
/// What keeps it from running for good.
pub async fn run(config: Config, clock: Clock, shutdown: Shutdown) -> Result<(), Error> {
    let shards = u32::from(config.fleet.shards);
    let redis = Redis::new(broker::Settings::from(&config.redis)).map_err(Error::Broker)?;
    let store = Store::open_with(&Options::from(&config.sql)).map_err(Error::Store)?;
    store.follow_epoch(redis.sql_epochs());
    let leases = OrderedSettings::new(shards, config.delivery.lease_ttl).map_err(Error::Leases)?;
    let replays = CompetingSettings::new::<Replay>(REPLAYS.0, REPLAYS.1, REPLAY_IDLE).map_err(Error::Groups)?;
    let floors = CompetingSettings::new::<Floor>(FLOORS.0, FLOORS.1, FLOOR_IDLE).map_err(Error::Groups)?;

    let readiness = Readiness::new();
    let watch = tokio::spawn(readiness.clone().watch("offline", shutdown.clone()));
    let start = readiness.part("start");
    let pinned = wait_for("Redis", &start, &shutdown, || redis.pin_shards(shards)).await.map_err(Error::Broker)?;
    let Some(pinned) = pinned else { return Ok(()) };
    if pinned != shards {
        return Err(Error::Shards { configured: shards, pinned });
    }
    if wait_for("SQL", &start, &shutdown, || store.prepare(shards)).await.map_err(Error::Store)?.is_none() {
        return Ok(());
    }
    let part = |name| readiness.part(name);
    let archive = Archive::new(redis.clone(), store.clone(), clock.clone(), Settings::new(&config.offline, shards));
    let replay = Replay::new(redis.clone(), store.clone(), clock.clone(), shards, WINDOWS_BYTES_MAX / shards as usize);
    let floor = Floor::new(redis.clone(), store.clone());
    let jobs = (
        run_ordered(archive, redis.clone(), leases, clock.clone(), shutdown.clone(), part("archive")),
        run_competing(replay, redis.clone(), replays, clock.clone(), shutdown.clone(), part("replay")),
        run_competing(floor, redis, floors, clock, shutdown, part("floor")),
    );
    start.goes_on();
    tokio::join!(jobs.0, jobs.1, jobs.2);
    store.close().await;
    // It ends with the shutdown; how is of no interest.
    drop(watch.await);
    tracing::info!("stopped");
    Ok(())
}
