//! Geofences: whose they are, and what fixes tell there, once and to their owners.

use roger::location::Flag;
use roger::location::fence::{Fence, Shape};
use roger::location::frame::{Fix, FixFrame};
use roger::model::FenceEvent::{self, Enter, Leave, Stay};
use roger::model::{FenceId, MessageKind, TopicId, UserId};
use roger::store::{ChangesWanted, Error, FENCE_CORNERS_MAX, FENCES_MAX, Store};
use roger::topic::frame::{InItem, Input, NoticeBody};
use sqlx::{Connection as _, MySqlConnection, SqliteConnection};

use super::devices::{imei, stock};
use super::directory::drain;
use super::tree::{Tree, by, not_permitted, tree};
use super::{Database, over_both};

over_both!(
    an_account_has_its_own_geofences,
    a_geofence_has_bounds,
    every_account_above_is_told_once,
    frames_that_come_again_or_late_tell_nothing,
    a_device_that_changed_hands_is_told_to_whom_it_is_of,
    what_is_changed_or_deleted_counts_from_then_on,
    two_programs_with_one_device_tell_once,
    one_that_cannot_be_read_stops_no_fix,
);

const INSIDE: f64 = 45.0;
const OUTSIDE: f64 = 46.0;

fn yard(name: &str, stay_ms: u64) -> Fence {
    let shape = Shape::Circle { latitude: INSIDE, longitude: -179.9999, radius_m: 500.0 };
    Fence { id: FenceId(0), name: name.to_owned(), shape, enter: true, leave: true, stay_ms }
}

fn polygon(corners: usize) -> Fence {
    let corner = |at: usize| (40.0 + at as f64 / 1e4, if at.is_multiple_of(2) { 13.0 } else { 14.0 });
    Fence { shape: Shape::Polygon((0..corners).map(corner).collect()), ..yard("polygon", 0) }
}

fn fix(device: UserId, fix_ms: u64, latitude: f64) -> Fix {
    Fix { device: device.0, tenant: 1, fix_ms, source: 1, latitude, longitude: 179.9999, ..Fix::default() }
}

fn frame(number: u64, fixes: impl IntoIterator<Item = Fix>) -> FixFrame {
    FixFrame { producer: 7, number, arrival_ms: 86_400_000, fixes: fixes.into_iter().collect(), ..FixFrame::default() }
}

/// What the outbox has to tell: to whom, at which geofence, of which device, what, and of which fix.
type Told = (TopicId, u64, u64, FenceEvent, u64);

fn told_of(item: InItem) -> Option<(Told, NoticeBody)> {
    let Some(Input::Notice(notice)) = item.input else { return None };
    if notice.kind != MessageKind::FenceCrossed as u32 {
        return None;
    }
    let body: NoticeBody = prost::Message::decode(notice.body).unwrap();
    let event = FenceEvent::from_number(body.event).unwrap();
    Some(((TopicId::from_packed(notice.topic).unwrap(), body.fence, body.user, event, body.time_ms), body))
}

/// Takes frames in, and returns what they tell.
async fn take(store: &Store, frames: Vec<FixFrame>) -> Vec<Told> {
    let crossings = store.take_fixes(frames).await.unwrap().crossings;
    let told: Vec<Told> = drain(store).await.into_iter().filter_map(told_of).map(|(told, _)| told).collect();
    assert_eq!(told.len() as u64, crossings);
    told
}

/// Puts rows of geofences into the table, whatever their shapes.
async fn plant(database: &Database, account: UserId, count: u64, shape: &str) {
    let row = |id: u64| format!("({}, {account}, 'planted', '{shape}', 3, 0, 0, 0)", 1_000_000 + id);
    let rows: Vec<String> = (0..count).map(row).collect();
    let columns = "id, account, name, shape, tell, stay_ms, deleted_ms, corners";
    let sql = format!(
        "INSERT INTO fence ({columns}) VALUES {}; UPDATE counter SET value = value + 1 WHERE name = 'fence_change'",
        rows.join(", ")
    );
    let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
    if database.url.starts_with("sqlite") {
        sql.execute(&mut SqliteConnection::connect(&database.url).await.unwrap()).await.unwrap();
    } else {
        sql.execute(&mut MySqlConnection::connect(&database.url).await.unwrap()).await.unwrap();
    }
}

