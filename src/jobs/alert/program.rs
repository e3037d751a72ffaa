//! The program `sos`: drives emergency alerts. It needs the Redis of alerts and that of the fleet; SQL it only follows.

use std::time::Duration;

use super::{Alerts, Keep, TakeSos, Tell, Texts, clockwork, desks, probe};
use crate::broker::{self, Redis};
use crate::clock::Clock;
use crate::config::Config;
use crate::retry::ErrorClass;
use crate::shutdown::Shutdown;
use crate::sms;
use crate::store::{self, Options, Store};
use crate::worker::{BadGroup, CompetingSettings, Readiness, chain, own_name, run_competing, wait_for};

/// The most presses and acts worked on at once, and the most held.
const TAKES: (usize, usize) = (64, 1_024);
/// The same of what is told, of texts, and of what is kept.
const TELLS: (usize, usize) = (64, 1_024);
const TEXTS: (usize, usize) = (8, 256);
const KEEPS: (usize, usize) = (8, 1_024);
/// After which an SOS of a dead process is taken over; above its deadline.
const SOS_IDLE: Duration = Duration::from_millis(2_500);
/// The same of texts and of what is kept.
const IDLE: Duration = Duration::from_secs(25);

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Redis cannot be used, for good.
    #[error("sos cannot use its Redis")]
    Broker(#[source] broker::Error),
    /// SQL cannot be used, for good.
    #[error("sos cannot use its database")]
    Store(#[source] store::Error),
    /// Another number of shards is pinned in Redis.
    #[error("fleet.shards is {configured}, but this deployment was started with {pinned}: set it to {pinned}")]
    Shards {
        /// What the configuration says.
        configured: u32,
        /// What Redis says.
        pinned: u32,
    },
    /// The settings of a consumer group cannot be.
    #[error("the consumer groups of sos")]
    Groups(#[source] BadGroup),
}

impl ProgramError {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Broker(source) => source.class(),
            Self::Store(source) => source.class(),
            Self::Shards { .. } => ErrorClass::Permanent,
            Self::Groups(_) => ErrorClass::Defect,
        }
    }
}

/// Runs until it is told to stop. Servers that are away are waited for, each by the part that needs it.
///
/// # Errors
/// What keeps it from running for good.
pub async fn run(config: Config, clock: Clock, shutdown: Shutdown) -> Result<(), ProgramError> {
    let shards = u32::from(config.fleet.shards);
    let settings = broker::Settings::from(&config.redis);
    let fleet = Redis::new(settings.clone()).map_err(ProgramError::Broker)?;
    let sos = Redis::new(broker::Settings { url: config.sos_url().to_owned(), ..settings }).map_err(ProgramError::Broker)?;
    let store = Store::open_with(&Options::from(&config.sql)).map_err(ProgramError::Store)?;
    store.follow_epoch(fleet.sql_epochs());
    let groups = |error| ProgramError::Groups(error);
    let takes = CompetingSettings::new::<TakeSos>(TAKES.0, TAKES.1, SOS_IDLE).map_err(groups)?;
    let tells = CompetingSettings::new::<Tell>(TELLS.0, TELLS.1, SOS_IDLE).map_err(groups)?;
    let texts = CompetingSettings::new::<Texts>(TEXTS.0, TEXTS.1, IDLE).map_err(groups)?;
    let keeps = CompetingSettings::new::<Keep>(KEEPS.0, KEEPS.1, IDLE).map_err(groups)?;

    // Whoever presses is helped without texts too: those that are due become dead letters, which can be put back.
    let provider = sms::provider(&config.sms).unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "no texts are sent until this is mended and sos is started again");
        None
    });

    let readiness = Readiness::new();
    let watch = tokio::spawn(readiness.clone().watch("sos", shutdown.clone()));
    let start = readiness.part("start");
    match wait_for("Redis", &start, &shutdown, || fleet.pin_shards(shards)).await.map_err(ProgramError::Broker)? {
        Some(pinned) if pinned != shards => return Err(ProgramError::Shards { configured: shards, pinned }),
        Some(_) => {}
        None => return Ok(()),
    }
    let boot = format!("sos-{}-{:08x}", own_name(), rand::random::<u32>()).into();
    let alerts = Alerts { sos: sos.clone(), fleet, clock: clock.clone(), shards, boot };
    let (ear, heard) = probe::ear();
    let part = |name| readiness.part(name);
    let stop = || shutdown.clone();
    let jobs = (
        run_competing(TakeSos(alerts.clone()), sos.clone(), takes, clock.clone(), stop(), part("sos")),
        run_competing(Tell(alerts.clone()), sos.clone(), tells, clock.clone(), stop(), part("tell")),
        run_competing(Texts(provider), sos.clone(), texts, clock.clone(), stop(), part("text")),
        clockwork::run_due(&alerts, stop(), part("due")),
        clockwork::run_answers(&alerts, &ear, stop(), part("answers")),
        // SQL may come later: no alert waits for it, and neither does readiness.
        keep(&alerts, &store, shards, keeps, stop()),
        probe::run(&alerts, config.sos.probe_interval, heard, stop()),
    );
    start.goes_on();
    let (_, _, _, _, _, kept, ()) = tokio::join!(jobs.0, jobs.1, jobs.2, jobs.3, jobs.4, jobs.5, jobs.6);
    store.close().await;
    // It ends with the shutdown; how is of no interest.
    drop(watch.await);
    tracing::info!("stopped");
    kept
}

/// Keeps what happened, and refreshes who is told next, as soon as SQL is there.
async fn keep(alerts: &Alerts, store: &Store, shards: u32, settings: CompetingSettings, shutdown: Shutdown) -> Result<(), ProgramError> {
    // Of its own: what waits for SQL is no reason not to be ready.
    let aside = Readiness::new();
    match wait_for("SQL", &aside.part("SQL"), &shutdown, || store.prepare(shards)).await {
        Ok(Some(())) => {}
        Ok(None) => return Ok(()),
        Err(error) => {
            // The program goes on: whoever presses is helped without SQL too.
            tracing::error!(error = chain(&error), "SQL can never be used like this; alerts go on, and are not kept");
            return Err(ProgramError::Store(error));
        }
    }
    let job = Keep(store.clone());
    tokio::join!(
        run_competing(job, alerts.sos.clone(), settings, alerts.clock.clone(), shutdown.clone(), aside.part("alerts")),
        desks::refresh(alerts, store, shutdown),
    );
    Ok(())
}
