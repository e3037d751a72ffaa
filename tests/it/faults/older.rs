//! The SQLite file is put back from a copy that was taken while the fleet worked.

mod long {
    use crate::faults::cast::Cast;
    use crate::faults::{audit, options, quiet};
    use crate::support::fleet::Fleet;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_older_file_gets_the_rest_from_redis_once() {
        let mut fleet = Fleet::start(options());
        let mut cast = Cast::of(&fleet).await;
        cast.join(["alice", "bob"]).await;
        let topic = cast.group("air", ["alice", "bob"]).await;
        for (name, edge) in [("alice", 0), ("bob", 1)] {
            cast.on(name, edge);
            cast.follows(name, topic).await;
        }
        let talker = cast.talk("alice", topic);
        cast.more_receipts("alice", topic, 100).await;
        let (file, copy) = (fleet.folder().join("roger.db"), fleet.folder().join("copy.db"));
        fleet.roger(&["sql", "backup", copy.to_str().unwrap()]).succeeded();
        let refused = fleet.roger(&["sql", "backup", copy.to_str().unwrap()]);
        assert_ne!(refused.code, 0, "it wrote over a copy");
        let copied = cast.archived(topic).await.len();
        cast.more_receipts("alice", topic, 300).await;
        cast.say("bob", topic, 5).await;
        more_than(copied.max(300), &cast, topic).await;
        let held = cast.archived(topic).await.len();
        cast.store.close().await;
        // Whoever has the file open is stopped first.
        for name in ["offline-0", "directory"] {
            fleet.kill9(name);
        }
        for name in ["roger.db-wal", "roger.db-shm"] {
            let _none = std::fs::remove_file(fleet.folder().join(name));
        }
        std::fs::rename(&copy, &file).unwrap();
        cast.reopen(&fleet);
        assert!(cast.archived(topic).await.len() < held, "the copy is older");
        for name in ["directory", "offline-0"] {
            fleet.restart(name);
        }
        let total = talker.stop().await + 5;
        cast.hears("bob", topic, "alice", total - 5).await;
        quiet(&fleet).await;
        let places: Vec<(u64, u64)> = cast.archived(topic).await.iter().map(|entry| (entry.epoch, entry.seq)).collect();
        assert_eq!(places, (1..=total).map(|seq| (1, seq)).collect::<Vec<_>>());
        cast.check(topic);
        audit(&fleet);
    }

    /// Waits until SQL has more messages than that.
    async fn more_than(messages: usize, cast: &Cast, topic: roger::model::TopicId) {
        crate::support::eventually("the archive", async || (cast.archived(topic).await.len() > messages).then_some(())).await;
    }
}
