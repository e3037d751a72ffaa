//! Reports of positions: judged here, pushed to the stream `fix`, answered when they are there.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::hub::Edge;
use super::service::Service;
use super::session::{Session, State};
use crate::alert::Presser;
use crate::alert::frame::Sos;
use crate::location::{Judged, REPORTS_MAX, Refusal, Report, judge};
use crate::model::{Durability, InstallationId, Reason, SessionId, UserKind};
use crate::proto::{location, v1};
use crate::token::Claims;

/// How long a call waits for the stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most presses of SOS of a session that wait for their stream; a finger does not come near it.
const PRESSES_OPEN_MAX: usize = 256;

/// What is made of a token when it cannot be known whether it was called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Somebody may need help.
    Trust,
    Refuse,
}

/// The most reports of a session that wait for the stream, or whose answers wait for the client.
const OPEN_MAX: usize = 2 * REPORTS_MAX;

#[tonic::async_trait]
impl v1::talk_cloud_location_server::TalkCloudLocation for Service {
    async fn report_gps_data(&self, request: Request<v1::ReportGpsDataRequest>) -> Result<Response<v1::ReportGpsDataResponse>, Status> {
        let v1::ReportGpsDataRequest { session_id, token, reports } = request.into_inner();
        let edge = &self.0;
        let claims = self.whose(session_id, &token, Doubt::Refuse).await?;
        let mut answers = vec![v1::ReportAnswer::default(); reports.len()];
        let (presses, positions): (Vec<_>, Vec<_>) = reports.into_iter().enumerate().partition(|(_, report)| is_press(report));
        // SOS first, and whatever becomes of the rest.
        for (index, report) in presses {
            answers[index] = edge.take_press(&claims, report).await;
            if answers[index].reason() != v1::Reason::Unspecified {
                return Err(edge.refused(Reason::StoreUnavailable, ""));
            }
        }
        if positions.is_empty() {
            return Ok(Response::new(v1::ReportGpsDataResponse { answers }));
        }
        if let Some(reason) = edge.reports.full() {
            return Err(edge.refused(reason, ""));
        }
        let (indices, positions): (Vec<_>, Vec<_>) = positions.into_iter().unzip();
        let (mut judged_answers, judged) = judge_all(edge, &claims, positions);
        match tokio::time::timeout(PATIENCE, edge.reports.take(claims.user, edge.clock.now_ms(), &judged)).await {
            Ok(Some(durability)) => accept(&mut judged_answers, durability),
            _ => return Err(edge.refused(Reason::StoreUnavailable, "")),
        }
        for (index, answer) in indices.into_iter().zip(judged_answers) {
            answers[index] = answer;
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
    /// Who calls, by a session or a token.
    pub(super) async fn whose(&self, session_id: u64, token: &str, doubt: Doubt) -> Result<Claims, Status> {
        let edge = &self.0;
        if session_id == 0 && token.is_empty() {
            return Err(edge.refused(Reason::FieldMissing, "session_id"));
        }
        if session_id == 0 {
            return self.claims(token, doubt).await;
        }
        let session = edge.session(SessionId(session_id)).ok_or_else(|| edge.refused(Reason::UnknownSession, "session_id"))?;
        session.heard(edge.clock.now_ms());
        Ok(session.claims.clone())
    }

    /// Whose token it is, if it was not called back.
    async fn claims(&self, token: &str, doubt: Doubt) -> Result<Claims, Status> {
        let edge = &self.0;
        let claims = edge.verifier.verify(token, edge.clock.now_ms()).map_err(|error| edge.refused(error.reason(), "token"))?;
        let InstallationId(installation) = claims.installation;
        match edge.redis.is_void(claims.user, &format!("{installation:x}"), claims.issued_ms, edge.shards).await {
            Ok(false) => Ok(claims),
            Ok(true) => Err(edge.refused(Reason::TokenRevoked, "token")),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "it is not known whether a token was called back");
                match doubt {
                    Doubt::Trust => Ok(claims),
                    Doubt::Refuse => Err(edge.refused(Reason::StoreUnavailable, "")),
                }
            }
        }
    }
}

impl Session {
    /// Takes in the reports of a frame; they are answered in the stream.
    pub(super) fn report(self: &Arc<Self>, edge: &Arc<Edge>, state: &mut State, reports: Vec<v1::Report>) {
        let (presses, reports): (Vec<_>, Vec<_>) = reports.into_iter().partition(is_press);
        if !presses.is_empty() {
            self.press(edge, state, presses);
        }
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

impl Session {
    /// SOS is answered by itself and first; no rate limits it, only how many presses of a session may wait.
    fn press(self: &Arc<Self>, edge: &Arc<Edge>, state: &mut State, mut presses: Vec<v1::Report>) {
        for report in presses.split_off(presses.len().min(PRESSES_OPEN_MAX.saturating_sub(state.presses_open))) {
            let refusal = edge.refusal(Reason::RateLimited, "");
            let (report_id, reason, retry_after_ms) = (report.report_id, refusal.reason, refusal.retry_after_ms);
            state.queue.report_answers.push(v1::ReportAnswer { report_id, reason, retry_after_ms, ..v1::ReportAnswer::default() });
        }
        state.presses_open += presses.len();
        let (session, edge) = (self.clone(), edge.clone());
        tokio::spawn(async move {
            for report in presses {
                let answer = edge.take_press(&session.claims, report).await;
                {
                    let mut state = session.lock();
                    state.presses_open -= 1;
                    state.queue.report_answers.push(answer);
                }
                session.wake();
            }
        });
    }
}

fn is_press(report: &v1::Report) -> bool {
    matches!(report.kind(), v1::ReportKind::Sos | v1::ReportKind::CancelSos)
}

impl Edge {
    /// Takes a report in that is a press of SOS, or takes it back. Its position counts as any other, if it has one.
    async fn take_press(&self, claims: &Claims, report: v1::Report) -> v1::ReportAnswer {
        let mut answer = v1::ReportAnswer { report_id: report.report_id, ..v1::ReportAnswer::default() };
        // Without a number it is a press of its own each time, and joins the open alert.
        let press_id = if report.report_id == 0 { rand::random() } else { report.report_id };
        let cancel = report.kind() == v1::ReportKind::CancelSos;
        let (report, arrival_ms) = (Report::from(report), self.clock.now_ms());
        let press = Presser::from(claims).press(press_id, Some(&report), "", cancel, arrival_ms);
        match self.sos.publish_sos(Sos::Press(press), self.receipts.alerts).await {
            Some(durability) => answer.durability = v1::Durability::from(durability).into(),
            None => {
                let refusal = self.refusal(Reason::StoreUnavailable, "");
                (answer.reason, answer.retry_after_ms) = (refusal.reason, refusal.retry_after_ms);
            }
        }
        self.reports.take_beside(claims.user, claims.tenant, &report, arrival_ms);
        answer
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
