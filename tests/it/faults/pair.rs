//! The SQL primary dies, freezes, is switched away from, and comes back, under load.

mod long {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;
    use roger::broker::{StreamId, keys};
    use roger::model::TopicId;

    use crate::faults::cast::{Cast, Talker};
    use crate::faults::{audit, options, quiet};
    use crate::support::eventually;
    use crate::support::fleet::{Answer, Fleet, FleetOptions, SqlServer};
    use crate::support::mariadb::MariaDb;

    const SPEAKERS: [&str; 2] = ["alice", "bob"];
    const SWITCH_MAX: Duration = Duration::from_secs(10);

    /// A fleet on a pair, with two that talk all the time and one that listens.
    struct Scene {
        fleet: Fleet,
        cast: Cast,
        topic: TopicId,
        talkers: Vec<Talker>,
        pids: Vec<u32>,
    }

    impl Scene {
        async fn set() -> Self {
            let mut options = FleetOptions { sql: SqlServer::Pair, ..options() };
            options.overrides.push(("sql.statement_timeout_ms", "2000".to_owned()));
            let mut fleet = Fleet::start(options);
            let mut cast = Cast::of(&fleet).await;
            cast.join(["alice", "bob", "carol"]).await;
            let topic = cast.group("air", ["alice", "bob", "carol"]).await;
            for (name, edge) in [("alice", 0), ("bob", 1), ("carol", 0)] {
                cast.on(name, edge);
                cast.follows(name, topic).await;
            }
            let talkers = SPEAKERS.map(|name| cast.talk(name, topic)).into();
            let pids = fleet.names().iter().map(|name| fleet.program(name).pid()).collect();
            let scene = Self { fleet, cast, topic, talkers, pids };
            scene.flows().await;
            scene
        }

        fn servers(&self) -> [&MariaDb; 2] {
            [self.fleet.mariadb.as_ref().unwrap(), self.fleet.standby.as_ref().unwrap()]
        }

        /// Runs `roger sql`, away from the threads that keep the cast going.
        async fn sql(&self, args: &[&str]) -> Answer {
            let mut command = tokio::process::Command::from(self.fleet.command(&[&["--json", "sql"], args].concat()));
            let output = command.output().await.unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
        }

        /// Where SQL stands in the log, as Redis was told.
        fn archived(&self) -> StreamId {
            self.fleet.redis.cli(&["GET", &keys::archived(self.topic.shard(16))]).parse().unwrap_or(StreamId(0, 0))
        }

        /// Waits until what is said now is archived.
        async fn flows(&self) {
            for name in SPEAKERS {
                self.cast.more_receipts(name, self.topic, 20).await;
            }
            let before = self.archived();
            eventually("the archive goes on", async || (self.archived() > before).then_some(())).await;
        }

        /// How many messages a server has.
        async fn messages(&self, server: &MariaDb) -> u64 {
            server.ask("roger_fleet", "SELECT CAST(COUNT(*) AS CHAR) FROM message").await.parse().unwrap()
        }

        /// Everything that was said is in SQL once, was heard once, and no program ended.
        async fn complete(mut self) {
            let mut total = 0;
            for (name, talker) in SPEAKERS.into_iter().zip(std::mem::take(&mut self.talkers)) {
                let last = talker.stop().await;
                self.cast.hears("carol", self.topic, name, last).await;
                total += last;
            }
            quiet(&self.fleet).await;
            let all = self.cast.archived(self.topic).await;
            let places: Vec<(u64, u64)> = all.iter().map(|entry| (entry.epoch, entry.seq)).collect();
            assert_eq!(places, (1..=total).map(|seq| (1, seq)).collect::<Vec<_>>());
            self.cast.check(self.topic);
            audit(&self.fleet);
            let names = self.fleet.names();
            for name in &names {
                let ended = self.fleet.program(name).ended();
                assert_eq!(ended, None, "{name}");
                let defects = self.fleet.program(name).log().matches("stands still over a defect").count();
                assert_eq!(defects, 0, "{name}");
            }
            let pids: Vec<u32> = names.iter().map(|name| self.fleet.program(name).pid()).collect();
            assert_eq!(pids, self.pids);
            assert_eq!(self.fleet.redis.cli(&["XLEN", &keys::dead()]).trim(), "0", "dead letters");
        }
    }

