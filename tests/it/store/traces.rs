//! Traces against a model of random fixes: whatever the size of the pages, all of them together are the model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use roger::location::Flag;
use roger::location::{TraceKey, TraceRow};
use roger::model::{GroupId, PositionSource, UserId};
use roger::store::TRACE_SQL;
use sqlx::{Connection as _, MySqlConnection, Row as _, SqliteConnection};

use super::{Database, over_both};

over_both!(pages_of_any_size_are_the_whole_trace, the_newest_fix_is_by_a_clock_that_is_right, a_page_reads_one_range_of_the_primary_key,);

/// One above 2^63: ids use all 64 bits, and the order is theirs.
const DEVICES: [UserId; 4] = [UserId(3), UserId(7), UserId(1 << 40), UserId(u64::MAX - 9)];

/// A row of the table; a source of 0 is a fix without a place.
#[derive(Clone, Debug)]
struct Fix {
    device: UserId,
    fix_ms: u64,
    source: u32,
    flags: u32,
    altitude_m: Option<f32>,
    battery: Option<u32>,
}

/// Times collide often, so that devices stand at the very same millisecond.
fn fix() -> impl Strategy<Value = Fix> {
    let altitude = prop::option::of(-100.0_f32..9_000.0);
    let parts = (prop::sample::select(DEVICES.as_slice()), 0..12_u64, 0..3_u32, 0..4_u32, altitude, prop::option::of(0..=100_u32));
    parts.prop_map(|(device, fix_ms, source, flags, altitude_m, battery)| Fix { device, fix_ms, source, flags, altitude_m, battery })
}

fn key(fix: &Fix) -> Option<TraceKey> {
    let source = PositionSource::from_number(fix.source)?;
    Some(TraceKey { fix_ms: fix.fix_ms, device: fix.device, source })
}

/// As the store should read it.
fn row(fix: &Fix) -> Option<TraceRow> {
    Some(TraceRow {
        key: key(fix)?,
        arrival_ms: fix.fix_ms + 5,
        latitude: 45.25 + fix.fix_ms as f64,
        longitude: -13.75,
        accuracy_m: None,
        altitude_m: fix.altitude_m,
        speed_mps: Some(1.5),
        course_deg: None,
        battery: fix.battery,
        group: GroupId(9),
        flags: fix.flags,
    })
}

/// Writes rows straight into the table.
async fn insert(database: &Database, fixes: &[Fix]) {
    fn or_null<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
    }
    let written = |fix: &Fix| {
        let Fix { device, fix_ms, source, flags, altitude_m, battery } = fix;
        let (latitude, longitude) = (row(fix).map(|row| row.latitude), row(fix).map(|row| row.longitude));
        let (latitude, longitude) = (or_null(latitude), or_null(longitude));
        let (altitude, battery) = (or_null(altitude_m.map(f64::from)), or_null(*battery));
        format!(
            "({}, {fix_ms}, {source}, {}, {latitude}, {longitude}, NULL, {altitude}, 1.5, NULL, {battery}, 9, {flags}, NULL)",
            device.0.cast_signed(),
            fix_ms + 5
        )
    };
    if !fixes.is_empty() {
        let rows: Vec<String> = fixes.iter().map(written).collect();
        run(database, &format!("INSERT INTO fix VALUES {}", rows.join(", "))).await;
    }
}

async fn run(database: &Database, sql: &str) {
    let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
    if database.url.starts_with("sqlite") {
        sql.execute(&mut SqliteConnection::connect(&database.url).await.unwrap()).await.unwrap();
    } else {
        sql.execute(&mut MySqlConnection::connect(&database.url).await.unwrap()).await.unwrap();
    }
}

