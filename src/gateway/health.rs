//! Readiness: SQL answers, and an object can be written. `GET /healthz` tells what was seen last, so that asking costs nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::objects::Objects;
use crate::shutdown::Shutdown;
use crate::store::Store;

/// How often it looks at SQL, and at objects while they cannot be written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it writes an object, which S3 may charge for.
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// How long SQL or the objects may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// What was seen is too old to be told after so long.
const SEEN_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    sql: bool,
    objects: bool,
}

/// What was seen last, and when.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Option<(Instant, Seen)>>);

impl Pulse {
    fn set(&self, seen: Seen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), seen));
    }

    /// 200 when all is well, 503 otherwise; JSON either way.
    pub(super) fn answer(&self) -> Response {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).filter(|(when, _)| when.elapsed() < SEEN_MAX);
        let Seen { sql, objects } = seen.map_or(Seen { sql: false, objects: false }, |(_, seen)| seen);
        let status = if sql && objects { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(json!({ "sql": sql, "objects": objects }))).into_response()
    }
}

/// Looks until `shutdown`, and says what changes.
pub(super) async fn watch(pulse: &Pulse, store: &Store, objects: &Objects, shutdown: &Shutdown) {
    let mut said = None;
    let mut probed: Option<(Instant, bool)> = None;
    while !shutdown.is_cancelled() {
        let sql = matches!(tokio::time::timeout(PATIENCE, store.ping()).await, Ok(Ok(())));
        let writes = match probed {
            Some((when, true)) if when.elapsed() < PROBE_EVERY => true,
            _ => {
                let writes = matches!(tokio::time::timeout(PATIENCE, objects.probe()).await, Ok(Ok(())));
                probed = Some((Instant::now(), writes));
                writes
            }
        };
        let seen = Seen { sql, objects: writes };
        pulse.set(seen);
        if said.replace(seen) != Some(seen) {
            match seen {
                Seen { sql: true, objects: true } => tracing::info!("ready"),
                Seen { sql, objects } => tracing::warn!(sql, objects, "not ready: waiting for what is false"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
