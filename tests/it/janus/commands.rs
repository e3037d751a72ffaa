//! Commands to the media server, by both ways that carry them; a real Janus is at the end of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roger::broker::{Redis, Settings};
use roger::clock::Clock;
use roger::janus::{Api, Command, CommandError, ID_REUSED, MediaServer, Outcome, Queue, Request, RequestId, Role, RoomSettings, Session};
use roger::model::{GroupId, UserId};
use roger::worker::own_name;

use super::scene::{Radio, client, rooms};
use crate::support::eventually;
use crate::support::fleet::{Fleet, FleetOptions};
use crate::support::janus::Janus;

const AIR: GroupId = GroupId(100);
const LIST: &str = "WebNotifyJanus";
/// Above all that a busy machine may take.
const PATIENT: Duration = Duration::from_secs(25);

/// A Janus, and one way to it.
struct Scene {
    server: Arc<dyn MediaServer>,
    session: Session,
    fleet: Option<Fleet>,
    janus: Janus,
}

impl Scene {
    async fn by_api() -> Self {
        let janus = Janus::start();
        let session = client(&janus).0.create_session().await.unwrap();
        let settings = RoomSettings::new(&roger::config::Secret::new(janus.api_secret()).unwrap(), Some(janus.recordings()));
        let server = Arc::new(Api::new(client(&janus).0, Arc::new(settings), Clock::system()));
        Self { server, session, fleet: None, janus }
    }

    async fn by_queue() -> Self {
        let janus = Janus::start();
        let session = client(&janus).0.create_session().await.unwrap();
        let none = FleetOptions { edges: 0, delivery: 0, offline: 0, janus: 1, ..FleetOptions::default() };
        let fleet = Fleet::start(FleetOptions { overrides: janus.overrides(), ..none });
        let server = Arc::new(asker(&fleet));
        Self { server, session, fleet: Some(fleet), janus }
    }

    async fn ask(&self, command: Command) -> Result<Outcome, CommandError> {
        self.say(&request(command)).await
    }

    async fn say(&self, request: &Request) -> Result<Outcome, CommandError> {
        self.server.carry_out(request).await
    }

