//! Server addresses: who uses which node, what a broken file does, and moving an account.

use std::fs;

use reqwest::StatusCode;
use roger::model::MessageKind;
use roger::store::ChangesWanted;
use roger::topic::frame::{Input, NoticeBody};
use serde_json::{Value, json as json_of};

use super::serving::Served;
use super::{Crew, Ground, Running, client, json, refusal, refused};
use crate::store::{Database, over_both};
use crate::support::{eventually, wait_until};

over_both!(an_account_is_moved_and_told_with_all_below_it,);

/// A file of nodes, the first the default.
fn nodes(names: &[&str]) -> String {
    let node = |name: &&str| {
        format!(
            "[[node]]\nname = \"{name}\"\nedge = [\"http://edge.{name}\"]\ndirectory = \"http://directory.{name}\"\n\
             gateway = \"http://gateway.{name}\"\njanus = \"ws://janus.{name}\"\n"
        )
    };
    format!("default = \"{}\"\n{}", names[0], names.iter().map(node).collect::<String>())
}

fn answer(name: &str) -> Value {
    json_of!({ "server": {
        "name": name, "edge": [format!("http://edge.{name}")], "directory": format!("http://directory.{name}"),
        "gateway": format!("http://gateway.{name}"), "janus": format!("ws://janus.{name}"),
    }})
}

async fn ask(gateway: &Running, path: &str) -> Value {
    json(gateway.get(path, None, &[]).await, StatusCode::OK).await
}

fn changing(gateway: &Running, token: Option<&str>, body: &Value) -> reqwest::RequestBuilder {
    let request = gateway.http.post(format!("{}/server/change", gateway.url)).json(body);
    if let Some(token) = token { request.bearer_auth(token) } else { request }
}

