//! Programs that are told to stop, edges while Redis is away.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::cast::Cast;
use super::options;
use crate::support::eventually;
use crate::support::fleet::{Fleet, FleetOptions, SqlServer};

/// The default of `shutdown.grace_ms`.
const GRACE: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_stops_within_its_grace_while_redis_is_frozen_and_what_had_no_receipt_is_said_at_another() {
    let mut fleet = Fleet::start(FleetOptions { edges: 2, ..options() });
    let mut cast = Cast::of(&fleet).await;
    cast.join(["alice", "bob"]).await;
    let topic = cast.group("air", ["alice", "bob"]).await;
    cast.on("alice", 0);
    cast.on_only("bob", vec![fleet.edge(1)]);
    for name in ["alice", "bob"] {
        cast.follows(name, topic).await;
    }
    cast.say("alice", topic, 3).await;
    fleet.redis.stop();
    let talker = cast.talk("alice", topic);
    // Its frames are under way, and no answer comes.
    fleet.program("edge-0").wait_for_log("frames were not pushed");
    let begun = Instant::now();
    let status = fleet.terminate("edge-0");
    assert!(status.success(), "{status}");
    // The exit of a program on a busy machine takes its time too.
    assert!(begun.elapsed() < GRACE + Duration::from_secs(1), "it took {:?}", begun.elapsed());
    fleet.redis.cont();
    eventually("alice is at the other edge", async || (cast.heard("alice").connections > 1).then_some(())).await;
    let last = talker.stop().await;
    cast.hears("bob", topic, "alice", last).await;
    cast.check(topic);
    assert_eq!(cast.heard("bob").of(topic).len() as u64, last);
}

#[test]
fn every_program_stops_within_its_grace() {
    let mut fleet = Fleet::start(FleetOptions { edges: 1, sos: 1, gps: 1, gateway: true, ..FleetOptions::default() });
    for name in fleet.names() {
        let begun = Instant::now();
        let status = fleet.terminate(&name);
        assert!(status.success(), "{name}: {status}");
        assert!(begun.elapsed() < GRACE + Duration::from_secs(1), "{name} took {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_program_stops_within_its_grace_while_sql_stands_still() {
    let parts = FleetOptions { sql: SqlServer::MariaDb, edges: 1, sos: 1, gps: 1, gateway: true, ..options() };
    let mut fleet = Fleet::start(parts);
    let mut cast = Cast::of(&fleet).await;
    cast.join(["alice", "bob"]).await;
    let topic = cast.group("air", ["alice", "bob"]).await;
    cast.on("alice", 0);
    cast.follows("alice", topic).await;
    fleet.mariadb.as_ref().unwrap().signal(Signal::SIGSTOP);
    // Something for the archive, which waits for an answer.
    cast.say("alice", topic, 3).await;
    for name in fleet.names() {
        let begun = Instant::now();
        let status = fleet.terminate(&name);
        assert!(status.success(), "{name}: {status}");
        assert!(begun.elapsed() < GRACE + Duration::from_secs(1), "{name} took {:?}", begun.elapsed());
    }
    fleet.mariadb.as_ref().unwrap().signal(Signal::SIGCONT);
}
