//! What happens to alerts by itself: what is due, and what inboxes decided.

use std::collections::BTreeMap;
use std::time::Duration;

use super::probe::Ear;
use super::{Alerts, Along, Error};
use crate::alert::Desk;
use crate::broker::{AlertAnswer, Reader, StreamId, keys};
use crate::model::AlertId;
use crate::retry::Delays;
use crate::shutdown::Shutdown;
use crate::topic::frame::{OutFrame, Output, Raised};
use crate::worker::{Part, chain};

/// How often it is looked what is due.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many alerts are looked at each time.
const DUE_MAX: usize = 256;
/// How long a read waits, and how many frames it brings.
const BLOCK: Duration = Duration::from_millis(500);
const FRAMES_A_READ: usize = 256;
/// How long the stream of answers outlives this program.
const ANSWERS_LIFETIME: Duration = Duration::from_secs(30);

/// Makes happen what is due, until it is time to stop. Several programs may: of two that change an alert one comes too late, and does nothing.
pub(super) async fn run_due(alerts: &Alerts, shutdown: Shutdown, part: Part) {
    let mut delays = Delays::reconnecting();
    while !shutdown.is_cancelled() {
        let pause = match due(alerts).await {
            Ok(()) => {
                part.goes_on();
                delays.reset();
                LOOK_EVERY
            }
            Err(error) => {
                part.waits_for("Redis, for what is due");
                tracing::warn!(error = chain(&error), "cannot look which alerts are due");
                delays.next_delay()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn due(alerts: &Alerts) -> Result<(), Error> {
    let now_ms = alerts.clock.now_ms();
    for id in alerts.sos.due_alerts(now_ms, DUE_MAX).await.map_err(Alerts::failed("look for due alerts"))? {
        if let Some(mut alert) = alerts.load(id).await?
            && let Some(effects) = alert.tick(now_ms)
        {
            // Stale: somebody acknowledged it, or another program was first.
            alerts.commit(alert, effects, Along::default()).await?;
        }
    }
    Ok(())
}

/// Takes in what inboxes decided, until it is time to stop; also what comes to the name of this program as to an edge, which the probe hears.
pub(super) async fn run_answers(alerts: &Alerts, ear: &Ear, shutdown: Shutdown, part: Part) {
    let key = keys::out_urgent(&alerts.boot);
    let mut reader = Reader::new(&alerts.fleet, BLOCK);
    let mut after = BTreeMap::from([(key.clone(), StreamId::default())]);
    let mut delays = Delays::reconnecting();
    while !shutdown.is_cancelled() {
        let round = async {
            if !alerts.fleet.expire(&key, ANSWERS_LIFETIME).await? {
                // Made anew: by a Redis whose clock is behind with lower ids than before.
                after.insert(key.clone(), StreamId::default());
                alerts.fleet.make_stream(&key, ANSWERS_LIFETIME).await?;
            }
            reader.rewind(&mut after).await?;
            reader.read(FRAMES_A_READ, &after).await
        };
        let read = tokio::select! {
            read = round => read,
            () = shutdown.cancelled() => break,
        };
        let entries = match read {
            Ok(read) => read.into_iter().flat_map(|(_, entries)| entries).collect::<Vec<_>>(),
            Err(error) => {
                part.waits_for("Redis, for what inboxes decide");
                tracing::warn!(error = chain(&error), "cannot read what inboxes decided");
                tokio::time::sleep(delays.next_delay()).await;
                continue;
            }
        };
        part.goes_on();
        delays.reset();
        for entry in entries {
            after.insert(key.clone(), entry.id);
            // The marker that made the stream has no field of the format.
            let Ok(frame) = entry.decode::<OutFrame>(&key) else { continue };
            for output in frame.items.into_iter().filter_map(|item| item.output) {
                match output {
                    Output::Raised(raised) => {
                        if let Err(error) = decided(alerts, &raised).await {
                            // The inbox is asked again, and answers the same.
                            tracing::warn!(error = chain(&error), "what an inbox decided was not noted");
                        }
                    }
                    Output::Entry(entry) => ear.hear(&entry),
                    _ => {}
                }
            }
        }
        if let Some(last) = after.get(&key).filter(|last| **last > StreamId::default()) {
            // What stays a little longer does no harm.
            drop(alerts.fleet.trim(&key, last.next()).await);
        }
    }
    drop(tokio::time::timeout(Duration::from_millis(500), alerts.fleet.delete(&key)).await);
}

async fn decided(alerts: &Alerts, raised: &Raised) -> Result<(), Error> {
    let id = AlertId(raised.alert);
    loop {
        let Some(mut alert) = alerts.load(id).await? else { return Ok(()) };
        let desk = match raised.manager {
            0 => None,
            manager => {
                alerts.sos.alert_desk(crate::model::UserId(manager)).await.map_err(Alerts::failed("ask how alerts are escalated"))?
            }
        };
        let desk: Option<Desk> = desk.and_then(|json| serde_json::from_str(&json).ok());
        let Some(effects) = alert.decided(raised, desk, alerts.clock.now_ms()) else { return Ok(()) };
        if alerts.commit(alert, effects, Along::default()).await? != AlertAnswer::Stale {
            return Ok(());
        }
    }
}
