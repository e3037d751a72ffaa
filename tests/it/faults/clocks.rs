//! The clock of one machine jumps by an hour, to and fro: whatever goes by the time of day must not.

use crate::support::clocks;
use crate::support::eventually;
use crate::support::redis::{Appendfsync, Redis};
use crate::worker::handle;

const HOUR_MS: u64 = 3_600_000;

/// A Redis whose clock can be set, beside the file that sets it.
fn redis() -> (Redis, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start_in(Appendfsync::No, &[], clocks::environment(folder.path(), "redis"));
    (redis, folder)
}

#[tokio::test]
async fn the_time_of_the_fleet_goes_on_where_the_clock_of_redis_jumps_and_comes_back_to_it_slowly() {
    let (server, folder) = redis();
    let redis = handle(&server);
    let machine_ms = || roger::clock::Clock::system().now_ms();
    // Said between two looks at the clock of this machine, which may stand still meanwhile.
    let is_now = |from_ms: u64, said_ms: u64| (from_ms - 1_000..=machine_ms() + 1_000).contains(&said_ms);
    let from_ms = machine_ms();
    let begun_ms = redis.fleet_time(None, false).await.unwrap().unwrap();
    assert!(is_now(from_ms, begun_ms), "{begun_ms} after {from_ms}");
    clocks::set(folder.path(), "redis", 3_600);
    // Who begins does not know; who knows says it, and from then on everybody does.
    assert_eq!(redis.fleet_time(None, false).await.unwrap(), None);
    let known_ms = machine_ms();
    assert_eq!(redis.fleet_time(Some(known_ms), false).await.unwrap(), Some(known_ms));
    let told_ms = redis.fleet_time(None, false).await.unwrap().unwrap();
    let passed_ms = machine_ms() - known_ms;
    assert!((known_ms..=known_ms + passed_ms * 5 / 4 + 50).contains(&told_ms), "{told_ms} after {known_ms}");
    let from_ms = machine_ms();
    let looked_ms = redis.look_at_time().await.unwrap();
    assert!((from_ms - 2_000..machine_ms() + 2_000).contains(&looked_ms), "{looked_ms} after {from_ms}");
    // By a quarter of what passes, and not faster.
    let ahead_ms = async || {
        let told_ms = redis.fleet_time(None, false).await.unwrap()?;
        let passed_ms = machine_ms() - known_ms;
        let ahead_ms = told_ms.saturating_sub(machine_ms());
        assert!(ahead_ms <= passed_ms / 4 + 50, "{ahead_ms} ms ahead after {passed_ms} ms");
        (ahead_ms > 300).then_some(())
    };
    eventually("it comes back to the clock of Redis", ahead_ms).await;
    // Back, and behind.
    clocks::set(folder.path(), "redis", -3_600);
    let known_ms = machine_ms();
    assert_eq!(redis.fleet_time(Some(known_ms), false).await.unwrap(), Some(known_ms));
    // Somebody who waited in vain for others takes the time of Redis.
    clocks::set(folder.path(), "redis", 0);
    assert_eq!(redis.fleet_time(None, false).await.unwrap(), None);
    let from_ms = machine_ms();
    let alone_ms = redis.fleet_time(None, true).await.unwrap().unwrap();
    assert!(is_now(from_ms, alone_ms), "{alone_ms} after {from_ms}");
}

#[tokio::test]
async fn an_error_of_more_than_a_day_is_not_waited_for_and_an_emptied_redis_is_told_the_time() {
    let (server, folder) = redis();
    let redis = handle(&server);
    let known_ms = roger::clock::Clock::system().now_ms();
    redis.fleet_time(None, false).await.unwrap().unwrap();
    // What the fleet had from a clock that stood in another week.
    clocks::set(folder.path(), "redis", 7 * 24 * 3_600);
    let told_ms = redis.fleet_time(Some(known_ms), false).await.unwrap().unwrap();
    assert!(told_ms > known_ms + 6 * 24 * HOUR_MS, "{told_ms}");
    server.flushall();
    let wished_ms = told_ms - HOUR_MS;
    assert_eq!(redis.fleet_time(Some(wished_ms), false).await.unwrap(), Some(wished_ms));
}

mod long {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::fleet::{Fleet, FleetOptions, SHARDS};
    use crate::worker::handle;

    const HOUR_S: i64 = 3_600;
    /// So that a session lapses within eleven seconds of what its edge last said of it, and a beat is due every two.
    const HEARTBEAT_MS: &str = "2000";
    const LEASE_MS: u64 = 5_000;
    /// How many words each speaker says after a jump: some seconds of them, in which every heartbeat, sweep and lease comes round.
    const WORDS: u64 = 400;

