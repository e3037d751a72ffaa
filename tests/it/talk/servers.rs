//! Media servers that go away, and several of them.

use std::sync::Arc;
use std::time::Duration;

use roger::client::FloorWhat;
use roger::config::Secret;
use roger::janus::{self, RoomSettings, Rooms};
use roger::model::{GroupId, TopicId, UserId};

use super::scene::{Scene, talk};
use super::voice::Voice;
use crate::operate::doctor::Said;
use crate::support::fleet::FleetOptions;
use crate::support::janus::Janus;
use crate::support::{PATIENCE, eventually, wait_for};

fn is(what: &FloorWhat) -> impl Fn(&roger::client::FloorEvent) -> Option<()> {
    move |event| (event.what == *what).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_told_that_its_janus_is_away_and_that_it_is_back() {
    let mut janus = Janus::start();
    let scene = Scene::with(FleetOptions { overrides: janus.overrides(), ..FleetOptions::default() }).await;
    let air = scene.air;
    let mut seated = Voice::seated(&scene, 0, &scene.radios[0], air).await;
    let mut listener = Voice::in_room(&scene, 1, &scene.radios[1], air).await;
    janus.kill();
    seated.hears("that Janus is away", is(&FloorWhat::Away)).await;
    listener.hears("that Janus is away", is(&FloorWhat::Away)).await;
    // Whoever comes meanwhile hears it first.
    let mut late = Voice::in_room(&scene, 0, &scene.radios[2], air).await;
    late.hears("that Janus is away", is(&FloorWhat::Away)).await;
    let request = seated.ask(air);
    assert_eq!(seated.outcome(request).await, Err("media_failed"));
    janus.restart();
    for radio in [&mut listener, &mut late] {
        radio.hears("that it is back", is(&FloorWhat::Idle)).await;
    }
    seated.sit(air).await;
    seated.granted(air).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_when_janus_died_is_heard_as_far_as_it_goes() {
    let mut janus = Janus::start();
    let overrides = janus.overrides();
    let scene = Scene::with(FleetOptions { gateway: true, overrides, ..FleetOptions::default() }).await;
    let (air, neil) = (scene.air, &scene.radios[0]);
    let mut radio = Voice::seated(&scene, 0, neil, air).await;
    let mut listener = scene.on(1, &scene.radios[1]).await;
    scene.enter(1, &mut listener, air).await;
    radio.granted(air).await;
    // More than Janus keeps to itself before it writes: 4 KiB, of 25 bytes a packet.
    radio.send(200).await;
    janus.kill();
    janus.restart();
    // Long before the longest burst would be over.
    let room = TopicId::room(GroupId(air));
    let notice = listener.until("the burst", |heard| talk(heard, room).first().cloned()).await;
    assert!(notice.cut && notice.speaker_id == neil.id, "{notice:?}");
    assert!((2_000..=4_100).contains(&notice.duration_ms), "{notice:?}");
}

/// Who sits in a room of a Janus, as itself says.
async fn sits(janus: &Janus, group: u64) -> Option<Vec<UserId>> {
    let secret = Secret::new(janus.api_secret()).unwrap();
    let (request_timeout, session_timeout) = (Duration::from_millis(500), Duration::from_secs(60));
    let rooms = Arc::new(RoomSettings::new(&secret, None));
    let (client, _events) =
        janus::Janus::connect(janus::Settings { url: janus.ws_url(), secret, request_timeout, session_timeout }).unwrap();
    let session = client.create_session().await.ok()?;
    let rooms = Rooms::new(session.attach("looking").await.ok()?, rooms);
    let found = match rooms.participants(GroupId(group)).await {
        Ok(found) => Some(found.into_iter().map(|one| one.user).collect()),
        Err(janus::Error::Bridge { refusal: janus::Refusal::NoSuchRoom, .. }) => Some(Vec::new()),
        Err(_) => None,
    };
    session.destroy().await.ok()?;
    found
}

/// The same, of one that answers when it comes to it.
async fn seen(janus: &Janus, group: u64) -> Vec<UserId> {
    eventually("Janus says who sits there", async || sits(janus, group).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_elsewhere_while_janus_hangs_is_told_and_sits_in_no_former_room_afterwards() {
    let janus = Janus::start();
    let scene = Scene::with(FleetOptions { overrides: janus.overrides(), ..FleetOptions::default() }).await;
    let (air, buzz) = (scene.air, &scene.radios[1]);
    let mut radio = Voice::seated(&scene, 0, buzz, air).await;
    assert_eq!(seen(&janus, air).await, [UserId(buzz.id)]);
    janus.stop();
    radio.hears("that Janus is away", is(&FloorWhat::Away)).await;
    radio.go(scene.ground).await;
    radio.hears("that the seat is lost", is(&FloorWhat::Lost)).await;
    janus.cont();
    eventually("nobody sits in the former room", async || sits(&janus, air).await.filter(Vec::is_empty)).await;
    radio.sit(scene.ground).await;
    radio.granted(scene.ground).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_and_the_queues_see_who_works_the_media_server() {
    let janus = Janus::start();
    let mut scene = Scene::with(FleetOptions { overrides: janus.overrides(), ..FleetOptions::default() }).await;
    let streams = |scene: &Scene| {
        let queues = scene.fleet.roger(&["queues", "--json"]).succeeded().json();
        let of = |name: &str| queues["streams"].as_array().unwrap().iter().find(|line| line["stream"] == name).unwrap().clone();
        ["WebNotifyJanus", "media"].map(|name| (of(name)["length"].as_u64().unwrap(), of(name)["workers"].as_array().unwrap().len()))
    };
    wait_for("both are worked", PATIENCE, || (streams(&scene) == [(0, 1), (0, 1)]).then_some(()));
    let said = |scene: &Scene, verdict, words: [&str; 2]| {
        let said = Said::of(&scene.fleet.roger(&["doctor", "--json"]));
        said.says("talk.commands", verdict, words[0]);
        said.says("talk.media", verdict, words[1]);
    };
    let seen = wait_for("the doctor sees both", PATIENCE, || {
        let said = Said::of(&scene.fleet.roger(&["doctor", "--json"]));
        ["talk.commands", "talk.media"].iter().all(|check| said.is(check, "OK")).then_some(said)
    });
    ["talk.commands", "talk.media"].iter().for_each(|check| seen.says(check, "OK", "nothing waits; 1 alive"));
    scene.fleet.kill9("janus-0");
    scene.fleet.redis.cli(&["RPUSH", "WebNotifyJanus", "a command"]);
    wait_for("nobody works them", PATIENCE, || (streams(&scene) == [(1, 0), (0, 0)]).then_some(()));
    said(&scene, "WARN", ["1 wait; nobody works on it", "nothing waits; nobody works on it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rooms_of_a_janus_that_hangs_go_to_another_and_leave_no_ghosts() {
    let both = [Janus::start(), Janus::start()];
    let mut overrides = both[0].overrides();
    overrides[0] = ("janus.url", format!("{:?}", format!("{} {}", both[0].ws_url(), both[1].ws_url())));
    let scene = Scene::with(FleetOptions { overrides, ..FleetOptions::default() }).await;
    let air = scene.air;
    let mut first = Voice::seated(&scene, 0, &scene.radios[0], air).await;
    let mut second = Voice::seated(&scene, 1, &scene.radios[1], air).await;
    first.granted(air).await;
    let server = || {
        let rooms = scene.fleet.roger(&["rooms", "--json"]).succeeded().json();
        let room = rooms.as_array().unwrap().iter().find(|room| room["group_id"] == air).unwrap().clone();
        room["server"].as_str().unwrap().to_owned()
    };
    let url = server();
    let at = both.iter().position(|janus| janus.ws_url() == url).unwrap();
    let users: Vec<UserId> = [0, 1].map(|radio| UserId(scene.radios[radio].id)).to_vec();
    let mut there = seen(&both[at], air).await;
    there.sort_unstable();
    assert_eq!((there, seen(&both[1 - at], air).await), (users, Vec::new()));

    both[at].stop();
    for radio in [&mut first, &mut second] {
        radio.hears("that the seat is lost", is(&FloorWhat::Lost)).await;
        radio.sit(air).await;
    }
    second.granted(air).await;
    assert_eq!(server(), both[1 - at].ws_url());
    both[at].cont();
    // Its seats are of nobody any more.
    eventually("the old seats are gone", async || sits(&both[at], air).await.filter(Vec::is_empty)).await;
    wait_for("the room stays where it is", PATIENCE, || (server() == both[1 - at].ws_url()).then_some(()));
    second.session.release_floor(GroupId(air));
    first.granted(air).await;
}
