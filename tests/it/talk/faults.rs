//! What happens to bursts when groups end and programs die in the middle of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roger::client::FloorWhat;
use roger::model::{GroupId, TopicId, UserId};
use roger::proto::v1;

use super::scene::{Scene, all, talk};
use super::voice::Voice;
use crate::messages::Radio;
use crate::support::eventually;
use crate::support::fleet::FleetOptions;
use crate::support::janus::Janus;

/// How often the bridge dies.
const KILLED_EVERY: Duration = Duration::from_millis(300);

async fn scene(janus: &Janus) -> Scene {
    Scene::with(FleetOptions { gateway: true, overrides: janus.overrides(), ..FleetOptions::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_dissolved_in_a_burst_hears_it_to_there_and_nothing_later() {
    let janus = Janus::start();
    let scene = scene(&janus).await;
    let (air, neil, buzz) = (scene.air, &scene.radios[0], &scene.radios[1]);
    let mut talker = Voice::seated(&scene, 0, neil, air).await;
    let mut listener = scene.on(1, buzz).await;
    scene.enter(1, &mut listener, air).await;
    let mut elsewhere = scene.on(1, &scene.radios[2]).await;
    scene.enter(1, &mut elsewhere, scene.ground).await;
    let request = talker.ask(air);
    talker.outcome(request).await.unwrap();
    talker.send(50).await;
    scene.fleet.roger(&["group", "dissolve", "air", "--tenant", "apollo", "--yes"]).succeeded();
    assert_eq!(talker.outcome(request).await.map_err(|why| ["left", "dissolved"].contains(&why)), Err(true));

    // Nobody is in the room any more: whoever was there hears it all the same, up to there.
    let inbox = TopicId::inbox(UserId(buzz.id));
    let notice = listener.until("the burst", |heard| talk(heard, inbox).first().cloned()).await;
    assert!((800..=1_200).contains(&notice.duration_ms) && notice.speaker_id == neil.id, "{notice:?}");
    let mut speaker = scene.on(0, neil).await;
    speaker.until("the own burst", |heard| talk(heard, TopicId::inbox(UserId(neil.id))).first().cloned()).await;
    elsewhere.beat().await;
    assert_eq!(all(&elsewhere.heard), BTreeMap::new());
    listener.beat().await;
    assert_eq!(all(&listener.heard).len(), 1);
    let floor = scene.fleet.roger(&["floor", &format!("g:{air}"), "--json"]).json();
    assert!(floor["talker"].is_null(), "{floor}");
    // Nothing is left of it at the media server, nor is anything given out again.
    eventually("the seats are gone", async || {
        let rooms = scene.fleet.roger(&["rooms", "--json"]).succeeded().json();
        rooms.as_array().unwrap().iter().all(|room| room["group_id"] != air).then_some(())
    })
    .await;
    assert_eq!(scene.letters(), []);
}

/// Somebody with a seat in the room `air`, and somebody who listens there.
async fn talking(janus: &Janus) -> (Scene, Voice, Radio) {
    let scene = scene(janus).await;
    let mut listener = scene.on(1, &scene.radios[1]).await;
    scene.enter(1, &mut listener, scene.air).await;
    let talker = Voice::seated(&scene, 0, &scene.radios[0], scene.air).await;
    (scene, talker, listener)
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_are_announced_once_each_while_the_bridge_is_killed_again_and_again() {
    const BURSTS: usize = 8;
    let janus = Janus::start();
    let (mut scene, mut talker, mut listener) = talking(&janus).await;
    let air = scene.air;
    for burst in 0..BURSTS {
        // While it is asked for a microphone, in the burst, or at its end.
        let mut kill = |at: usize| {
            if burst % 3 == at {
                scene.fleet.kill9("janus-0");
                scene.fleet.relaunch("janus-0");
            }
        };
        if burst % 3 == 0 {
            let request = talker.ask(air);
            kill(0);
            let _granted_or_not = talker.outcome(request).await;
        }
        talker.granted(air).await;
        talker.send(10).await;
        kill(1);
        talker.send(20).await;
        talker.session.release_floor(GroupId(air));
        kill(2);
        talker.hears("that nobody talks", |event| (event.what == FloorWhat::Idle).then_some(())).await;
        // As a radio does: it is there.
        listener.beat().await;
    }
    all_are_announced_once(&scene, &janus, &mut listener, BURSTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_are_announced_once_each_while_the_bridge_is_killed_every_300_ms_of_them() {
    const BURSTS: usize = 10;
    let janus = Janus::start();
    let (mut scene, mut talker, mut listener) = talking(&janus).await;
    let air = scene.air;
    for _ in 0..BURSTS {
        talker.granted(air).await;
        let killing = async {
            loop {
                tokio::time::sleep(KILLED_EVERY).await;
                scene.fleet.kill9("janus-0");
                scene.fleet.relaunch("janus-0");
            }
        };
        tokio::select! {
            () = talker.send(35) => {}
            () = killing => {}
        }
        talker.session.release_floor(GroupId(air));
        talker.hears("that nobody talks", |event| (event.what == FloorWhat::Idle).then_some(())).await;
        // As a radio does: it is there.
        listener.beat().await;
    }
    all_are_announced_once(&scene, &janus, &mut listener, BURSTS).await;
}

/// What Janus recorded is what is announced to the room, each file once, and at least so many.
async fn all_are_announced_once(scene: &Scene, janus: &Janus, listener: &mut Radio, bursts: usize) {
    let room = TopicId::room(GroupId(scene.air));
    let done = || {
        let names = std::fs::read_dir(janus.recordings().join("done")).into_iter().flatten();
        names.filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "mjr")).count()
    };
    // Also those that Janus still writes.
    let is_left = || {
        let mut names = std::fs::read_dir(janus.recordings()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.any(|name| name.ends_with(".mjr") || name.ends_with(".tmp"))
    };
    eventually("all recordings are put away", async || (!is_left() && done() >= bursts).then_some(())).await;
    listener.until("all bursts", |heard| (talk(heard, room).len() >= done()).then_some(())).await;
    eventually("nothing more waits", async || {
        let queues = scene.fleet.roger(&["queues", "--json"]).succeeded().json();
        let list = queues["streams"].as_array().unwrap().iter().find(|line| line["stream"] == super::scene::LIST).unwrap();
        (list["length"] == 0).then_some(())
    })
    .await;
    listener.beat().await;
    let files: Vec<v1::TalkNotice> = talk(&listener.heard, room);
    let names: BTreeSet<&str> = files.iter().map(|notice| notice.file.as_str()).collect();
    assert_eq!((files.len(), names.len()), (done(), done()), "{files:?}");
    assert_eq!(scene.letters(), []);
}
