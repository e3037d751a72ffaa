//! Access points: those of a tenant are nobody else's, good fixes teach each once, and who hears them is placed.

use roger::location::frame::{Fix, FixFrame, Heard, Received, Scan};
use roger::location::{Degrees, TraceRow, address_of};
use roger::model::{TenantId, UserId};
use roger::store::{Error, Store, WifiChange, WifiPoint};

use super::{Database, over_both};

over_both!(points_belong_to_their_tenant, a_good_fix_teaches_once_and_never_over_what_was_posted, who_hears_known_points_is_placed,);

const POINTS: [&str; 3] = ["00:1a:2b:3c:4d:5e", "00:1a:2b:3c:4d:5f", "f0:1a:2b:3c:4d:60"];
const APOLLO: TenantId = TenantId(1);
const SOYUZ: TenantId = TenantId(2);

fn point(at: usize, latitude: &str, longitude: &str) -> WifiPoint {
    WifiPoint {
        bssid: address_of(POINTS[at]).unwrap(),
        latitude: Degrees::parse(latitude, 90).unwrap(),
        longitude: Degrees::parse(longitude, 180).unwrap(),
        description: format!("point {at}"),
        learned: false,
    }
}

async fn all(store: &Store, tenant: TenantId) -> Vec<WifiPoint> {
    store.wifi_points(tenant, 0, 100).await.unwrap()
}

