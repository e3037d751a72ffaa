//! Readiness: SERVING means that it moves, not that it runs.
//!
//! `roger.v1.TalkCloud` serves while SQL answers: logins need no more. [`RELAY`] serves while the relay moves, or stands by for another
//! one that holds the lease. The program as a whole, the empty name, serves while both do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::shutdown::Shutdown;
use crate::store::Store;

/// The name under which the health service speaks of the relay.
pub const RELAY: &str = "relay";
/// The name under which it speaks of logins.
const LOGINS: &str = "roger.v1.TalkCloud";

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long SQL may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A relay that has not moved for so long is stuck.
const PULSE_MAX: Duration = Duration::from_secs(10);

/// When the relay moved last.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// It moved.
    pub(super) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn alive(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|beat| beat.elapsed() < PULSE_MAX)
    }
}

fn status(moves: bool) -> ServingStatus {
    if moves { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// Whoever asks before the first look is not told that all is well, as the service does by itself; to be called before it serves.
pub(super) async fn begin(reporter: &HealthReporter) {
    say(reporter, false, false).await;
}

/// Reports until `shutdown`, and then that nothing serves any more.
pub(super) async fn report(reporter: HealthReporter, store: Store, pulse: Arc<Pulse>, shutdown: Shutdown) {
    let mut said = None;
    while !shutdown.is_cancelled() {
        let sql = matches!(tokio::time::timeout(PATIENCE, store.ping()).await, Ok(Ok(())));
        let relay = pulse.alive();
        if said.replace((sql, relay)) != Some((sql, relay)) {
            match (sql, relay) {
                (true, true) => tracing::info!("ready"),
                _ => tracing::warn!(sql, relay, "not ready: waiting for what is false"),
            }
            say(&reporter, sql, relay).await;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
    say(&reporter, false, false).await;
}

/// The whole goes down before its parts and comes up behind them.
async fn say(reporter: &HealthReporter, sql: bool, relay: bool) {
    let whole = sql && relay;
    if !whole {
        reporter.set_service_status("", ServingStatus::NotServing).await;
    }
    reporter.set_service_status(LOGINS, status(sql)).await;
    reporter.set_service_status(RELAY, status(relay)).await;
    if whole {
        reporter.set_service_status("", ServingStatus::Serving).await;
    }
}
