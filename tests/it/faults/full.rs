//! A Redis whose memory is full.

mod long {
    use crate::faults::cast::Cast;
    use crate::faults::{audit, options, quiet};
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::wait_until;

    /// Messages of a thousand bytes.
    const BALLAST: usize = 10_000;

    fn used(fleet: &Fleet) -> u64 {
        let memory = fleet.redis.cli(&["INFO", "memory"]);
        memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_fleet_works_its_way_out_of_a_full_memory() {
        let mut options = FleetOptions { edges: 1, ..options() };
        options.overrides.extend([("offline.retention_s", "0".to_owned()), ("delivery.lease_ttl_ms", "500".to_owned())]);
        let mut fleet = Fleet::start(options);
        let mut cast = Cast::of(&fleet).await;
        cast.join(["alice", "bob"]).await;
        let topic = cast.group("air", ["alice", "bob"]).await;
        let ballast = cast.group("ballast", ["alice"]).await;
        for name in ["alice", "bob"] {
            cast.on(name, 0);
            cast.follows(name, topic).await;
        }
        quiet(&fleet).await;
        let before = used(&fleet);
        // Nobody takes in what comes, and it has its receipts.
        for program in ["delivery-0", "offline-0"] {
            fleet.stop(program);
        }
        cast.say("alice", topic, 8_000).await;
        for _ in 0..BALLAST {
            cast.session("alice").send(ballast, "x".repeat(1_000)).await.unwrap();
        }
        cast.session("alice").flush().await.unwrap();
        // Below what is in use, and above what it was; the buffers of clients come and go beside it, and are a fraction of the ballast.
        wait_until("the memory is full", || {
            let max = (before + used(&fleet)) / 2;
            fleet.redis.cli(&["CONFIG", "SET", "maxmemory", &max.to_string()]);
            max > before && fleet.redis.cli(&["SET", "another", "key"]).contains("OOM")
        });
        for program in ["delivery-0", "offline-0"] {
            fleet.cont(program);
        }
        cast.say("alice", topic, 10).await;
        cast.hears("bob", topic, "alice", 8_010).await;
        cast.check(topic);
        quiet(&fleet).await;
        audit(&fleet);
    }
}
