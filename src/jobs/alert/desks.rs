//! Who is told next, from SQL to where alerts are: so that an alert is escalated while SQL is away. And the way back: a Redis that was emptied
//! gets the open alerts from SQL.

use std::time::Duration;

use super::{Alerts, Error};
use crate::alert::Alert;
use crate::broker::AlertCommit;
use crate::retry::Delays;
use crate::shutdown::Shutdown;
use crate::store::{self, Store};
use crate::worker::chain;

/// How often what SQL says is taken over: a changed escalation holds for alerts that are raised later than this.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// Why it did not work this time.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("how alerts are escalated")]
    Store(#[from] store::Error),
    #[error("how alerts are escalated")]
    Alerts(#[from] Error),
}

/// Takes over what SQL says, until it is time to stop.
pub(super) async fn refresh(alerts: &Alerts, store: &Store, shutdown: Shutdown) {
    let mut delays = Delays::reconnecting();
    let mut said = String::new();
    while !shutdown.is_cancelled() {
        let pause = match round(alerts, store).await {
            Ok(()) => {
                delays.reset();
                said.clear();
                REFRESH_EVERY
            }
            Err(error) => {
                let error = chain(&error);
                if error != said {
                    tracing::warn!(error, "how alerts are escalated stays as it was");
                    said = error;
                }
                delays.next_delay()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn round(alerts: &Alerts, store: &Store) -> Result<(), RefreshError> {
    let failed = Alerts::failed("note how alerts are escalated");
    if !alerts.sos.has_alert_desks().await.map_err(failed)? {
        restore(alerts, store).await?;
    }
    let desks = store.alert_desks().await?;
    let desks = desks.into_iter().filter_map(|(account, desk)| Some((account, serde_json::to_string(&desk).ok()?))).collect();
    alerts.sos.set_alert_desks(&desks).await.map_err(Alerts::failed("note how alerts are escalated"))?;
    Ok(())
}

/// Puts the open alerts of SQL where there are none of them. What SQL did not have yet is lost; it lags by moments.
async fn restore(alerts: &Alerts, store: &Store) -> Result<(), RefreshError> {
    for alert in store.open_alerts().await? {
        let id = alert.id;
        // What was due is due again.
        let alert = Alert { version: alert.version + 1, due_ms: alert.due_ms.map(|due_ms| due_ms.max(alerts.clock.now_ms())), ..alert };
        let commit = AlertCommit {
            id,
            version: alert.version,
            device: alert.device,
            due_ms: alert.due_ms,
            state: serde_json::to_string(&alert).map_err(|source| Error::State { id, source })?,
            ..AlertCommit::default()
        };
        alerts.sos.commit_alert(&commit).await.map_err(Alerts::failed(format!("restore alert {id}")))?;
        tracing::warn!(alert.id = %id, "an open alert was not on Redis; it is as SQL had it");
    }
    Ok(())
}
