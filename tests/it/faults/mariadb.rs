//! The store goes away under load.

mod long {
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;
    use roger::broker::{StreamId, keys};
    use roger::model::TopicId;
    use sqlx::{Connection as _, MySqlConnection};

    use crate::faults::cast::Cast;
    use crate::faults::loss::Traffic;
    use crate::faults::{audit, options, quiet};
    use crate::support::fleet::{Fleet, FleetOptions, SqlServer};
    use crate::support::{PATIENCE, eventually};
    use crate::worker::handle;

    const SPEAKERS: [&str; 2] = ["alice", "bob"];

    /// What goes as soon as it is archived, so that anything trimmed too early shows; and a database that is missed soon.
    fn fleet() -> Fleet {
        let mut options = FleetOptions { sql: SqlServer::MariaDb, ..options() };
        options.overrides.extend([("offline.retention_s", "0".to_owned()), ("sql.statement_timeout_ms", "2000".to_owned())]);
        Fleet::start(options)
    }

    /// Where SQL stands in the log of a topic's shard, as Redis was told.
    fn archived(fleet: &Fleet, shard: u32) -> StreamId {
        fleet.redis.cli(&["GET", &keys::archived(shard)]).parse().unwrap()
    }

    /// Panics unless the log has everything behind `archived`, without a hole.
    async fn complete(fleet: &Fleet, shard: u32, archived: StreamId) {
        let last = handle(&fleet.redis).log_marks(shard).await.unwrap().unwrap().last;
        assert_eq!(archived.0, last.0, "another epoch");
        let behind = handle(&fleet.redis).range(&keys::log(shard), archived.next(), last, usize::MAX >> 1).await.unwrap();
        let ids: Vec<StreamId> = behind.iter().map(|entry| entry.id).collect();
        let expected: Vec<StreamId> = (archived.1 + 1..=last.1).map(|commit| StreamId(last.0, commit)).collect();
        assert_eq!(ids, expected, "the log behind {archived}");
    }

