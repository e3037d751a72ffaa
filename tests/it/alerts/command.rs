//! The commands of `roger` about alerts.

use roger::model::UserId;
use roger::proto::v1::AlertEvent;

use super::scene::{Scene, hears};
use crate::support::eventually;
use crate::support::fleet::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_pressed_listed_acknowledged_and_closed_at_the_command_line() {
    let scene = Scene::start().await;
    let radio = &scene.radios[0];
    let state = scene.fleet.folder().join("state");
    let client = |args: &[&str]| {
        let (edge, directory) = (scene.fleet.edge(0), scene.fleet.directory());
        let output = scene
            .fleet
            .command(args)
            .env("XDG_STATE_HOME", &state)
            .env("ROGER_CLIENT_EDGES", edge)
            .env("ROGER_CLIENT_DIRECTORY", directory)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    };
    let mut desk = scene.on(1, &scene.first).await;
    client(&["login", &radio.name, "--password", &radio.password]).succeeded();
    let pressed = client(&["sos", "--json", "--at", "45.27,13.71", "man overboard"]).succeeded().json();
    assert_eq!(pressed, serde_json::json!({ "durability": "fsync", "cancel": false }));
    let own = roger::model::TopicId::alert_inbox(UserId(scene.first.id));
    let raised = hears(&mut desk, own, AlertEvent::Raised).await;
    assert_eq!((raised.text.as_str(), raised.position.unwrap().latitude), ("man overboard", 45.27));

    let id = raised.alert_id.to_string();
    let listed = || async {
        Some(scene.fleet.roger(&["alerts", "list", "--open", "--json"]).succeeded().json())
            .filter(|all| all[0]["alert_id"] == raised.alert_id)
    };
    let listed = eventually("it is listed", listed).await;
    assert_eq!((&listed[0]["device_id"], &listed[0]["holder"]), (&radio.id.into(), &serde_json::Value::Null));
    scene.fleet.roger(&["alerts", "acknowledge", &id]).succeeded();
    let held = hears(&mut desk, own, AlertEvent::Acknowledged).await;
    assert_eq!(held.by_id, 0, "an operator, and no account");
    scene.fleet.roger(&["alerts", "close", &id, "--remark", "picked up"]).succeeded();
    hears(&mut desk, own, AlertEvent::Resolved).await;
    let again = scene.fleet.roger(&["alerts", "close", &id, "--remark", "again"]);
    assert_eq!(again.code, 64, "{}", again.stderr);
    let shown = || async {
        let shown = scene.fleet.roger(&["alerts", "show", &id, "--json"]).succeeded().json();
        Some(shown).filter(|events| events.as_array().is_some_and(|events| events.len() == 3))
    };
    let shown = eventually("it is shown", shown).await;
    assert_eq!((&shown[2]["event"], &shown[2]["remark"]), (&"resolved".into(), &"picked up".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_next_is_set_shown_and_inherited() {
    let scene = Scene::start().await;
    let roger = |args: &[&str]| scene.fleet.roger(args);
    let none = roger(&["escalation", "show", "first", "--json"]).succeeded().json();
    assert_eq!(none, serde_json::json!({ "own": null, "effective": null }));
    roger(&["escalation", "set", "apollo", "--first", "30s", "--step", "second:45s", "--number", "+4712345678"]).succeeded();
    let inherited = roger(&["escalation", "show", "first", "--json"]).succeeded().json();
    assert_eq!((&inherited["own"], &inherited["effective"]["steps"][0]["account"]), (&serde_json::Value::Null, &scene.second.id.into()));
    for wrong in [["--number", "12345678"], ["--first", "1ms"], ["--text-every", "1s"], ["--step", "nobody:60s"]] {
        let refused = roger(&["escalation", "set", "first", wrong[0], wrong[1]]);
        assert_ne!(refused.code, 0, "{wrong:?}");
    }
    let radio = roger(&["escalation", "set", &scene.radios[0].name, "--first", "30s"]);
    assert_ne!(radio.code, 0, "{}", radio.stdout);
    roger(&["escalation", "remove", "apollo"]).succeeded();
    assert_eq!(roger(&["escalation", "show", "first", "--json"]).succeeded().json(), none);
}
