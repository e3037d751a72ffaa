//! Reports of positions, into Redis and SQL.

use std::time::Duration;

use prost::Message as _;
use roger::broker::keys;
use roger::clock::Clock;
use roger::jobs::locate::Locate;
use roger::location::Flag;
use roger::location::frame::{Fix, FixFrame, Received};
use roger::model::{TenantId, UserId};
use roger::shutdown::Shutdown;
use roger::worker::{CompetingSettings, Readiness, deadletter, run_competing};

use super::SHARDS;
use crate::store::Database;
use crate::support::{eventually, redis};
use crate::worker::handle;

const NOW_MS: u64 = 20_000 * 86_400_000;
const HOUR_MS: u64 = 3_600_000;

fn frame(number: u64, fixes: Vec<Fix>) -> FixFrame {
    let received = vec![Received { device: 7, count: fixes.len() as u64 }];
    FixFrame { producer: 1, number, arrival_ms: NOW_MS, fixes, received, ..FixFrame::default() }
}

fn fix(fix_ms: u64, latitude: f64) -> Fix {
    Fix { device: 7, tenant: 1, fix_ms, source: 1, latitude, longitude: 13.0, battery: Some(50), ..Fix::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_in_any_order_and_twice_give_one_trace_and_the_newest_position() {
    let (server, database) = (redis::Redis::start(), Database::sqlite().await);
    let redis = handle(&server);
    let ahead = Fix { flags: Flag::ClockAhead.bit(), ..fix(NOW_MS + HOUR_MS, 3.0) };
    let unplaced = Fix { source: 0, ..fix(NOW_MS + 5, 4.0) };
    let frames = [
        frame(2, vec![fix(NOW_MS - 1, 52.0), fix(NOW_MS, 52.5), ahead]),
        // Late by two days, with one that is in already.
        frame(1, vec![fix(NOW_MS - 48 * HOUR_MS, 51.0), fix(NOW_MS - 1, 52.0)]),
        frame(3, vec![fix(NOW_MS, 52.5), unplaced, fix(NOW_MS - 2, 51.5)]),
    ];
    for number in [0, 1, 0, 2, 1] {
        redis.add(&keys::fix(), &frames[number].encode_to_vec()).await.unwrap();
    }
    redis.add(&keys::fix(), b"nonsense").await.unwrap();
    let (job, batches) = Locate::new(redis.clone(), SHARDS);
    tokio::spawn(batches.run(database.store.clone()));
    let settings = CompetingSettings::new::<Locate>(8, 8, Duration::from_secs(22)).unwrap();
    let part = Readiness::new().part("locate");
    tokio::spawn(run_competing(job, redis.clone(), settings, Clock::system(), Shutdown::manual(), part));
    eventually("all is taken in", async || (redis.lengths(&[keys::fix()]).await.ok()? == [0]).then_some(())).await;

    let fate = database.store.fate(UserId(7), 20_000).await.unwrap().unwrap();
    assert_eq!((fate.received, fate.stored, fate.duplicate, fate.refused), (8, 6, 2, 0), "{fate:?}");
    let live = redis.live_of(&[UserId(7)], SHARDS).await.unwrap()[0];
    let position = live.position.unwrap();
    assert_eq!((position.fix_ms, position.latitude, live.battery), (NOW_MS, 52.5, Some((50, NOW_MS))));
    assert_eq!(server.cli(&["ZSCORE", &keys::near_at(TenantId(1)), "7"]).trim(), NOW_MS.to_string());
    assert_eq!(server.cli(&["ZCARD", &keys::near(TenantId(1))]).trim(), "1");
    assert_eq!(deadletter::list(&redis, None, 10).await.unwrap().len(), 1, "what does not decode is a dead letter");

    // To the pole, and later on a frame from before.
    redis.note_fixes(&[fix(NOW_MS + 1, 89.0)], SHARDS).await.unwrap();
    redis.note_fixes(&[fix(NOW_MS, 1.0)], SHARDS).await.unwrap();
    assert_eq!(server.cli(&["ZCARD", &keys::near(TenantId(1))]).trim(), "0");
    assert_eq!(server.cli(&["HGET", &keys::polar(TenantId(1)), "7"]).trim(), "89.0 13.0");
    redis.note_fixes(&[fix(NOW_MS + 2, -1.0)], SHARDS).await.unwrap();
    assert_eq!(server.cli(&["HLEN", &keys::polar(TenantId(1))]).trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sql_what_nobody_is_given_is_noted_and_on_an_emptied_redis_too() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    // What is added behind it has higher ids than what an emptied Redis will give.
    server.cli(&["XADD", &keys::fix(), "9999999999999-0", "1", "nonsense"]);
    let (job, _nobody_commits) = Locate::new(redis.clone(), SHARDS);
    let settings = CompetingSettings::new::<Locate>(4, 4, Duration::from_secs(22)).unwrap();
    let part = Readiness::new().part("locate");
    let places = job.places();
    tokio::spawn(run_competing(job, redis.clone(), settings, Clock::system(), Shutdown::manual(), part));
    tokio::spawn(async move { places.follow(&Shutdown::manual()).await });
    for round in 0..2 {
        // More than a page, the newest in the middle.
        let newest_ms = NOW_MS + round * HOUR_MS + 50;
        let times = (newest_ms - 50..=newest_ms).chain(newest_ms - 25..newest_ms);
        for (number, fix_ms) in (round * 100..).zip(times) {
            redis.add(&keys::fix(), &frame(number, vec![fix(fix_ms, 52.0)]).encode_to_vec()).await.unwrap();
        }
        let position = async || redis.live_of(&[UserId(7)], SHARDS).await.ok()?[0].position;
        eventually("the newest is known", async || position().await.filter(|position| position.fix_ms == newest_ms).map(drop)).await;
        assert!(redis.lengths(&[keys::fix()]).await.unwrap()[0] >= 76, "nothing was taken");
        server.flushall();
    }
}
