//! Long silences, and machines that sleep: a fleet whose clock the test moves.

use std::time::Duration;

use roger::client::Disconnect;
use roger::clock::{Clock, Hand};
use roger::model::{Reason, TopicId};
use roger::proto::v1;
use roger::session;

use super::bare::Bare;
use super::cast::Cast;
use crate::support::eventually;
use crate::support::world::World;
use crate::worker::handle;

/// Edges tell the machine's time of themselves, for their streams on Redis expire by that. So the fleet's clock starts behind it and never
/// overtakes it.
const BEHIND: Duration = Duration::from_secs(3 * 3_600);
const HEARTBEAT: Duration = Duration::from_secs(20);

async fn world() -> (World, Hand, Cast, TopicId) {
    let (clock, hand) = Clock::manual(Clock::system().now_ms() - BEHIND.as_millis() as u64);
    let mut world = World::start(clock.clone(), &[], None).await;
    world.start_edge("edge-0").await;
    let mut cast = Cast::new(&world.config, clock, world.edges.clone()).await;
    cast.join(["alice", "bob"]).await;
    let topic = cast.group("air", ["alice", "bob"]).await;
    (world, hand, cast, topic)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_fifteen_silent_minutes_the_first_message_comes_to_the_same_session() {
    let (world, hand, mut cast, topic) = world().await;
    let mut bob = Bare::open(&world.edges[0], &cast, "bob").await;
    let group = v1::Topic { kind: topic.kind() as i32, id: topic.id() };
    bob.until("bob follows", |frame| frame.follows.iter().any(|follow| follow.topic == Some(group)).then_some(())).await;
    for _ in 0..15 * 3 {
        hand.advance(HEARTBEAT);
        bob.beat().await;
    }
    let (redis, shards) = (handle(&world.redis), u32::from(world.config.fleet.shards));
    let wanted = session::Wanted { user: Some(cast.user("bob")), limit: 10, ..session::Wanted::default() };
    let present = eventually("bob is present by the clock of now", async || {
        // Once a second of this clock the edge notes whom it heard.
        hand.advance(Duration::from_millis(20));
        let listed = session::list(&redis, shards, &wanted).await.ok()?.sessions;
        (!listed.is_empty() && listed.iter().all(|one| one.deadline_ms > world.clock.now_ms())).then_some(listed)
    })
    .await;
    assert_eq!(present.iter().map(|one| one.presence.session.0).collect::<Vec<_>>(), [bob.session]);
    cast.on("alice", 0);
    cast.say("alice", topic, 1).await;
    let text = bob.until("the first message", |frame| frame.entries.into_iter().find(|entry| entry.topic == Some(group))).await.text;
    assert_eq!(text, "alice says 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_two_hours_of_sleep_everybody_comes_back_with_a_new_token_and_lacks_nothing() {
    let (world, hand, mut cast, topic) = world().await;
    for name in ["alice", "bob"] {
        cast.on(name, 0);
        cast.follows(name, topic).await;
    }
    cast.say("alice", topic, 5).await;
    cast.hears("bob", topic, "alice", 5).await;
    // Whoever has something lying at the edge is sent away for that.
    cast.hears("alice", topic, "alice", 5).await;
    for name in ["alice", "bob"] {
        cast.follows(name, TopicId::alert_inbox(cast.user(name))).await;
    }
    hand.advance(Duration::from_secs(2 * 3_600));
    // The edge finds that it has heard nobody for two hours; their tokens have run out meanwhile.
    for name in ["alice", "bob"] {
        eventually("another connection", async || (cast.heard(name).connections == 2).then_some(())).await;
        assert_eq!(cast.heard(name).disconnects[0], format!("{:?}", Disconnect::Closed(Reason::HeartbeatMissed)));
        assert_eq!(cast.tokens_expired(name), 1, "tokens of {name} that ran out");
        cast.follows(name, topic).await;
    }
    cast.say("bob", topic, 5).await;
    cast.hears("alice", topic, "bob", 5).await;
    cast.hears("bob", topic, "bob", 5).await;
    for name in ["alice", "bob"] {
        assert_eq!(cast.heard(name).of(topic).len(), 10);
    }
    cast.check(topic);
    drop(world);
}