async fn an_account_has_its_own_geofences(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, ann, bob, rival, .. } = tree(store).await;
    let [device] = stock(store, ann, 1..2).await[..] else { panic!("one") };
    let own = by(store, ann);
    let first = own.put_fence(ann, yard("yard", 5)).await.unwrap();
    let second = own.put_fence(ann, polygon(4)).await.unwrap();
    assert_eq!((first, second), (FenceId(1), FenceId(2)));
    let listed = own.fences(ann, FenceId(0), 10).await.unwrap();
    assert_eq!(listed, [Fence { id: first, ..yard("yard", 5) }, Fence { id: second, ..polygon(4) }]);
    assert_eq!(own.fences(ann, first, 10).await.unwrap(), listed[1..]);
    assert_eq!(own.fences(ann, FenceId(0), 1).await.unwrap(), listed[..1]);

    // Whoever stands beside, or below; and what is not there.
    for foreign in [bob, rival, device] {
        not_permitted(by(store, foreign).put_fence(ann, yard("mine", 0)).await);
        not_permitted(by(store, foreign).delete_fence(ann, first).await);
        not_permitted(by(store, foreign).fences(ann, FenceId(0), 10).await);
        not_permitted(by(store, foreign).put_fence(foreign, Fence { id: first, ..yard("mine", 0) }).await);
        not_permitted(by(store, foreign).delete_fence(foreign, first).await);
    }
    not_permitted(own.put_fence(ann, Fence { id: FenceId(99), ..yard("none", 0) }).await);
    not_permitted(own.delete_fence(ann, FenceId(99)).await);
    not_permitted(own.put_fence(device, yard("of a radio", 0)).await);
    assert_eq!(own.fences(ann, FenceId(0), 10).await.unwrap(), listed);
    // Accounts above manage it as well.
    for above in [acme, root] {
        let changed = Fence { id: first, name: format!("by {above}"), leave: false, ..yard("", 0) };
        assert_eq!(by(store, above).put_fence(ann, changed.clone()).await.unwrap(), first);
        assert_eq!(own.fences(ann, FenceId(0), 1).await.unwrap(), [changed]);
    }
    own.delete_fence(ann, first).await.unwrap();
    not_permitted(own.delete_fence(ann, first).await);
    not_permitted(own.put_fence(ann, Fence { id: first, ..yard("again", 0) }).await);
    assert_eq!(own.fences(ann, FenceId(0), 10).await.unwrap(), listed[1..]);

    let wanted = ChangesWanted { what: Some("fence".into()), limit: 9, ..ChangesWanted::default() };
    let changes = store.changes(wanted).await.unwrap();
    let said: Vec<(&str, &str, &str)> =
        changes.iter().map(|change| (change.what.as_str(), change.subject.as_str(), change.who.as_str())).collect();
    let [by_ann, by_acme, by_root] = [ann, acme, root].map(|account| format!("account:{account}"));
    let expected = [
        ("fence.removed", "fence:1", by_ann.as_str()),
        ("fence.changed", "fence:1", &by_root),
        ("fence.changed", "fence:1", &by_acme),
        ("fence.added", "fence:2", &by_ann),
        ("fence.added", "fence:1", &by_ann),
    ];
    assert_eq!(said, expected);
    assert_eq!((&changes[0].before["fence"]["circle"]["radius_m"], changes[0].after.is_null()), (&500.0.into(), true));
}

