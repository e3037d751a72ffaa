//! Phones with Traccar Client or OsmAnd, as they speak: their requests byte by byte, over bare sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::StatusCode;
use roger::clock::Clock;
use roger::model::UserKind;
use roger::proto::v1;
use roger::proto::v1::location_service_client::LocationServiceClient;
use roger::store::Store;
use roger::token::{Code, code_hash};
use serde_json::{Value, json};

use super::{Crew, Ground, refusal, refused};
use crate::support::company::{self, Desk, Somebody};
use crate::support::eventually;
use crate::support::fleet::{Fleet, FleetOptions};
use crate::support::mariadb::MariaDb;
use crate::support::redis::Redis;

const IMEI: &str = "356938035643809";

/// What Traccar Client 7 for Android sends: all is in the URL, and the connection stays.
fn traccar(host: &str, query: &str) -> String {
    format!(
        "POST /?{query} HTTP/1.1\r\nUser-Agent: Dalvik/2.1.0 (Linux; U; Android 14; Pixel 7 Build/UQ1A.240205.004)\r\nHost: {host}\r\n\
         Connection: Keep-Alive\r\nAccept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What OsmAnd sends, and what Traccar's own documentation shows.
fn osmand(host: &str, query: &str) -> String {
    format!(
        "GET /?{query} HTTP/1.1\r\nUser-Agent: OsmAnd~ 4.7.10\r\nHost: {host}\r\nConnection: Keep-Alive\r\nAccept-Encoding: gzip\r\n\r\n"
    )
}

/// What Traccar Client 9 sends.
fn json_of(host: &str, id: &str, timestamp: &str) -> String {
    let body = format!(
        "{{\"location\":{{\"timestamp\":\"{timestamp}\",\"coords\":{{\"latitude\":60.5,\"longitude\":30.5,\"accuracy\":4.1,\"speed\":1.5,\
         \"heading\":-1,\"altitude\":12.4}},\"is_moving\":true,\"odometer\":8.4,\"event\":\"motionchange\",\"battery\":{{\"level\":0.55,\
         \"is_charging\":false}},\"activity\":{{\"type\":\"walking\"}},\"extras\":{{}},\"_\":\"&id={id}\"}},\"device_id\":\"{id}\"}}"
    );
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {length}\r\nHost: {host}\r\n\
         Connection: Keep-Alive\r\nAccept-Encoding: gzip\r\nUser-Agent: okhttp/4.12.0\r\n\r\n{body}"
    )
}

/// The status and the JSON that a request is answered over a connection that stays open.
fn ask(host: &str, request: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut part) = (String::new(), [0; 4_096]);
    loop {
        let bytes = stream.read(&mut part).unwrap();
        assert!(bytes > 0, "the connection ended: {answer}");
        answer.push_str(std::str::from_utf8(&part[..bytes]).unwrap());
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
        if let Ok(json) = serde_json::from_str(body) {
            return (head.split(' ').nth(1).unwrap().parse().unwrap(), json);
        }
    }
}

/// A fleet with a gateway, a desk, and a radio of it whose owner has a phone too.
struct Stage {
    fleet: Fleet,
    host: String,
    desk: Somebody,
    radio: Somebody,
    /// What is typed into the app.
    id: String,
}

impl Stage {
    async fn new() -> Self {
        let fleet = Fleet::start(FleetOptions { edges: 1, gps: 1, sos: 1, gateway: true, ..FleetOptions::default() });
        company::root(&Store::open(&format!("sqlite:{}", fleet.folder().join("roger.db").display())).unwrap()).await;
        let mut calls = Desk::at(&fleet.directory()).await;
        let root = calls.root().await;
        let top = calls.account(&root, v1::UserKind::Company, "apollo").await;
        let desk = calls.account(&top, v1::UserKind::Dispatcher, "desk").await;
        let radio = calls.radios(&top, &desk, &[IMEI]).await.remove(0);
        let phone = fleet.roger(&["--json", "device", "phone", IMEI]).succeeded().json();
        assert_eq!(
            (phone["renewed"].as_bool(), phone["url"].as_str()),
            (Some(false), Some(format!("http://{}", fleet.gateway()).as_str()))
        );
        Self { host: fleet.gateway(), fleet, desk, radio, id: phone["id"].as_str().unwrap().to_owned() }
    }

