//! A server of Redis missed an epoch, and is the primary again with what it had.

mod long {
    use std::fs;
    use std::ops::RangeInclusive;
    use std::path::Path;

    use roger::model::UserId;

    use crate::faults::cast::{Cast, word};
    use crate::faults::{audit, options, quiet};
    use crate::support::fleet::Fleet;

    /// The files that Redis appends to, copied into a folder or back.
    fn copy(from: &Path, to: &Path) {
        let _none = fs::remove_dir_all(to);
        fs::create_dir_all(to).unwrap();
        for file in fs::read_dir(from).unwrap().map(|file| file.unwrap().path()) {
            fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_only_its_log_has_is_decided_anew_without_a_hole() {
        let mut fleet = Fleet::start(options());
        let mut cast = Cast::of(&fleet).await;
        cast.join(["alice", "bob"]).await;
        let topic = cast.group("air", ["alice", "bob"]).await;
        for (name, edge) in [("alice", 0), ("bob", 1)] {
            cast.on(name, edge);
            cast.follows(name, topic).await;
        }
        let (files, whole, shorter) =
            (fleet.redis.folder().join("appendonlydir"), fleet.folder().join("whole"), fleet.folder().join("shorter"));
        cast.say("alice", topic, 10).await;
        quiet(&fleet).await;
        copy(&files, &shorter);

        // What only this server has: it is not archived, and no replica has it.
        assert!(fleet.terminate("offline-0").success());
        cast.say("alice", topic, 5).await;
        cast.hears("bob", topic, "alice", 15).await;
        cast.say("bob", topic, 2).await;
        cast.hears("alice", topic, "bob", 2).await;
        fleet.redis.kill();
        copy(&files, &whole);

        // Another one takes over, and begins an epoch.
        copy(&shorter, &files);
        fleet.redis.restart();
        fleet.restart("offline-0");
        cast.say("alice", topic, 3).await;
        cast.hears("bob", topic, "alice", 18).await;
        quiet(&fleet).await;

        // And the first one is back.
        fleet.redis.kill();
        copy(&whole, &files);
        fleet.redis.restart();
        cast.say("alice", topic, 3).await;
        cast.hears("bob", topic, "alice", 21).await;
        quiet(&fleet).await;

        let archived = cast.archived(topic).await;
        let words: Vec<_> = archived.iter().map(|entry| (cast.name_of(UserId(entry.sender)), word(&entry.body))).collect();
        // Of alice's words that only one server had, the other one took later ones for the next.
        let alice = |words: RangeInclusive<u64>| words.map(|word| ("alice", word));
        let expected: Vec<_> = alice(1..=10).chain(alice(16..=18)).chain([("bob", 1), ("bob", 2)]).chain(alice(19..=21)).collect();
        assert_eq!(words, expected);
        let places: Vec<u64> = archived.iter().map(|entry| entry.seq).collect();
        assert_eq!(places, (1..=18).collect::<Vec<_>>());
        let heard = cast.heard("alice");
        assert_eq!(heard.of(topic).iter().filter(|entry| entry.sender == cast.user("bob")).count(), 2, "once each");
        audit(&fleet);
    }
}