async fn a_geofence_has_bounds(database: &Database) {
    let store = &database.store;
    let Tree { ann, bob, .. } = tree(store).await;
    let invalid = store.put_fence(ann, Fence { name: String::new(), ..yard("", 0) }).await;
    assert!(matches!(invalid, Err(Error::Invalid { field: "fence.name", .. })), "{invalid:?}");
    let invalid = store.put_fence(ann, polygon(1_001)).await;
    assert!(matches!(invalid, Err(Error::Invalid { field: "fence.polygon.corners", .. })), "{invalid:?}");
    // The widest there are, as they are written, fit into every column.
    let sliver = |at: usize| (-89.123_456_789_012_34 + at as f64 / 1e9, if at.is_multiple_of(2) { -179.123_456_789_012_3 } else { -178.0 });
    let wide = Fence { name: "ü".repeat(100), shape: Shape::Polygon((0..1_000).map(sliver).collect()), ..yard("", u64::MAX) };
    let last = FENCE_CORNERS_MAX / 1_000;
    for number in 1..=last {
        assert_eq!(store.put_fence(ann, wide.clone()).await.unwrap(), FenceId(number));
    }
    let stored = store.fences(ann, FenceId(last - 1), 10).await.unwrap();
    assert_eq!(stored, [Fence { id: FenceId(last), ..wide.clone() }]);
    let full = store.put_fence(ann, polygon(3)).await;
    assert!(matches!(full, Err(Error::Full { max: FENCE_CORNERS_MAX, .. })), "{full:?}");
    // One may be changed at the bound, and a circle has no corners.
    store.put_fence(ann, Fence { id: FenceId(1), ..wide }).await.unwrap();
    store.put_fence(ann, Fence { id: FenceId(2), ..polygon(3) }).await.unwrap();
    store.put_fence(ann, yard("yard", 0)).await.unwrap();

    let some = Fence { id: store.put_fence(bob, yard("yard", 0)).await.unwrap(), ..yard("yard", 0) };
    plant(database, bob, FENCES_MAX - 1, "{}").await;
    let full = store.put_fence(bob, yard("one more", 0)).await;
    assert!(matches!(full, Err(Error::Full { max: FENCES_MAX, .. })), "{full:?}");
    store.put_fence(bob, Fence { name: "changed".into(), ..some.clone() }).await.unwrap();
    store.delete_fence(bob, some.id).await.unwrap();
    store.put_fence(bob, yard("one more", 0)).await.unwrap();
}

async fn every_account_above_is_told_once(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, south, ann, bob, rival } = tree(store).await;
    let [of_ann, also] = stock(store, ann, 1..3).await[..] else { panic!("two") };
    let [of_bob] = stock(store, bob, 3..4).await[..] else { panic!("one") };
    drain(store).await;
    // Before there is any geofence.
    assert_eq!(take(store, vec![frame(0, [fix(also, 10, INSIDE)])]).await, []);
    let mut at = std::collections::BTreeMap::new();
    for (account, stay_ms) in [(ann, 100), (south, 0), (acme, 0), (root, 0), (bob, 0), (rival, 0)] {
        at.insert(account, store.put_fence(account, yard("yard", stay_ms)).await.unwrap().0);
    }
    let of = |account: UserId, device: UserId, event, fix_ms| (TopicId::inbox(account), at[&account], device.0, event, fix_ms);
    // Outside, and what does not count; then in, out and in between two devices, in the order of time whatever that of the frames.
    let ahead = Fix { flags: Flag::ClockAhead.bit(), ..fix(of_ann, 5_000, INSIDE) };
    assert_eq!(take(store, vec![frame(1, [fix(of_ann, 20, OUTSIDE), ahead, Fix { source: 0, ..fix(of_ann, 25, INSIDE) }])]).await, []);
    let told = take(
        store,
        vec![
            frame(3, [fix(of_ann, 35, OUTSIDE), fix(of_bob, 31, INSIDE)]),
            frame(2, [fix(of_ann, 30, INSIDE), fix(UserId(99), 30, INSIDE)]),
        ],
    );
    let mut expected: Vec<Told> = [ann, south, acme, root].map(|account| of(account, of_ann, Enter, 30)).to_vec();
    expected.extend([acme, root, bob].map(|account| of(account, of_bob, Enter, 31)));
    expected.extend([ann, south, acme, root].map(|account| of(account, of_ann, Leave, 35)));
    let told = told.await;
    assert!(told.is_sorted_by_key(|told| told.4));
    let sorted = |mut told: Vec<Told>| {
        told.sort_by_key(|(topic, _, device, _, fix_ms)| (*fix_ms, *device, *topic));
        told
    };
    assert_eq!(sorted(told), sorted(expected));
    // Staying is told by who wants it, once.
    let told = take(store, vec![frame(4, [fix(also, 40, INSIDE), fix(also, 139, INSIDE)]), frame(5, [fix(also, 140, INSIDE)])]).await;
    assert_eq!(told.iter().filter(|told| told.3 == Enter).count(), 4);
    assert_eq!(told.iter().filter(|told| told.3 != Enter).collect::<Vec<_>>(), [&of(ann, also, Stay, 140)]);
    assert_eq!(take(store, vec![frame(6, [fix(also, 900, INSIDE)])]).await, []);

    // The notice says what the device is called then.
    store.take_fixes(vec![frame(7, [fix(also, 901, OUTSIDE)])]).await.unwrap();
    let (_, body) = drain(store).await.into_iter().filter_map(told_of).next().unwrap();
    let expected = NoticeBody { name: "yard".into(), nickname: imei(2).last_six().into(), user: also.0, ..NoticeBody::default() };
    assert_eq!(NoticeBody { fence: 0, event: 0, time_ms: 0, ..body }, expected);
}