    fn role(status: &serde_json::Value, at: usize) -> String {
        status["servers"][at]["role"].as_str().unwrap().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_switch_under_load_takes_seconds_and_loses_nothing() {
        let scene = Scene::set().await;
        for round in 0..2 {
            let begun = Instant::now();
            let answer = scene.sql(&["switch"]).await.succeeded().json();
            let command = begun.elapsed();
            let before = scene.archived();
            eventually("the archive goes on", async || (scene.archived() > before).then_some(())).await;
            let took = begun.elapsed();
            println!("switch {round}: the command took {command:?}, the archive went on after {took:?}");
            assert!(took < SWITCH_MAX, "took {took:?}");
            assert_eq!(answer["primary"], scene.servers()[1 - round].address(), "{answer}");
            assert_eq!(answer["epoch"], 2 + round, "{answer}");
            scene.flows().await;
        }
        scene.complete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_switch_killed_after_any_step_is_run_again_and_finishes() {
        let scene = Scene::set().await;
        for step in 1..=9 {
            let to = scene.servers()[step % 2].address();
            let killed = scene.sql(&["switch", "--to", &to, "--killed-after", &step.to_string()]).await;
            assert_eq!((killed.code, killed.stdout.as_str()), (-1, ""), "{}", killed.stderr);
            // Without a word where to, until it is done.
            let again = if step < 9 { scene.sql(&["switch"]).await } else { scene.sql(&["switch", "--to", &to]).await };
            let answer = again.succeeded().json();
            assert_eq!(
                (&answer["primary"], &answer["epoch"], &answer["standby"]),
                (&to.into(), &(step + 1).into(), &true.into()),
                "{step}"
            );
            scene.flows().await;
        }
        scene.complete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dead_primary_is_switched_away_from_and_gets_nothing_when_it_comes_back() {
        let scene = Scene::set().await;
        let [old, new] = scene.servers();
        let refused = scene.sql(&["switch", "--primary-is-dead"]).await;
        assert!(refused.code == 64 && refused.stderr.contains("answers"), "{}", refused.stderr);
        old.stop();
        let refused = scene.sql(&["switch"]).await;
        assert!(refused.code == 64 && refused.stderr.contains("--primary-is-dead"), "{}", refused.stderr);
        let begun = Instant::now();
        let answer = scene.sql(&["switch", "--primary-is-dead"]).await.succeeded().json();
        assert_eq!((&answer["primary"], &answer["standby"]), (&new.address().into(), &false.into()), "{answer}");
        scene.flows().await;
        println!("after {:?} the archive went on at the standby", begun.elapsed());
        assert!(begun.elapsed() < SWITCH_MAX);

        old.resume();
        let held = scene.messages(old).await;
        assert_eq!(old.ask("roger_fleet", "SELECT CAST(@@global.read_only AS CHAR)").await, "OFF", "it came back writable");
        for _ in 0..3 {
            scene.flows().await;
        }
        assert_eq!(scene.messages(old).await, held, "somebody wrote to the old primary");
        let status = scene.sql(&["status"]).await.succeeded().json();
        assert_eq!((role(&status, 0).as_str(), role(&status, 1).as_str()), ("old: behind the primary", "primary"), "{status}");
        let answer = scene.sql(&["rejoin"]).await.succeeded().json();
        assert_eq!(answer["standby"], true, "{answer}");
        eventually("it follows", async || (scene.messages(old).await > held).then_some(())).await;
        scene.complete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_old_primary_that_has_more_is_said_to_need_building_anew_and_the_fleet_goes_on() {
        let scene = Scene::set().await;
        let [old, _] = scene.servers();
        old.stop();
        scene.sql(&["switch", "--primary-is-dead"]).await.succeeded();
        old.resume();
        old.admin("CREATE DATABASE written_by_somebody_else").await;
        let refused = scene.sql(&["rejoin"]).await;
        assert!(refused.code == 64 && refused.stderr.contains("built anew"), "{}", refused.stderr);
        scene.flows().await;
        eventually("the doctor names the old one, and nothing else", async || {
            let doctor = scene.fleet.roger(&["--json", "doctor"]).json();
            let failed: Vec<&serde_json::Value> = doctor.as_array().unwrap().iter().filter(|check| check["verdict"] == "FAIL").collect();
            println!("{failed:?}");
            (failed.iter().any(|check| check["check"] == "sql.standby") && failed.len() == 1).then_some(())
        })
        .await;
        scene.complete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_frozen_primary_gets_nothing_when_it_goes_on() {
        let scene = Scene::set().await;
        let [old, _] = scene.servers();
        old.signal(Signal::SIGSTOP);
        scene.sql(&["switch", "--primary-is-dead"]).await.succeeded();
        scene.flows().await;
        old.signal(Signal::SIGCONT);
        // A commit that lay in its socket when it was frozen may still come to pass: it is none of a program that goes on.
        let connections = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.processlist WHERE user = 'roger'";
        eventually("its old connections end", async || (old.ask("mysql", connections).await == "0").then_some(())).await;
        let held = scene.messages(old).await;
        scene.flows().await;
        assert_eq!(scene.messages(old).await, held, "somebody wrote to the old primary");
        let rejoined = scene.sql(&["rejoin"]).await;
        // It has what the new primary lacks when such a commit did come to pass; then it says so.
        assert!(rejoined.code == 0 || rejoined.stderr.contains("built anew"), "{}", rejoined.stderr);
        println!("rejoin: {} {}", rejoined.code, rejoined.stderr);
        scene.complete().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_primary_made_read_only_by_hand_costs_lag_alone() {
        let scene = Scene::set().await;
        let [primary, _] = scene.servers();
        primary.admin("SET GLOBAL read_only = 1").await;
        // What was under way may still come.
        let at = Cell::new(scene.archived());
        eventually("the archive stands still", async || {
            scene.cast.more_receipts("alice", scene.topic, 20).await;
            let now = scene.archived();
            (at.replace(now) == now).then_some(())
        })
        .await;
        for name in SPEAKERS {
            let last = scene.cast.words(name, scene.topic);
            scene.cast.hears("carol", scene.topic, name, last).await;
        }
        primary.admin("SET GLOBAL read_only = 0").await;
        scene.flows().await;
        scene.complete().await;
    }
}
