//! Alerts and escalations as desks ask for them: whose devices they are of, and nobody else's.

use roger::alert::frame::Press;
use roger::alert::{Alert, Desk as AlertDesk};
use roger::model::AlertId;
use roger::proto::v1;
use roger::proto::v1::alert_service_client::AlertServiceClient;
use roger::topic::frame::Raised;
use tonic::Code;

use super::Ground;
use crate::support::company::Desk;
use crate::support::redis::Redis;

/// An alert of a device, and what happened, as sos keeps it.
pub(super) async fn kept(store: &roger::store::Store, id: u64, device: u64, manager: u64) {
    let press = Press { device, tenant: 1, name: "radio".into(), arrival_ms: 1_000 + id, ..Press::default() };
    let (mut alert, effects) = Alert::open(AlertId(id), &press, (id, 0), None, 1_000 + id);
    let raised = Raised { manager, ..Raised::default() };
    alert.decided(&raised, Some(AlertDesk::default()), 1_000 + id).unwrap();
    alert.version = 1;
    store.keep_alert(alert, effects.events.into_iter().next()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn desks_see_the_alerts_of_their_devices_and_nobody_elses() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    let store = ground.store().await;
    crate::support::company::root(&store).await;
    let running = ground.start(&[]).await;
    let mut desk = Desk::at(&running.url).await;
    let root = desk.root().await;
    let company = desk.account(&root, v1::UserKind::Company, "apollo").await;
    let first = desk.account(&company, v1::UserKind::Dispatcher, "first").await;
    let radio = desk.radios(&company, &first, &["356938035643809"]).await.remove(0);
    let other = desk.account(&root, v1::UserKind::Company, "soyuz").await;
    for id in 1..=5 {
        kept(&store, id, radio.id, first.id).await;
    }
    let mut alerts = AlertServiceClient::connect(running.url.clone()).await.unwrap();
    let page = async |alerts: &mut AlertServiceClient<_>, token: String, before_alert_id, limit| {
        let request = v1::ListAlertsRequest { token, before_alert_id, limit, open_only: true };
        let answer = alerts.list_alerts(request).await.unwrap().into_inner();
        let ids: Vec<u64> = answer.alerts.iter().map(|alert| alert.last.as_ref().unwrap().alert_id).collect();
        (ids, answer.more)
    };
    for token in [first.token(), company.token()] {
        assert_eq!(page(&mut alerts, token.clone(), 0, 2).await, (vec![5, 4], true));
        assert_eq!(page(&mut alerts, token.clone(), 4, 2).await, (vec![3, 2], true));
        assert_eq!(page(&mut alerts, token, 2, 2).await, (vec![1], false));
    }
    assert_eq!(page(&mut alerts, other.token(), 0, 0).await, (vec![], false));
    let events = |token| v1::GetAlertEventsRequest { token, alert_id: 1 };
    let told = alerts.get_alert_events(events(first.token())).await.unwrap().into_inner().events;
    assert_eq!(told.iter().map(|event| event.event()).collect::<Vec<_>>(), [v1::AlertEvent::Raised]);
    assert_eq!(alerts.get_alert_events(events(other.token())).await.unwrap_err().code(), Code::PermissionDenied);

    let step = v1::EscalationStep { account_id: company.id, wait_ms: 60_000 };
    let escalation =
        v1::Escalation { first_wait_ms: 30_000, steps: vec![step], numbers: vec!["+4712345678".into()], text_every_ms: 60_000 };
    let put = |token: String, escalation: &v1::Escalation| v1::PutEscalationRequest {
        token,
        account_id: first.id,
        escalation: Some(escalation.clone()),
    };
    let get = |token| v1::GetEscalationRequest { token, account_id: first.id };
    alerts.put_escalation(put(company.token(), &escalation)).await.unwrap();
    let known = alerts.get_escalation(get(first.token())).await.unwrap().into_inner();
    assert_eq!((known.escalation.as_ref(), known.effective.as_ref()), (Some(&escalation), Some(&escalation)));
    // Not those of another company, and no radio.
    for token in [other.token(), radio.token()] {
        assert_eq!(alerts.put_escalation(put(token.clone(), &escalation)).await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(alerts.get_escalation(get(token)).await.unwrap_err().code(), Code::PermissionDenied);
    }
    let wrong = v1::Escalation { numbers: vec!["0800".into()], ..escalation };
    assert_eq!(alerts.put_escalation(put(first.token(), &wrong)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(alerts.get_escalation(get("nonsense".to_owned())).await.unwrap_err().code(), Code::Unauthenticated);
    running.stop().await;
}
