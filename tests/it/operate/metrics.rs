//! What programs serve to Prometheus, and the rules that watch it.

use std::path::Path;

use crate::support::process::run;

/// Of the folder with what watches a fleet.
fn monitoring(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(file).display().to_string()
}

#[test]
fn the_rules_are_sound_fire_when_they_should_and_are_silent_else() {
    let checked = run("prometheus", "promtool", &["check", "config", &monitoring("prometheus.yml")]);
    assert!(checked.contains("rules found") && !checked.contains("FAILED"), "{checked}");
    let tested = run("prometheus", "promtool", &["test", "rules", &monitoring("alerts_test.yml")]);
    assert!(tested.contains("SUCCESS") && !tested.contains("FAILED"), "{tested}");
}

mod long {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::{PATIENCE, ports, wait_for};

    /// What a port serves, a value a line, by the name with its labels.
    fn scrape(port: u16) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter(|line| line.starts_with("roger_")).filter_map(line).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_hop_and_every_stream_of_a_fleet_is_measured() {
        let programs = ["edge", "delivery", "offline", "sos", "gps", "janus"];
        let keys = [
            "metrics.edge_listen",
            "metrics.delivery_listen",
            "metrics.offline_listen",
            "metrics.sos_listen",
            "metrics.gps_listen",
            "metrics.janus_listen",
        ];
        let ports: Vec<u16> = programs.iter().map(|_| ports::free()).collect();
        let mut options = FleetOptions { edges: 1, sos: 1, gps: 1, janus: 1, ..options() };
        options.overrides.extend(keys.into_iter().zip(&ports).map(|(key, port)| (key, format!("\"127.0.0.1:{port}\""))));
        options.overrides.push(("sos.probe_interval_s", "1".to_owned()));
        let fleet = Fleet::start(options);
        let traffic = Traffic::begin_at(&fleet, [0, 0, 0]).await;
        let of = |program: &str| scrape(ports[programs.iter().position(|name| *name == program).unwrap()]);
        let has = |program: &str, names: &[&str]| {
            wait_for(&format!("{names:?} at {program}"), PATIENCE, || {
                let all = of(program);
                let found: Vec<f64> = names.iter().filter_map(|name| all.get(*name).copied()).filter(|value| *value > 0.0).collect();
                (found.len() == names.len()).then_some(found)
            })
        };
        let hop = |name: &str| format!("roger_hop_seconds_count{{hop=\"{name}\"}}");
        has("edge", &[&hop("push"), &hop("deliver"), &hop("acknowledge"), "roger_receipts_total{durability=\"fsync\"}", "roger_sessions"]);
        let shard = traffic.topic.shard(16);
        let input = format!("roger_stream_added_total{{job=\"deliver\",stream=\"{{s{shard}}}:in\"}}");
        has("delivery", &[&hop("commit"), &input, "roger_messages_accepted_total", "roger_ready{program=\"delivery\"}"]);
        has("offline", &[&hop("archive"), "roger_archived_messages_total"]);
        has("sos", &[&hop("sos"), "roger_stream_added_total{job=\"sos\",stream=\"{sos}:in\"}", "roger_sos_probe_seconds"]);
        // Streams on which nothing waits are there too, with nothing.
        for (program, job, stream) in [
            ("offline", "replay", "replay"),
            ("offline", "floor", "floor"),
            ("gps", "locate", "fix"),
            ("sos", "text", "{sos}:text"),
            ("sos", "alerts", "{sos}:events"),
            ("janus", "talk", "janusImUrlList"),
        ] {
            for name in ["roger_stream_length", "roger_stream_oldest_seconds"] {
                let name = format!("{name}{{job=\"{job}\",stream=\"{stream}\"}}");
                wait_for(&name, PATIENCE, || of(program).contains_key(&name).then_some(()));
            }
        }
        fleet.roger(&["pause", "replay", "--until", "1m"]).succeeded();
        has("offline", &["roger_paused{job=\"replay\"}"]);
        fleet.roger(&["resume", "replay"]).succeeded();
        traffic.end(&fleet).await;
    }
}
