//! Alerts, as desks ask for them; and who is told of them when nobody acknowledges.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::login::Desk;
use super::service::refused;
use super::store_failed;
use crate::alert::{Chain, ChainStep};
use crate::model::{AlertId, Reason, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::KeptAlert;

/// The most alerts of a page.
const PAGE_MAX: u32 = 100;

/// The service.
pub(super) struct Alerts(pub(super) Arc<Desk>);

#[tonic::async_trait]
impl v1::alert_service_server::AlertService for Alerts {
    async fn list_alerts(&self, request: Request<v1::ListAlertsRequest>) -> Result<Response<v1::ListAlertsResponse>, Status> {
        self.0.list_alerts(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    async fn get_alert_events(&self, request: Request<v1::GetAlertEventsRequest>) -> Result<Response<v1::GetAlertEventsResponse>, Status> {
        self.0.alert_events(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    async fn put_escalation(&self, request: Request<v1::PutEscalationRequest>) -> Result<Response<v1::PutEscalationResponse>, Status> {
        self.0.put_escalation(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    async fn get_escalation(&self, request: Request<v1::GetEscalationRequest>) -> Result<Response<v1::GetEscalationResponse>, Status> {
        self.0.escalation(request.into_inner()).await.map(Response::new).map_err(refused)
    }
}

impl Desk {
    async fn list_alerts(&self, request: v1::ListAlertsRequest) -> Result<v1::ListAlertsResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let limit = match request.limit {
            0 => PAGE_MAX,
            limit if limit > PAGE_MAX => return Err(Refused::new(Reason::TooMany).field("limit")),
            limit => limit,
        };
        let before = (request.before_alert_id != 0).then_some(AlertId(request.before_alert_id));
        let mut alerts = caller.store.alerts(request.open_only, before, limit + 1).await.map_err(store_failed)?;
        let more = alerts.len() > limit as usize;
        alerts.truncate(limit as usize);
        let alert = |KeptAlert { alert, last }: KeptAlert| v1::Alert {
            last: last.map(v1::AlertNotice::from),
            closed_ms: alert.closed_ms.unwrap_or(0),
            manager_id: alert.told.manager.unwrap_or_default().0,
        };
        Ok(v1::ListAlertsResponse { alerts: alerts.into_iter().map(alert).collect(), more })
    }

    async fn alert_events(&self, request: v1::GetAlertEventsRequest) -> Result<v1::GetAlertEventsResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let events = caller.store.alert_events(AlertId(request.alert_id)).await.map_err(store_failed)?;
        Ok(v1::GetAlertEventsResponse { events: events.into_iter().map(v1::AlertNotice::from).collect() })
    }

    async fn put_escalation(&self, request: v1::PutEscalationRequest) -> Result<v1::PutEscalationResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let chain = request.escalation.map(|escalation| Chain {
            first_wait_ms: escalation.first_wait_ms,
            steps: escalation.steps.into_iter().map(step).collect(),
            numbers: escalation.numbers,
            text_every_ms: escalation.text_every_ms,
        });
        caller.store.put_escalation(UserId(request.account_id), chain).await.map_err(store_failed)?;
        Ok(v1::PutEscalationResponse {})
    }

    async fn escalation(&self, request: v1::GetEscalationRequest) -> Result<v1::GetEscalationResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let (own, effective) = caller.store.escalation(UserId(request.account_id)).await.map_err(store_failed)?;
        Ok(v1::GetEscalationResponse { escalation: own.map(escalation), effective: effective.map(escalation) })
    }
}

fn step(step: v1::EscalationStep) -> ChainStep {
    ChainStep { account: UserId(step.account_id), name: String::new(), wait_ms: step.wait_ms }
}

fn escalation(chain: Chain) -> v1::Escalation {
    v1::Escalation {
        first_wait_ms: chain.first_wait_ms,
        steps: chain.steps.into_iter().map(|step| v1::EscalationStep { account_id: step.account.0, wait_ms: step.wait_ms }).collect(),
        numbers: chain.numbers,
        text_every_ms: chain.text_every_ms,
    }
}
