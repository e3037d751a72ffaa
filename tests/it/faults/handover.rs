//! Owners and edges that stop, die, or sleep without knowing it.

mod long {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;
    use roger::broker::keys;

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::eventually;
    use crate::support::fleet::{Fleet, FleetOptions, SHARDS};
    use crate::worker::handle;

    const OWNERS: [&str; 2] = ["delivery-0", "delivery-1"];

    fn fleet() -> Fleet {
        Fleet::start(FleetOptions { delivery: 2, ..options() })
    }

    /// Waits until the program of that name owns so many shards.
    async fn owns(fleet: &mut Fleet, name: &str, shards: usize) {
        let mark = format!("-{}-", fleet.program(name).pid());
        let redis = handle(&fleet.redis);
        let owned = async || {
            let holders = redis.lease_holders("deliver", SHARDS).await.ok()?;
            (holders.iter().flatten().filter(|holder| holder.contains(&mark)).count() == shards).then_some(())
        };
        eventually(&format!("{name} owns {shards} shards"), owned).await;
    }

    /// Who owns the shard of the traffic, and who does not.
    async fn owner_and_other(fleet: &mut Fleet, traffic: &Traffic) -> (&'static str, &'static str) {
        let holder = fleet.redis.cli(&["GET", &keys::lease(traffic.topic.shard(SHARDS), "deliver")]);
        let is_first = holder.contains(&format!("-{}-", fleet.program(OWNERS[0]).pid()));
        if is_first { (OWNERS[0], OWNERS[1]) } else { (OWNERS[1], OWNERS[0]) }
    }

    /// Both share the shards evenly.
    async fn shared(fleet: &mut Fleet) {
        for name in OWNERS {
            owns(fleet, name, SHARDS as usize / 2).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_owners_share_the_shards_and_a_clean_stop_hands_over_within_a_second() {
        let mut fleet = fleet();
        let traffic = Traffic::begin(&fleet).await;
        let mut took = Vec::new();
        // A machine that is busy elsewhere may take longer once.
        for _ in 0..3 {
            shared(&mut fleet).await;
            let (owner, other) = owner_and_other(&mut fleet, &traffic).await;
            let begun = Instant::now();
            fleet.program(owner).signal(Signal::SIGTERM);
            owns(&mut fleet, other, SHARDS as usize).await;
            took.push(begun.elapsed());
            assert!(fleet.program(owner).wait().success());
            traffic.more(20).await;
            fleet.relaunch(owner);
            if took.last().is_some_and(|took| *took < Duration::from_secs(1)) {
                break;
            }
        }
        assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "handed over after {took:?}");
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_killed_owner_is_replaced_within_seconds() {
        let mut fleet = fleet();
        let traffic = Traffic::begin(&fleet).await;
        shared(&mut fleet).await;
        let (owner, other) = owner_and_other(&mut fleet, &traffic).await;
        let begun = Instant::now();
        fleet.kill9(owner);
        owns(&mut fleet, other, SHARDS as usize).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(8), "taken over after {took:?}");
        traffic.more(50).await;
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_owner_that_slept_through_its_lease_commits_nothing() {
        let mut fleet = fleet();
        let traffic = Traffic::begin(&fleet).await;
        shared(&mut fleet).await;
        let (owner, other) = owner_and_other(&mut fleet, &traffic).await;
        fleet.stop(owner);
        owns(&mut fleet, other, SHARDS as usize).await;
        traffic.more(50).await;
        let epochs = || (0..SHARDS).map(|shard| fleet.redis.cli(&["HGET", &keys::meta(shard), "epoch"])).collect::<Vec<_>>();
        let before = epochs();
        fleet.cont(owner);
        // What it had in hand is refused or given up; then it takes its share again, cleanly handed over.
        shared(&mut fleet).await;
        traffic.more(50).await;
        let epochs = || (0..SHARDS).map(|shard| fleet.redis.cli(&["HGET", &keys::meta(shard), "epoch"])).collect::<Vec<_>>();
        assert_eq!(epochs(), before, "a new epoch where nothing was lost");
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_edge_that_slept_gives_its_clients_no_repeat_and_no_hole() {
        let mut fleet = Fleet::start(options());
        let traffic = Traffic::begin(&fleet).await;
        let redis = handle(&fleet.redis);
        let boots = async || redis.live_edges(roger::clock::Clock::system().now_ms()).await.unwrap();
        let before: BTreeSet<String> = boots().await.into_iter().collect();
        let asleep = before.iter().find(|boot| boot.starts_with("edge-1-")).unwrap().clone();
        fleet.stop("edge-1");
        // Bob notices and goes elsewhere, carol does not; alice goes on talking at the other edge.
        traffic.cast.session("bob").reconnect();
        traffic.cast.more_receipts("alice", traffic.topic, 50).await;
        traffic.cast.more_receipts("bob", traffic.topic, 50).await;
        let gone = async || (!boots().await.contains(&asleep) && fleet.redis.cli(&["EXISTS", &keys::out(&asleep)]) == "0").then_some(());
        eventually("the edge is presumed gone", gone).await;
        fleet.cont("edge-1");
        eventually("the edge is there again", async || boots().await.contains(&asleep).then_some(())).await;
        traffic.more(50).await;
        assert_eq!(traffic.cast.heard("bob").connections, 2);
        let cast = &traffic.cast;
        for speaker in ["alice", "bob"] {
            cast.hears("carol", traffic.topic, speaker, cast.words(speaker, traffic.topic)).await;
        }
        assert_eq!(cast.heard("carol").connections, 1, "{:?}", cast.heard("carol").disconnects);
        traffic.end(&fleet).await;
    }
}
