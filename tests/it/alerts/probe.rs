//! The probe of SOS: it comes through, nobody hears it, it leaves nothing, and the doctor says when it stops.

use std::time::Duration;

use roger::broker::{Probes, Redis};
use roger::model::{AlertId, Place, Span, TopicId, UserId};
use serde_json::Value;

use super::scene::{Scene, alerts};
use crate::support::fleet::{Fleet, FleetOptions};
use crate::support::{PATIENCE, eventually};
use crate::worker::handle;

/// How long what the fleet knows of a probe may stay. Seconds.
const KEPT_S_MAX: i64 = 120;

fn every_second(sos: usize) -> FleetOptions {
    FleetOptions { sos, overrides: vec![("sos.probe_interval_s", "1".to_owned())], ..FleetOptions::default() }
}

/// Waits until a probe has come through that ended behind `after_ms`.
async fn passes(redis: &Redis, after_ms: u64) -> Probes {
    let passed =
        || async { redis.probes().await.ok().flatten().filter(|probes| probes.passed_ms.is_some_and(|passed_ms| passed_ms > after_ms)) };
    eventually("a probe has come through", passed).await
}

/// What the doctor says of the probe; `None` for nothing.
fn doctor(fleet: &Fleet, environment: &[(&str, &str)]) -> Option<Value> {
    let output = fleet.command(&["doctor", "--json"]).envs(environment.iter().copied()).output().unwrap();
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    checks.as_array().unwrap().iter().find(|check| check["check"] == "sos.probe").cloned()
}

/// How many entries the stream of SOS ever had.
fn presses(fleet: &Fleet) -> u64 {
    let stream = fleet.redis.cli(&["XINFO", "STREAM", "{sos}:in"]);
    let mut lines = stream.lines().skip_while(|line| *line != "entries-added");
    lines.nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_through_again_and_again_and_nobody_hears_it_and_nothing_keeps_it() {
    let scene = Scene::with(every_second(1)).await;
    let redis = handle(&scene.fleet.redis);
    let mut heard = vec![scene.on(0, &scene.first).await, scene.on(1, &scene.company).await, scene.on(0, &scene.radios[0]).await];
    let mut last = passes(&redis, 0).await;
    for _ in 0..3 {
        let next = passes(&redis, last.passed_ms.unwrap()).await;
        assert_eq!((next.failed, next.why.as_str()), (0, ""));
        last = next;
    }
    for radio in &mut heard {
        radio.beat().await;
        assert_eq!(alerts(&radio.heard), []);
    }
    // Of a machine out of breath it may say once that the last one was long ago.
    let well = || async { doctor(&scene.fleet, &[]).filter(|said| said["verdict"] == "OK") };
    let said = eventually("the doctor has nothing to say", well).await;
    assert!(said["reason"].as_str().unwrap().contains("one came through"), "{said}");
    assert_eq!(doctor(&scene.fleet, &[("ROGER_SOS_PROBE_INTERVAL_S", "0")]), None);
    // As clients look for edges, there are only edges.
    let edges = redis.describe_edges(roger::clock::Clock::system().now_ms()).await.unwrap();
    assert_eq!(edges.len(), 2, "{edges:?}");

    // Those that came through are over, and nothing is left of them but what goes by itself.
    assert_eq!(scene.fleet.roger(&["alerts", "list", "--json"]).succeeded().json(), serde_json::json!([]));
    assert_eq!(scene.store.alerts(false, None::<AlertId>, 10).await.unwrap(), []);
    let archived = || async {
        let looks = redis.look_at_shards(16).await.unwrap();
        looks.iter().all(|look| look.archive_lag == Some(0)).then_some(())
    };
    eventually("everything is archived", archived).await;
    for topic in [TopicId::alert_inbox(UserId::PROBE), TopicId::inbox(UserId::PROBE)] {
        let kept = scene.store.entries(topic, Span::new(Place::START, Place::END), 10, 1 << 20).await.unwrap();
        assert_eq!((kept, scene.store.head(topic).await.unwrap()), (vec![], None));
    }
    for key in scene.fleet.redis.cli(&["KEYS", "{sos}:press:*"]).lines().chain(scene.fleet.redis.cli(&["KEYS", "{sos}:alert:*"]).lines()) {
        // In this order: one that ends in between has its time to live by then.
        let open = scene.fleet.redis.cli(&["HVALS", "{sos}:open"]);
        let ttl: i64 = scene.fleet.redis.cli(&["TTL", key]).parse().unwrap();
        // -2: it just went. Only the one that is open now has none.
        assert!(ttl == -2 || (0..=KEPT_S_MAX).contains(&ttl) || open.lines().any(|id| key.ends_with(id)), "{key} stays {ttl} s");
    }
    for stream in ["{sos}:text", "{sos}:events"] {
        assert_eq!(scene.fleet.redis.cli(&["XLEN", stream]), "0", "{stream}");
    }
    assert_eq!(scene.texts(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_where_it_stops_and_that_it_goes_again() {
    let mut fleet = Fleet::start(every_second(1));
    let redis = handle(&fleet.redis);
    passes(&redis, 0).await;
    fleet.kill9("delivery-0");
    // Of a probe that was on its way another step may have failed; of the next one it is this.
    let why = "its inbox did not decide who is told";
    let failed =
        || async { doctor(&fleet, &[]).filter(|said| said["verdict"] == "FAIL" && said["reason"].as_str().unwrap().contains(why)) };
    let said = eventually("the doctor finds it", failed).await;
    assert!(!said["fix"].as_str().unwrap().is_empty());
    fleet.restart("delivery-0");
    let well = || async { doctor(&fleet, &[]).filter(|said| said["verdict"] == "OK") };
    eventually("the doctor has nothing to say", well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_programs_one_probes_at_a_time_and_the_other_goes_on_alone() {
    let mut fleet = Fleet::start(every_second(2));
    let redis = handle(&fleet.redis);
    passes(&redis, 0).await;
    let (begun, before) = (std::time::Instant::now(), presses(&fleet));
    // The pace is what is tested.
    tokio::time::sleep(Duration::from_secs(6)).await;
    // A press and what takes it back. Two that probe apart would make twice as many.
    let (probes, most) = ((presses(&fleet) - before).div_ceil(2), begun.elapsed().as_secs() + 2);
    assert!(probes <= most, "{probes}, and not {most} at most");
    fleet.kill9("sos-0");
    let now_ms = roger::clock::Clock::system().now_ms();
    // Killed in the middle of its turn, it is waited for first.
    let since = std::time::Instant::now();
    let first_ms = loop {
        if let Some(passed_ms) =
            redis.probes().await.ok().flatten().and_then(|probes| probes.passed_ms).filter(|passed_ms| *passed_ms > now_ms)
        {
            break passed_ms;
        }
        assert!(since.elapsed() < PATIENCE * 2, "the other one does not probe");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    passes(&redis, first_ms).await;
}
