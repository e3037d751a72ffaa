//! Reports of positions: judged here, pushed to the stream `fix`, answered when they are there.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::hub::Edge;
use super::service::Service;
use super::session::{Session, State};
use crate::location::{Judged, REPORTS_MAX, Refusal, Report, judge};
use crate::model::{Durability, InstallationId, Reason, SessionId, UserKind};
use crate::proto::{location, v1};
use crate::token::Claims;

/// How long a call waits for the stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most reports of a session that wait for the stream, or whose answers wait for the client.
const OPEN_MAX: usize = 2 * REPORTS_MAX;

#[tonic::async_trait]
impl v1::talk_cloud_location_server::TalkCloudLocation for Service {
    async fn report_gps_data(&self, request: Request<v1::ReportGpsDataRequest>) -> Result<Response<v1::ReportGpsDataResponse>, Status> {
        let v1::ReportGpsDataRequest { session_id, token, reports } = request.into_inner();
        let edge = &self.0;
        let claims = match (session_id, token.as_str()) {
            (0, "") => return Err(edge.refused(Reason::FieldMissing, "session_id")),
            (0, token) => self.claims(token).await?,
            (session, _) => {
                let session = edge.session(SessionId(session)).ok_or_else(|| edge.refused(Reason::UnknownSession, "session_id"))?;
                session.heard(edge.clock.now_ms());
                session.claims.clone()
            }
        };
        if let Some(reason) = edge.reports.full() {
            return Err(edge.refused(reason, ""));
        }
        let (mut answers, judged) = judge_all(edge, &claims, reports);
        let taken = edge.reports.take(claims.user, edge.clock.now_ms(), &judged);
        if !judged.is_empty() {
            match tokio::time::timeout(PATIENCE, taken).await {
                Ok(Some(durability)) => accept(&mut answers, durability),
                _ => return Err(edge.refused(Reason::StoreUnavailable, "")),
            }
        }
        Ok(Response::new(v1::ReportGpsDataResponse { answers }))
    }

    async fn watch_positions(&self, request: Request<v1::WatchPositionsRequest>) -> Result<Response<v1::WatchPositionsResponse>, Status> {
        let v1::WatchPositionsRequest { session_id, on } = request.into_inner();
        let edge = &self.0;
        let session = edge.session(SessionId(session_id)).ok_or_else(|| edge.refused(Reason::UnknownSession, "session_id"))?;
        if session.claims.kind == UserKind::Device {
            return Err(edge.refused(Reason::NotPermitted, "session_id"));
        }
        session.heard(edge.clock.now_ms());
        session.watch_positions(edge, on).await?;
        Ok(Response::new(v1::WatchPositionsResponse {}))
    }
}

impl Service {
    /// Whose token it is, if it was not called back.
    async fn claims(&self, token: &str) -> Result<Claims, Status> {
        let edge = &self.0;
        let claims = edge.verifier.verify(token, edge.clock.now_ms()).map_err(|error| edge.refused(error.reason(), "token"))?;
        let InstallationId(installation) = claims.installation;
        match edge.redis.is_void(claims.user, &format!("{installation:x}"), claims.issued_ms, edge.shards).await {
            Ok(false) => Ok(claims),
            Ok(true) => Err(edge.refused(Reason::TokenRevoked, "token")),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "it is not known whether a token was called back");
                Err(edge.refused(Reason::StoreUnavailable, ""))
            }
        }
    }
}

impl Session {
    /// Takes in the reports of a frame; they are answered in the stream.
    pub(super) fn report(self: &Arc<Self>, edge: &Arc<Edge>, state: &mut State, reports: Vec<v1::Report>) {
        if reports.is_empty() {
            return;
        }
        let limited = self.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err());
        let crowded = state.reports_open + state.queue.report_answers.len() + reports.len() > OPEN_MAX;
        let for_now = (limited || crowded).then_some(Reason::RateLimited).or_else(|| edge.reports.full());
        if let Some(reason) = for_now {
            let refusal = edge.refusal(reason, "");
            state.queue.report_answers.extend(reports.iter().map(|report| v1::ReportAnswer {
                report_id: report.report_id,
                reason: refusal.reason,
                retry_after_ms: refusal.retry_after_ms,
                ..v1::ReportAnswer::default()
            }));
            return;
        }
        let (mut answers, judged) = judge_all(edge, &self.claims, reports);
        state.reports_open += answers.len();
        let taken = edge.reports.take(self.claims.user, edge.clock.now_ms(), &judged);
        let session = self.clone();
        tokio::spawn(async move {
            let Some(durability) = taken.await else { return };
            accept(&mut answers, durability);
            {
                let mut state = session.lock();
                state.reports_open -= answers.len();
                if state.closed {
                    return;
                }
                state.queue.report_answers.extend(answers);
            }
            session.wake();
        });
    }
}

/// Judges reports. The answers of those that are let through lack their durability; reports beyond the most are answered and not judged.
fn judge_all(edge: &Edge, claims: &Claims, reports: Vec<v1::Report>) -> (Vec<v1::ReportAnswer>, Vec<Judged>) {
    let arrival_ms = edge.clock.now_ms();
    let mut answers = Vec::with_capacity(reports.len());
    let mut judged = Vec::with_capacity(reports.len().min(REPORTS_MAX));
    for report in reports {
        let mut answer = v1::ReportAnswer { report_id: report.report_id, ..v1::ReportAnswer::default() };
        let verdict = if judged.len() < REPORTS_MAX {
            judge(&Report::from(report), claims.user, claims.tenant, arrival_ms)
        } else {
            Err(Refusal { reason: Reason::TooMany, field: "" })
        };
        match &verdict {
            Ok(fix) => answer.flags = location::flags(fix.flags),
            Err(Refusal { reason, field }) => {
                let refusal = edge.refusal(*reason, field);
                (answer.reason, answer.field) = (refusal.reason, refusal.field);
            }
        }
        if judged.len() < REPORTS_MAX {
            judged.push(verdict);
        }
        answers.push(answer);
    }
    (answers, judged)
}

fn accept(answers: &mut [v1::ReportAnswer], durability: Durability) {
    let durability = v1::Durability::from(durability).into();
    for answer in answers.iter_mut().filter(|answer| answer.reason == v1::Reason::Unspecified as i32) {
        answer.durability = durability;
    }
}
