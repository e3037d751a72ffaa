//! The primary of Redis is lost, and sentinels promote a replica.

mod long {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};
    use roger::broker::keys;
    use roger::model::Durability;

    use crate::faults::loss::Traffic;
    use crate::faults::{all_still_run, options, pids};
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::redis::Redis;
    use crate::support::{PATIENCE, wait_for, wait_until};

    /// Until messages are accepted again.
    const ACCEPTING_MAX: Duration = Duration::from_secs(10);

    fn fleet(replicas: usize) -> Fleet {
        let mut options = FleetOptions { replicas, delivery: 2, offline: 2, ..options() };
        options.overrides.push(("durability.messages", "\"replica\"".to_owned()));
        Fleet::start(options)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_failover_everything_goes_on_within_seconds_and_nothing_is_lost_or_repeated() {
        for _ in 0..3 {
            if fails_over_once().await {
                return;
            }
        }
        panic!("each time sentinels voted once more: the machine is too slow for what is promised of one failover");
    }

    /// Whether there was one failover, by the first vote.
    fn is_first_epoch(fleet: &Fleet) -> bool {
        let facts = fleet.sentinels.as_ref().unwrap().cli(0, &["SENTINEL", "MASTER", "roger"]);
        facts.lines().skip_while(|line| *line != "config-epoch").nth(1) == Some("1")
    }

    /// One failover, judged; `false` when it took a second vote, or another one came behind it, which takes along what had lesser receipts.
    async fn fails_over_once() -> bool {
        let mut fleet = fleet(2);
        let pids = pids(&mut fleet);
        let traffic = Traffic::begin(&fleet).await;
        fleet.redis.kill();
        let killed = Instant::now();
        // More than what was under way and may have had its receipt already.
        traffic.more(100).await;
        let accepting = killed.elapsed();
        let is_promoted = || fleet.sentinels.as_ref().unwrap().promoted().is_some();
        wait_until("the first sentinel names another primary", is_promoted);
        if !is_first_epoch(&fleet) {
            return false;
        }
        assert!(accepting < ACCEPTING_MAX, "accepting after {accepting:?}");

        // The old one comes back, writable until a sentinel reaches it. Nobody writes into it, then or as a replica.
        fleet.redis.restart();
        let is_replica = || fleet.redis.cli(&["INFO", "replication"]).contains("role:slave").then_some(());
        wait_for("the old primary is a replica", PATIENCE, is_replica);
        traffic.more(100).await;
        if !is_first_epoch(&fleet) {
            return false;
        }
        let errors = fleet.redis.cli(&["INFO", "errorstats"]);
        assert!(!errors.contains("READONLY"), "somebody writes into the replica: {errors}");
        // What scripts write comes from the primary as plain commands.
        let commands = fleet.redis.cli(&["INFO", "commandstats"]);
        assert!(!commands.contains("cmdstat_evalsha"), "somebody wrote into the old primary: {commands}");
        all_still_run(&mut fleet, &pids);
        assert_ne!(fleet.sentinels.as_ref().unwrap().primary(0), fleet.redis.port());
        assert!(traffic.cast.heard("alice").durabilities.contains(&Durability::Replica));
        traffic.end(&fleet).await;
        true
    }

    /// How often what is left to chance is tried: `ROGER_SEEDS`, or twice.
    fn seeds() -> u64 {
        std::env::var("ROGER_SEEDS").map_or(2, |seeds| seeds.parse().unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_its_replica_frozen_a_killed_primary_takes_nothing_along_that_a_receipt_called_replicated() {
        let mut lost = Vec::new();
        for seed in 0..seeds() {
            let mut random = StdRng::seed_from_u64(seed);
            let mut fleet = fleet(1);
            let traffic = Traffic::begin(&fleet).await;
            let replica = |fleet: &Fleet, signal| fleet.sentinels.as_ref().unwrap().replicas[0].signal(signal);
            replica(&fleet, Signal::SIGSTOP);
            // SQL gets what the replica has not, as it would.
            traffic.more(random.random_range(1..400)).await;
            fleet.stop("offline-0");
            fleet.stop("offline-1");
            traffic.more(random.random_range(1..400)).await;
            let kept = traffic.cast.archived(traffic.topic).await;
            fleet.redis.kill();
            replica(&fleet, Signal::SIGCONT);
            fleet.cont("offline-0");
            fleet.cont("offline-1");
            let durabilities = traffic.cast.heard("alice").durabilities.clone();
            assert!(durabilities.contains(&Durability::Replica) && durabilities.contains(&Durability::Fsync), "{durabilities:?}");
            lost.push(traffic.judge(&fleet, kept).await);
        }
        assert!(lost.iter().any(|lost| *lost > 0), "nothing was lost in any run: no receipt was put to the test");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_replica_that_is_gone_is_told_and_receipts_say_less_until_it_is_back() {
        let mut fleet = fleet(1);
        let traffic = Traffic::begin(&fleet).await;
        let replica = |fleet: &mut Fleet| std::mem::take(&mut fleet.sentinels.as_mut().unwrap().replicas).pop().unwrap();
        let mut gone = replica(&mut fleet);
        gone.kill();
        traffic.more(50).await;
        let safe = |traffic: &Traffic| traffic.cast.heard("alice").safe.last().map(|(.., durability)| *durability);
        wait_until("receipts say less", || safe(&traffic) == Some(Durability::Fsync));
        let seen = |fleet: &Fleet| {
            let checks = fleet.roger(&["--json", "doctor"]).json();
            let found = checks.as_array().unwrap().iter().find(|check| check["check"] == "redis.replicas").cloned().unwrap();
            (found["verdict"].as_str().unwrap().to_lowercase(), found["reason"].as_str().unwrap().to_owned())
        };
        assert_eq!(seen(&fleet), ("warn".to_owned(), "0 of 1 replicas follow".to_owned()));
        gone.restart();
        wait_until("receipts speak of it again", || safe(&traffic) == Some(Durability::Replica));
        assert_eq!(seen(&fleet).0, "ok");
        traffic.end(&fleet).await;
    }

    /// Leases are replicated with the moment at which they lapse, and that is an hour away.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_primary_leased_by_a_clock_an_hour_ahead_is_taken_up_again_by_who_holds_it() {
        let mut options = FleetOptions { replicas: 1, clocks: true, ..options() };
        options.overrides.push(("durability.messages", "\"replica\"".to_owned()));
        let mut fleet = Fleet::start(options);
        let traffic = Traffic::begin(&fleet).await;
        let replica = |fleet: &Fleet, signal| fleet.sentinels.as_ref().unwrap().replicas[0].signal(signal);
        replica(&fleet, Signal::SIGSTOP);
        fleet.set_clock("redis", 3_600);
        traffic.more(100).await;
        let kept = traffic.cast.archived(traffic.topic).await;
        fleet.redis.kill();
        replica(&fleet, Signal::SIGCONT);
        traffic.judge(&fleet, kept).await;
    }

    /// As after a failover that was asked for while the other sentinels elected one: the one that was asked takes the same epoch as they do.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_sentinel_that_names_another_primary_of_the_same_epoch_is_not_believed_and_told() {
        let mut fleet = fleet(1);
        let pids = pids(&mut fleet);
        let traffic = Traffic::begin(&fleet).await;
        let seen = |fleet: &Fleet| {
            let checks = fleet.roger(&["--json", "doctor"]).json();
            let found = checks.as_array().unwrap().iter().find(|check| check["check"] == "redis.sentinels").cloned().unwrap();
            (found["verdict"].as_str().unwrap().to_lowercase(), found["reason"].as_str().unwrap().to_owned())
        };
        let (primary, replica) = (fleet.redis.port(), fleet.sentinels.as_ref().unwrap().replicas[0].port());
        // Nobody is to be promoted because a server stands still.
        for sentinel in 0..3 {
            fleet.sentinels.as_ref().unwrap().cli(sentinel, &["SENTINEL", "SET", "roger", "down-after-milliseconds", "30000"]);
        }
        assert_eq!(seen(&fleet), ("ok".to_owned(), format!("3 of 3 name 127.0.0.1:{primary} in epoch 0")));
        for sentinel in 0..3 {
            let sentinels = fleet.sentinels.as_mut().unwrap();
            sentinels.mislead(sentinel, replica);
            wait_until("it is back", || sentinels.try_cli(&["PING"]).is_some());
            // Until everybody has asked it some times.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let says = |sentinel| fleet.sentinels.as_ref().unwrap().primary(sentinel);
            assert_eq!([says(sentinel), says((sentinel + 1) % 3), says((sentinel + 2) % 3)], [replica, primary, primary]);
            traffic.more(50).await;
            let (verdict, reason) = seen(&fleet);
            let told = format!("names 127.0.0.1:{replica} in epoch 0, most name 127.0.0.1:{primary}");
            assert!(verdict == "warn" && reason.contains(&told), "{verdict} {reason}");
            // What its owner does then.
            let sentinels = fleet.sentinels.as_mut().unwrap();
            sentinels.cli(sentinel, &["SENTINEL", "REMOVE", "roger"]);
            sentinels.cli(sentinel, &["SENTINEL", "MONITOR", "roger", "127.0.0.1", &primary.to_string(), "2"]);
        }
        for name in pids.keys() {
            assert!(!fleet.program(name).log().contains(&format!("primary=\"127.0.0.1:{replica}\"")), "{name} believed it");
        }
        all_still_run(&mut fleet, &pids);
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_planned_switch_loses_nothing_and_is_over_in_seconds() {
        let mut fleet = fleet(1);
        let pids = pids(&mut fleet);
        let traffic = Traffic::begin(&fleet).await;
        // As if somebody else were at it.
        fleet.redis.cli(&["SET", &keys::switch(), "1"]);
        let refused = fleet.roger(&["redis", "switch", "--yes"]);
        assert!(refused.code != 0 && refused.stderr.contains("another switch is under way"), "{}", refused.stderr);
        fleet.redis.cli(&["DEL", &keys::switch()]);
        // A sentinel that does not understand what the primary answers; a second one, and they would begin a failover.
        let asks_by = |fleet: &Fleet, command: &str| {
            let set = fleet.sentinels.as_ref().unwrap().cli(2, &["SENTINEL", "SET", "roger", "rename-command", "PING", command]);
            assert_eq!(set, "OK");
        };
        let takes_it_for_dead = |fleet: &Fleet| {
            let facts = fleet.sentinels.as_ref().unwrap().cli(2, &["SENTINEL", "MASTER", "roger"]);
            facts.lines().skip_while(|line| *line != "flags").nth(1).is_some_and(|flags| flags.contains("s_down"))
        };
        asks_by(&fleet, "NOBODY-KNOWS-THIS");
        wait_until("a sentinel takes the primary for dead", || takes_it_for_dead(&fleet));
        let refused = fleet.roger(&["redis", "switch", "--yes"]);
        assert!(refused.code != 0 && refused.stderr.contains("takes the primary for dead, and a failover may begin"), "{}", refused.stderr);
        asks_by(&fleet, "PING");
        wait_until("it does not any more", || !takes_it_for_dead(&fleet));
        let switched = fleet.roger(&["--json", "redis", "switch", "--yes"]).succeeded().json();
        wait_until("the first sentinel knows", || fleet.sentinels.as_ref().unwrap().promoted().is_some());
        let primary = fleet.sentinels.as_ref().unwrap().promoted().unwrap();
        assert_eq!(primary.cli(&["EXISTS", &keys::switch()]), "0", "nobody else can switch for a while");
        assert!(switched["paused_ms"].as_u64().unwrap() < 10_000, "{switched}");
        assert_eq!(switched["from"], format!("127.0.0.1:{}", fleet.redis.port()));
        let begun = Instant::now();
        traffic.more(50).await;
        assert!(begun.elapsed() < ACCEPTING_MAX, "accepting after {:?}", begun.elapsed());
        let follows = || {
            let said = fleet.roger(&["--json", "redis", "status"]);
            said.code == 0 && said.json()["replicas"][0]["state"] == "online"
        };
        wait_until("the old primary follows", follows);
        all_still_run(&mut fleet, &pids);
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_two_of_three_sentinels_the_last_primary_is_kept() {
        let mut fleet = fleet(1);
        let pids = pids(&mut fleet);
        let traffic = Traffic::begin(&fleet).await;
        for sentinel in [0, 1] {
            fleet.sentinels.as_mut().unwrap().process(sentinel).kill();
        }
        traffic.more(100).await;
        // The one that is left is no majority: it promotes nobody, and names whom it knew.
        fleet.redis.kill();
        fleet.redis.restart();
        traffic.more(100).await;
        // A program that begins now has that one to ask.
        fleet.restart("edge-1");
        for sentinel in [0, 1] {
            fleet.sentinels.as_mut().unwrap().restart(sentinel);
        }
        traffic.more(100).await;
        assert_eq!(fleet.sentinels.as_ref().unwrap().primary(2), fleet.redis.port());
        let others: BTreeMap<String, u32> = pids.into_iter().filter(|(name, _)| name != "edge-1").collect();
        all_still_run(&mut fleet, &others);
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sentinel_that_missed_a_failover_is_not_believed() {
        let mut fleet = fleet(1);
        let traffic = Traffic::begin(&fleet).await;
        let sleep = |fleet: &mut Fleet, sentinel, signal| fleet.sentinels.as_mut().unwrap().process(sentinel).signal(signal);
        // Down, and not asleep: one that wakes finds in its sockets what the others said meanwhile.
        fleet.sentinels.as_mut().unwrap().process(2).kill();
        fleet.redis.kill();
        traffic.more(100).await;
        let promoted = wait_for("another primary", PATIENCE, || fleet.sentinels.as_ref().unwrap().promoted().map(Redis::port));
        // It is back, the others do not answer, and the old primary is back and takes writes: nobody but it says who the primary is.
        for sentinel in [0, 1] {
            sleep(&mut fleet, sentinel, Signal::SIGSTOP);
        }
        fleet.redis.restart();
        assert!(fleet.redis.cli(&["INFO", "replication"]).contains("role:master"));
        fleet.sentinels.as_mut().unwrap().restart(2);
        let old = fleet.redis.port();
        wait_until("it names the old primary", || fleet.sentinels.as_ref().unwrap().says() == Some(old));
        // After four of these it would make what it takes for a replica one.
        fleet.sentinels.as_ref().unwrap().cli(2, &["SENTINEL", "DEBUG", "PUBLISH-PERIOD", "60000"]);
        traffic.more(300).await;
        let commands = fleet.redis.cli(&["INFO", "commandstats"]);
        assert!(!commands.contains("cmdstat_evalsha"), "somebody wrote into the old primary: {commands}");
        assert_eq!(fleet.sentinels.as_ref().unwrap().primary(2), old, "it was to know no better");
        for sentinel in [0, 1] {
            sleep(&mut fleet, sentinel, Signal::SIGCONT);
        }
        wait_until("all name the new primary", || (0..3).all(|one| fleet.sentinels.as_ref().unwrap().primary(one) == promoted));
        traffic.end(&fleet).await;
    }
}
