//! Jobs that an operator stops for a while, and that go on.

mod long {
    use serde_json::Value;

    use crate::faults::loss::Traffic;
    use crate::faults::{options, shards};
    use crate::support::eventually;
    use crate::support::fleet::{Fleet, FleetOptions, SHARDS};
    use crate::worker::handle;

    /// Who has the shards for a job.
    fn holders(fleet: &Fleet, job: &str) -> usize {
        shards(fleet).iter().filter(|shard| shard[job] != Value::Null).count()
    }

    fn doctor_on(fleet: &Fleet, check: &str) -> Option<(String, String)> {
        let checks = fleet.roger(&["doctor", "--json"]).json();
        let found = checks.as_array().unwrap().iter().find(|found| found["check"] == check)?;
        Some((found["verdict"].as_str().unwrap().to_owned(), found["reason"].as_str().unwrap().to_owned()))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_paused_archive_stands_still_is_told_and_catches_up() {
        let fleet = Fleet::start(options());
        let traffic = Traffic::begin(&fleet).await;
        fleet.roger(&["pause", "archive", "--until", "1h", "--why", "SQL moves house"]).succeeded();
        eventually("nobody archives", async || (holders(&fleet, "archive") == 0).then_some(())).await;
        let before = traffic.cast.archived(traffic.topic).await.len();
        traffic.more(200).await;
        assert_eq!(traffic.cast.archived(traffic.topic).await.len(), before, "archived while paused");

        let listed = fleet.roger(&["pause"]).succeeded().stdout;
        assert!(["archive", "SQL moves house"].iter().all(|word| listed.contains(word)), "{listed}");
        let queues = fleet.roger(&["queues"]).succeeded().stdout;
        assert!(queues.contains("paused: archive by "), "{queues}");
        let (verdict, reason) = doctor_on(&fleet, "paused").unwrap();
        assert!(verdict == "WARN" && reason.contains("archive by ") && reason.contains("(SQL moves house)"), "{verdict} {reason}");
        assert_eq!(doctor_on(&fleet, "archive.owned").unwrap().0, "OK", "what is paused is said once");

        fleet.roger(&["resume", "archive"]).succeeded();
        assert!(fleet.roger(&["resume", "archive"]).succeeded().stdout.contains("was not paused"));
        traffic.end(&fleet).await;
        assert_eq!(doctor_on(&fleet, "paused"), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_paused_delivery_keeps_what_is_said_and_goes_on_by_itself() {
        let fleet = Fleet::start(FleetOptions { delivery: 2, ..options() });
        let traffic = Traffic::begin(&fleet).await;
        let refused = fleet.roger(&["pause", "deliver"]);
        assert!(refused.code == 64 && refused.stderr.contains("people hear nothing"), "{}", refused.stderr);
        let long = fleet.roger(&["pause", "archive", "--until", "2d"]);
        assert!(long.code == 64 && long.stderr.contains("a day from now"), "{}", long.stderr);
        let away = fleet.roger(&["pause", "archive/99"]);
        assert!(away.code == 64 && away.stderr.contains("there is no shard 99"), "{}", away.stderr);

        fleet.roger(&["pause", "deliver", "--until", "15s", "--yes"]).succeeded();
        eventually("nobody delivers", async || (holders(&fleet, "deliver") == 0).then_some(())).await;
        let shard = traffic.topic.shard(SHARDS);
        let decided = async || handle(&fleet.redis).log_marks(shard).await.unwrap().unwrap().last;
        let before = decided().await;
        // What is said is safe, and waits.
        traffic.more(20).await;
        assert_eq!(decided().await, before, "delivered while paused");
        eventually("it goes on by itself", async || (holders(&fleet, "deliver") == 16).then_some(())).await;
        traffic.cast.nobody_was_told_gone(&["alice", "bob", "carol"]);
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_paused_replay_leaves_its_requests_until_it_is_resumed_and_one_shard_is_paused_alone() {
        let mut fleet = Fleet::start(options());
        let mut traffic = Traffic::begin(&fleet).await;
        fleet.roger(&["pause", "replay", "--until", "1h"]).succeeded();
        fleet.roger(&["pause", "archive/3", "--until", "1h"]).succeeded();
        eventually("one shard is not archived", async || (holders(&fleet, "archive") == 15).then_some(())).await;
        fleet.program("offline-0").wait_for_log("operator job=\"replay\"");
        traffic.cast.on("dave", 0);
        let waiting = async || {
            let answer = fleet.roger(&["queues", "--json"]).succeeded().json();
            let replay = answer["streams"].as_array()?.iter().find(|line| line["stream"] == "replay")?.clone();
            (replay["length"].as_u64()? > 0).then_some(())
        };
        eventually("a request waits", waiting).await;
        assert_eq!(traffic.cast.heard("dave").of(traffic.topic).len(), 0, "replayed while paused");
        fleet.roger(&["resume", "replay"]).succeeded();
        fleet.roger(&["resume", "archive/3"]).succeeded();
        traffic.cast.hears("dave", traffic.topic, "alice", 1).await;
        traffic.cast.off("dave").await;
        traffic.end(&fleet).await;
    }
}
