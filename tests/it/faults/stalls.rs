//! A Redis that stands still for a moment: a slow disk, a fork, a machine that swaps.

mod long {
    use std::time::Duration;

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::eventually;
    use crate::support::fleet::{Fleet, FleetOptions};

    /// Shorter than a stall, so that heartbeats are due in the middle of it.
    const HEARTBEAT_MS: &str = "4000";

    fn ready(fleet: &Fleet) -> bool {
        let answer = fleet.roger(&["queues", "--json"]).succeeded().json();
        answer["shards"].as_array().unwrap().iter().all(|shard| shard["deliver"].is_string() && shard["archive"].is_string())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stall_of_redis_stops_no_worker_and_takes_nobody_off_the_air() {
        let mut options = options();
        options.overrides.push(("edge.heartbeat_interval_ms", HEARTBEAT_MS.to_owned()));
        let mut fleet = Fleet::start(FleetOptions { delivery: 2, offline: 2, sos: 1, gps: 1, janus: 1, ..options });
        let traffic = Traffic::begin(&fleet).await;
        let pids: Vec<(String, u32)> = fleet.names().into_iter().map(|name| (name.clone(), fleet.program(&name).pid())).collect();
        for stall in [Duration::from_millis(600), Duration::from_secs(5), Duration::from_millis(600)] {
            fleet.redis.stop();
            tokio::time::sleep(stall).await;
            fleet.redis.cont();
            traffic.more(50).await;
            eventually("every shard is worked on", async || ready(&fleet).then_some(())).await;
        }
        for (name, pid) in pids {
            assert!(fleet.program(&name).ended().is_none(), "{name} ended");
            assert_eq!(fleet.program(&name).pid(), pid);
        }
        // Every stream has a worker that says that it lives.
        let worked = async || {
            let answer = fleet.roger(&["queues", "--json"]).succeeded().json();
            let lines = answer["streams"].as_array()?.iter().filter(|line| line["stream"] != "dead");
            lines.map(|line| line["workers"].as_array().map_or(0, Vec::len)).all(|workers| workers > 0).then_some(())
        };
        eventually("all streams have workers", worked).await;
        traffic.cast.nobody_was_told_gone(&["alice", "bob", "carol"]);
        traffic.end(&fleet).await;
    }
}