    async fn rooms(&self) -> Vec<GroupId> {
        match self.ask(Command::ListRooms).await {
            Ok(Outcome::Rooms(rooms)) => rooms.into_iter().map(|room| room.group).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Who is in the room, with whether they are muted.
    async fn there(&self) -> Vec<(u64, bool)> {
        match self.ask(Command::ListParticipants { group: AIR }).await {
            Ok(Outcome::Participants(all)) => all.into_iter().map(|one| (one.user.0, one.muted)).collect(),
            other => panic!("{other:?}"),
        }
    }
}

/// Another process that asks.
fn asker(fleet: &Fleet) -> Queue {
    let second = Duration::from_secs(1);
    let redis = Redis::new(Settings {
        url: fleet.redis.url(),
        connect_timeout: second,
        response_timeout: second * 2,
        replication: roger::broker::Replication::none(),
    })
    .unwrap();
    Queue::start(redis, Clock::system(), LIST.to_owned(), own_name())
}

fn request(command: Command) -> Request {
    Request::new(command, &Clock::system(), PATIENT)
}

fn create() -> Command {
    Command::CreateRoom { group: AIR, name: "air".to_owned(), dispatcher: UserId(5) }
}

fn destroy() -> Command {
    Command::DestroyRoom { group: AIR, dispatcher: UserId(5) }
}

fn code<T: std::fmt::Debug>(answer: Result<T, CommandError>) -> u32 {
    match answer {
        Err(CommandError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

async fn do_what_they_say(scene: Scene) {
    let (group, user) = (AIR, UserId(7));
    assert_eq!(scene.rooms().await, []);
    for _ in 0..2 {
        assert_eq!(scene.ask(create()).await, Ok(Outcome::Done));
    }
    assert_eq!(scene.rooms().await, [AIR]);
    assert_eq!(scene.there().await, []);
    let alter = |group| Command::AlterParticipant { group, user, role: Role::Manager, dispatcher: UserId(5) };
    assert_eq!(scene.ask(alter(AIR)).await, Ok(Outcome::Done));
    assert_eq!(code(scene.ask(alter(GroupId(9))).await), 485);
    Radio::new(100, 7).await.sit(&scene.session).await;
    assert_eq!(scene.there().await, [(7, true)]);
    assert_eq!(scene.ask(Command::Unmute { group, user }).await, Ok(Outcome::Done));
    assert_eq!(scene.there().await, [(7, false)]);
    assert_eq!(scene.ask(Command::Mute { group, user }).await, Ok(Outcome::Done));
    assert_eq!(scene.there().await, [(7, true)]);
    assert_eq!(code(scene.ask(Command::Mute { group, user: UserId(8) }).await), 492);
    for _ in 0..2 {
        assert_eq!(scene.ask(Command::Kick { group, user }).await, Ok(Outcome::Done));
    }
    eventually("he is out", || async { scene.there().await.is_empty().then_some(()) }).await;
    for _ in 0..2 {
        assert_eq!(scene.ask(destroy()).await, Ok(Outcome::Done));
    }
    assert_eq!(code(scene.ask(Command::ListParticipants { group }).await), 485);
    assert_eq!(scene.rooms().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_api_they_do_what_they_say() {
    do_what_they_say(Scene::by_api().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_queue_they_do_what_they_say() {
    do_what_they_say(Scene::by_queue().await).await;
}

async fn are_carried_out_once(scene: Scene) {
    let (first, refused) = (request(create()), request(Command::Mute { group: GroupId(9), user: UserId(7) }));
    assert_eq!(scene.say(&first).await, Ok(Outcome::Done));
    assert_eq!(code(scene.say(&refused).await), 485);
    assert_eq!(scene.ask(destroy()).await, Ok(Outcome::Done));
    // Said again it is answered as it was, and nothing comes of it.
    assert_eq!(scene.say(&first).await, Ok(Outcome::Done));
    assert_eq!(scene.rooms().await, []);
    let create_there = Command::CreateRoom { group: GroupId(9), name: String::new(), dispatcher: UserId(0) };
    assert_eq!(scene.ask(create_there).await, Ok(Outcome::Done));
    assert_eq!(code(scene.say(&refused).await), 485);
    // Not by its id alone.
    let other = Request { command: Command::ListRooms, ..first.clone() };
    assert_eq!(code(scene.say(&other).await), ID_REUSED);
    // By many at once it is carried out once, too.
    let again = request(create());
    let all = futures_util::future::join_all((0..20).map(|_| scene.say(&again))).await;
    assert!(all.iter().all(|answer| *answer == Ok(Outcome::Done)), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_api_a_request_said_again_is_carried_out_once() {
    are_carried_out_once(Scene::by_api().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_queue_a_request_said_again_is_carried_out_once() {
    are_carried_out_once(Scene::by_queue().await).await;
}

async fn outlast_janus(mut scene: Scene) {
    assert_eq!(scene.ask(create()).await, Ok(Outcome::Done));
    scene.janus.kill();
    let server = scene.server.clone();
    let waiting = tokio::spawn(async move { server.carry_out(&request(create())).await });
    scene.janus.restart();
    assert_eq!(waiting.await.unwrap(), Ok(Outcome::Done));
    assert_eq!(scene.rooms().await, [AIR]);
    scene.session = client(&scene.janus).0.create_session().await.unwrap();
    Radio::new(100, 7).await.sit(&scene.session).await;
    assert_eq!(scene.there().await, [(7, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_api_they_wait_for_a_janus_that_was_killed_and_has_no_rooms() {
    outlast_janus(Scene::by_api().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_queue_they_wait_for_a_janus_that_was_killed_and_has_no_rooms() {
    outlast_janus(Scene::by_queue().await).await;
}

async fn end_at_their_deadline(scene: Scene) {
    assert_eq!(scene.ask(create()).await, Ok(Outcome::Done));
    scene.janus.stop();
    let deadline = Duration::from_millis(800);
    let begun = Instant::now();
    let late = Request::new(destroy(), &Clock::system(), deadline);
    let answer = scene.say(&late).await;
    assert!(matches!(&answer, Err(CommandError::Late { id, .. }) if *id == late.id), "{answer:?}");
    assert!((deadline - Duration::from_millis(1)..deadline * 6).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    scene.janus.cont();
    // What came too late may still be carried out, also behind this.
    eventually("the room", async || {
        assert_eq!(scene.ask(create()).await, Ok(Outcome::Done));
        (scene.rooms().await == [AIR]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_api_a_janus_that_hangs_is_told_at_the_deadline() {
    end_at_their_deadline(Scene::by_api().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_queue_a_janus_that_hangs_is_told_at_the_deadline() {
    end_at_their_deadline(Scene::by_queue().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_queue_they_outlive_the_far_end_and_who_asked() {
    let mut scene = Scene::by_queue().await;
    scene.fleet.as_mut().unwrap().kill9("janus-0");
    let asked = request(create());
    // Who asked dies before the answer comes; its next life asks the same.
    let asking = tokio::spawn({
        let (first, asked) = (asker(scene.fleet.as_ref().unwrap()), asked.clone());
        async move { first.carry_out(&asked).await }
    });
    let fleet = scene.fleet.as_ref().unwrap();
    eventually("it is on the list", || async { (fleet.redis.cli(&["LLEN", LIST]) != "0").then_some(()) }).await;
    asking.abort();
    drop(asking.await);
    scene.fleet.as_mut().unwrap().restart("janus-0");
    assert_eq!(scene.say(&asked).await, Ok(Outcome::Done));
    assert_eq!(scene.rooms().await, [AIR]);
    let own = rooms(&scene.janus, &scene.session).await;
    assert!(own.destroy(AIR).await.unwrap());
    // The answer is on Redis, so another far end knows it as well.
    scene.fleet.as_mut().unwrap().kill9("janus-0");
    scene.fleet.as_mut().unwrap().restart("janus-0");
    assert_eq!(scene.say(&asked).await, Ok(Outcome::Done));
    assert_eq!(scene.rooms().await, []);
    scene.fleet.as_mut().unwrap().redis.restart();
    assert_eq!(scene.ask(create()).await, Ok(Outcome::Done));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_queue_what_comes_too_late_is_dropped_and_what_is_no_command_told_by_name() {
    let mut scene = Scene::by_queue().await;
    scene.fleet.as_mut().unwrap().kill9("janus-0");
    let late = Request::new(create(), &Clock::system(), Duration::from_millis(300));
    assert!(matches!(scene.say(&late).await, Err(CommandError::Late { .. })));
    let fleet = scene.fleet.as_mut().unwrap();
    // An answer to somebody who gave up.
    let answer = r#"{"msg_type":2,"signal_msg":{"request_id":"long-gone","res":{"code":0}}}"#;
    fleet.redis.cli(&["RPUSH", "janusImUrlList", answer]);
    fleet.redis.cli(&["RPUSH", LIST, "garbage", r#"{"msg_type":2,"signal_msg":{"signal_type":1}}"#]);
    // One who waits and said nonsense is answered.
    let item = r#"{"msg_type":2,"signal_msg":{"signal_type":77,"request_id":"nonsense","deadline_ms":9}}"#;
    fleet.redis.cli(&["RPUSH", LIST, item]);
    fleet.restart("janus-0");
    assert_eq!(scene.rooms().await, []);
    let fleet = scene.fleet.as_ref().unwrap();
    let empty = || async {
        let lengths = ["{WebNotifyJanus}:in", "{janusImUrlList}:in"].map(|stream| fleet.redis.cli(&["XLEN", stream]));
        (lengths == ["0", "0"]).then_some(())
    };
    eventually("all is worked off", empty).await;
    let letters = fleet.roger(&["dead", "list", "--json"]).succeeded().json();
    let mut reasons: Vec<&str> = letters.as_array().unwrap().iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["request_id has to be 1 to 64 letters, digits and any of _.-", "the command is no JSON object"]);
    assert_eq!(RequestId::new("nonsense").unwrap().as_str(), "nonsense");
}