async fn points_belong_to_their_tenant(database: &Database) {
    let store = &database.store;
    let ours = vec![point(0, "45.273518851012345", "-13.719999999999999"), point(1, "-90", "180")];
    store.change_wifi_points(APOLLO, WifiChange::Save, ours.clone()).await.unwrap();
    assert_eq!(all(store, APOLLO).await, ours);
    assert_eq!(all(store, SOYUZ).await, []);
    // The same address elsewhere is another point.
    store.change_wifi_points(SOYUZ, WifiChange::Save, vec![point(0, "1", "2")]).await.unwrap();
    assert_eq!(all(store, APOLLO).await, ours);
    // All or none.
    let taken = store.change_wifi_points(APOLLO, WifiChange::Save, vec![point(2, "1", "1"), point(0, "1", "1")]).await;
    assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
    let foreign = store.change_wifi_points(SOYUZ, WifiChange::Delete, vec![point(0, "0", "0"), point(1, "0", "0")]).await;
    assert!(matches!(foreign, Err(Error::NotPermitted { .. })), "{foreign:?}");
    assert_eq!((all(store, APOLLO).await, all(store, SOYUZ).await.len()), (ours.clone(), 1));

    let moved = point(1, "10.5", "11.5");
    store.change_wifi_points(APOLLO, WifiChange::Update, vec![moved.clone()]).await.unwrap();
    store.change_wifi_points(APOLLO, WifiChange::Delete, vec![point(0, "0", "0")]).await.unwrap();
    assert_eq!(all(store, APOLLO).await, [moved]);
    assert_eq!(store.wifi_points(APOLLO, address_of(POINTS[1]).unwrap(), 100).await.unwrap(), []);
    let long = WifiPoint { description: "x".repeat(201), ..point(2, "1", "1") };
    let refused = store.change_wifi_points(APOLLO, WifiChange::Save, vec![long]).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "points.description", .. })), "{refused:?}");
    let noted =
        store.changes(roger::store::ChangesWanted { what: Some("wifi".to_owned()), limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(
        noted.iter().map(|change| change.what.as_str()).collect::<Vec<_>>(),
        ["wifi.deleted", "wifi.updated", "wifi.saved", "wifi.saved"]
    );
    assert_eq!(noted[3].after[0]["latitude"], "45.273518851012345");
}

fn frame(number: u64, fixes: Vec<Fix>) -> FixFrame {
    let received = vec![Received { device: 7, count: fixes.len() as u64 }];
    FixFrame { producer: 1, number, arrival_ms: 1, fixes, received, ..FixFrame::default() }
}

/// A report that hears points at levels; with a fix when it says where.
fn report(fix_ms: u64, at: Option<(f64, f64)>, heard: &[(usize, i32)]) -> Fix {
    let wifi = heard.iter().map(|(at, level_dbm)| Heard { address: address_of(POINTS[*at]).unwrap(), level_dbm: *level_dbm }).collect();
    let scan = Some(Scan { wifi, ..Scan::default() });
    let (latitude, longitude) = at.unwrap_or_default();
    Fix {
        device: 7,
        tenant: 1,
        fix_ms,
        source: u32::from(at.is_some()),
        latitude,
        longitude,
        accuracy_m: Some(5.0),
        scan,
        ..Fix::default()
    }
}

async fn a_good_fix_teaches_once_and_never_over_what_was_posted(database: &Database) {
    let store = &database.store;
    let posted = point(0, "45", "13");
    store.change_wifi_points(APOLLO, WifiChange::Save, vec![posted.clone()]).await.unwrap();
    let lesson = frame(1, vec![report(1, Some((45.001, 13.001)), &[(0, -50), (1, -50)])]);
    let vague = Fix { accuracy_m: Some(80.0), ..report(2, Some((46.0, 14.0)), &[(2, -50)]) };
    let unknown = Fix { accuracy_m: None, ..report(3, Some((46.0, 14.0)), &[(2, -50)]) };
    // Who is not to teach does not.
    store.take_fixes(vec![frame(9, vec![report(9, Some((45.0, 13.0)), &[(2, -50)])])]).await.unwrap();
    assert_eq!(all(store, APOLLO).await, std::slice::from_ref(&posted));
    for _ in 0..2 {
        store.take_fixes_and(vec![lesson.clone(), frame(2, vec![vague.clone(), unknown.clone()])], true).await.unwrap();
    }
    // Said again in another frame it is a duplicate, which teaches nothing.
    store.take_fixes_and(vec![frame(3, lesson.fixes.clone())], true).await.unwrap();
    let known = all(store, APOLLO).await;
    assert_eq!((known.len(), &known[0], known[1].learned), (2, &posted, true), "{known:?}");
    assert!((known[1].latitude.degrees() - 45.001).abs() < 1e-9, "{known:?}");
    // A little to the north, as near: the point moves half of it.
    store.take_fixes_and(vec![frame(4, vec![report(4, Some((45.0012, 13.001)), &[(1, -50)])])], true).await.unwrap();
    let known = all(store, APOLLO).await;
    assert!((known[1].latitude.degrees() - 45.0011).abs() < 1e-6, "{known:?}");
    assert_eq!(all(store, SOYUZ).await, []);
    // Somebody knows better.
    store.change_wifi_points(APOLLO, WifiChange::Save, vec![point(1, "44", "12")]).await.unwrap();
    assert_eq!(all(store, APOLLO).await[1], point(1, "44", "12"));
}

async fn who_hears_known_points_is_placed(database: &Database) {
    let store = &database.store;
    store.change_wifi_points(APOLLO, WifiChange::Save, vec![point(0, "45", "13"), point(1, "45.0002", "13")]).await.unwrap();
    store.change_wifi_points(SOYUZ, WifiChange::Save, vec![point(2, "50", "20")]).await.unwrap();
    let mut frames = vec![frame(
        1,
        vec![
            report(1, None, &[(0, -60), (1, -60), (2, -40)]),
            report(2, None, &[(2, -40)]),
            report(3, Some((46.0, 14.0)), &[(0, -60)]),
            Fix { scan: None, ..report(4, None, &[]) },
        ],
    )];
    assert_eq!(store.place_by_wifi(&mut frames).await.unwrap(), 1);
    let fixes = &frames[0].fixes;
    assert_eq!(fixes.iter().map(|fix| fix.source).collect::<Vec<_>>(), [2, 0, 1, 0]);
    assert!((fixes[0].latitude - 45.0001).abs() < 1e-6 && fixes[0].accuracy_m.unwrap() >= 10.0, "{:?}", fixes[0]);
    store.take_fixes(frames).await.unwrap();
    let traced = async |wifi| store.trace_page(&[UserId(7)], 0, 100, wifi, None, 10).await.unwrap();
    let times = |rows: &[TraceRow]| rows.iter().map(|row| row.key.fix_ms).collect::<Vec<_>>();
    assert_eq!((times(&traced(true).await), times(&traced(false).await)), (vec![1, 3], vec![3]));
}