async fn pages_of_any_size_are_the_whole_trace(database: &Database) {
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..12 {
        let fixes = prop::collection::vec(fix(), 0..60).new_tree(&mut runner).unwrap().current();
        // One row a key, as the table has it.
        let fixes: BTreeMap<_, _> = fixes.into_iter().map(|fix| ((fix.device, fix.fix_ms, fix.source), fix)).collect();
        let fixes: Vec<Fix> = fixes.into_values().collect();
        run(database, "DELETE FROM fix").await;
        insert(database, &fixes).await;
        for (devices, from_ms, to_ms, wifi) in
            [(&DEVICES[..], 0, u64::MAX, true), (&DEVICES[..], 3, 9, true), (&DEVICES[..], 2, 8, false), (&DEVICES[1..3], 0, 20, true)]
        {
            let wanted = |row: &TraceRow| {
                let TraceKey { fix_ms, device, source } = row.key;
                devices.contains(&device) && (from_ms..to_ms).contains(&fix_ms) && (wifi || source == PositionSource::Gps)
            };
            let mut model: Vec<TraceRow> = fixes.iter().filter_map(row).filter(wanted).collect();
            model.sort_by_key(|row| row.key);
            for limit in [1, 2, 3, 5, 7, model.len().max(1), model.len() + 1] {
                let mut told = Vec::new();
                loop {
                    let after = told.last().map(|row: &TraceRow| row.key);
                    let page = database.store.trace_page(devices, from_ms, to_ms, wifi, after, limit as u32).await.unwrap();
                    assert!(page.len() <= limit);
                    let last = page.len() < limit;
                    told.extend(page);
                    if last {
                        break;
                    }
                }
                assert_eq!(told, model, "pages of {limit}");
            }
        }
    }
}

async fn the_newest_fix_is_by_a_clock_that_is_right(database: &Database) {
    let fix = |device, fix_ms, source, flags| Fix { device, fix_ms, source, flags, altitude_m: None, battery: None };
    let [one, two, three, four] = DEVICES;
    let (ahead, behind) = (Flag::ClockAhead.bit(), Flag::ClockBehind.bit());
    let fixes = [
        fix(one, 10, 1, 0),
        fix(one, 11, 2, behind),
        fix(one, 12, 0, 0),
        fix(one, 99, 1, ahead),
        fix(two, 10, 1, 0),
        fix(two, 10, 2, 0),
        fix(two, 9, 1, 0),
        fix(three, 50, 1, ahead),
    ];
    insert(database, &fixes).await;
    let newest = database.store.newest_fixes(&[four, three, two, one]).await.unwrap();
    assert_eq!(newest.into_values().collect::<Vec<_>>(), [&fixes[1], &fixes[4]].map(|fix| row(fix).unwrap()));
}

async fn a_page_reads_one_range_of_the_primary_key(database: &Database) {
    let fixes: Vec<Fix> = (0..4_000)
        .map(|number| Fix { device: DEVICES[number as usize % 4], fix_ms: number, source: 1, flags: 0, altitude_m: None, battery: None })
        .collect();
    insert(database, &fixes).await;
    if database.url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(&database.url).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {TRACE_SQL}"));
        let query = sqlx::query(sql).bind(7).bind(100).bind(200).bind(2).bind(100).bind(1).bind(10);
        let plan: Vec<String> = query.fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get("detail")).collect();
        assert_eq!(plan, ["SEARCH fix USING PRIMARY KEY (device=? AND fix_ms>? AND fix_ms<?)"]);
    } else {
        let mut connection = MySqlConnection::connect(&database.url).await.unwrap();
        sqlx::raw_sql("ANALYZE TABLE fix").execute(&mut connection).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("EXPLAIN {TRACE_SQL}"));
        let query = sqlx::query(sql).bind(7).bind(100).bind(200).bind(2).bind(100).bind(1).bind(10);
        let plan = query.fetch_all(&mut connection).await.unwrap();
        let [line] = &plan[..] else { panic!("{plan:?}") };
        let text = |column: &str| line.get::<Option<String>, _>(column).unwrap_or_default();
        assert_eq!((text("type").as_str(), text("key").as_str()), ("range", "PRIMARY"));
        assert!(!text("Extra").contains("filesort"), "{}", text("Extra"));
    }
}
