//! How well talk is heard, as Janus says on its list.

use roger::model::{TopicId, UserId};
use roger::proto::v1;
use serde_json::{Value, json};

use super::scene::{Scene, burst, files};
use crate::support::company::{Desk, Somebody};
use crate::support::eventually;
use crate::support::fleet::FleetOptions;

fn quality(user: u64, rtt: Value) -> String {
    let message = json!({ "user_id": user.to_string(), "user_status": 3, "in_link_quality": "90", "out_link_quality": 80, "rtt": rtt });
    json!({ "msg_type": 3, "ip": "10.0.0.5", "quality_msg": message }).to_string()
}

/// What is known of the talk of devices, as far as somebody may see them.
async fn known(desk: &Desk, of: &[u64], by: &Somebody) -> Vec<Option<v1::TalkQuality>> {
    let request = v1::GetDevicesInfoRequest { token: by.token(), device_ids: of.to_vec() };
    let devices = desk.web.clone().get_devices_info(request).await.unwrap().into_inner().devices;
    devices.into_iter().map(|device| device.talk_quality).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_quality_is_known_of_who_is_on_the_air_to_who_may_see_the_device_and_goes_with_the_session() {
    let scene = Scene::with(FleetOptions::default()).await;
    let desk = Desk::at(&scene.fleet.directory()).await;
    let (neil, buzz) = (&scene.radios[0], &scene.radios[1]);
    let session = scene.on(0, neil).await;
    let bad = [
        (quality(neil.id, json!("slow")), "rtt has to be an integer of 32 bits"),
        (r#"{"msg_type":3}"#.to_owned(), "quality_msg is missing"),
        (r#"{"msg_type":3,"quality_msg":{"rtt":20}}"#.to_owned(), "user_id is missing"),
    ];
    let mut items = vec![quality(neil.id, json!(20)), quality(buzz.id, json!(30)), quality(999_999, json!(40))];
    items.extend(bad.iter().map(|(item, _)| item.clone()));
    items.push(quality(neil.id, json!("21")));
    // What was not on the air by then is not known later either: behind the last item everything was worked off.
    items.push(burst(neil.id, scene.air, 1).to_string());
    scene.push(&items);
    let mut first = scene.on(1, &scene.first).await;
    let inbox = TopicId::inbox(UserId(scene.first.id));
    first.until("the burst behind", |heard| (files(heard, inbox).len() == 1).then_some(())).await;

    let both = [neil.id, buzz.id];
    let said = async || (known(&desk, &both, &scene.first).await[0].is_some()).then_some(());
    eventually("a report of quality", said).await;
    let found = known(&desk, &both, &scene.first).await;
    let expected = v1::TalkQuality { status: Some(3), in_link: Some(90), out_link: Some(80), rtt_ms: Some(21), ..Default::default() };
    assert_eq!(found, [Some(v1::TalkQuality { said_ms: found[0].unwrap().said_ms, ..expected }), None]);
    assert!(found[0].unwrap().said_ms > 1_700_000_000_000);
    // Not to a dispatcher who does not manage it.
    assert_eq!(known(&desk, &both, &scene.second).await, []);
    let letters = || async { (scene.letters().len() == bad.len()).then_some(()) };
    eventually("the dead letters", letters).await;
    let expected: Vec<(String, String)> = bad.iter().map(|(item, why)| (item.clone(), (*why).to_owned())).collect();
    assert_eq!(scene.letters(), expected);
    let listed = scene.fleet.roger(&["sessions", "--user", &neil.id.to_string(), "--json"]).succeeded().json();
    assert_eq!(listed["sessions"][0]["talk_quality"]["rtt_ms"], 21, "{listed}");
    let text = scene.fleet.roger(&["sessions"]).succeeded().stdout;
    assert!(text.contains("90 %, 80 %, 21 ms"), "{text}");

    // It stands with what else was last heard, and goes when the last session does.
    let redis = &scene.fleet.redis;
    let key = redis.cli(&["KEYS", &format!("*:live:{}", neil.id)]).trim().to_owned();
    assert_eq!(redis.cli(&["HEXISTS", &key, "quality"]).trim(), "1", "{key}");
    scene.fleet.roger(&["sessions", "revoke", &neil.name, "--yes"]).succeeded();
    drop(session);
    let offline = async || {
        let request = v1::GetDevicesInfoRequest { token: scene.first.token(), device_ids: vec![neil.id] };
        let devices = desk.web.clone().get_devices_info(request).await.unwrap().into_inner().devices;
        (devices[0].presence() == v1::PresenceState::Offline).then_some(())
    };
    eventually("the end of the session", offline).await;
    assert_eq!(redis.cli(&["HEXISTS", &key, "quality"]).trim(), "0");
}