async fn an_account_is_moved_and_told_with_all_below_it(database: &Database) {
    let ground = Ground::on(&database.url);
    let crew = Crew::of(&ground).await;
    let (store, neil, mike, capcom) = (&database.store, crew.neil.user, crew.mike.user, crew.capcom.user);
    let device = "INSERT INTO device (account, imei, model, activated_ms, sold_ms, log_upload) VALUES";
    ground.execute(&format!("{device} ({neil}, '123456789012345', 'T1', 0, 0, 0)")).await;
    fs::write(ground.path("nodes.toml"), nodes(&["north", "south", "west"])).unwrap();
    let gateway = ground.start(&[("gateway.nodes_file", ground.path("nodes.toml").to_str().unwrap())]).await;
    let by_imei = |imei: &str| format!("/server/addr?imei={imei}&version=1&ip=10.0.0.1");
    let by_id = |id: u64| format!("/server/dispatcher/addr?account-id={id}");

    // Nobody learns which IMEIs and accounts there are.
    let north = answer("north");
    for path in [
        by_imei("123456789012345"),
        by_imei("999999999999999"),
        by_id(capcom.0),
        by_id(999),
        "/server/dispatcher/addr?account-name=nobody".into(),
    ] {
        assert_eq!(ask(&gateway, &path).await, north, "{path}");
    }
    for (path, expected) in [
        ("/server/addr", refusal(422, "field_missing", "imei")),
        ("/server/addr?imei=abc", refusal(400, "field_invalid", "imei")),
        ("/server/dispatcher/addr?version=1", refusal(422, "field_missing", "account-id")),
        ("/server/dispatcher/addr?account-id=x", refusal(400, "field_invalid", "account-id")),
    ] {
        assert_eq!(refused(gateway.get(path, None, &[]).await).await, expected, "{path}");
    }

    let token = |who| ground.token(who);
    let wish = |account: u64, node: &str| json_of!({ "account": account, "node": node });
    for (who, body, expected) in [
        (None, wish(neil.0, "south"), refusal(401, "token_missing", "authorization")),
        (Some(&crew.neil), wish(capcom.0, "south"), refusal(403, "not_permitted", "account")),
        (Some(&crew.alexei), wish(neil.0, "south"), refusal(403, "not_permitted", "account")),
        (Some(&crew.capcom), wish(crew.alexei.user.0, "south"), refusal(403, "not_permitted", "account")),
        (Some(&crew.capcom), wish(999, "south"), refusal(403, "not_permitted", "account")),
        (Some(&crew.capcom), wish(neil.0, "east"), refusal(422, "unknown_node", "node")),
        (Some(&crew.capcom), json_of!({ "account": neil }), refusal(400, "field_invalid", "body")),
    ] {
        let answer = changing(&gateway, who.map(token).as_deref(), &body).send().await.unwrap();
        assert_eq!(refused(answer).await, expected, "{body} by {who:?}");
    }
    assert_eq!(gateway.get("/server/change", Some(&token(&crew.capcom)), &[]).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(store.outbox(0, 100).await.unwrap().iter().filter(|row| row.kind == "server").count(), 0);

    // Mike has a node of his own, and does not follow.
    let done = changing(&gateway, Some(&token(&crew.capcom)), &wish(mike.0, "west")).send().await.unwrap();
    assert_eq!(json(done, StatusCode::OK).await, json_of!({ "account": mike, "node": "west", "told": 1 }));
    for told in [3, 0] {
        let done = changing(&gateway, Some(&token(&crew.capcom)), &wish(capcom.0, "south")).send().await.unwrap();
        assert_eq!(json(done, StatusCode::OK).await["told"], told);
    }
    for (path, node) in [
        (by_id(capcom.0), "south"),
        (by_id(neil.0), "south"),
        (by_imei("123456789012345"), "south"),
        ("/server/dispatcher/addr?account-name=capcom".into(), "south"),
        (format!("/server/dispatcher/addr?account-id={mike}&account-name=capcom"), "west"),
        (by_id(crew.alexei.user.0), "north"),
    ] {
        assert_eq!(ask(&gateway, &path).await, answer(node), "{path}");
    }
    let outbox = store.outbox(0, 100).await.unwrap();
    let told: Vec<String> = outbox.iter().filter(|row| row.kind == "server").map(|row| row.topic.to_string()).collect();
    let inboxes = [mike, neil, crew.buzz.user, capcom].map(|user| format!("u:{user}"));
    assert_eq!(told[..1], inboxes[..1]);
    assert_eq!(told[1..].iter().collect::<std::collections::BTreeSet<_>>(), inboxes[1..].iter().collect());
    let Some(Input::Notice(notice)) = outbox.last().unwrap().item.input.clone() else { panic!("{:?}", outbox.last()) };
    assert_eq!(notice.kind, MessageKind::ServerChanged as u32);
    let body: NoticeBody = prost::Message::decode(notice.body).unwrap();
    assert_eq!(body, NoticeBody { name: "south".to_owned(), ..NoticeBody::default() });
    let changes = store.changes(ChangesWanted { limit: 10, what: Some("account.moved".into()), ..Default::default() }).await.unwrap();
    let rows: Vec<String> = changes.iter().map(|row| format!("{} {} {} {}", row.who, row.subject, row.before, row.after["node"])).collect();
    let by = format!("account:{capcom}");
    assert_eq!(rows, [format!("{by} account:{capcom} null \"south\""), format!("{by} account:{mike} null \"west\"")]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_of_nodes_is_warned_of_once_and_the_last_good_one_stays() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let file = ground.path("nodes.toml");
    fs::write(&file, nodes(&["north", "south"])).unwrap();
    ground.store().await.move_account(crew.neil.user, "south", 5).await.unwrap();
    let port = crate::support::ports::free();
    let metrics = format!("127.0.0.1:{port}");
    let changes = [("gateway.nodes_file", file.to_str().unwrap()), ("metrics.gateway_listen", &metrics)];
    let mut served = Served::start(&ground, &changes, &[]);
    let http = client();
    let ask = async || {
        let path = format!("{}/server/dispatcher/addr?account-id={}", served.url, crew.neil.user);
        http.get(path).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let gauge = async |value: &str| {
        let text = http.get(format!("http://{metrics}/metrics")).send().await.ok()?.text().await.ok()?;
        text.contains(&format!("roger_nodes_file_good {value}\n")).then_some(())
    };
    assert_eq!(ask().await, answer("south"));
    eventually("the gauge is 1", || gauge("1")).await;

    fs::write(&file, nodes(&["north", "south"]).replace("ws://janus.south", "janus.south")).unwrap();
    eventually("the gauge is 0", || gauge("0")).await;
    assert_eq!(ask().await, answer("south"), "the last good file stays");
    fs::remove_file(&file).unwrap();
    let warned = format!("{}:13: \"janus.south\" must be a URL", file.display());
    wait_until("the file is missed", || served.log().contains("cannot read"));
    assert_eq!(served.log().matches(&warned).count(), 1, "{}", served.log());
    assert_eq!(ask().await, answer("south"));

    // Replaced without a moment of absence, as configuration management does it.
    fs::write(ground.path("nodes.new"), nodes(&["east", "west"])).unwrap();
    fs::rename(ground.path("nodes.new"), &file).unwrap();
    // South is gone, so Neil uses the default node.
    eventually("the new file is read", || async { (ask().await == answer("east")).then_some(()) }).await;
    eventually("the gauge is 1 again", || gauge("1")).await;
    served.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_asks_so_often_and_no_more() {
    let ground = Ground::new();
    let gateway = ground.start(&[("gateway.address_requests_per_min", "3")]).await;
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "/server/addr?imei=1").await, json_of!({ "server": null }), "without a file of nodes");
    }
    for path in ["/server/addr?imei=1", "/server/dispatcher/addr?account-id=1", "/releases/a/current?installation=1"] {
        let answer = gateway.get(path, None, &[]).await;
        assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 20);
        assert_eq!(refused(answer).await, refusal(429, "rate_limited", ""), "{path}");
    }
    gateway.stop().await;
}
