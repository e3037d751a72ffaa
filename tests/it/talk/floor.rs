//! The floor of a room, from the button to the microphone at a real Janus and back.

use roger::client::FloorWhat;
use roger::model::{GroupId, UserId};

use super::scene::Scene;
use super::voice::Voice;
use crate::support::fleet::FleetOptions;
use crate::support::janus::Janus;
use crate::support::{eventually, wait_until};

async fn scene(janus: &Janus, burst_ms: u64, vanish_ms: u64) -> Scene {
    let mut overrides = janus.overrides();
    overrides.extend([("floor.burst_ms", burst_ms.to_string()), ("floor.vanish_ms", vanish_ms.to_string())]);
    Scene::with(FleetOptions { overrides, ..FleetOptions::default() }).await
}

/// The recordings of somebody in a room. Those that were announced are moved to `done`, which is looked at last so that none is missed on its way.
fn recorded(janus: &Janus, group: u64, user: u64) -> usize {
    let of = format!("audiobridge-{group}-user-{user}-");
    let finished = janus.recorded();
    let announced = std::fs::read_dir(janus.recordings().join("done")).into_iter().flatten();
    let announced = announced.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: std::collections::BTreeSet<String> = announced.chain(finished).collect();
    names.iter().filter(|name| name.starts_with(&of) && name.ends_with(".mjr")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_floor_is_heard_and_recorded_and_the_next_one_waits() {
    let janus = Janus::start();
    let scene = scene(&janus, 8_000, 10_000).await;
    let (air, [neil, buzz, mike]) = (scene.air, [0, 1, 2].map(|radio| &scene.radios[radio]));
    let mut first = Voice::seated(&scene, 0, neil, air).await;
    let mut second = Voice::seated(&scene, 1, buzz, air).await;
    let mut third = Voice::in_room(&scene, 0, mike, air).await;

    let (one, talker) = (first.ask(air), UserId(neil.id));
    let grant = first.outcome(one).await.unwrap();
    let taken = third.hears("that somebody talks", |event| match &event.what {
        FloorWhat::Taken { talker, grant, level, .. } => Some((event.group, *talker, grant.0, *level)),
        _ => None,
    });
    assert_eq!(taken.await, (GroupId(air), talker, grant, 10));
    let two = second.ask(air);
    let queued = second.hears("that it waits", |event| match event.what {
        FloorWhat::Queued { request, position } if request == two => Some(position),
        _ => None,
    });
    assert_eq!(queued.await, 1);
    first.send(50).await;
    first.session.release_floor(GroupId(air));
    assert!(second.outcome(two).await.unwrap() > grant);
    eventually("the recording of the first", async || (recorded(&janus, air, neil.id) == 1).then_some(())).await;

    // Without a seat nobody can be heard; and the longest burst ends by itself.
    let three = third.ask(air);
    second.send(100).await;
    assert_eq!(second.outcome(two).await, Err("time_over"));
    assert_eq!(third.outcome(three).await, Err("media_failed"));
    third.hears("that nobody talks", |event| (event.what == FloorWhat::Idle).then_some(())).await;
    eventually("the recording of the second", async || (recorded(&janus, air, buzz.id) == 1).then_some(())).await;
    // Nobody may ask for the floor of a room they are not in.
    let elsewhere = third.ask(scene.ground);
    assert_eq!(third.outcome(elsewhere).await, Err("not_in_room"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_to_another_room_in_a_burst_is_cut_off_and_their_seat_follows() {
    let janus = Janus::start();
    let scene = scene(&janus, 60_000, 10_000).await;
    let (air, ground, buzz, mike) = (scene.air, scene.ground, &scene.radios[1], &scene.radios[2]);
    let mut mover = Voice::seated(&scene, 0, buzz, air).await;
    let mut other = Voice::seated(&scene, 1, mike, air).await;
    let one = mover.ask(air);
    mover.outcome(one).await.unwrap();
    mover.send(25).await;
    mover.go(ground).await;
    assert_eq!(mover.outcome(one).await, Err("left"));
    other.hears("that nobody talks", |event| (event.what == FloorWhat::Idle).then_some(())).await;
    eventually("the recording up to there", async || (recorded(&janus, air, buzz.id) == 1).then_some(())).await;
    mover.send(10).await;
    // By the seat that it had.
    let two = mover.ask(ground);
    mover.outcome(two).await.unwrap();
    mover.send(25).await;
    mover.session.release_floor(GroupId(ground));
    eventually("the recording of the next room", async || (recorded(&janus, ground, buzz.id) == 1).then_some(())).await;
    assert_eq!((recorded(&janus, air, buzz.id), recorded(&janus, air, mike.id)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_vanishes_loses_the_floor_long_before_their_burst_is_over() {
    let janus = Janus::start();
    let mut scene = scene(&janus, 60_000, 4_000).await;
    let air = scene.air;
    let mut gone = Voice::seated(&scene, 0, &scene.radios[0], air).await;
    let mut other = Voice::seated(&scene, 1, &scene.radios[1], air).await;
    let one = gone.ask(air);
    gone.outcome(one).await.unwrap();
    gone.send(10).await;
    // The edge it is at stands still: nothing of it is heard any more, as of a radio in a tunnel.
    let two = other.ask(air);
    scene.fleet.stop("edge-0");
    let since = std::time::Instant::now();
    other.outcome(two).await.unwrap();
    let waited = since.elapsed();
    scene.fleet.cont("edge-0");
    // Four seconds, and what a busy machine takes.
    assert!(waited < std::time::Duration::from_secs(15), "{waited:?}");
    wait_until("the recording of who vanished", || recorded(&janus, air, scene.radios[0].id) == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_begins_anew_keeps_every_seat_and_a_janus_that_does_tells_who_sat_there() {
    let mut janus = Janus::start();
    let mut scene = scene(&janus, 60_000, 10_000).await;
    let air = scene.air;
    let mut radio = Voice::seated(&scene, 0, &scene.radios[0], air).await;
    scene.fleet.kill9("janus-0");
    scene.fleet.restart("janus-0");
    // By the seat from before.
    radio.granted(air).await;
    radio.send(10).await;
    janus.kill();
    janus.restart();
    radio.hears("that the seat is lost", |event| (event.what == FloorWhat::Lost).then_some(())).await;
    radio.sit(air).await;
    // By another seat.
    radio.granted(air).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_janus_hangs_with_its_port_open_nobody_is_granted_anything() {
    let janus = Janus::start();
    let scene = scene(&janus, 3_000, 10_000).await;
    let air = scene.air;
    let mut radio = Voice::seated(&scene, 0, &scene.radios[0], air).await;
    let one = radio.ask(air);
    radio.outcome(one).await.unwrap();
    janus.stop();
    assert_eq!(radio.outcome(one).await.map_err(|why| ["media_failed", "time_over"].contains(&why)), Err(true));
    let two = radio.ask(air);
    assert_eq!(radio.outcome(two).await, Err("media_failed"));
    janus.cont();
    radio.granted(air).await;
}
