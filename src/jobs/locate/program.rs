//! The program `gps`: takes reports of positions in. It needs Redis; SQL it waits for, and meanwhile the reports wait on Redis, and where devices are
//! is noted from there. Who watches is told once SQL said whose devices they are.

use std::time::Duration;

use super::{FRAMES, Locate};
use crate::broker::{self, Redis};
use crate::clock::Clock;
use crate::config::Config;
use crate::retry::ErrorClass;
use crate::shutdown::Shutdown;
use crate::store::{self, Options, Store};
use crate::worker::{BadGroup, CompetingSettings, Readiness, chain, run_competing, wait_for};

/// After which a frame of a dead process is taken over; above its deadline.
const IDLE: Duration = Duration::from_secs(22);
/// How long SQL knows a frame.
const KNOWN_MS: u64 = 24 * 3_600_000;
/// How often older ones are forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Redis cannot be used, for good.
    #[error("gps cannot use its Redis")]
    Broker(#[source] broker::Error),
    /// SQL cannot be used, for good.
    #[error("gps cannot use its database")]
    Store(#[source] store::Error),
    /// Another number of shards is pinned in Redis.
    #[error("fleet.shards is {configured}, but this deployment was started with {pinned}: set it to {pinned}")]
    Shards {
        /// What the configuration says.
        configured: u32,
        /// What Redis says.
        pinned: u32,
    },
    /// The settings of the consumer group cannot be.
    #[error("the consumer group of gps")]
    Group(#[source] BadGroup),
}

impl ProgramError {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Broker(source) => source.class(),
            Self::Store(source) => source.class(),
            Self::Shards { .. } => ErrorClass::Permanent,
            Self::Group(_) => ErrorClass::Defect,
        }
    }
}

/// Runs until it is told to stop. Servers that are away are waited for.
///
/// # Errors
/// What keeps it from running for good.
pub async fn run(config: Config, clock: Clock, shutdown: Shutdown) -> Result<(), ProgramError> {
    let shards = u32::from(config.fleet.shards);
    let redis = Redis::new(broker::Settings::from(&config.redis)).map_err(ProgramError::Broker)?;
    let store = Store::open_with(&Options::from(&config.sql)).map_err(ProgramError::Store)?;
    store.follow_epoch(redis.sql_epochs());
    let settings = CompetingSettings::new::<Locate>(FRAMES, FRAMES, IDLE).map_err(ProgramError::Group)?;

    let readiness = Readiness::new();
    let watch = tokio::spawn(readiness.clone().watch("gps", shutdown.clone()));
    let start = readiness.part("start");
    match wait_for("Redis", &start, &shutdown, || redis.pin_shards(shards)).await.map_err(ProgramError::Broker)? {
        Some(pinned) if pinned != shards => return Err(ProgramError::Shards { configured: shards, pinned }),
        Some(_) => {}
        None => return Ok(()),
    }
    let (job, batches) = Locate::new(redis.clone(), shards);
    let places = job.places();
    let locate = run_competing(job, redis, settings, clock.clone(), shutdown.clone(), readiness.part("locate"));
    let sql = readiness.part("SQL");
    start.goes_on();
    let keep = async {
        if wait_for("SQL", &sql, &shutdown, || store.prepare(shards)).await.map_err(ProgramError::Store)?.is_some() {
            sql.goes_on();
            tokio::join!(
                batches.teaching(config.gps.learn_wifi).run(store.clone()),
                forget(&store, &clock, &shutdown),
                places.tell_watchers(&store, &clock, &shutdown)
            );
        }
        Ok(())
    };
    let done = tokio::try_join!(
        async {
            tokio::join!(locate, places.follow(&shutdown));
            Ok(())
        },
        keep
    );
    store.close().await;
    done?;
    // It ends with the shutdown; how is of no interest.
    drop(watch.await);
    tracing::info!("stopped");
    Ok(())
}

/// Forgets frames that cannot come again.
async fn forget(store: &Store, clock: &Clock, shutdown: &Shutdown) {
    let mut ticks = tokio::time::interval(PURGE_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = store.purge_fix_frames(clock.now_ms().saturating_sub(KNOWN_MS)).await {
            tracing::warn!(error = chain(&error), "old frames of fixes are not forgotten; trying again in an hour");
        }
    }
}
