//! A primary of before, which takes writes until sentinels reach it, and a program that did not hear of the failover yet.

mod long {
    use nix::sys::signal::Signal;
    use roger::broker::keys;

    use crate::faults::cast::Cast;
    use crate::faults::options;
    use crate::support::fleet::{Fleet, FleetOptions, SHARDS};
    use crate::support::{eventually, wait_until};

    fn sentinels(fleet: &mut Fleet, signal: Signal) {
        (0..3).for_each(|number| fleet.sentinels.as_mut().unwrap().process(number).signal(signal));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_of_a_group_that_it_took_is_told_to_the_primary() {
        let mut fleet = Fleet::start(FleetOptions { replicas: 1, ..options() });
        let mut cast = Cast::of(&fleet).await;
        cast.join(["alice", "bob"]).await;
        let topic = cast.group("air", ["alice"]).await;
        cast.on("alice", 0);
        cast.on("bob", 1);
        cast.follows("alice", topic).await;

        // The directory sleeps through the failover, and so through all that the epochs of the new primary begin with.
        fleet.stop("directory");
        fleet.redis.signal(Signal::SIGSTOP);
        let sentinel = fleet.sentinels.as_ref().unwrap();
        wait_until("another primary", || sentinel.promoted().is_some());
        let primary = sentinel.promoted().unwrap();
        let begun = |shard| primary.cli(&["HGET", &keys::meta(shard), "epoch"]).parse().is_ok_and(|epoch: u64| epoch > 1);
        wait_until("every shard began an epoch there", || (0..SHARDS).all(begun));
        cast.change("air", ["alice", "bob"]).await;

        // Nobody tells the directory anything until it has pushed, to the old one.
        sentinels(&mut fleet, Signal::SIGSTOP);
        fleet.redis.signal(Signal::SIGCONT);
        assert!(fleet.redis.cli(&["INFO", "replication"]).contains("role:master"), "the old primary was to take writes");
        fleet.redis.cli(&["CONFIG", "RESETSTAT"]);
        fleet.cont("directory");
        let pushed = || fleet.redis.cli(&["INFO", "commandstats"]).contains("cmdstat_xadd");
        wait_until("the directory pushed it to the old primary", pushed);
        let waits = || fleet.program("directory").log().contains("too few to be sure");
        wait_until("nobody confirms that, so it waits", waits);
        sentinels(&mut fleet, Signal::SIGCONT);

        cast.relayed().await;
        cast.say("alice", topic, 1).await;
        eventually("bob hears what is said in the group", async || (!cast.heard("bob").of(topic).is_empty()).then_some(())).await;
    }
}
