//! Rooms: in one or in none, told to those whom it concerns; and who comes and goes.

use prost::Message as _;
use roger::broker::{self, Redis, keys};
use roger::model::{GroupId, MessageKind, TopicId};
use roger::proto::status::Refused;
use roger::proto::v1::{self, PresenceState};
use roger::topic::frame::{InFrame, Input, Notice};

use super::radio::Radio;
use super::stage::{Stage, hello, hello_at};
use crate::support::eventually;

/// The shards of a fleet that says nothing else.
const SHARDS: u32 = 16;

impl Stage {
    /// A second group of apollo with these members.
    async fn second_group(&self, members: &[&str]) -> TopicId {
        let added = self.fleet.roger(&["group", "add", "cabin", "--tenant", "apollo", "--json"]).succeeded().json();
        for name in members {
            self.fleet.roger(&["member", "add", "cabin", name, "--tenant", "apollo"]).succeeded();
        }
        TopicId::group(GroupId(added["group_id"].as_u64().unwrap()))
    }

    fn redis(&self) -> Redis {
        Redis::new(broker::Settings {
            url: self.fleet.redis.url(),
            connect_timeout: std::time::Duration::from_secs(1),
            response_timeout: std::time::Duration::from_secs(2),
            replication: roger::broker::Replication::none(),
        })
        .unwrap()
    }

    /// What only the fleet itself may say in a room.
    async fn announce(&self, group: TopicId, number: u64, text: &str) {
        let room = TopicId::room(GroupId(group.id()));
        let notice = Notice { topic: room.packed(), kind: MessageKind::Text as u32, body: text.to_owned().into() };
        let frame = InFrame { producer: 0xa11, number, items: vec![Input::Notice(notice).into()], ..InFrame::default() };
        self.redis().add(&keys::input(room.shard(SHARDS)), &frame.encode_to_vec()).await.unwrap();
    }
}