    /// The load goes on while SQL is away for at least `away`.
    async fn sit_out(fleet: &mut Fleet, cast: &Cast, topic: TopicId, away: Duration) {
        let (shard, begun) = (topic.shard(16), Instant::now());
        // The log of this run only: the second time it has said so before.
        let said = fleet.program("offline-0").log().matches("archive: SQL").count();
        let mut at = None;
        while begun.elapsed() < away || at.is_none() {
            for name in SPEAKERS {
                let last = cast.words(name, topic);
                cast.more_receipts(name, topic, 50).await;
                cast.hears("carol", topic, name, last).await;
            }
            // From when the archive has noticed, its position stands still.
            if at.is_none() && fleet.program("offline-0").log().matches("archive: SQL").count() > said {
                at = Some(archived(fleet, shard));
            }
            if let Some(at) = at {
                complete(fleet, shard, at).await;
                assert_eq!(archived(fleet, shard), at, "archived while SQL is away");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn messages_flow_while_sql_is_frozen_or_dead_and_all_are_in_it_once_afterwards() {
        let mut fleet = fleet();
        let mut cast = Cast::of(&fleet).await;
        cast.join(["alice", "bob", "carol"]).await;
        let topic = cast.group("air", ["alice", "bob", "carol"]).await;
        for (name, edge) in [("alice", 0), ("bob", 1), ("carol", 0)] {
            cast.on(name, edge);
            cast.follows(name, topic).await;
        }
        let talkers = SPEAKERS.map(|name| cast.talk(name, topic));
        for name in SPEAKERS {
            cast.more_receipts(name, topic, 100).await;
        }
        fleet.mariadb.as_ref().unwrap().signal(Signal::SIGSTOP);
        sit_out(&mut fleet, &cast, topic, Duration::from_secs(30)).await;
        let frozen = archived(&fleet, topic.shard(16));
        fleet.mariadb.as_ref().unwrap().signal(Signal::SIGCONT);
        eventually("the archive goes on", async || (archived(&fleet, topic.shard(16)) > frozen).then_some(())).await;
        for name in SPEAKERS {
            cast.more_receipts(name, topic, 50).await;
        }
        fleet.mariadb.as_ref().unwrap().stop();
        sit_out(&mut fleet, &cast, topic, Duration::ZERO).await;
        fleet.mariadb.as_ref().unwrap().resume();

        let mut total = 0;
        for (name, talker) in SPEAKERS.into_iter().zip(talkers) {
            let last = talker.stop().await;
            cast.hears("carol", topic, name, last).await;
            total += last;
        }
        quiet(&fleet).await;
        let all = cast.archived(topic).await;
        let places: Vec<(u64, u64)> = all.iter().map(|entry| (entry.epoch, entry.seq)).collect();
        assert_eq!(places, (1..=total).map(|seq| (1, seq)).collect::<Vec<_>>());
        cast.check(topic);
        audit(&fleet);
    }

    /// What ends all connections of the programs, at the server.
    const KILL_ALL: &str =
        "BEGIN NOT ATOMIC FOR one IN (SELECT id FROM information_schema.processlist WHERE user = 'roger') DO KILL one.id; END FOR; END";

    #[tokio::test(flavor = "multi_thread")]
    async fn while_sql_takes_no_connection_the_archive_waits() {
        let mut fleet = fleet();
        let traffic = Traffic::begin(&fleet).await;
        let address = fleet.mariadb.as_ref().unwrap().address();
        // Nobody else takes the connections that come free.
        for name in ["offline-0", "directory"] {
            fleet.stop(name);
        }
        let url = format!("mysql://admin:admin@{address}/mysql");
        let mut taken = vec![MySqlConnection::connect(&url).await.unwrap()];
        sqlx::raw_sql("SET GLOBAL max_connections = 10").execute(&mut taken[0]).await.unwrap();
        sqlx::raw_sql(KILL_ALL).execute(&mut taken[0]).await.unwrap();
        // One that is killed counts until its thread has ended.
        let theirs = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'roger'";
        while sqlx::query_scalar::<_, i64>(theirs).fetch_one(&mut taken[0]).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while let Ok(connection) = MySqlConnection::connect(&url).await {
            taken.push(connection);
        }
        assert!(taken.len() >= 9, "{} connections", taken.len());
        for name in ["offline-0", "directory"] {
            fleet.cont(name);
        }
        fleet.program("offline-0").wait_for_log("Too many connections");
        traffic.more(200).await;
        assert_eq!(fleet.redis.cli(&["XLEN", &keys::dead()]), "0", "something was given up");
        // What looks at the end needs connections beside those of the programs, which are more than ten then.
        sqlx::raw_sql("SET GLOBAL max_connections = DEFAULT").execute(&mut taken[0]).await.unwrap();
        drop(taken);
        traffic.more(100).await;
        for name in fleet.names() {
            assert_eq!(fleet.program(&name).ended(), None, "{name}");
        }
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_sql_that_is_slower_than_what_is_said_lags_and_catches_up() {
        let fleet = fleet();
        let traffic = Traffic::begin(&fleet).await;
        let shard = traffic.topic.shard(16);
        let lag = async || {
            let last = handle(&fleet.redis).log_marks(shard).await.unwrap().unwrap().last;
            last.1.saturating_sub(archived(&fleet, shard).1)
        };
        // It works a twentieth of the time, until it has fallen far behind though it never stood still for as long as anybody waits.
        let signal = |signal| fleet.mariadb.as_ref().unwrap().signal(signal);
        let (begun, mut most, before) = (Instant::now(), 0, archived(&fleet, shard));
        let enough = |most| most > 100 && archived(&fleet, shard) > before;
        while begun.elapsed() < Duration::from_secs(10) || !enough(most) && begun.elapsed() < PATIENCE {
            signal(Signal::SIGSTOP);
            tokio::time::sleep(Duration::from_millis(950)).await;
            signal(Signal::SIGCONT);
            tokio::time::sleep(Duration::from_millis(50)).await;
            most = most.max(lag().await);
        }
        assert!(most > 100, "it was to be too slow, and lagged by {most} commits");
        assert!(archived(&fleet, shard) > before, "it was to work all the while");
        // While people go on talking.
        let caught_up = async || (lag().await < most / 10).then_some(());
        eventually("it catches up", caught_up).await;
        traffic.end(&fleet).await;
    }
}
