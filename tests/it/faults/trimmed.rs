//! Somebody deletes from a log what is not archived yet.

mod long {
    use std::fs;

    use roger::broker::{StreamId, keys};
    use roger::model::Place;
    use roger::topic::frame::{LogFrame, Outcome};

    use crate::faults::cast::Cast;
    use crate::faults::{options, quiet};
    use crate::gateway::counted;
    use crate::support::fleet::{Fleet, SHARDS};
    use crate::support::{eventually, ports};
    use crate::worker::handle;

    const LOST: &str = "roger_log_commits_lost_total";

    #[tokio::test(flavor = "multi_thread")]
    async fn what_it_cost_is_counted_told_and_called_lost() {
        let metrics = format!("127.0.0.1:{}", ports::free());
        let mut options = options();
        options.overrides.push(("metrics.offline_listen", format!("{metrics:?}")));
        let mut fleet = Fleet::start(options);
        let mut cast = Cast::of(&fleet).await;
        cast.join(["alice", "bob"]).await;
        let topic = cast.group("air", ["alice", "bob"]).await;
        cast.on("alice", 0);
        cast.follows("alice", topic).await;
        cast.say("alice", topic, 10).await;
        quiet(&fleet).await;
        assert_eq!(counted(&metrics, LOST).await, 0);

        assert!(fleet.terminate("offline-0").success());
        // Each by a commit of its own.
        for word in 11..=30 {
            cast.say("alice", topic, 1).await;
            cast.hears("alice", topic, "alice", word).await;
        }
        let (redis, shard) = (handle(&fleet.redis), topic.shard(SHARDS));
        let archived = redis.archived(&[shard]).await.unwrap()[0].unwrap();
        let log = redis.range(&keys::log(shard), archived.next(), StreamId(u64::MAX, u64::MAX), 100).await.unwrap();
        let deleted = &log[2..7];
        let mut lost: Vec<Place> = Vec::new();
        for entry in deleted {
            let frame: LogFrame = entry.decode("the log").unwrap();
            lost.extend(frame.outcomes.iter().filter_map(|item| match &item.outcome {
                Some(Outcome::Entry(message)) if message.topic == topic.packed() => Some(message.place()),
                _ => None,
            }));
            fleet.redis.cli(&["XDEL", &keys::log(shard), &entry.id.to_string()]);
        }
        assert!(!lost.is_empty(), "nothing was deleted that anybody said");

        fleet.restart("offline-0");
        quiet(&fleet).await;
        assert_eq!(counted(&metrics, LOST).await, deleted.len() as u64);
        let printed = fs::read_to_string(fleet.folder().join("offline-0.log")).unwrap();
        let line = printed.lines().find(|line| line.contains("commits are missing in the log")).unwrap();
        let rules: toml::Table = toml::from_str(&fs::read_to_string("config/alerts.toml").unwrap()).unwrap();
        let patterns = rules["pattern"].as_array().unwrap().iter();
        let told = patterns.filter(|pattern| regex::Regex::new(pattern["regex"].as_str().unwrap()).unwrap().is_match(line)).count();
        assert_eq!(told, 1, "whoever is on call is texted: {line}");

        // Whoever was not there gets the rest, and is told of what is not.
        cast.on("bob", 1);
        cast.hears("bob", topic, "alice", 30).await;
        eventually("bob is told", async || (!cast.heard("bob").gaps.is_empty()).then_some(())).await;
        assert_eq!(cast.heard("bob").of(topic).len(), 30 - lost.len());
        let heard = cast.heard("bob");
        assert!(
            lost.iter().all(|place| heard.gaps.iter().any(|gap| gap.topic == topic && gap.from < *place && *place <= gap.to)),
            "{:?}",
            heard.gaps
        );
    }
}