async fn frames_that_come_again_or_late_tell_nothing(database: &Database) {
    let store = &database.store;
    let Tree { ann, .. } = tree(store).await;
    let [device] = stock(store, ann, 1..2).await[..] else { panic!("one") };
    let fence = store.put_fence(ann, yard("yard", 0)).await.unwrap();
    drain(store).await;
    let of = |event, fix_ms| (TopicId::inbox(ann), fence.0, device.0, event, fix_ms);
    let first = frame(1, [fix(device, 10, INSIDE)]);
    assert_eq!(take(store, vec![first.clone(), first.clone()]).await, [of(Enter, 10)]);
    assert_eq!(take(store, vec![first.clone()]).await, []);
    // The same fixes in other frames; late ones, in and out; one of the very time.
    assert_eq!(take(store, vec![frame(2, [fix(device, 10, INSIDE)])]).await, []);
    assert_eq!(take(store, vec![frame(3, [fix(device, 8, OUTSIDE), fix(device, 9, INSIDE)])]).await, []);
    assert_eq!(take(store, vec![frame(4, [Fix { source: 2, ..fix(device, 10, OUTSIDE) }])]).await, []);
    // Another place of the same time was refused, and is not where it is.
    assert_eq!(take(store, vec![frame(5, [fix(device, 20, INSIDE), fix(device, 20, OUTSIDE)])]).await, []);
    assert_eq!(take(store, vec![frame(6, [fix(device, 30, OUTSIDE)])]).await, [of(Leave, 30)]);
    assert_eq!(take(store, vec![frame(7, [fix(device, 29, INSIDE)])]).await, [], "a late fix, of a device that is outside");
}

async fn a_device_that_changed_hands_is_told_to_whom_it_is_of(database: &Database) {
    let store = &database.store;
    let Tree { acme, ann, bob, .. } = tree(store).await;
    let [device] = stock(store, ann, 1..2).await[..] else { panic!("one") };
    let mut at = std::collections::BTreeMap::new();
    for account in [acme, ann, bob] {
        at.insert(account, store.put_fence(account, yard("yard", 0)).await.unwrap().0);
    }
    drain(store).await;
    let of = |account: UserId, event, fix_ms| (TopicId::inbox(account), at[&account], device.0, event, fix_ms);
    assert_eq!(take(store, vec![frame(1, [fix(device, 10, INSIDE)])]).await, [of(acme, Enter, 10), of(ann, Enter, 10)]);
    by(store, acme).transfer_devices(vec![imei(1)], ann, bob, 9).await.unwrap();
    drain(store).await;
    assert_eq!(take(store, vec![frame(2, [fix(device, 20, INSIDE)])]).await, [of(bob, Enter, 20)], "the company knows that it is inside");
    by(store, acme).transfer_devices(vec![imei(1)], bob, ann, 9).await.unwrap();
    drain(store).await;
    // What was known of it before is forgotten: it comes in again, and did not go out.
    assert_eq!(take(store, vec![frame(3, [fix(device, 30, INSIDE)])]).await, [of(ann, Enter, 30)]);
    assert_eq!(take(store, vec![frame(4, [fix(device, 40, OUTSIDE)])]).await, [of(acme, Leave, 40), of(ann, Leave, 40)]);
    by(store, acme).retire_device(device, 9).await.unwrap();
    drain(store).await;
    assert_eq!(take(store, vec![frame(5, [fix(device, 50, INSIDE)])]).await, []);
}