fn room(group: TopicId) -> TopicId {
    TopicId::room(GroupId(group.id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_a_room_is_for_who_is_in_it_at_that_moment() {
    let stage = Stage::start().await;
    let (loop_, cabin) = (stage.group, stage.second_group(&["neil", "buzz"]).await);
    let (edge, other) = (stage.fleet.edge(0), stage.fleet.edge(1));
    let mut neil = stage.radio(0, "neil").await;
    let mut buzz = stage.radio(1, "buzz").await;
    let mut capcom = stage.radio(1, "capcom").await;
    // Presence is for who follows at that moment: both have to before anybody moves.
    neil.follows(cabin).await;
    buzz.follows(cabin).await;

    assert_eq!(neil.enter(&edge, loop_.id()).await.unwrap().group_id, loop_.id());
    assert_eq!(buzz.enter(&other, loop_.id()).await.unwrap().version, 1);
    neil.follows(room(loop_)).await;
    buzz.follows(room(loop_)).await;
    stage.announce(loop_, 1, "first").await;
    neil.hears(room(loop_), &["first"]).await;
    buzz.hears(room(loop_), &["first"]).await;

    // From the answer on what is said in the room before is not for them, and what is said in the next one is.
    let moved = neil.enter(&edge, cabin.id()).await.unwrap();
    assert_eq!((moved.group_id, moved.version), (cabin.id(), 2));
    stage.announce(loop_, 2, "second").await;
    stage.announce(cabin, 1, "third").await;
    buzz.hears(room(loop_), &["first", "second"]).await;
    neil.hears(room(cabin), &["third"]).await;
    neil.leaves(room(loop_)).await;
    assert_eq!(neil.heard.texts(room(loop_)), ["first"]);
    // Wanting what is so changes nothing.
    assert_eq!(neil.enter(&edge, cabin.id()).await.unwrap().version, 2);

    // Members of both groups hear where everybody is, each with the nickname of now.
    let neils = neil.heard.welcome.user_id;
    let seen = capcom.sees(neils, loop_.id(), PresenceState::Online).await;
    assert_eq!((seen.current_group_id, seen.nickname.as_str()), (cabin.id(), "neil"));
    buzz.sees(neils, cabin.id(), PresenceState::InRoom).await;
    // The dispatcher is in no room, and hears nothing of what is said in them.
    capcom.beat().await;
    assert!(capcom.heard.texts(room(loop_)).is_empty() && capcom.heard.texts(room(cabin)).is_empty());

    // Rooms of groups one is not in are closed, like groups that do not exist.
    for group in [cabin.id(), 4_711, u64::MAX] {
        let refused = capcom.enter(&other, group).await.unwrap_err();
        assert_eq!(Refused::of(&refused).unwrap().reason, roger::model::Reason::NotMember, "{group}");
    }
    // Whoever is taken out of the group is out of its room.
    stage.fleet.roger(&["member", "remove", "--yes", "cabin", "neil", "--tenant", "apollo"]).succeeded();
    neil.leaves(room(cabin)).await;
    stage.announce(cabin, 2, "fourth").await;
    assert_eq!(neil.enter(&edge, 0).await.unwrap().group_id, 0);
    neil.beat().await;
    assert_eq!(neil.heard.texts(room(cabin)), ["third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_a_room_and_off_the_air_gets_what_was_said_there_on_coming_back() {
    let stage = Stage::start().await;
    let group = stage.group;
    let login = stage.login("neil", 1).await;
    let mut neil = stage.radio(0, "neil").await;
    // A hello may say it too.
    let wish = v1::Hello { current_group_id: group.id(), ..hello(&login, 1) };
    drop(std::mem::replace(&mut neil, Radio::open(&stage.fleet.edge(1), wish).await.unwrap()));
    let start = neil.follows(room(group)).await.head.unwrap();
    drop(neil);
    stage.announce(group, 1, "missed").await;
    let mut back = Radio::open(&stage.fleet.edge(0), hello_at(&login, 1, room(group), start)).await.unwrap();
    back.hears(room(group), &["missed"]).await;
    // Moved elsewhere while off the air: what came before is still fetched, what comes after is not.
    back.mark(room(group), back.heard.place_of("missed")).await;
    back.beat().await;
    let mark = back.heard.place_of("missed");
    stage.announce(group, 2, "still").await;
    back.hears(room(group), &["missed", "still"]).await;
    back.enter(&stage.fleet.edge(0), 0).await.unwrap();
    drop(back);
    stage.announce(group, 3, "no more").await;
    let mut late = Radio::open(&stage.fleet.edge(1), hello_at(&login, 1, room(group), mark)).await.unwrap();
    late.hears(room(group), &["still"]).await;
    late.leaves(room(group)).await;
    assert_eq!(late.heard.texts(room(group)), ["still"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_hear_who_comes_and_who_says_goodbye_and_not_who_only_changes_edges() {
    let stage = Stage::start().await;
    let group = stage.group;
    let mut capcom = stage.radio(0, "capcom").await;
    let login = stage.login("neil", 1).await;
    let neil = Radio::open(&stage.fleet.edge(1), hello(&login, 1)).await.unwrap();
    let neils = login.user.0;
    let seen = capcom.sees(neils, group.id(), PresenceState::Online).await;
    assert_eq!((seen.nickname.as_str(), seen.current_group_id), ("neil", 0));
    // The connection breaks, and the radio is back elsewhere: only heartbeats decide who is gone.
    drop(neil);
    let mut again = Radio::open(&stage.fleet.edge(0), hello(&login, 1)).await.unwrap();
    again.follows(group).await;
    again.send(v1::ClientFrame { goodbye: true, ..v1::ClientFrame::default() }).await;
    capcom.sees(neils, group.id(), PresenceState::Offline).await;
    let told: Vec<_> = capcom.heard.presences.iter().filter(|told| told.user_id == neils).map(v1::Presence::state).collect();
    assert_eq!(told, [PresenceState::Online, PresenceState::Offline]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_outlives_its_owner_and_redis() {
    let mut stage = Stage::start().await;
    let group = stage.group;
    let mut neil = stage.radio(0, "neil").await;
    neil.enter(&stage.fleet.edge(0), group.id()).await.unwrap();
    let store = roger::store::Store::open(&format!("sqlite:{}", stage.fleet.folder().join("roger.db").display())).unwrap();
    let users = [roger::model::UserId(neil.heard.welcome.user_id)].into();
    eventually("the room is archived", async || (!store.rooms_of(&users, SHARDS).await.unwrap().is_empty()).then_some(())).await;
    stage.fleet.restart("delivery-0");
    stage.announce(group, 1, "after a new owner").await;
    neil.hears(room(group), &["after a new owner"]).await;

    stage.fleet.redis.flushall();
    let login = stage.login("neil", 1).await;
    let mut back = eventually("a session after the loss", async || {
        let mut radio = Radio::open(&stage.fleet.edge(1), hello(&login, 1)).await.ok()?;
        radio.follows(room(group)).await;
        Some(radio)
    })
    .await;
    stage.announce(group, 2, "after the loss").await;
    back.until("the text", |heard| heard.texts(room(group)).contains(&"after the loss".to_owned()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_moves_into_a_room_and_out() {
    let stage = Stage::start().await;
    let mut capcom = stage.radio(0, "capcom").await;
    let run = |args: &[&str], input: &str| {
        let mut command = stage.fleet.command(args);
        command.env("XDG_STATE_HOME", stage.fleet.folder()).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    let (directory, edge) = (stage.fleet.directory(), stage.fleet.edge(1));
    run(&["login", "neil", "--directory", &directory], "neil\n");
    run(&["room", "loop", "--edge", &edge, "--directory", &directory], "");
    let neils = stage.login("neil", 1).await.user.0;
    // The command says goodbye at once. Of several words the edge tells who is behind only the last one, which names the room, too.
    let group = stage.group.id();
    let at =
        |room: u64| move |heard: &super::radio::Heard| heard.presence(neils, group).filter(|told| told.current_group_id == room).cloned();
    let seen = capcom.until("neil is in the room", at(group)).await;
    assert_ne!(seen.state(), PresenceState::Online);
    run(&["room", "none", "--edge", &edge, "--directory", &directory], "");
    capcom.until("neil is in no room", at(0)).await;
}
