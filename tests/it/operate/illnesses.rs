//! Illnesses planted in a fleet that was well: the doctor names each, and nothing else.

mod long {
    use std::collections::BTreeMap;
    use std::fs;
    use std::time::Duration;

    use roger::broker::{Group, Reader, keys};
    use roger::clock::Clock;
    use roger::worker::deadletter::{self, DeadLetter};
    use serde_json::Value;

    use crate::operate::doctor::execute;
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::mariadb::MariaDb;
    use crate::support::process::run;
    use crate::support::redis::{Appendfsync, Redis};
    use crate::support::{PATIENCE, wait_for, wait_until};
    use crate::worker::handle;

    /// What is not well, by name, with what is said of it. Each says what to do.
    fn ill(fleet: &Fleet, environment: &[(&str, &str)], args: &[&str]) -> BTreeMap<String, String> {
        let output = fleet.command(&[&["doctor", "--json"], args].concat()).envs(environment.iter().copied()).output().unwrap();
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let text = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
        let mut ill = BTreeMap::new();
        for check in checks.as_array().unwrap() {
            if check["verdict"] != "OK" {
                assert!(!text(check, "fix").is_empty(), "{check} says not what to do");
                ill.insert(text(check, "check"), format!("{} {}", text(check, "verdict"), text(check, "reason")));
            } else if check["check"] == "mended" {
                ill.insert("mended".to_owned(), text(check, "reason"));
            }
        }
        ill
    }

    fn names(ill: &BTreeMap<String, String>) -> Vec<&str> {
        ill.keys().map(String::as_str).collect()
    }

