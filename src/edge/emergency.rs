//! SOS: presses go straight to the stream `sos`, each by itself, on a connection of their own; what dispatchers do to alerts goes there too, and
//! is answered when it is done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::hub::Edge;
use super::report::Doubt;
use super::service::Service;
use super::session::Session;
use crate::alert::frame::{Act, Sos};
use crate::alert::{Presser, WORDS_BYTES_MAX};
use crate::location::Report;
use crate::model::{AlertEvent, Reason, SessionId, UserKind};
use crate::proto::v1;
use crate::topic::frame::Acted;

/// How long a call waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many acts of a session may wait for their answers.
const ACTS_MAX: usize = 32;

/// Acts without an answer.
#[derive(Default)]
pub(super) struct Acts {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Acted>>,
}

#[tonic::async_trait]
impl v1::emergency_service_server::EmergencyService for Service {
    async fn im_sos_publish(&self, request: Request<v1::ImSosPublishRequest>) -> Result<Response<v1::ImSosPublishResponse>, Status> {
        let v1::ImSosPublishRequest { session_id, token, press_id, report, text, cancel } = request.into_inner();
        let edge = &self.0;
        let claims = self.whose(session_id, &token, Doubt::Trust).await?;
        if press_id == 0 {
            return Err(edge.refused(Reason::FieldMissing, "press_id"));
        }
        let report = report.map(Report::from);
        let arrival_ms = edge.clock.now_ms();
        let press = Presser::from(&claims).press(press_id, report.as_ref(), &text, cancel, arrival_ms);
        let published = edge.sos.publish_sos(Sos::Press(press), edge.receipts.alerts).await;
        if let Some(report) = &report {
            edge.reports.take_beside(claims.user, claims.tenant, report, arrival_ms);
        }
        match published {
            Some(durability) => Ok(Response::new(v1::ImSosPublishResponse { durability: v1::Durability::from(durability).into() })),
            None => Err(edge.refused(Reason::StoreUnavailable, "")),
        }
    }

    async fn acknowledge_alert(
        &self,
        request: Request<v1::AcknowledgeAlertRequest>,
    ) -> Result<Response<v1::AcknowledgeAlertResponse>, Status> {
        let v1::AcknowledgeAlertRequest { session_id, alert_id } = request.into_inner();
        self.act(session_id, alert_id, AlertEvent::Acknowledged, String::new()).await?;
        Ok(Response::new(v1::AcknowledgeAlertResponse {}))
    }

    async fn close_alert(&self, request: Request<v1::CloseAlertRequest>) -> Result<Response<v1::CloseAlertResponse>, Status> {
        let v1::CloseAlertRequest { session_id, alert_id, false_alarm, remark } = request.into_inner();
        if remark.len() > WORDS_BYTES_MAX {
            return Err(self.0.refused(Reason::TextTooLarge, "remark"));
        }
        if false_alarm && remark.trim().is_empty() {
            return Err(self.0.refused(Reason::FieldMissing, "remark"));
        }
        let event = if false_alarm { AlertEvent::FalseAlarm } else { AlertEvent::Resolved };
        self.act(session_id, alert_id, event, remark).await?;
        Ok(Response::new(v1::CloseAlertResponse {}))
    }
}

impl Service {
    async fn act(&self, session_id: u64, alert: u64, event: AlertEvent, remark: String) -> Result<(), Status> {
        let edge = &self.0;
        let session = edge.session(SessionId(session_id)).ok_or_else(|| edge.refused(Reason::UnknownSession, "session_id"))?;
        if alert == 0 {
            return Err(edge.refused(Reason::FieldMissing, "alert_id"));
        }
        if session.claims.kind == UserKind::Device {
            return Err(edge.refused(Reason::NotPermitted, "alert_id"));
        }
        let (act, answer) = session.begin_act(edge, alert, event, remark)?;
        if edge.sos.publish_sos(Sos::Act(act), edge.receipts.alerts).await.is_none() {
            return Err(edge.refused(Reason::StoreUnavailable, ""));
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(acted)) => match Reason::from_number(acted.reason) {
                None => Ok(()),
                Some(reason) => Err(edge.refused(reason, "alert_id")),
            },
            Ok(Err(_)) => Err(edge.refused(Reason::UnknownSession, "session_id")),
            Err(_) => Err(edge.refused(Reason::StoreUnavailable, "")),
        }
    }
}

impl Session {
    fn begin_act(
        self: &Arc<Self>,
        edge: &Edge,
        alert: u64,
        event: AlertEvent,
        remark: String,
    ) -> Result<(Act, oneshot::Receiver<Acted>), Status> {
        let (done, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.closed {
            return Err(edge.refused(Reason::UnknownSession, "session_id"));
        }
        state.heard_ms = edge.clock.now_ms();
        state.acts.open.retain(|_, done| !done.is_closed());
        if state.acts.open.len() >= ACTS_MAX {
            return Err(edge.refused(Reason::TooMany, ""));
        }
        state.acts.last += 1;
        let request = state.acts.last;
        state.acts.open.insert(request, done);
        let act = Act {
            alert,
            actor: self.claims.user.0,
            name: self.claims.name.clone(),
            tenant: self.claims.tenant.0,
            kind: self.claims.kind as u32,
            room: state.register.room().unwrap_or_default().0,
            event: event as u32,
            remark,
            arrival_ms: edge.clock.now_ms(),
            edge: edge.boot.clone(),
            session: self.id.0,
            request,
        };
        Ok((act, answer))
    }
}

impl Acts {
    /// The answer to an act.
    pub(super) fn answered(&mut self, acted: Acted) {
        if let Some(done) = self.open.remove(&acted.request) {
            // A caller that is gone sees it in the alert's topics.
            let _gone = done.send(acted);
        }
    }
}
