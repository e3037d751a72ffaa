//! The program `janus`: tells of talk that Janus recorded; and has a stock Janus carry commands out, and hold the rooms.

use std::sync::Arc;
use std::time::Duration;

use super::Talk;
use crate::broker::{self, Redis};
use crate::clock::Clock;
use crate::config::{BadSecret, Config, Secret};
use crate::janus::{self, Api, Janus, MediaServer, RoomSettings};
use crate::jobs::bridge::{self, Bridge};
use crate::jobs::media::{Media, Several};
use crate::jobs::record::{self, Wake};
use crate::objects::{self, Objects};
use crate::retry::ErrorClass;
use crate::shutdown::Shutdown;
use crate::store::{self, Options, Store};
use crate::worker::{BadSettings, OrderedSettings, Readiness, host_name, run_ordered, wait_for};

/// How long the lease of the one that works outlives it.
const LEASE_LIFETIME: Duration = Duration::from_secs(2);

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Redis cannot be used, for good.
    #[error("janus cannot use its Redis")]
    Broker(#[source] broker::Error),
    /// SQL cannot be used, for good.
    #[error("janus cannot use its database")]
    Store(#[source] store::Error),
    /// Another number of shards is pinned in Redis.
    #[error("fleet.shards is {configured}, but this deployment was started with {pinned}: set it to {pinned}")]
    Shards {
        /// What the configuration says.
        configured: u32,
        /// What Redis says.
        pinned: u32,
    },
    /// The secret of Janus cannot be used.
    #[error("janus.api_secret_file")]
    Secret(#[source] BadSecret),
    /// Janus cannot be asked at all.
    #[error("janus cannot ask its media server")]
    Janus(#[source] janus::Error),
    /// Where recordings are stored cannot be used, for good.
    #[error("janus cannot store recordings")]
    Objects(#[source] objects::Error),
    /// The settings of the lease cannot be.
    #[error("the lease of janus")]
    Settings(#[source] BadSettings),
}

impl ProgramError {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Broker(source) => source.class(),
            Self::Store(source) => source.class(),
            Self::Shards { .. } | Self::Secret(_) => ErrorClass::Permanent,
            Self::Janus(source) => source.class(),
            Self::Objects(source) => source.class(),
            Self::Settings(_) => ErrorClass::Defect,
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
    // One lease for all of it: announcements are numbered in one row.
    let lease = OrderedSettings::new(1, LEASE_LIFETIME).map_err(ProgramError::Settings)?;
    let readiness = Readiness::new();
    let part = readiness.part("talk");
    let recorder = recorder(&config, &redis, &store, &clock)?.map(|recorder| (recorder, readiness.part("recordings")));
    let wake = recorder.as_ref().map(|(recorder, _)| recorder.wake()).unwrap_or_default();
    let stock =
        stock(&config, &redis, &clock, wake)?.map(|(media, bridge)| (media, readiness.part("media"), bridge, readiness.part("bridge")));
    let watch = tokio::spawn(readiness.watch("janus", shutdown.clone()));
    match wait_for("Redis", &part, &shutdown, || redis.pin_shards(shards)).await.map_err(ProgramError::Broker)? {
        Some(pinned) if pinned != shards => return Err(ProgramError::Shards { configured: shards, pinned }),
        Some(_) => {}
        None => return Ok(()),
    }
    // Neither needs SQL, so they do not wait for it.
    let working = stock.map(|(media, media_part, bridge, bridge_part)| {
        let patient = lease.with_patience(config.janus.command_timeout * 2);
        let carry = run_ordered(media, redis.clone(), patient, clock.clone(), shutdown.clone(), media_part);
        let talk = run_ordered(bridge, redis.clone(), patient, clock.clone(), shutdown.clone(), bridge_part);
        (tokio::spawn(carry), tokio::spawn(talk))
    });
    if wait_for("SQL", &part, &shutdown, || store.prepare(shards)).await.map_err(ProgramError::Store)?.is_some() {
        let job = Talk::new(redis.clone(), store.clone(), clock.clone(), shards, config.janus.list);
        let recording = async {
            if let Some((recorder, part)) = recorder {
                recorder.run(shutdown.clone(), part).await;
            }
        };
        tokio::join!(run_ordered(job, redis, lease, clock, shutdown.clone(), part), recording);
    }
    store.close().await;
    if let Some((carrying, talking)) = working {
        // They end with the shutdown; how is of no interest.
        drop((carrying.await, talking.await));
    }
    // It ends with the shutdown; how is of no interest.
    drop(watch.await);
    tracing::info!("stopped");
    Ok(())
}

/// The work on commands, and on rooms; `None` without a stock Janus.
fn stock(config: &Config, redis: &Redis, clock: &Clock, wake: Wake) -> Result<Option<(Media, Bridge)>, ProgramError> {
    let own = &config.janus;
    let Some(path) = own.api_secret_file.as_ref().filter(|_| own.url.is_some()) else { return Ok(None) };
    let secret = Secret::read(path).map_err(ProgramError::Secret)?;
    let rooms = Arc::new(RoomSettings::new(&secret, own.recordings_dir.clone()));
    let settings = |url: &str| janus::Settings {
        url: url.to_owned(),
        secret: secret.clone(),
        request_timeout: own.request_timeout,
        session_timeout: own.session_timeout,
    };
    let bridge = bridge::settings(config, own.urls().map(settings).collect(), &secret);
    let mut servers: Vec<(String, Arc<dyn MediaServer>)> = Vec::new();
    for url in own.urls() {
        // Nobody needs its events: commands are answered.
        let (client, _) = Janus::connect(settings(url)).map_err(ProgramError::Janus)?;
        servers.push((url.to_owned(), Arc::new(Api::new(client, rooms.clone(), clock.clone()))));
    }
    let server = Arc::new(Several::new(redis.clone(), servers));
    let media = Media::new(redis.clone(), server, clock.clone(), own.commands.clone(), own.list.clone());
    Ok(Some((media, Bridge::new(redis.clone(), clock.clone(), bridge, wake))))
}

/// The recorder, on a machine where Janus records.
fn recorder(config: &Config, redis: &Redis, store: &Store, clock: &Clock) -> Result<Option<record::Recorder>, ProgramError> {
    let Some(folder) = config.janus.recordings_dir.clone() else { return Ok(None) };
    let objects = Objects::open(&config.gateway.object_url).map_err(ProgramError::Objects)?;
    let settings = record::Settings {
        folder,
        list: config.janus.list.clone(),
        host: host_name(),
        burst_max: config.janus.burst_max,
        done_days: config.janus.recordings_done_days,
        keep_days: config.janus.recordings_keep_days,
    };
    Ok(Some(record::Recorder::new(redis.clone(), store.clone(), objects, clock.clone(), settings)))
}
