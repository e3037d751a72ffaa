//! Whether the edge is of use to clients: what they say reaches Redis, and what is for them is read from it.

use std::time::{Duration, Instant};

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::hub::Edge;

/// How often it is judged.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long Redis may be away before the edge says so: stalls below that are sat out, and moving all clients costs more.
const STALL_MAX: Duration = Duration::from_secs(3);

/// Tells the health service, until the task ends: under the name of the service, and of the whole program.
pub(super) async fn watch(edge: &Edge, reporter: HealthReporter, service: &'static str) {
    let mut serving = None;
    loop {
        let trouble = trouble(edge);
        if serving != Some(trouble.is_none()) {
            match trouble {
                Some(what) => tracing::warn!(what, "cannot serve"),
                None if serving.is_some() => tracing::info!("serves again"),
                None => {}
            }
            serving = Some(trouble.is_none());
            let status = if trouble.is_none() { ServingStatus::Serving } else { ServingStatus::NotServing };
            for name in ["", service] {
                reporter.set_service_status(name, status).await;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn trouble(edge: &Edge) -> Option<&'static str> {
    let stalls = |since: Instant| since.elapsed() > STALL_MAX;
    if edge.pusher.pushing_since().is_some_and(stalls) {
        return Some("what clients say does not reach Redis");
    }
    stalls(edge.read_last()).then_some("what is for clients cannot be read from Redis")
}
