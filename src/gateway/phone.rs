//! `GET /` and `POST /`: phones report where they are, and press SOS, as the protocol of OsmAnd says it.
//!
//! A phone is answered when the stream has it, and keeps what it got no 2xx for: so whatever may become better by waiting is no 2xx. Its app
//! sends one report again until it gets 2xx, and nothing behind it: so what is wrong with a report itself is 200, names the field, and counts as
//! refused.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde_json::{Value as Json_, json};

use super::desk::Desk;
use super::osmand::{self, Asked};
use super::refuse::{Refusal, Why};
use super::serve::Peer;
use crate::alert::Presser;
use crate::alert::frame::Sos;
use crate::location::{self, Flag, Judged, judge};
use crate::model::{Durability, InstallationId};
use crate::store::Phone;

/// How long a report waits for the stream. Traccar Client gives up after 15 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest query, in bytes. That of an app has about 200.
const QUERY_BYTES_MAX: usize = 4_096;
/// When a phone should try again after what is behind the gateway did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(super) async fn report(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Json_>, Refusal> {
    let query = query.unwrap_or_default();
    if query.len() > QUERY_BYTES_MAX {
        return Err(Refusal::of(Why::TooLarge, "query"));
    }
    let torn = |rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::of(Why::TooLarge, "body"),
        _ => Refusal::of(Why::BodyTorn, "body"),
    };
    let Asked { id, report, sos } = osmand::read(&query, &body.map_err(torn)?)?;
    let phone = desk.phones.find(&desk, &id, peer).await?;
    if sos { press(&desk, &phone, report).await } else { take(&desk, &phone, report).await }
}

async fn take(desk: &Desk, phone: &Phone, report: Result<location::Report, location::Refusal>) -> Result<Json<Json_>, Refusal> {
    desk.phones.count(phone)?;
    let reports = &desk.phones.reports;
    if reports.full().is_some() {
        return Err(Refusal::retry(Why::StoreUnavailable, RETRY_AFTER));
    }
    let arrival_ms = desk.clock.now_ms();
    let judged: [Judged; 1] = [report.and_then(|report| judge(&report, phone.device, phone.tenant, arrival_ms))];
    match tokio::time::timeout(PATIENCE, reports.take(phone.device, arrival_ms, &judged)).await {
        Ok(Some(durability)) => Ok(answer(&judged[0], judged[0].is_ok().then_some(durability))),
        // It may be there all the same: then it is a duplicate the next time.
        _ => Err(Refusal::retry(Why::StoreUnavailable, RETRY_AFTER)),
    }
}

/// As the edges take it: nothing limits it but how many may wait at once, and what is wrong with its position does not refuse it.
async fn press(desk: &Desk, phone: &Phone, report: Result<location::Report, location::Refusal>) -> Result<Json<Json_>, Refusal> {
    let _room = desk.phones.presses.try_acquire().map_err(|_| Refusal::retry(Why::Busy, Duration::from_secs(1)))?;
    let arrival_ms = desk.clock.now_ms();
    let presser = Presser { device: phone.device, tenant: phone.tenant, name: &phone.nickname, installation: InstallationId(0) };
    // A press of its own each time: an app sends the last fix it has, so two presses may say the same, and an alert may be over in between.
    let press = presser.press(rand::random_range(1..=u64::MAX), report.as_ref().ok(), "", false, arrival_ms);
    let published = desk.phones.sos.publish_sos(Sos::Press(press), desk.phones.receipts.alerts).await;
    let judged = match report {
        Ok(report) => {
            desk.phones.reports.take_beside(phone.device, phone.tenant, &report, arrival_ms);
            judge(&report, phone.device, phone.tenant, arrival_ms)
        }
        Err(refusal) => {
            drop(desk.phones.reports.take(phone.device, arrival_ms, &[Err(refusal)]));
            Err(refusal)
        }
    };
    match published {
        Some(durability) => Ok(answer(&judged, Some(durability))),
        None => Err(Refusal::retry(Why::StoreUnavailable, RETRY_AFTER)),
    }
}

/// `{"stored": 1, "durability": "fsync", "refused": [], "flags": []}`. Of SOS `stored` is the press, and `refused` what its position lacks.
fn answer(judged: &Judged, durability: Option<Durability>) -> Json<Json_> {
    let refused: Vec<Json_> =
        judged.as_ref().err().map(|refusal| json!({ "field": refusal.field, "reason": refusal.reason.as_str() })).into_iter().collect();
    let flags: Vec<&str> = judged.as_ref().map_or_else(|_| Vec::new(), |fix| Flag::of(fix.flags).map(Flag::as_str).collect());
    Json(json!({ "stored": u8::from(durability.is_some()), "durability": durability, "refused": refused, "flags": flags }))
}