async fn what_is_changed_or_deleted_counts_from_then_on(database: &Database) {
    let store = &database.store;
    let Tree { ann, .. } = tree(store).await;
    let [device] = stock(store, ann, 1..2).await[..] else { panic!("one") };
    let fence = store.put_fence(ann, yard("yard", 0)).await.unwrap();
    drain(store).await;
    let of = |fence: FenceId, event, fix_ms| (TopicId::inbox(ann), fence.0, device.0, event, fix_ms);
    assert_eq!(take(store, vec![frame(1, [fix(device, 10, INSIDE)])]).await, [of(fence, Enter, 10)]);
    // Another program changes them: what this one remembers is old.
    let other = super::open(&database.url);
    let away = Shape::Circle { latitude: OUTSIDE, longitude: 179.9999, radius_m: 500.0 };
    other.put_fence(ann, Fence { id: fence, shape: away, ..yard("away", 0) }).await.unwrap();
    assert_eq!(take(store, vec![frame(2, [fix(device, 20, INSIDE)])]).await, [of(fence, Leave, 20)]);
    assert_eq!(take(store, vec![frame(3, [fix(device, 30, OUTSIDE)])]).await, [of(fence, Enter, 30)]);
    other.delete_fence(ann, fence).await.unwrap();
    assert_eq!(take(store, vec![frame(4, [fix(device, 40, INSIDE), fix(device, 41, OUTSIDE)])]).await, []);
    let second = other.put_fence(ann, yard("yard", 0)).await.unwrap();
    assert_eq!(take(store, vec![frame(5, [fix(device, 50, INSIDE)])]).await, [of(second, Enter, 50)]);
    other.close().await;
}

async fn two_programs_with_one_device_tell_once(database: &Database) {
    let store = &database.store;
    let Tree { ann, .. } = tree(store).await;
    let devices = stock(store, ann, 1..40).await;
    store.put_fence(ann, yard("yard", 0)).await.unwrap();
    drain(store).await;
    let other = super::open(&database.url);
    for round in 0..4_u64 {
        // Two fixes inside, in frames of different days: which one is first does not matter, but only one of them comes in.
        let part = |program: u64| {
            let store = if program == 0 { store.clone() } else { other.clone() };
            let base = round * 1_000;
            let mut fixes: Vec<Fix> = devices.iter().map(|device| fix(*device, base + 10 + program, INSIDE)).collect();
            if program == 1 {
                fixes.reverse();
            }
            let mut frame = frame(round * 2 + program, fixes);
            frame.arrival_ms += program * 86_400_000;
            async move {
                // Whoever loses a deadlock tries again.
                loop {
                    match store.take_fixes(vec![frame.clone()]).await {
                        Ok(taken) => return taken.crossings,
                        Err(error) => assert_eq!(error.class(), roger::retry::ErrorClass::Transient, "{error:?}"),
                    }
                }
            }
        };
        let (one, two) = tokio::join!(part(0), part(1));
        let out = frame(100 + round, devices.iter().map(|device| fix(*device, round * 1_000 + 500, OUTSIDE)));
        let left = store.take_fixes(vec![out]).await.unwrap().crossings;
        assert_eq!((one + two, left), (39, 39), "round {round}");
    }
    other.close().await;
}

async fn one_that_cannot_be_read_stops_no_fix(database: &Database) {
    let store = &database.store;
    let Tree { ann, .. } = tree(store).await;
    let [device] = stock(store, ann, 1..2).await[..] else { panic!("one") };
    let fence = store.put_fence(ann, yard("yard", 0)).await.unwrap();
    plant(database, ann, 1, "no JSON").await;
    drain(store).await;
    let told = take(store, vec![frame(1, [fix(device, 10, INSIDE)])]).await;
    assert_eq!(told, [(TopicId::inbox(ann), fence.0, device.0, Enter, 10)]);
}
