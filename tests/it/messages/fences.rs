//! Geofences the whole way: a radio reports where it is, and who has the geofence hears what it did there, once.

use roger::clock::Clock;
use roger::model::{TopicId, UserId};
use roger::proto::v1::location_service_client::LocationServiceClient;
use roger::proto::v1::{self, FenceEvent, UserKind};
use roger::store::Store;

use super::{Heard, Radio, hello};
use crate::support::company::{self, Desk, Somebody};
use crate::support::eventually;
use crate::support::fleet::{Fleet, FleetOptions};

const INSIDE: f64 = 45.27;
const OUTSIDE: f64 = 45.30;
const MINUTE_MS: u64 = 60_000;

fn notices(heard: &Heard) -> Vec<v1::FenceNotice> {
    let of = |entry: &v1::Entry| match &entry.notice {
        Some(v1::entry::Notice::FenceCrossed(notice)) => Some(notice.clone()),
        _ => None,
    };
    heard.entries.iter().filter_map(of).collect()
}

async fn on(fleet: &Fleet, who: &Somebody) -> Radio {
    let mut radio = Radio::open(&fleet.edge(0), hello(&who.login, 7)).await.unwrap();
    radio.follows(TopicId::inbox(UserId(who.id))).await;
    radio
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_hears_a_radio_come_stay_and_go_once_each() {
    let fleet = Fleet::start(FleetOptions { edges: 1, gps: 1, ..FleetOptions::default() });
    let store = Store::open(&format!("sqlite:{}", fleet.folder().join("roger.db").display())).unwrap();
    company::root(&store).await;
    let mut calls = Desk::at(&fleet.directory()).await;
    let root = calls.root().await;
    let top = calls.account(&root, UserKind::Company, "apollo").await;
    let first = calls.account(&top, UserKind::Dispatcher, "first").await;
    let second = calls.account(&top, UserKind::Dispatcher, "second").await;
    let radio = calls.radios(&top, &first, &["356938035643809"]).await.remove(0);
    let nickname = "643809".to_owned();

    let mut locations = LocationServiceClient::connect(fleet.directory()).await.unwrap();
    let circle = v1::Circle { latitude: INSIDE, longitude: 13.71, radius_m: 200.0 };
    let shape = Some(v1::geofence::Shape::Circle(circle));
    let yard = v1::Geofence { name: "yard".into(), shape, enter: true, leave: true, stay_ms: 5 * MINUTE_MS, ..Default::default() };
    let mut put = async |who: &Somebody, fence: v1::Geofence| {
        let request = v1::PutGeofenceRequest { token: who.token(), fence: Some(fence) };
        locations.put_geofence(request).await.unwrap().into_inner().fence_id
    };
    let of_first = put(&first, yard.clone()).await;
    put(&second, yard.clone()).await;
    let of_top = put(&top, v1::Geofence { enter: false, stay_ms: 0, ..yard }).await;

    let (mut desk, mut beside, mut above) = (on(&fleet, &first).await, on(&fleet, &second).await, on(&fleet, &top).await);
    let device = on(&fleet, &radio).await;
    let begin_ms = Clock::system().now_ms() - 60 * MINUTE_MS;
    let report = |minute: u64, latitude: f64| {
        let fix = v1::Fix { time_ms: begin_ms + minute * MINUTE_MS, latitude, longitude: 13.71, ..v1::Fix::default() };
        v1::Report { fix: Some(fix), ..v1::Report::default() }
    };
    let send = async |reports: Vec<v1::Report>| device.send(v1::ClientFrame { reports, ..v1::ClientFrame::default() }).await;
    let told = |fence_id, event: FenceEvent, minute: u64| v1::FenceNotice {
        fence_id,
        fence_name: "yard".into(),
        device_id: radio.id,
        nickname: nickname.clone(),
        event: event.into(),
        fix_ms: begin_ms + minute * MINUTE_MS,
    };
    let expected = [told(of_first, FenceEvent::Enter, 2), told(of_first, FenceEvent::Stay, 7), told(of_first, FenceEvent::Leave, 9)];
    let hears = async |desk: &mut Radio, count: usize| {
        let enough = |heard: &Heard| Some(notices(heard)).filter(|told| told.len() >= count);
        assert_eq!(desk.until(&format!("{count} notices"), enough).await, expected[..count]);
    };

    let (way_in, stays, way_out) =
        (vec![report(1, OUTSIDE), report(2, INSIDE)], vec![report(4, INSIDE), report(7, INSIDE)], vec![report(9, OUTSIDE)]);
    send(way_in.clone()).await;
    hears(&mut desk, 1).await;
    send(stays.clone()).await;
    hears(&mut desk, 2).await;
    send(way_out.clone()).await;
    hears(&mut desk, 3).await;
    // All of it again, and two that are late: inside, while it is known to be out.
    send([way_in, stays, way_out, vec![report(5, OUTSIDE), report(8, INSIDE)]].concat()).await;
    let day = Clock::system().now_ms() / 86_400_000;
    let taken = || async {
        let (today, before) = (store.fate(UserId(radio.id), day).await.unwrap(), store.fate(UserId(radio.id), day - 1).await.unwrap());
        let fates = [today, before].map(Option::unwrap_or_default);
        let sum = |of: fn(&roger::store::Fate) -> u64| fates.iter().map(of).sum::<u64>();
        Some(()).filter(|()| (sum(|fate| fate.stored), sum(|fate| fate.duplicate)) == (7, 5))
    };
    eventually("every report was taken in", taken).await;
    eventually("nothing waits for the relay", || async { store.outbox_first().await.unwrap().is_none().then_some(()) }).await;
    // A later one, which tells on: nothing was between.
    send(vec![report(11, INSIDE)]).await;
    let enough = |heard: &Heard| Some(notices(heard)).filter(|told| told.len() >= 4);
    let all = desk.until("it comes in again", enough).await;
    assert_eq!(all, [&expected[..], &[told(of_first, FenceEvent::Enter, 11)]].concat());
    // The account above hears what it wants; who stands beside nothing.
    let enough = |heard: &Heard| Some(notices(heard)).filter(|told| !told.is_empty());
    assert_eq!(above.until("it goes out", enough).await, [told(of_top, FenceEvent::Leave, 9)]);
    beside.beat().await;
    assert_eq!(notices(&beside.heard), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn geofences_are_added_listed_and_removed_at_the_command_line() {
    let fleet = Fleet::start(FleetOptions { edges: 1, ..FleetOptions::default() });
    let store = Store::open(&format!("sqlite:{}", fleet.folder().join("roger.db").display())).unwrap();
    company::root(&store).await;
    let mut calls = Desk::at(&fleet.directory()).await;
    let root = calls.root().await;
    let top = calls.account(&root, UserKind::Company, "apollo").await;
    let radio = calls.radios(&top, &top, &["356938035643809"]).await.remove(0);
    let roger = |args: &[&str]| fleet.roger(&[&["fence"], args].concat());
    assert_eq!(roger(&["list", "apollo"]).succeeded().stdout.trim(), "No geofences.");
    let circle = ["add", "apollo", "yard", "--circle", "-45.27,13.71,200", "--enter", "--stay", "90s"];
    let added = roger(&[&circle[..], &["--json"]].concat()).succeeded().json();
    let id = added["fence_id"].to_string();
    let corners = ["--corner", "10,170", "--corner", "10,-170", "--corner", "20,-170"];
    roger(&[&["add", "apollo", "Bering", "--leave"], &corners[..]].concat()).succeeded();
    roger(&["add", "apollo", "yard", "--id", &id, "--circle", "45.27,13.71,250.5", "--stay", "90s"]).succeeded();
    let listed = roger(&["list", "apollo", "--json"]).succeeded().json();
    let expected = serde_json::json!([
        { "id": added["fence_id"], "name": "yard", "circle": { "latitude": 45.27, "longitude": 13.71, "radius_m": 250.5 },
          "enter": false, "leave": false, "stay_ms": 90_000 },
        { "id": 2, "name": "Bering", "polygon": [[10.0, 170.0], [10.0, -170.0], [20.0, -170.0]], "enter": false, "leave": true, "stay_ms": 0 },
    ]);
    assert_eq!(listed, expected);
    let text = roger(&["list", "apollo"]).succeeded().stdout;
    assert!(text.contains("250.5 m around") && text.contains("3 corners from") && text.contains("stay 90 s"), "{text}");
    for wrong in [
        &["add", "apollo", "yard", "--circle", "45.27,13.71", "--enter"][..],
        &["add", "apollo", "yard", "--circle", "45.27,13.71,5", "--enter"],
        &["add", "apollo", "yard", "--circle", "45.27,13.71,200"],
        &["add", "apollo", "yard", "--enter"],
        &["add", "nobody", "yard", "--circle", "45.27,13.71,200", "--enter"],
        &["add", &radio.name, "yard", "--circle", "45.27,13.71,200", "--enter"],
        &["remove", "root", &id],
        &["remove", "apollo", "99"],
    ] {
        assert_ne!(roger(wrong).code, 0, "{wrong:?}");
    }
    roger(&["remove", "apollo", &id]).succeeded();
    assert_eq!(roger(&["list", "apollo", "--json"]).succeeded().json(), serde_json::json!([expected[1]]));
    let changes = fleet.roger(&["changes", "--what", "fence", "--json"]).succeeded().json();
    assert_eq!(changes["changes"].as_array().map(Vec::len), Some(4), "{changes}");
}
