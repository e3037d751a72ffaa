//! Emergency alerts as SQL keeps them: the last state of each, and everything that happened.

use prost::Message as _;

use super::conn::{Conn, values};
use super::{Error, Store};
use crate::alert::Alert;
use crate::model::{AlertId, UserId};
use crate::topic::frame::AlertBody;

/// The most open alerts that are read back at once.
const OPEN_MAX: u32 = 10_000;

/// An alert, as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptAlert {
    /// How it stands.
    pub alert: Alert,
    /// What happened last; `None` until SQL has it.
    pub last: Option<AlertBody>,
}

impl Store {
    /// Keeps the state of an alert, unless a later one is kept, and what happened, unless it is kept.
    pub async fn keep_alert(&self, alert: Alert, body: Option<AlertBody>) -> Result<(), Error> {
        self.write(format!("keep alert {}", alert.id), move |conn| {
            Box::pin(async move {
                let state = serde_json::to_vec(&alert).map_err(|source| conn.unreadable("alert.state", source))?;
                let columns = "id, device, tenant, manager, opened_ms, closed_ms, version, state";
                let set = "state = CASE WHEN new.version > version THEN new.state ELSE state END, \
                           manager = CASE WHEN new.version > version THEN new.manager ELSE manager END, \
                           closed_ms = CASE WHEN new.version > version THEN new.closed_ms ELSE closed_ms END, \
                           version = CASE WHEN new.version > version THEN new.version ELSE version END";
                let sql = format!("INSERT INTO alert ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?){}", conn.dialect().on_conflict("id", set));
                let closed_ms = alert.closed_ms.unwrap_or(0);
                let manager = alert.told.manager.unwrap_or_default().0;
                let row = values![
                    alert.id.0,
                    alert.device.0,
                    alert.tenant.0,
                    manager,
                    alert.opened_ms,
                    closed_ms,
                    alert.version,
                    state.as_slice()
                ];
                conn.execute(sqlx::AssertSqlSafe(sql), row).await?;
                let Some(body) = body else { return Ok(()) };
                let sql = format!(
                    "{} alert_event (alert, number, time_ms, event, actor, body) VALUES (?, ?, ?, ?, ?, ?)",
                    conn.dialect().insert_ignore()
                );
                let bytes = body.encode_to_vec();
                let row = values![alert.id.0, body.number, body.time_ms, body.event, body.by, bytes.as_slice()];
                conn.execute(sqlx::AssertSqlSafe(sql), row).await.map(drop)
            })
        })
        .await
    }

    /// The open alerts, the oldest first.
    pub async fn open_alerts(&self) -> Result<Vec<Alert>, Error> {
        self.read("list the open alerts".to_owned(), |conn| {
            Box::pin(async move {
                let sql = "SELECT state FROM alert WHERE closed_ms = 0 ORDER BY opened_ms LIMIT ?";
                let rows: Vec<(Vec<u8>,)> = conn.all(sql, values![OPEN_MAX]).await?;
                rows.into_iter().map(|(state,)| read_state(conn, &state)).collect()
            })
        })
        .await
    }

    /// Alerts of devices that the author manages, the latest first: at most `limit`, behind the one of `before` when that is given.
    pub async fn alerts(&self, open_only: bool, before: Option<AlertId>, limit: u32) -> Result<Vec<KeptAlert>, Error> {
        self.read("list alerts".to_owned(), move |conn| {
            Box::pin(async move {
                let mut at = match before {
                    Some(id) => {
                        let found: Option<(i64,)> = conn.first("SELECT opened_ms FROM alert WHERE id = ?", values![id.0]).await?;
                        (found.map_or(0, |(ms,)| ms), id.0.cast_signed())
                    }
                    None => (i64::MAX, i64::MAX),
                };
                let mut found = Vec::new();
                while found.len() < limit as usize {
                    let closed = if open_only { "closed_ms = 0 AND" } else { "" };
                    let sql = format!(
                        "SELECT id, opened_ms, state FROM alert WHERE {closed} (opened_ms < ? OR (opened_ms = ? AND id < ?)) \
                         ORDER BY opened_ms DESC, id DESC LIMIT ?"
                    );
                    let bound = values![at.0, at.0, at.1, limit];
                    let rows: Vec<(i64, i64, Vec<u8>)> = conn.all(sqlx::AssertSqlSafe(sql), bound).await?;
                    let Some((id, opened_ms, _)) = rows.last() else { break };
                    at = (*opened_ms, *id);
                    let mut alerts = Vec::with_capacity(rows.len());
                    for (_, _, state) in &rows {
                        alerts.push(read_state(conn, state)?);
                    }
                    let devices: Vec<UserId> = alerts.iter().map(|alert| alert.device).collect();
                    let managed = super::directory::managed(conn, &devices).await?;
                    alerts.retain(|alert| managed.contains(&alert.device));
                    for alert in alerts.into_iter().take(limit as usize - found.len()) {
                        let last = last_event(conn, alert.id).await?;
                        found.push(KeptAlert { alert, last });
                    }
                }
                Ok(found)
            })
        })
        .await
    }

    /// What happened to an alert, in order. [`Error::NotPermitted`] unless the author manages its device.
    pub async fn alert_events(&self, id: AlertId) -> Result<Vec<AlertBody>, Error> {
        self.read(format!("what happened to alert {id}"), move |conn| {
            Box::pin(async move {
                let device: Option<(i64,)> = conn.first("SELECT device FROM alert WHERE id = ?", values![id.0]).await?;
                let device = device.map(|(device,)| UserId(device.cast_unsigned())).unwrap_or_default();
                super::directory::check_manages(conn, &[device]).await?;
                let rows: Vec<(Vec<u8>,)> = conn.all("SELECT body FROM alert_event WHERE alert = ? ORDER BY number", values![id.0]).await?;
                rows.into_iter().map(|(body,)| read_body(conn, &body)).collect()
            })
        })
        .await
    }
}

fn read_state(conn: &Conn, state: &[u8]) -> Result<Alert, Error> {
    serde_json::from_slice(state).map_err(|source| conn.unreadable("alert.state", source))
}

fn read_body(conn: &Conn, body: &[u8]) -> Result<AlertBody, Error> {
    AlertBody::decode(body).map_err(|source| conn.unreadable("alert_event.body", source))
}

async fn last_event(conn: &mut Conn, id: AlertId) -> Result<Option<AlertBody>, Error> {
    let sql = "SELECT body FROM alert_event WHERE alert = ? ORDER BY number DESC LIMIT 1";
    let row: Option<(Vec<u8>,)> = conn.first(sql, values![id.0]).await?;
    row.map(|(body,)| read_body(conn, &body)).transpose()
}