    fn well(overrides: Vec<(&'static str, String)>) -> Fleet {
        let fleet = Fleet::start(FleetOptions { edges: 3, sos: 1, gps: 1, overrides, ..FleetOptions::default() });
        // Just started, a shard may not be archived yet, no probe have come through, or this machine be slow.
        wait_for("a doctor with nothing to say", PATIENCE * 2, || {
            let ill = ill(&fleet, &[], &[]);
            println!("{ill:?}");
            ill.is_empty().then_some(())
        });
        fleet
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_than_twenty_planted_in_a_fleet_are_named_and_nothing_else() {
        let aside = tempfile::tempdir().unwrap();
        let path = |name: &str| aside.path().join(name);
        let certificate = path("edge.pem");
        let listeners = path("listener");
        for name in ["a", "b"] {
            fs::create_dir_all(listeners.join(name)).unwrap();
            fs::write(listeners.join(name).join("beat"), (Clock::system().now_ms() + 3_600_000).to_string()).unwrap();
        }
        let issue = |days: &str| {
            let (key, pem) = (path("key.pem"), certificate.to_str().unwrap());
            let key = key.to_str().unwrap();
            let command = format!("openssl req -x509 -newkey ed25519 -nodes -keyout {key} -out {pem} -days {days} -subj /CN=edge 2>&1");
            run("openssl", "sh", &["-c", &command]);
        };
        issue("90");
        let overrides = vec![
            ("listener.dir", format!("{listeners:?}")),
            ("doctor.certificate_files", format!("[{:?}]", certificate.display().to_string())),
        ];
        let mut fleet = well(overrides);
        let redis = handle(&fleet.redis);

        // What a Redis that stood still was taken for until now is not looked at: a clean stop is no death.
        for shard in 0..16 {
            fleet.redis.cli(&["HSET", &keys::meta(shard), "deaths", "0"]);
        }
        // Whoever works goes, so that nothing that is planted is worked off.
        for name in ["delivery-0", "offline-0", "sos-0", "gps-0"] {
            assert!(fleet.terminate(name).success());
        }
        fleet.kill9("edge-2");
        for shard in 0..16 {
            assert_eq!(fleet.redis.cli(&["HGET", &keys::meta(shard), "deaths"]), "0");
        }
        fleet.redis.cli(&["HSET", &keys::meta(3), "deaths", "2"]);
        fleet.redis.cli(&["HSET", &keys::meta(4), "lost", "an edge saw commit 9"]);
        fleet.redis.cli(&["XADD", &keys::log(5), "99-99", "1", "x"]);
        fleet.redis.cli(&["XADD", &keys::input(6), "*", "1", "x"]);
        fleet.roger(&["pause", "locate", "--why", "the table moves"]).succeeded();
        let ghost = Group { stream: keys::replay(), group: "offline".to_owned(), consumer: "ghost".to_owned() };
        redis.add(&keys::replay(), b"x").await.unwrap();
        assert_eq!(Reader::new(&redis, Duration::from_secs(5)).read_group(&ghost, 1).await.unwrap().len(), 1);
        for _ in 0..3 {
            let id = fleet.redis.cli(&["XREVRANGE", &keys::replay(), "+", "-", "COUNT", "1"]).lines().next().unwrap().parse().unwrap();
            redis.count_failure(&ghost, id, "the wire is cut").await.unwrap();
        }
        let id = redis.add(&keys::floor(), b"x").await.unwrap();
        fleet.redis.cli(&["XDEL", &keys::floor(), &id.to_string()]);
        let letter = DeadLetter { job: "replay".to_owned(), ..DeadLetter::about(&keys::replay(), id, None) };
        deadletter::add(&redis, &letter).await.unwrap();
        fleet.redis.cli(&["XADD", "out:{stays}", "*", "1", "x"]);
        fleet.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        fleet.redis.cli(&["CONFIG", "SET", "appendfsync", "everysec"]);
        fleet.redis.cli(&["SET", &keys::shards(), "8"]);
        fleet.redis.cli(&["HSET", &keys::sos_probe(), "passed_ms", "1", "failed", "7", "why", "of a wire"]);
        execute(&format!("sqlite:{}", fleet.folder().join("roger.db").display()), "UPDATE setting SET value = '4' WHERE name = 'shards'")
            .await;
        let long_ago = (Clock::system().now_ms() - 600_000).to_string();
        fs::write(listeners.join("a").join("beat"), long_ago).unwrap();
        issue("1");

        let expected = [
            ("archive.lag", "far behind: 5"),
            ("archive.moving", "the log grows and SQL does not: 5"),
            ("archive.owned", "nobody archives: 0, 1"),
            ("certificate", "expires at "),
            ("dead-letters", "1"),
            ("deliver.deaths", "3 (2 times)"),
            ("deliver.epoch", "4 (an edge saw commit 9)"),
            ("deliver.moving", "input waits and nothing is committed: 6"),
            ("deliver.owned", "nobody owns: 0, 1"),
            ("edges.silent", "no heartbeat of edge-2 for "),
            ("edges.streams", "out:{stays}"),
            ("failing", "failed 3 times, the first time: the wire is cut"),
            ("fix", "nobody works on it"),
            ("floor", "nobody works on it"),
            ("listener", "no sign of life of sms-listener-a for "),
            ("orphans", "replay: 1 in the hands of ghost"),
            ("paused", "(the table moves)"),
            ("redis.durability", "appendfsync everysec"),
            ("redis.memory", "allkeys-lru"),
            ("replay", "1 are in the hands of the dead"),
            ("shards", "8 pinned, 16 configured"),
            ("sos", "nobody works on it"),
            ("sos.events", "nobody works on it"),
            ("sos.probe", "7 failed since, the last one because of a wire"),
            ("sos.tell", "nobody works on it"),
            ("sos.text", "nobody works on it"),
            ("sql.shards", "4 pinned, 16 configured"),
            ("trimmed", "floor: entries were deleted that nobody was given"),
            ("workers.archive", "0 alive"),
            ("workers.deliver", "0 alive"),
        ];
        // The heartbeats of those that were killed lapse after a while.
        let seen = wait_for("all that was planted and nothing else", PATIENCE * 2, || {
            let seen = ill(&fleet, &[], &[]);
            println!("{:?}", names(&seen));
            (names(&seen) == expected.map(|(check, _)| check)).then_some(seen)
        });
        for (check, words) in expected {
            assert!(seen[check].contains(words), "{check}: {}", seen[check]);
        }

        let seen = ill(&fleet, &[], &["--fix"]);
        assert!(seen["mended"].contains("evicts nothing any more") && seen["mended"].contains("deleted 1 streams"), "{}", seen["mended"]);
        assert_eq!(fleet.redis.cli(&["EXISTS", "out:{stays}"]), "0");
        let left = expected.map(|(check, _)| check).into_iter().filter(|check| !["edges.streams", "redis.memory"].contains(check));
        let left: Vec<&str> = left.collect();
        wait_for("the rest is left", PATIENCE, || (names(&ill(&fleet, &[], &[])) == left).then_some(()));
        drop(aside);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn servers_that_take_nothing_are_named() {
        let fleet = well(Vec::new());
        let ill_with = |name: &str, value: &str| ill(&fleet, &[(name, value)], &[]);
        // A replica has all of it, and takes nothing.
        let port = fleet.redis.port().to_string();
        let replica = Redis::start_with(Appendfsync::Always, &["--replicaof", "127.0.0.1", &port]);
        wait_until("it follows", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
        let only = |check: &str, name: &str, value: &str| {
            wait_for(&format!("{check} and nothing else"), PATIENCE, || {
                let seen = ill_with(name, value);
                println!("{:?}", names(&seen));
                (names(&seen) == [check]).then_some(seen)
            })
        };
        let seen = only("redis.role", "ROGER_REDIS_URL", &replica.url());
        assert!(seen["redis.role"].contains("is a replica and takes no writes"), "{seen:#?}");

        // Sentinels that are not there.
        let seen = only("redis.sentinels", "ROGER_REDIS_URL", "redis-sentinel://127.0.0.1:1,127.0.0.1:2/0#roger");
        assert!(seen["redis.sentinels"].contains("127.0.0.1:1: "), "{seen:#?}");

        // Nearly all of its memory is used.
        let full = wait_for("Redis is nearly full", PATIENCE, || {
            let memory = fleet.redis.cli(&["INFO", "memory"]);
            let used: u64 = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap();
            fleet.redis.cli(&["CONFIG", "SET", "maxmemory", &(used + used / 20).to_string()]);
            ill(&fleet, &[], &[]).get("redis.full").cloned()
        });
        assert!(full.contains("bytes used"), "{full}");
        fleet.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);

        // A snapshot that cannot be written stops all writes.
        let site = Redis::start_with(Appendfsync::Always, &["--save", "3600 1", "--dbfilename", "taken"]);
        fs::create_dir(site.folder().join("taken")).unwrap();
        site.cli(&["SET", "x", "1"]);
        site.cli(&["BGSAVE"]);
        wait_until("it failed", || site.cli(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err"));
        let seen = ill_with("ROGER_REDIS_URL", &site.url());
        assert!(seen["redis.snapshot"].contains("all writes are refused"), "{seen:#?}");

        // One that reads its file.
        let debug = ["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"];
        let loading = Redis::start_with(Appendfsync::Always, &debug);
        loading.cli(&["DEBUG", "POPULATE", "1000", "key", "2000"]);
        loading.cli(&["BGREWRITEAOF"]);
        wait_until("it is written anew", || loading.cli(&["INFO", "persistence"]).contains("aof_rewrite_in_progress:0"));
        loading.cli(&["CONFIG", "SET", "key-load-delay", "20000"]);
        let reload = std::thread::scope(|scope| {
            let reload = scope.spawn(|| loading.cli(&["DEBUG", "LOADAOF"]));
            wait_until("it loads", || loading.cli(&["INFO", "persistence"]).contains("loading:1"));
            let seen = ill_with("ROGER_REDIS_URL", &loading.url());
            assert!(seen["redis"].contains("Redis is loading the dataset in memory") && seen["redis"].len() < 200, "{seen:#?}");
            loading.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
            reload.join().unwrap()
        });
        assert_eq!(reload, "OK");
        assert!(ill_with("ROGER_REDIS_URL", "redis://127.0.0.1:1/0")["redis"].starts_with("FAIL "));

        // A clock that goes wrong.
        let skewed = fleet.command(&["doctor", "--json"]);
        let mut command = std::process::Command::new("faketime");
        command.arg("+1 hour").arg(skewed.get_program()).args(skewed.get_args());
        command.envs(skewed.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().unwrap_or_else(|error| panic!("faketime of the package faketime: {error}"));
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
        let clock = checks.as_array().unwrap().iter().find(|check| check["check"] == "clock").unwrap();
        let skew_ms: u64 = clock["reason"].as_str().unwrap().split(' ').find_map(|word| word.parse().ok()).unwrap();
        assert!(clock["verdict"] == "FAIL" && (3_590_000..3_700_000).contains(&skew_ms), "{clock}");

        // An SQL that is a standby.
        let server = MariaDb::start();
        let url = server.database().await;
        let store = roger::store::Store::open(&url).unwrap();
        store.migrate().await.unwrap();
        store.pin_shards(16).await.unwrap();
        wait_for("nothing is wrong", PATIENCE * 3, || ill_with("ROGER_SQL_URL", &url).is_empty().then_some(()));
        server.admin("SET GLOBAL read_only = 1").await;
        only("sql.read-only", "ROGER_SQL_URL", &url);
    }
}
