//! A fleet on a Redis Cluster: its slots move, its primaries die.

mod long {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use roger::broker::keys;

    use crate::faults::loss::Traffic;
    use crate::faults::{all_still_run, options, pids};
    use crate::support::fleet::{Fleet, FleetOptions, SHARDS};
    use crate::support::redis::Redis;
    use crate::support::wait_until;

    /// Until messages are accepted again.
    const ACCEPTING_MAX: Duration = Duration::from_secs(10);

    fn fleet(replicas: usize) -> Fleet {
        let mut options = FleetOptions { cluster: Some((3, replicas)), delivery: 2, offline: 2, ..options() };
        options.overrides.push(("durability.messages", "\"replica\"".to_owned()));
        Fleet::start(options)
    }

    /// The primary that has the shard of the traffic's group, taken out of the fleet.
    fn primary_of(fleet: &mut Fleet, traffic: &Traffic) -> Redis {
        let cluster = fleet.cluster.as_mut().unwrap();
        let port = cluster.port_of(&fleet.redis, &keys::log(traffic.topic.shard(SHARDS)));
        match cluster.primaries.iter().position(|server| server.port() == port) {
            Some(index) => cluster.primaries.swap_remove(index),
            // Another one takes its place as the one to be asked.
            None => std::mem::replace(&mut fleet.redis, cluster.primaries.remove(0)),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn slots_that_move_under_traffic_lose_and_repeat_nothing() {
        let mut fleet = fleet(0);
        let pids = pids(&mut fleet);
        let traffic = Traffic::begin(&fleet).await;
        let cluster = fleet.cluster.as_ref().unwrap();
        let ports: Vec<u16> = std::iter::once(fleet.redis.port()).chain(cluster.primaries.iter().map(Redis::port)).collect();
        let at: BTreeSet<u16> = (0..SHARDS).map(|shard| cluster.port_of(&fleet.redis, &keys::log(shard))).collect();
        assert_eq!(at.len(), 3, "the shards are not spread over all primaries");
        // Every other shard, and what all share, to the next server; the shard of the traffic too, and maybe twice.
        let group = keys::log(traffic.topic.shard(SHARDS));
        let shards = (0..SHARDS).step_by(2).map(keys::log);
        let shared = [keys::replay(), keys::floor(), keys::edges(), keys::workers("deliver"), keys::shards(), keys::watchers()];
        for key in shards.chain(shared).chain([group.clone()]) {
            let from = cluster.port_of(&fleet.redis, &key);
            let next = (ports.iter().position(|port| *port == from).unwrap() + 1) % ports.len();
            cluster.move_slot(&key, ports[next]);
            if key == group {
                traffic.more(50).await;
            }
        }
        traffic.more(100).await;
        all_still_run(&mut fleet, &pids);
        let status = fleet.roger(&["--json", "redis", "status"]).succeeded().json();
        assert_eq!(status.as_array().map(Vec::len), Some(3), "{status}");
        let refused = fleet.roger(&["redis", "switch", "--yes"]);
        assert!(refused.code != 0 && refused.stderr.contains("CLUSTER FAILOVER"), "{}", refused.stderr);
        let doctor = fleet.roger(&["--json", "doctor"]).json();
        let named =
            |check: &&serde_json::Value| check["check"] == "redis.durability" && check["reason"].as_str().unwrap().contains("127.0.0.1:");
        assert_eq!(doctor.as_array().unwrap().iter().filter(named).count(), 3, "{doctor}");
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_primary_of_a_cluster_died_its_replica_goes_on_and_nothing_is_lost_or_repeated() {
        let mut fleet = fleet(1);
        let pids = pids(&mut fleet);
        let traffic = Traffic::begin(&fleet).await;
        let mut primary = primary_of(&mut fleet, &traffic);
        primary.kill();
        let killed = Instant::now();
        traffic.more(100).await;
        let accepting = killed.elapsed();
        assert!(accepting < ACCEPTING_MAX, "accepting after {accepting:?}");
        primary.restart();
        wait_until("the old primary follows", || primary.cli(&["INFO", "replication"]).contains("master_link_status:up"));
        traffic.more(100).await;
        let errors = primary.cli(&["INFO", "errorstats"]);
        assert!(!errors.contains("READONLY"), "somebody writes into the replica: {errors}");
        all_still_run(&mut fleet, &pids);
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_primary_without_a_replica_is_waited_for() {
        let mut fleet = fleet(0);
        let pids = pids(&mut fleet);
        let traffic = Traffic::begin(&fleet).await;
        let mut primary = primary_of(&mut fleet, &traffic);
        primary.kill();
        wait_until("the cluster is down", || fleet.redis.cli(&["CLUSTER", "INFO"]).contains("cluster_state:fail"));
        primary.restart();
        let back = Instant::now();
        traffic.more(100).await;
        let accepting = back.elapsed();
        assert!(accepting < ACCEPTING_MAX, "accepting {accepting:?} after it was back");
        all_still_run(&mut fleet, &pids);
        traffic.end(&fleet).await;
    }
}
