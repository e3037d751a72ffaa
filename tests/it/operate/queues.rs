//! `roger queues` and the doctor on the streams of reports and alerts, of a fleet whose alerts have a Redis of their own.

mod long {
    use std::collections::BTreeSet;

    use roger::broker::{StreamId, keys};
    use roger::worker::deadletter::{self, DeadLetter};
    use serde_json::Value;

    use crate::operate::doctor::Said;
    use crate::support::fleet::{Answer, Fleet, FleetOptions};
    use crate::support::redis::Redis;
    use crate::support::{PATIENCE, wait_for, wait_until};
    use crate::worker::handle;

    fn doctor(fleet: &Fleet, environment: &[(&str, &str)]) -> Said {
        let output = fleet.command(&["doctor", "--json"]).envs(environment.iter().copied()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said::of(&Answer { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    fn streams(fleet: &Fleet) -> Vec<Value> {
        fleet.roger(&["queues", "--json"]).succeeded().json()["streams"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn stream(fleet: &Fleet, name: &str) -> Value {
        streams(fleet).into_iter().find(|line| line["stream"] == name).unwrap_or_else(|| panic!("no stream {name}"))
    }

    fn names(value: &Value) -> BTreeSet<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn workers(line: &Value) -> usize {
        line["workers"].as_array().unwrap().len()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_works_on_reports_and_alerts_is_seen_and_what_nobody_works_on_is_found() {
        let alerts = Redis::start();
        let overrides = vec![("sos.redis_url", format!("{:?}", alerts.url())), ("sos.probe_interval_s", "0".to_owned())];
        let mut fleet = Fleet::start(FleetOptions { edges: 1, sos: 2, gps: 1, janus: 1, overrides, ..FleetOptions::default() });

        // Idle ones are seen too, each on the Redis it works on.
        let all = [("fleet", keys::replay(), 1), ("fleet", keys::floor(), 1), ("fleet", keys::fix(), 1)];
        let more = [("fleet", "janusImUrlList".to_owned(), 1), ("fleet", keys::dead(), 0)];
        let of_alerts = [keys::sos(), keys::alert_tells(), keys::alert_texts(), keys::alert_events()].map(|stream| ("sos", stream, 2));
        let expected: Vec<_> = all.into_iter().chain(more).chain(of_alerts).chain([("sos", keys::dead(), 0)]).collect();
        let seen = wait_for("all workers are alive", PATIENCE, || {
            let lines = streams(&fleet);
            let seen = lines.iter().map(|line| (line["redis"].as_str().unwrap(), line["stream"].as_str().unwrap(), workers(line)));
            (seen.eq(expected.iter().map(|(redis, stream, workers)| (*redis, stream.as_str(), *workers)))
                && lines.iter().all(|line| line["length"] == 0))
            .then_some(lines.clone())
        });
        for line in &seen {
            assert_eq!(names(line), BTreeSet::from(["redis", "stream", "length", "oldest_ms", "groups", "workers"]));
            assert_eq!((&line["length"], &line["oldest_ms"]), (&Value::from(0), &Value::Null), "{line}");
            for group in line["groups"].as_array().unwrap() {
                assert_eq!(names(group), BTreeSet::from(["name", "consumers", "pending", "lag"]));
            }
        }
        let said = doctor(&fleet, &[]);
        for check in ["fix", "fix.backlog", "talk", "sos", "sos.tell", "sos.text", "sos.events", "sos.dead-letters"] {
            said.says(check, "OK", "");
        }

        // Who stops says so, and what comes from then on waits.
        for name in ["gps-0", "sos-0", "sos-1", "janus-0"] {
            fleet.terminate(name);
        }
        let said = doctor(&fleet, &[]);
        said.says("fix", "WARN", "nothing waits; nobody works on it");
        said.says("sos", "WARN", "nothing waits; nobody works on it");
        // Not every deployment has a Janus.
        said.says("talk", "OK", "nothing waits; nobody works on it");
        fleet.redis.cli(&["RPUSH", "janusImUrlList", "one", "another"]);
        let (redis, sos) = (handle(&fleet.redis), handle(&alerts));
        let payload = vec![0xff; 100_000];
        redis.add(&keys::fix(), &payload).await.unwrap();
        for stream in [keys::sos(), keys::sos(), keys::alert_events()] {
            sos.add(&stream, &payload).await.unwrap();
        }
        alerts.cli(&["XREADGROUP", "GROUP", "sos", "ghost", "COUNT", "1", "STREAMS", &keys::sos(), ">"]);
        let letter = DeadLetter { reason: "a test".to_owned(), ..DeadLetter::about(&keys::sos(), StreamId(7, 1), Some(&payload)) };
        let letter = deadletter::add(&sos, &letter).await.unwrap().to_string();
        let said = doctor(&fleet, &[("ROGER_GPS_BACKLOG_BYTES_MAX", "65536")]);
        said.says("fix", "FAIL", "1 wait, the oldest for");
        said.says("fix.backlog", "FAIL", "of 65536 bytes");
        said.says("talk", "FAIL", "2 wait; nobody works on it");
        said.says("sos", "FAIL", "2 wait, the oldest for");
        said.says("sos", "FAIL", "nobody works on it, and 1 are in the hands of the dead");
        said.says("sos.events", "WARN", "1 wait");
        said.says("dead-letters", "OK", "0");
        said.says("sos.dead-letters", "WARN", "1");
        let presses = wait_for("the oldest grows older", PATIENCE, || {
            Some(stream(&fleet, &keys::sos())).filter(|line| line["oldest_ms"].as_u64() > Some(50))
        });
        assert_eq!((&presses["length"], workers(&presses), &presses["groups"][0]["pending"]), (&Value::from(2), 0, &Value::from(1)));

        // A letter of alerts is found where it lies, and goes back there.
        assert_eq!(fleet.roger(&["dead", "list", "--json"]).succeeded().json(), Value::Array(Vec::new()));
        assert_eq!(fleet.roger(&["dead", "--sos", "list", "--json"]).succeeded().json()[0]["id"], Value::from(letter.as_str()));
        fleet.roger(&["dead", "redrive", &letter, "--sos", "--yes"]).succeeded();
        assert_eq!(stream(&fleet, &keys::sos())["length"], 3);

        // Whoever comes back takes it all: nothing of it reads, so it becomes dead letters, each where it came from.
        for name in ["gps-0", "sos-0", "janus-0"] {
            fleet.restart(name);
        }
        wait_until("nothing waits", || streams(&fleet).iter().all(|line| line["stream"] == keys::dead() || line["length"] == 0));
        let letters: Vec<(Value, Value)> = streams(&fleet)
            .into_iter()
            .filter(|line| line["stream"] == keys::dead())
            .map(|line| (line["redis"].clone(), line["length"].clone()))
            .collect();
        assert_eq!(letters, [("fleet".into(), 3.into()), ("sos".into(), 4.into())]);

        // Without the Redis of alerts the rest is shown.
        drop(alerts);
        let answer = fleet.roger(&["queues", "--json"]).succeeded();
        assert_eq!(answer.json()["streams"].as_array().unwrap().len(), 5);
        assert!(answer.stderr.contains("the Redis of sos.redis_url does not answer"), "{}", answer.stderr);
        doctor(&fleet, &[]).says("sos", "FAIL", "");
    }
}
