//! Redis is emptied under a fleet that runs.

mod long {
    use roger::model::Reason;

    use crate::faults::cast::{Cast, said};
    use crate::faults::loss::{Traffic, as_heard, heard};
    use crate::faults::{audit, options, quiet};
    use crate::support::eventually;
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::redis::Appendfsync;

    #[tokio::test(flavor = "multi_thread")]
    async fn after_the_archive_caught_up_everything_goes_on_where_sql_ends() {
        let fleet = Fleet::start(options());
        let mut cast = Cast::of(&fleet).await;
        cast.join(["alice", "bob", "erin", "dave", "frank", "mallory"]).await;
        let topic = cast.group("air", ["alice", "bob", "erin", "dave"]).await;
        for (name, edge) in [("alice", 0), ("bob", 1), ("erin", 0), ("mallory", 1)] {
            cast.on(name, edge);
        }
        for name in ["alice", "bob", "erin"] {
            cast.follows(name, topic).await;
        }
        cast.say("alice", topic, 20).await;
        cast.hears("erin", topic, "alice", 20).await;
        // Erin goes with a mark, dave never came, frank joins late.
        cast.off("erin").await;
        cast.say("bob", topic, 20).await;
        cast.hears("alice", topic, "bob", 20).await;
        cast.group("air", ["alice", "bob", "erin", "dave", "frank"]).await;
        cast.on("frank", 0);
        cast.follows("frank", topic).await;
        cast.off("frank").await;
        cast.say("alice", topic, 20).await;
        quiet(&fleet).await;
        let before = cast.archived(topic).await;
        assert_eq!(before.len(), 60);
        let head = before[59].place();

        fleet.redis.flushall();
        cast.say("alice", topic, 20).await;
        cast.say("bob", topic, 20).await;
        for (listener, sender, last) in [("alice", "bob", 40), ("bob", "alice", 60), ("bob", "bob", 40)] {
            cast.hears(listener, topic, sender, last).await;
        }
        quiet(&fleet).await;
        let after = cast.archived(topic).await;
        assert_eq!(after[..60], before, "history changed");
        assert_eq!(after.len(), 100);
        assert!(after[60].epoch > head.epoch, "the epoch did not rise: {} behind {head}", after[60].place());
        let seqs: Vec<u64> = after.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
        for name in ["alice", "bob"] {
            assert_eq!(heard(&cast, name, topic), as_heard(&after), "heard by {name}");
        }

        // With an old mark, with none, and with the interval of a late member.
        for name in ["erin", "dave", "frank"] {
            cast.on(name, 1);
            cast.hears(name, topic, "bob", 40).await;
        }
        assert_eq!(heard(&cast, "erin", topic), as_heard(&after));
        assert_eq!(heard(&cast, "dave", topic), as_heard(&after));
        assert_eq!(heard(&cast, "frank", topic), as_heard(&after[40..]));

        // Whoever was no member is none now.
        cast.session("mallory").send(topic, said("mallory", 1)).await.unwrap();
        let refusal = eventually("mallory is refused", async || cast.heard("mallory").refusals.first().cloned()).await;
        assert_eq!((refusal.reason, refusal.message), (Some(Reason::NotMember), Some((topic, 1))));
        assert!(heard(&cast, "mallory", topic).is_empty());
        cast.check(topic);
        quiet(&fleet).await;
        audit(&fleet);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn in_the_middle_of_traffic_only_what_sql_did_not_have_is_lost() {
        let mut fleet = Fleet::start(FleetOptions { appendfsync: Appendfsync::Everysec, ..options() });
        let traffic = Traffic::begin(&fleet).await;
        // The archive falls behind, so that there is something to lose.
        fleet.stop("offline-0");
        traffic.more(50).await;
        let kept = traffic.cast.archived(traffic.topic).await;
        fleet.redis.flushall();
        fleet.cont("offline-0");
        assert!(traffic.judge(&fleet, kept).await > 0, "nothing was lost: there was no loss to judge");
    }
}