    /// Watches the leases of shards until it is told to stop; for how long the one that was free for longest was.
    fn watch(fleet: &Fleet) -> (Arc<AtomicBool>, tokio::task::JoinHandle<Duration>) {
        let (stop, redis) = (Arc::new(AtomicBool::new(false)), handle(&fleet.redis));
        let watching = tokio::spawn({
            let stop = stop.clone();
            async move {
                let (mut longest, mut free) = (Duration::ZERO, BTreeMap::<usize, Instant>::new());
                let mut looks = tokio::time::interval(Duration::from_millis(50));
                while !stop.load(Ordering::Relaxed) {
                    looks.tick().await;
                    // One look that is late sees nothing; what matters lasts for seconds.
                    let Ok(holders) = redis.lease_holders("deliver", SHARDS).await else { continue };
                    for (shard, holder) in holders.into_iter().enumerate() {
                        match holder {
                            Some(_) => drop(free.remove(&shard)),
                            None => longest = longest.max(free.entry(shard).or_insert_with(Instant::now).elapsed()),
                        }
                    }
                }
                longest
            }
        });
        (stop, watching)
    }

    /// The clock of `name` goes an hour ahead, from there an hour behind, and back, while people talk.
    async fn jumps(name: &str) {
        let mut options = FleetOptions { delivery: 2, offline: 2, clocks: true, ..options() };
        options.overrides.push(("edge.heartbeat_interval_ms", HEARTBEAT_MS.to_owned()));
        options.overrides.push(("delivery.lease_ttl_ms", LEASE_MS.to_string()));
        let fleet = Fleet::start(options);
        let mut traffic = Traffic::begin(&fleet).await;
        let (stop, watching) = watch(&fleet);
        for ahead_s in [HOUR_S, -HOUR_S, 0] {
            fleet.set_clock(name, ahead_s);
            traffic.more(WORDS).await;
            // Whoever comes now, with a token that was signed by the right time, is let in and gets what there is.
            traffic.cast.on("dave", 0);
            traffic.cast.follows("dave", traffic.topic).await;
            traffic.cast.off("dave").await;
        }
        stop.store(true, Ordering::Relaxed);
        let free = watching.await.unwrap();
        assert!(free < Duration::from_millis(LEASE_MS), "a shard had no owner for {free:?}");
        for who in ["alice", "bob", "carol"] {
            let heard = traffic.cast.heard(who);
            assert_eq!((heard.connections, &heard.disconnects), (1, &Vec::new()), "{who}");
        }
        for who in ["alice", "bob", "carol", "dave"] {
            assert_eq!(traffic.cast.tokens_expired(who), 0, "tokens of {who} that ran out");
        }
        traffic.cast.nobody_was_told_gone(&["alice", "bob", "carol"]);
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_edge_whose_clock_jumps_ends_no_session_and_lets_everybody_in() {
        jumps("edge-0").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_owner_whose_clock_jumps_takes_nobody_off_the_air() {
        jumps("delivery-0").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_archive_whose_clock_jumps_loses_and_doubles_nothing() {
        jumps("offline-0").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redis_whose_clock_jumps_takes_nobody_off_the_air_and_leaves_no_shard_alone() {
        jumps("redis").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn programs_that_begin_by_a_wrong_clock_go_by_that_of_the_fleet() {
        let mut options = FleetOptions { delivery: 2, offline: 2, clocks: true, ..options() };
        options.overrides.push(("edge.heartbeat_interval_ms", HEARTBEAT_MS.to_owned()));
        let mut fleet = Fleet::start(options);
        let mut traffic = Traffic::begin_at(&fleet, [0, 0, 0]).await;
        let wrong = [("edge-1", -HOUR_S), ("delivery-1", HOUR_S), ("offline-1", -HOUR_S)];
        for (name, ahead_s) in wrong {
            fleet.set_clock(name, ahead_s);
            fleet.restart(name);
        }
        // And when it is the clock of Redis that is wrong, whoever begins has the time of those that are there.
        for ahead_s in [0, HOUR_S] {
            fleet.set_clock("redis", ahead_s);
            traffic.more(WORDS).await;
            for (name, _) in wrong {
                fleet.restart(name);
            }
            traffic.more(WORDS).await;
            traffic.cast.on_only("dave", vec![fleet.edge(1)]);
            traffic.cast.follows("dave", traffic.topic).await;
            traffic.cast.off("dave").await;
        }
        assert!(fleet.program("delivery-1").log().contains("the clock of this machine is not that of the fleet"));
        for who in ["alice", "bob", "carol", "dave"] {
            assert_eq!(traffic.cast.tokens_expired(who), 0, "tokens of {who} that ran out");
        }
        for who in ["alice", "bob", "carol"] {
            assert_eq!(traffic.cast.heard(who).connections, 1, "{who}");
        }
        traffic.cast.nobody_was_told_gone(&["alice", "bob", "carol"]);
        traffic.end(&fleet).await;
    }
}
