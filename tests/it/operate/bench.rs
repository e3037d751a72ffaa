//! `roger bench`: that what it measures is what happened. How fast it was is for who runs it to judge.

use serde_json::Value;

use super::Site;

fn bench(args: &[&str]) -> Value {
    Site::new().roger(&[&["bench", "--json"], args].concat()).succeeded().json()["benches"][0].take()
}

#[test]
fn devices_in_a_generated_town_are_placed_within_what_is_said() {
    let found = bench(&["wifi", "--lessons", "1000", "--held-out", "500"]);
    for known in ["posted", "learned"] {
        let errors = &found["wifi"]["by"][known];
        let number = |name: &str| errors[name].as_f64().unwrap();
        assert!(number("placed") > 450.0 && number("error_p50_m") < 35.0, "{known}: {errors}");
        assert!((0.6..0.9).contains(&number("within_accuracy")), "{known}: {errors}");
    }
}

#[test]
fn fixes_of_a_bench_are_all_in_sql_also_when_that_is_slow() {
    let found = bench(&["fixes", "--spawn", "--devices", "3", "--fixes", "3000", "--slow", "2s"]);
    let fixes = &found["fixes"];
    assert_eq!((&fixes["adds_up"], &fixes["stored"]), (&Value::Bool(true), &Value::from(3_000)), "{fixes}");
    let (accepted, stored) = (fixes["slow"]["accepted"].as_u64().unwrap(), fixes["slow"]["stored"].as_u64().unwrap());
    assert!(accepted > 0 && stored >= accepted, "{fixes}");
}

#[test]
fn a_day_is_read_by_the_key_whatever_the_size_of_the_table() {
    for sql in ["sqlite", "mariadb"] {
        let found = bench(&["trace", "--spawn", "--sql", sql, "--days", "3", "--rows", "20000", "--rows", "200000"]);
        let tables = found["traces"]["tables"].as_array().unwrap();
        assert_eq!(tables.iter().map(|table| table["rows"].as_u64().unwrap()).collect::<Vec<_>>(), [20_000, 200_000]);
        for table in tables {
            let plan = table["plan"].to_string();
            assert!(plan.contains("PRIMARY"), "{plan}");
            assert_eq!(table["day_fixes"], serde_json::json!([8_640, 8_640]));
        }
    }
}

#[test]
fn talk_of_a_bench_reaches_everybody_and_every_press_its_grant() {
    let found = bench(&["talk", "--spawn", "--members", "4", "--bursts", "5", "--presses", "5"]);
    let talk = &found["talk"];
    assert_eq!(
        (talk["announced"]["messages"].as_u64(), talk["granted"]["messages"].as_u64(), talk["refused"].as_u64()),
        (Some(5), Some(5), Some(0))
    );
}

#[test]
fn of_a_list_of_a_bench_becomes_what_has_to_while_janus_is_killed_again_and_again() {
    let found = bench(&["recordings", "--spawn", "--items", "20000", "--kill-every", "500ms"]);
    let recordings = &found["recordings"];
    let number = |name: &str| recordings["verdict"][name].as_u64().unwrap();
    assert_eq!(number("good") + number("again") + number("bad"), 20_000, "{recordings}");
    let wrong =
        ["not_stored", "stored_again", "stored_wrong", "not_told", "told_again", "told_wrong", "disordered", "unburied", "buried_wrong"];
    for name in wrong {
        assert_eq!(number(name), 0, "{name}: {recordings}");
    }
    assert!(number("bad") > 100 && number("again") > 200 && recordings["kills"].as_u64().unwrap() > 0, "{recordings}");
}

#[test]
fn a_fleet_at_rest_is_measured_with_its_metrics_and_without() {
    for scrape in ["1s", "0s"] {
        let found = bench(&["rest", "--spawn", "--sessions", "5", "--for", "2s", "--scrape", scrape]);
        let rest = &found["rest"];
        let number = |name: &str| rest[name].as_f64().unwrap();
        assert_eq!((number("scrapes") >= 1.0, number("scraped_bytes") > 1_000.0), (scrape == "1s", scrape == "1s"), "{rest}");
        let programs = ["bench", "delivery", "directory", "edge", "gps", "janus", "offline", "redis", "sos"];
        assert_eq!(rest["cpu_percent"].as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), programs);
    }
}

#[test]
fn over_three_primaries_everything_arrives_and_each_has_its_share() {
    let found = bench(&["direct", "--spawn", "--primaries", "3", "--devices", "60", "--messages", "3000"]);
    let traffic = &found["traffic"];
    assert_eq!(["lost", "duplicated", "disordered", "refused"].map(|wrong| traffic[wrong].as_u64().unwrap()), [0; 4], "{traffic}");
    let servers = found["redis"].as_array().unwrap();
    let numbers = |name: &str| servers.iter().map(|server| server[name].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!((servers.len(), numbers("shards").iter().sum::<f64>()), (3, 16.0), "{found}");
    for share in ["entries_share", "commands_share"] {
        assert!(numbers(share).iter().all(|share| *share > 0.1), "{found}");
        assert!((numbers(share).iter().sum::<f64>() - 1.0).abs() < 1e-9, "{found}");
    }
    // Looked at a moment later each may have grown.
    let together = found["programs"]["redis"]["rss_peak_kib"].as_f64().unwrap() / numbers("rss_peak_kib").iter().sum::<f64>();
    assert!((0.9..=1.0).contains(&together), "{together}: {found}");
}

#[test]
fn primaries_without_a_redis_of_its_own_are_refused_by_name() {
    for args in [&["direct"][..], &["wifi", "--spawn"], &["all", "--spawn"]] {
        let refused = Site::new().roger(&[&["bench", "--primaries", "3"], args].concat());
        assert_eq!(refused.code, 64, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains("--primaries"), "{args:?}: {refused:?}");
    }
}
