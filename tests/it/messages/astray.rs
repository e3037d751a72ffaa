//! What an edge finds on Redis otherwise than it left it.

use std::time::{Duration, Instant};

use roger::broker::keys;
use roger::clock::Clock;
use roger::model::{InstallationId, SessionId, UserId, UserKind};
use roger::proto::v1;
use roger::session::{self, Opened, Presence};

use super::radio::Radio;
use super::stage::{Stage, hello};
use crate::support::fleet::FleetOptions;
use crate::support::{PATIENCE, eventually};
use crate::worker::handle;

/// The sessions of a user that Redis knows.
async fn of_user(redis: &roger::broker::Redis, user: UserId) -> Vec<Presence> {
    let wanted = session::Wanted { user: Some(user), limit: 10, ..session::Wanted::default() };
    let listing = session::list(redis, SHARDS, &wanted).await.unwrap();
    listing.sessions.into_iter().map(|live| live.presence).collect()
}

const SHARDS: u32 = 16;

/// A fleet whose edge moves deadlines often.
async fn stage() -> Stage {
    let overrides = vec![("edge.heartbeat_interval_ms", "3000".to_owned())];
    Stage::with(FleetOptions { edges: 1, overrides, ..FleetOptions::default() }).await
}

fn beat() -> v1::ClientFrame {
    v1::ClientFrame { beat: Some(v1::Beat::default()), ..v1::ClientFrame::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_could_tell_of_its_successor_is_closed() {
    let stage = stage().await;
    let login = stage.login("neil", 1).await;
    let mut neil = Radio::open(&stage.fleet.edge(0), hello(&login, 1)).await.unwrap();
    neil.follows(stage.group).await;
    let (redis, user) = (handle(&stage.fleet.redis), UserId(neil.heard.welcome.user_id));
    // Opened at an edge that died before it told anybody.
    let now_ms = Clock::system().now_ms();
    let successor = Presence::new(user, InstallationId(1), SessionId(7), "gone-1", "gone", now_ms);
    let displaced = successor.open(&redis, SHARDS, UserKind::Device, now_ms + 60_000).await.unwrap();
    assert!(matches!(displaced, Opened::Open(displaced) if displaced.len() == 1));
    let begun = Instant::now();
    let close = loop {
        assert!(begun.elapsed() < PATIENCE, "two sessions of one device live on");
        neil.send(beat()).await;
        if let Ok(close) = tokio::time::timeout(Duration::from_millis(100), neil.closed()).await {
            break close;
        }
    };
    assert_eq!(close.reason(), v1::Reason::Superseded);
    assert_eq!(of_user(&redis, user).await, [successor]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_presence_was_lost_is_present_again_and_goes_on() {
    let stage = stage().await;
    let (mut neil, buzz) = (stage.radio(0, "neil").await, stage.radio(0, "buzz").await);
    let (redis, user) = (handle(&stage.fleet.redis), UserId(neil.heard.welcome.user_id));
    let before = of_user(&redis, user).await;
    assert_eq!(before.len(), 1);
    stage.fleet.redis.cli(&["DEL", &keys::presence(user, SHARDS), &keys::deadlines(before[0].shard(SHARDS))]);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "neil is not present again");
        neil.send(beat()).await;
        buzz.send(beat()).await;
        if let Ok(close) = tokio::time::timeout(Duration::from_millis(100), neil.closed()).await {
            panic!("neil was closed: {close:?}");
        }
        if of_user(&redis, user).await == before {
            break;
        }
    }
    buzz.say(stage.group, 1, "still there?").await;
    neil.hears(stage.group, &["still there?"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_sessions_those_are_opened_again_whose_place_nobody_took() {
    let server = crate::support::redis::Redis::start();
    let redis = handle(&server);
    let presence = |user, session| Presence::new(UserId(user), InstallationId(1), SessionId(session), "edge-1", "edge", 1);
    let all: Vec<_> = (1..=500).map(|user| presence(user, user)).collect();
    for taken in [3, 400] {
        presence(taken, 1_000).open(&redis, SHARDS, UserKind::Device, 60_000).await.unwrap();
    }
    let sessions: Vec<_> = all.iter().map(|presence| (presence, UserKind::Device, 60_000)).collect();
    let opened = session::open_again(&redis, SHARDS, &sessions).await.unwrap();
    let closed: Vec<_> =
        all.iter().zip(opened).filter(|(_, opened)| matches!(opened, Opened::Taken { .. })).map(|(presence, _)| presence.user.0).collect();
    assert_eq!(closed, [3, 400]);
    assert_eq!(of_user(&redis, UserId(500)).await, [presence(500, 500)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_made_anew_by_a_redis_whose_clock_is_behind_are_read() {
    let mut stage = Stage::with(FleetOptions { edges: 1, ..FleetOptions::default() }).await;
    let (neil, mut buzz) = (stage.radio(0, "neil").await, stage.radio(0, "buzz").await);
    let redis = handle(&stage.fleet.redis);
    let boot = redis.live_edges(Clock::system().now_ms()).await.unwrap().remove(0);
    let streams = [keys::out(&boot), keys::out_urgent(&boot), keys::out_replay(&boot)];
    // Ids of tomorrow; an entry without a payload is passed over.
    let tomorrow = format!("{}-0", Clock::system().now_ms() + 86_400_000);
    for stream in &streams {
        stage.fleet.redis.cli(&["XADD", stream, &tomorrow, "made", ""]);
    }
    let tomorrow = tomorrow.parse().unwrap();
    eventually("they are read", async || {
        for stream in &streams {
            redis.range(stream, tomorrow, tomorrow, 1).await.unwrap().is_empty().then_some(())?;
        }
        Some(())
    })
    .await;
    stage.fleet.redis.cli(&["DEL", &streams[0], &streams[1], &streams[2]]);
    stage.fleet.program("edge-0").wait_for_log("the streams of this edge were gone");
    neil.say(stage.group, 1, "do you read").await;
    buzz.hears(stage.group, &["do you read"]).await;
}
