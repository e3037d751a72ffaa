//! Who hears SOS, what it says, and how it ends.

use roger::model::{GroupId, Position, PositionSource, TopicId, UserId};
use roger::proto::status::Refused;
use roger::proto::v1::{self, AlertEvent, Durability};

use super::scene::{Scene, alerts, at, events, hears};
use crate::worker::handle;

fn own(id: u64) -> TopicId {
    TopicId::alert_inbox(UserId(id))
}

fn room(id: u64) -> TopicId {
    TopicId::alert_room(GroupId(id))
}

/// Three radios in a group, the first two of them in its room, the third in that of another group.
struct Manned {
    scene: Scene,
    patrol: u64,
    depot: u64,
    radios: Vec<crate::messages::Radio>,
    desk: crate::messages::Radio,
}

impl Manned {
    async fn start() -> Self {
        let mut scene = Scene::start().await;
        let (first, radios) = (scene.first.clone(), scene.radios.clone());
        let everybody: Vec<_> = radios.iter().collect();
        let patrol = scene.desk.group(&first, "patrol", &everybody).await;
        let depot = scene.desk.group(&first, "depot", &everybody).await;
        let mut on = Vec::new();
        for (index, radio) in radios.iter().enumerate() {
            let mut session = scene.on(index % 2, radio).await;
            scene.enter(index % 2, &mut session, if index < 2 { patrol } else { depot }).await;
            on.push(session);
        }
        let desk = scene.on(1, &first).await;
        Self { scene, patrol, depot, radios: on, desk }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sos_is_heard_in_the_room_and_at_the_desk_and_a_person_has_it() {
    let mut manned = Manned::start().await;
    let (scene, patrol) = (&manned.scene, manned.patrol);
    let (neil, first) = (scene.radios[0].id, scene.first.clone());
    let mut stranger = scene.on(0, &scene.stranger).await;
    let mut second = scene.on(0, &scene.second).await;
    assert_eq!(scene.press(0, &manned.radios[0], 1, Some(at(45.27, 13.71))).await, Durability::Fsync);

    let raised = hears(&mut manned.radios[1], room(patrol), AlertEvent::Raised).await;
    let position = raised.position.unwrap();
    assert_eq!((raised.device_id, position.latitude, position.longitude, raised.position_by_press), (neil, 45.27, 13.71, true));
    assert_eq!((raised.text.as_str(), raised.over, raised.holder_id), ("help", false, 0));
    let alert = raised.alert_id;
    assert_eq!(hears(&mut manned.desk, own(first.id), AlertEvent::Raised).await, raised);
    // Who pressed sees that the fleet has it; who is in another room, or another company, nothing.
    hears(&mut manned.radios[0], own(neil), AlertEvent::Raised).await;

    scene.acknowledge(1, &manned.desk, alert).await.unwrap();
    let has_it = hears(&mut manned.radios[0], own(neil), AlertEvent::Acknowledged).await;
    assert_eq!((has_it.by_id, has_it.by_name.as_str(), has_it.holder_id), (first.id, first.login.nickname.as_str(), first.id));
    // Once more is the same.
    scene.acknowledge(1, &manned.desk, alert).await.unwrap();

    let refused = |status: tonic::Status| Refused::of(&status).unwrap().reason.as_str();
    assert_eq!(refused(scene.acknowledge(0, &stranger, alert).await.unwrap_err()), "not_permitted");
    assert_eq!(refused(scene.acknowledge(0, &second, alert).await.unwrap_err()), "not_permitted");
    assert_eq!(refused(scene.acknowledge(1, &manned.radios[1], alert).await.unwrap_err()), "not_permitted");
    assert_eq!(refused(scene.close(1, &manned.desk, alert, true, "").await.unwrap_err()), "field_missing");
    scene.close(1, &manned.desk, alert, true, "sat on the button").await.unwrap();
    let closed = hears(&mut manned.radios[1], room(patrol), AlertEvent::FalseAlarm).await;
    assert_eq!((closed.over, closed.remark.as_str()), (true, "sat on the button"));
    assert_eq!(refused(scene.acknowledge(1, &manned.desk, alert).await.unwrap_err()), "alert_over");

    let all = [AlertEvent::Raised, AlertEvent::Acknowledged, AlertEvent::FalseAlarm];
    hears(&mut manned.desk, own(first.id), AlertEvent::FalseAlarm).await;
    manned.desk.beat().await;
    assert_eq!(events(&manned.desk.heard, alert), all);
    for other in [&mut manned.radios[2], &mut second, &mut stranger] {
        other.beat().await;
        assert_eq!(alerts(&other.heard), []);
    }
    // SQL has all of it, for whoever manages the device.
    let kept = || async { Some(scene.store.alert_events(roger::model::AlertId(alert)).await.unwrap()).filter(|kept| kept.len() >= 3) };
    let kept = crate::support::eventually("SQL has what happened", kept).await;
    assert_eq!(kept.iter().map(|body| body.event).collect::<Vec<_>>(), all.map(|event| event as u32));
}

#[tokio::test(flavor = "multi_thread")]
async fn further_presses_join_and_who_was_off_the_air_hears_it_later() {
    let mut manned = Manned::start().await;
    let (scene, patrol) = (&manned.scene, manned.patrol);
    let neil = scene.radios[0].id;
    // The second one leaves the air, and stays in the room.
    let mate = manned.radios.remove(1);
    mate.send(v1::ClientFrame { goodbye: true, ..Default::default() }).await;
    for press in [1, 1, 2, 2] {
        scene.press(0, &manned.radios[0], press, None).await;
    }
    let raised = hears(&mut manned.desk, own(scene.first.id), AlertEvent::Raised).await;
    assert_eq!(raised.position, None, "nobody knows where it is");
    let joined = || async {
        let open = scene.store.open_alerts().await.unwrap();
        open.into_iter().find(|alert| alert.presses == 2)
    };
    crate::support::eventually("the second press has joined", joined).await;
    scene.cancel(0, &manned.radios[0], 3).await;
    let cancelled = hears(&mut manned.desk, own(scene.first.id), AlertEvent::Cancelled).await;
    assert_eq!((cancelled.alert_id, cancelled.presses, cancelled.by_id, cancelled.over), (raised.alert_id, 2, neil, true));
    // What is over is over: a press of then opens nothing, a new one does.
    scene.press(0, &manned.radios[0], 2, None).await;
    scene.press(0, &manned.radios[0], 4, None).await;
    let again = |heard: &crate::messages::Heard| {
        alerts(heard).into_iter().map(|(_, notice)| notice).find(|notice| notice.alert_id != raised.alert_id)
    };
    let second = manned.desk.until("a second alert", again).await;
    assert_eq!((second.event(), second.presses), (AlertEvent::Raised, 1));

    let mut back = scene.on(1, &scene.radios[1]).await;
    let open = |heard: &crate::messages::Heard| {
        alerts(heard).into_iter().find(|(topic, notice)| *topic == room(patrol) && notice.alert_id == second.alert_id)
    };
    back.until("the open alert", open).await;
    assert_eq!(events(&back.heard, raised.alert_id).last(), Some(&AlertEvent::Cancelled), "it sees that this one is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_position_of_its_own_the_last_known_one_counts_with_its_age() {
    let mut manned = Manned::start().await;
    let (scene, neil) = (&manned.scene, manned.scene.radios[0].id);
    let redis = handle(&scene.fleet.redis);
    let position = Position {
        latitude: 45.1,
        longitude: 13.2,
        fix_ms: 1_764_000_000_000,
        accuracy_m: 5.0,
        speed_mps: None,
        course_deg: None,
        source: PositionSource::Gps,
    };
    redis.note_position(UserId(neil), 16, &position).await.unwrap();
    // By a report this time, in the session.
    let press = v1::Report { report_id: 9, kind: v1::ReportKind::Sos.into(), ..v1::Report::default() };
    manned.radios[0].send(v1::ClientFrame { reports: vec![press], ..Default::default() }).await;
    let answer = manned.radios[0].until("the answer", |heard| heard.report_answers.first().cloned()).await;
    assert_eq!((answer.report_id, answer.durability()), (9, Durability::Fsync));
    let raised = hears(&mut manned.desk, own(scene.first.id), AlertEvent::Raised).await;
    let known = raised.position.unwrap();
    assert_eq!((known.latitude, known.fix_ms, raised.position_by_press), (45.1, 1_764_000_000_000, false));
    let cancel = v1::Report { report_id: 10, kind: v1::ReportKind::CancelSos.into(), ..v1::Report::default() };
    manned.radios[0].send(v1::ClientFrame { reports: vec![cancel], ..Default::default() }).await;
    hears(&mut manned.desk, own(scene.first.id), AlertEvent::Cancelled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_room_takes_sos_along_and_the_former_group_hears_nothing() {
    let mut manned = Manned::start().await;
    let scene = &manned.scene;
    let depot = manned.depot;
    let mut neil = manned.radios.remove(0);
    scene.enter(0, &mut neil, depot).await;
    scene.press(0, &neil, 1, None).await;
    hears(&mut manned.radios[1], room(depot), AlertEvent::Raised).await;
    hears(&mut manned.desk, own(scene.first.id), AlertEvent::Raised).await;
    manned.radios[0].beat().await;
    assert_eq!(alerts(&manned.radios[0].heard), []);
    // In no room: all groups of the device hear it.
    let mut third = manned.radios.remove(1);
    scene.enter(0, &mut third, 0).await;
    scene.press(0, &third, 1, None).await;
    hears(&mut manned.radios[0], room(manned.patrol), AlertEvent::Raised).await;
    hears(&mut neil, room(depot), AlertEvent::Raised).await;
}

/// Entries are worked on side by side, so what takes SOS back may overtake the press.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_at_once_leaves_no_alert_open() {
    let scene = Scene::start().await;
    let neil = scene.on(0, &scene.radios[0]).await;
    let mut desk = scene.on(1, &scene.first).await;
    // One that is raised for sure: of those below none may be, where each is taken back before it is looked at.
    scene.press(0, &neil, 101, None).await;
    hears(&mut desk, own(scene.first.id), AlertEvent::Raised).await;
    scene.cancel(0, &neil, 102).await;
    hears(&mut desk, own(scene.first.id), AlertEvent::Cancelled).await;
    for press in 0..10 {
        scene.press(0, &neil, press * 3 + 1, None).await;
        scene.press(0, &neil, press * 3 + 2, None).await;
        scene.cancel(0, &neil, press * 3 + 3).await;
    }
    let redis = handle(&scene.fleet.redis);
    let worked_on = || async { (redis.lengths(&[roger::broker::keys::sos()]).await.unwrap() == [0]).then_some(()) };
    crate::support::eventually("everything is worked on", worked_on).await;
    assert_eq!(redis.open_alerts().await.unwrap(), []);
    let over = |heard: &crate::messages::Heard| {
        let all = alerts(heard);
        let last = all.iter().fold(std::collections::BTreeMap::new(), |mut last, (_, notice)| {
            last.insert(notice.alert_id, notice.over);
            last
        });
        (!last.is_empty() && last.values().all(|over| *over)).then_some(())
    };
    desk.until("whatever was raised is over", over).await;
}
