//! What may be gone while somebody presses SOS.

use std::collections::BTreeSet;

use roger::broker::{AlertAnswer, AlertCommit, Settings};
use roger::model::{AlertId, Reason, UserId};
use roger::proto::status::Refused;
use roger::proto::v1::AlertEvent;

use super::scene::{Scene, alerts, events, hears};
use crate::support::eventually;
use crate::support::fleet::FleetOptions;
use crate::support::redis::Redis;

fn own(id: u64) -> roger::model::TopicId {
    roger::model::TopicId::alert_inbox(UserId(id))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sql_an_alert_is_raised_acknowledged_and_closed_and_sql_hears_of_it_later() {
    let scene = Scene::with(Scene::on_mariadb()).await;
    let (neil, mut desk) = (scene.on(0, &scene.radios[0]).await, scene.on(1, &scene.first).await);
    scene.fleet.mariadb.as_ref().unwrap().stop();
    scene.press(0, &neil, 1, None).await;
    let raised = hears(&mut desk, own(scene.first.id), AlertEvent::Raised).await;
    scene.acknowledge(1, &desk, raised.alert_id).await.unwrap();
    scene.close(1, &desk, raised.alert_id, false, "found").await.unwrap();
    hears(&mut desk, own(scene.first.id), AlertEvent::Resolved).await;
    scene.fleet.mariadb.as_ref().unwrap().resume();
    let id = roger::model::AlertId(raised.alert_id);
    let kept = || async { scene.store.alert_events(id).await.ok().filter(|kept| kept.len() == 3) };
    eventually("SQL has what happened", kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_that_dies_takes_an_sos_with_it() {
    let mut scene = Scene::with(FleetOptions { sos: 2, ..FleetOptions::default() }).await;
    let mut desk = scene.on(1, &scene.first).await;
    let victims: Vec<String> = scene.fleet.names().into_iter().filter(|name| name != "edge-1").collect();
    let mut presses = 0;
    for victim in &victims {
        let radio = scene.radios[presses % 2].clone();
        let neil = scene.on(0, &radio).await;
        presses += 1;
        let session_id = neil.heard.welcome.session_id;
        let press = {
            let edge = scene.fleet.edge(0);
            tokio::spawn(async move {
                let client = roger::proto::v1::emergency_service_client::EmergencyServiceClient::connect(edge).await;
                let request = roger::proto::v1::ImSosPublishRequest { session_id, press_id: presses as u64, ..Default::default() };
                client.ok()?.im_sos_publish(request).await.ok()
            })
        };
        scene.fleet.restart(victim);
        if press.await.unwrap().is_none() {
            // No receipt: the radio presses again, at whatever edge there is.
            let neil = scene.on(0, &radio).await;
            scene.press(0, &neil, presses as u64, None).await;
        }
        let open = |heard: &crate::messages::Heard| {
            let all = alerts(heard);
            let opened = all.iter().filter(|(topic, notice)| *topic == own(scene.first.id) && notice.event() == AlertEvent::Raised);
            opened.map(|(_, notice)| notice).nth(presses - 1).cloned()
        };
        let raised = desk.until(&format!("the alert of press {presses}, {victim} killed"), open).await;
        // A call that nobody answers in time is made again.
        let closed = || async {
            match scene.close(1, &desk, raised.alert_id, false, "over").await {
                Ok(()) => Some(()),
                Err(status) => (Refused::of(&status)?.reason == Reason::AlertOver).then_some(()),
            }
        };
        eventually("it is over", closed).await;
    }
    let over = |heard: &crate::messages::Heard| {
        let over = alerts(heard).iter().filter(|(_, notice)| notice.over).map(|(_, notice)| notice.alert_id).collect::<BTreeSet<_>>();
        (over.len() >= presses).then_some(())
    };
    desk.until("all alerts are over", over).await;
    let raised: BTreeSet<u64> = alerts(&desk.heard).iter().map(|(_, notice)| notice.alert_id).collect();
    assert_eq!(raised.len(), presses, "one alert for each press");
    for alert in raised {
        assert_eq!(events(&desk.heard, alert), [AlertEvent::Raised, AlertEvent::Resolved]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_on_a_redis_of_their_own_survive_that_it_is_emptied() {
    let own_redis = Redis::start();
    let overrides = vec![("sos.redis_url", format!("{:?}", own_redis.url()))];
    let scene = Scene::with(FleetOptions { sos: 1, overrides, ..FleetOptions::default() }).await;
    let (neil, mut desk) = (scene.on(0, &scene.radios[0]).await, scene.on(1, &scene.first).await);
    scene.press(0, &neil, 1, None).await;
    let raised = hears(&mut desk, own(scene.first.id), AlertEvent::Raised).await;
    // Decided and kept, with whom it is for.
    let kept = || async {
        let open = scene.store.open_alerts().await.unwrap();
        open.into_iter().find(|alert| alert.told.manager == Some(UserId(scene.first.id)))
    };
    eventually("SQL has the alert", kept).await;
    assert_eq!(scene.fleet.redis.cli(&["KEYS", "{sos}*"]).trim(), "");
    own_redis.flushall();
    let held = || async { scene.acknowledge(1, &desk, raised.alert_id).await.ok() };
    eventually("the alert is back", held).await;
    hears(&mut desk, own(scene.first.id), AlertEvent::Acknowledged).await;
    assert_eq!(events(&desk.heard, raised.alert_id), [AlertEvent::Raised, AlertEvent::Acknowledged]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_an_alert_that_is_over_leaves_the_next_one_of_the_device_open() {
    let server = Redis::start();
    let settings = Settings { url: server.url(), ..Settings::from(&roger::config::Config::defaults().unwrap().redis) };
    let redis = roger::broker::Redis::new(settings).unwrap();
    let commit = async |alert, version, over| {
        let change =
            AlertCommit { id: AlertId(alert), from_version: version - 1, version, device: UserId(7), over, ..AlertCommit::default() };
        assert_eq!(redis.commit_alert(&change).await.unwrap(), AlertAnswer::Done);
    };
    commit(1, 1, false).await;
    commit(1, 2, true).await;
    commit(2, 1, false).await;
    // Read while it was the open one, or just after.
    commit(1, 3, true).await;
    assert_eq!(redis.open_alerts().await.unwrap(), [AlertId(2)]);
    commit(2, 2, true).await;
    assert_eq!(redis.open_alerts().await.unwrap(), []);
}
