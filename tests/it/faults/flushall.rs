//! Redis is emptied under a fleet that runs.

mod long {
    use std::collections::BTreeMap;

    use roger::model::{Reason, TopicId, UserId};
    use roger::topic::frame::Entry;

    use crate::faults::cast::{Cast, said, word};
    use crate::faults::{audit, options, quiet};
    use crate::support::eventually;
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::redis::Appendfsync;

    fn words_of(user: UserId, entries: &[Entry]) -> Vec<u64> {
        entries.iter().filter(|entry| entry.sender == user.0).map(|entry| word(&entry.body)).collect()
    }

    /// What a member heard of a topic, as SQL would have it.
    fn heard(cast: &Cast, name: &str, topic: TopicId) -> Vec<(u64, u64, u64, u64)> {
        let heard = cast.heard(name).of(topic);
        heard.iter().map(|entry| (entry.place.epoch, entry.place.seq, entry.sender.0, entry.client_seq)).collect()
    }

    fn as_heard(entries: &[Entry]) -> Vec<(u64, u64, u64, u64)> {
        entries.iter().map(|entry| (entry.epoch, entry.seq, entry.sender, entry.client_seq)).collect()
    }

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
        let mut cast = Cast::of(&fleet).await;
        let speakers = ["alice", "bob"];
        cast.join(["alice", "bob", "carol", "dave"]).await;
        let topic = cast.group("air", ["alice", "bob", "carol", "dave"]).await;
        for (name, edge) in [("alice", 0), ("bob", 1), ("carol", 1)] {
            cast.on(name, edge);
            cast.follows(name, topic).await;
        }
        let talkers = speakers.map(|name| cast.talk(name, topic));
        for name in speakers {
            cast.more_receipts(name, topic, 200).await;
        }
        // The archive falls behind, so that there is something to lose.
        fleet.stop("offline-0");
        for name in speakers {
            cast.more_receipts(name, topic, 50).await;
        }
        let kept = cast.archived(topic).await;
        fleet.redis.flushall();
        fleet.cont("offline-0");
        // Only what was said by now may be lost.
        let said = speakers.map(|name| cast.words(name, topic));
        eventually("a new epoch is archived", async || {
            cast.archived(topic).await.last().filter(|last| last.epoch > kept[0].epoch).map(drop)
        })
        .await;
        for name in speakers {
            cast.more_receipts(name, topic, 200).await;
        }
        let mut totals = BTreeMap::new();
        for (name, talker) in speakers.into_iter().zip(talkers) {
            totals.insert(name, talker.stop().await);
        }
        for listener in ["alice", "bob", "carol"] {
            for (speaker, total) in &totals {
                cast.hears(listener, topic, speaker, *total).await;
            }
        }
        quiet(&fleet).await;
        let all = cast.archived(topic).await;
        assert_eq!(all[..kept.len()], kept, "history changed");
        for (name, said) in speakers.into_iter().zip(said) {
            let (user, total) = (cast.user(name), totals[name]);
            let (before, now) = (words_of(user, &kept), words_of(user, &all));
            let lost: Vec<u64> = (1..=total).filter(|number| !now.contains(number)).collect();
            assert!(lost.iter().all(|number| *number > before.last().copied().unwrap_or(0)), "what SQL had is lost: {lost:?}");
            assert!(lost.iter().all(|number| *number <= said), "said after the loss and lost: {lost:?}");
            assert_eq!(lost.last().map_or(0, |last| last + 1 - lost[0]), lost.len() as u64, "not in one piece: {lost:?}");
        }
        // Somebody who comes now gets what SQL has, and nothing else.
        cast.on("dave", 0);
        for (speaker, total) in &totals {
            cast.hears("dave", topic, speaker, *total).await;
        }
        assert_eq!(heard(&cast, "dave", topic), as_heard(&all));
        cast.check(topic);
        audit(&fleet);
    }
}