    fn fate(&self) -> Value {
        self.fleet.roger(&["--json", "fate", IMEI, "today"]).succeeded().json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_where_its_app_says_and_calls_for_help() {
    let stage = Stage::new().await;
    let Stage { fleet, host, id, .. } = &stage;
    let now_s = Clock::system().now_ms() / 1_000 - 100;
    let rest = "speed=10.0&bearing=0.0&altitude=0.0&accuracy=10.0&batt=57.0";
    let stored = |(status, answer): (u16, Value)| {
        assert_eq!((status, &answer["stored"], &answer["refused"]), (200, &json!(1), &json!([])), "{answer}");
        assert_eq!(answer["durability"], "fsync");
    };
    stored(ask(host, &traccar(host, &format!("id={id}&timestamp={now_s}&lat=60.0&lon=30.0&{rest}"))));
    stored(ask(host, &osmand(host, &format!("id={}&timestamp={}&location=60.25,30.25&hdop=3", id.to_lowercase(), now_s * 1_000 + 1_500))));
    let iso = time::OffsetDateTime::from_unix_timestamp(i64::try_from(now_s + 10).unwrap()).unwrap();
    let iso = iso.format(&time::format_description::well_known::Iso8601::DEFAULT).unwrap();
    stored(ask(host, &json_of(host, id, &iso)));

    let locations = LocationServiceClient::connect(fleet.directory()).await.unwrap();
    let request = v1::GetGpsDataRequest { token: stage.desk.token(), device_ids: vec![stage.radio.id], ..Default::default() };
    let device = eventually("the phone is known at its desk", async || {
        let answer = locations.clone().get_gps_data(request.clone()).await.unwrap().into_inner();
        answer.devices.into_iter().next().filter(|device| device.position.as_ref().is_some_and(|position| position.latitude == 60.5))
    })
    .await;
    let position = device.position.unwrap();
    assert_eq!((position.longitude, position.speed_mps, position.course_deg, device.battery_percent), (30.5, Some(1.5), None, Some(55)));
    let to_ms = (now_s + 1_000) * 1_000;
    let request = v1::GetGpsForTraceRequest { token: stage.desk.token(), device_ids: vec![stage.radio.id], to_ms, ..Default::default() };
    let points = eventually("all three are in the trace", async || {
        let points = locations.clone().get_gps_for_trace(request.clone()).await.unwrap().into_inner().points;
        (points.len() == 3).then_some(points)
    })
    .await;
    let found: Vec<_> = points.iter().map(|point| (point.fix_ms, point.latitude, point.longitude)).collect();
    let at_ms = now_s * 1_000;
    assert_eq!(found, [(at_ms, 60.0, 30.0), (at_ms + 1_500, 60.25, 30.25), (at_ms + 10_000, 60.5, 30.5)]);
    assert_eq!((points[0].speed_mps, points[0].battery_percent, points[1].speed_mps), (Some(5.144_444_5), Some(57), None));

    // The shortcut of the app for SOS sends the fix it has, and the word.
    stored(ask(host, &traccar(host, &format!("id={id}&timestamp={}&lat=60.75&lon=30.75&{rest}&alarm=sos", now_s + 20))));
    let alert = eventually("an alert is open", async || {
        let open = fleet.roger(&["--json", "alerts", "list", "--open"]).succeeded().json();
        open.as_array().and_then(|open| open.first().cloned())
    })
    .await;
    assert_eq!((alert["device_id"].as_u64(), alert["position"]["latitude"].as_f64()), (Some(stage.radio.id), Some(60.75)), "{alert}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_report_is_told_by_name_and_counted_and_blocks_nothing() {
    let stage = Stage::new().await;
    let Stage { host, id, .. } = &stage;
    let now_s = Clock::system().now_ms() / 1_000;
    let wrong = [
        (format!("timestamp={now_s}&lat=91.0&lon=30.0"), "fix.latitude", "field_invalid"),
        (format!("timestamp={now_s}&lat=60.0&lon=east"), "fix.longitude", "field_invalid"),
        (format!("timestamp={now_s}&lat=0.0&lon=0.0"), "fix.latitude", "field_missing"),
        ("timestamp=yesterday&lat=60.0&lon=30.0".to_owned(), "fix.time_ms", "field_invalid"),
        ("lat=60.0&lon=30.0".to_owned(), "fix.time_ms", "field_missing"),
        (format!("timestamp={now_s}&mock=true"), "fix", "field_missing"),
    ];
    for (query, field, reason) in &wrong {
        let (status, answer) = ask(host, &traccar(host, &format!("id={id}&{query}")));
        let refused = json!([{ "field": field, "reason": reason }]);
        assert_eq!((status, &answer["stored"], &answer["refused"]), (200, &json!(0), &refused), "{query}: {answer}");
    }
    let flagged = ask(host, &traccar(host, &format!("id={id}&timestamp={now_s}&lat=60.0&lon=30.0&speed=-1.0&batt=300")));
    assert_eq!((flagged.0, &flagged.1["stored"], &flagged.1["flags"]), (200, &json!(1), &json!(["speed_ignored", "battery_ignored"])));
    // What had no answer is sent again.
    assert_eq!(ask(host, &traccar(host, &format!("id={id}&timestamp={now_s}&lat=60.0&lon=30.0&speed=-1.0&batt=300"))).0, 200);
    let fate = eventually("all is counted", async || Some(stage.fate()).filter(|fate| fate["received"] == 8)).await;
    let counts = ["stored", "duplicate", "refused"].map(|key| fate[key].as_u64().unwrap());
    assert_eq!((counts, fate["adds_up"].as_bool()), ([1, 1, 6], Some(true)), "{fate}");
    let refusals = fate["refusals"].as_array().unwrap();
    assert!(refusals.iter().any(|refusal| refusal["field"] == "fix.longitude" && refusal["reports"] == 1), "{fate}");
}

/// A gateway over a Redis of its own, and a phone of neil's.
async fn alone(changes: &[(&'static str, &str)]) -> (Redis, Ground, Crew, super::Running, String) {
    alone_on(Ground::new(), changes).await
}

async fn alone_on(ground: Ground, changes: &[(&'static str, &str)]) -> (Redis, Ground, Crew, super::Running, String) {
    let redis = Redis::start();
    let crew = Crew::of(&ground).await;
    let code = Code::random();
    assert!(!ground.store().await.enrol_phone(crew.neil.user, code.hash()).await.unwrap());
    let url = redis.url();
    let gateway = ground.start(&[&[("redis.url", url.as_str())], changes].concat()).await;
    (redis, ground, crew, gateway, code.text())
}

fn report(id: &str) -> String {
    format!("/?id={id}&timestamp=1795491323&lat=60.0&lon=30.0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_void_within_seconds_of_another_one_or_none() {
    let (_redis, ground, crew, gateway, first) = alone(&[]).await;
    let store = ground.store().await;
    let good = async |id: &str| gateway.get(&report(id), None, &[]).await.status() == StatusCode::OK;
    let void = async |id: &str| {
        eventually("the secret is void", async || {
            let answer = gateway.get(&report(id), None, &[]).await;
            (answer.status() != StatusCode::OK).then_some(())
        })
        .await;
        assert_eq!(refused(gateway.get(&report(id), None, &[]).await).await, refusal(403, "phone_unknown", "id"));
    };
    assert!(good(&first).await && good(&first.replace('-', "").to_lowercase()).await);
    let second = Code::random();
    assert!(store.enrol_phone(crew.neil.user, second.hash()).await.unwrap(), "the first one is void");
    assert!(good(&second.text()).await);
    void(&first).await;
    store.set_disabled(crew.neil.user, true).await.unwrap();
    void(&second.text()).await;
    store.set_disabled(crew.neil.user, false).await.unwrap();
    assert!(good(&second.text()).await);
    assert!(store.revoke_phone(crew.neil.user).await.unwrap());
    assert!(!store.revoke_phone(crew.neil.user).await.unwrap());
    void(&second.text()).await;
    // The name of the account is no secret, and only devices have phones.
    for id in ["neil", &crew.neil.user.to_string(), &"x".repeat(100)] {
        assert_eq!(refused(gateway.get(&report(id), None, &[]).await).await, refusal(403, "phone_unknown", "id"));
    }
    assert_eq!(crew.capcom.kind, UserKind::Dispatcher);
    assert!(store.enrol_phone(crew.capcom.user, code_hash("x")).await.is_err());
    assert_eq!(refused(gateway.get("/?lat=1&lon=1", None, &[]).await).await, refusal(422, "field_missing", "id"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_counted_by_address_and_reports_by_phone_but_not_sos() {
    let changes = [("gateway.address_requests_per_min", "5"), ("gateway.phone_reports_per_min", "3")];
    let (_redis, _ground, _crew, gateway, id) = alone(&changes).await;
    assert_eq!(gateway.get(&report(&id), None, &[]).await.status(), StatusCode::OK);
    for _ in 0..4 {
        assert_eq!(refused(gateway.get(&report("guess"), None, &[]).await).await, refusal(403, "phone_unknown", "id"));
    }
    assert_eq!(refused(gateway.get(&report("guess"), None, &[]).await).await, refusal(429, "rate_limited", ""));
    // A phone that is known is not in the same boat.
    for _ in 0..2 {
        assert_eq!(gateway.get(&report(&id), None, &[]).await.status(), StatusCode::OK);
    }
    let limited = gateway.get(&report(&id), None, &[]).await;
    assert!(limited.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(refused(limited).await, refusal(429, "rate_limited", ""));
    assert_eq!(gateway.get(&format!("{}&alarm=sos", report(&id)), None, &[]).await.status(), StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_bounds() {
    let (_redis, _ground, _crew, gateway, id) = alone(&[]).await;
    let long = format!("{}&note={}", report(&id), "x".repeat(5_000));
    assert_eq!(refused(gateway.get(&long, None, &[]).await).await, refusal(413, "too_large", "query"));
    assert_eq!(refused(gateway.post("/", None, "x".repeat(20_000)).await).await, refusal(413, "too_large", "body"));
    assert_eq!(refused(gateway.post("/", None, "{\"device_id\":").await).await, refusal(400, "field_invalid", "body"));
    let form = gateway.post("/", None, report(&id)[2..].to_owned()).await;
    assert_eq!(form.status(), StatusCode::OK, "a form");
    gateway.stop().await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_phone_keeps_what_it_has_while_redis_is_away_and_the_rest_is_served() {
        let (mut redis, _ground, _crew, gateway, id) = alone(&[]).await;
        assert_eq!(gateway.get(&report(&id), None, &[]).await.status(), StatusCode::OK);
        redis.kill();
        for path in [report(&id), format!("{}&alarm=sos", report(&id))] {
            let answer = gateway.get(&path, None, &[]).await;
            assert_eq!(answer.headers()["retry-after"], "5");
            assert_eq!(refused(answer).await, refusal(503, "store_unavailable", ""));
        }
        assert_eq!(gateway.get("/healthz", None, &[]).await.status(), StatusCode::OK);
        assert_eq!(gateway.get("/server/addr?imei=356938035643809", None, &[]).await.status(), StatusCode::OK);
        redis.restart();
        assert_eq!(gateway.get(&report(&id), None, &[]).await.status(), StatusCode::OK);
        gateway.stop().await;
        // Those whose answers did not come are there too: they were taken in, and are duplicates.
        assert_ne!(redis.cli(&["XLEN", "fix"]), "0");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_phone_that_is_known_reports_while_sql_is_away() {
        let server = MariaDb::start();
        let ground = Ground::on(&server.fleet_url());
        let (_redis, ground, crew, gateway, id) = alone_on(ground, &[("sql.statement_timeout_ms", "1000")]).await;
        let other = Code::random();
        ground.store().await.enrol_phone(crew.buzz.user, other.hash()).await.unwrap();
        // MariaDB has one second for each of its answers.
        let known = async || (gateway.get(&report(&id), None, &[]).await.status() == StatusCode::OK).then_some(());
        eventually("the phone is known", known).await;
        server.stop();
        // Longer than it is taken without asking.
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(gateway.get(&report(&id), None, &[]).await.status(), StatusCode::OK);
        assert_eq!(gateway.get(&format!("{}&alarm=sos", report(&id)), None, &[]).await.status(), StatusCode::OK);
        let unseen = gateway.get(&report(&other.text()), None, &[]).await;
        assert_eq!(refused(unseen).await, refusal(503, "store_unavailable", ""));
        server.resume();
        eventually("the other one is found", async || {
            (gateway.get(&report(&other.text()), None, &[]).await.status() == StatusCode::OK).then_some(())
        })
        .await;
        gateway.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_gateway_starts_without_redis() {
        let ground = Ground::new();
        let crew = Crew::of(&ground).await;
        let code = Code::random();
        ground.store().await.enrol_phone(crew.neil.user, code.hash()).await.unwrap();
        let gateway = ground.start(&[("redis.url", "redis://127.0.0.1:1/0")]).await;
        let answer = gateway.get(&report(&code.text()), None, &[]).await;
        assert_eq!(refused(answer).await, refusal(503, "store_unavailable", ""));
        assert_eq!(gateway.get("/server/addr?imei=356938035643809", None, &[]).await.status(), StatusCode::OK);
        gateway.stop().await;
    }
}
