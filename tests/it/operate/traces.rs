//! `roger trace`.

use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use super::{Site, account};

/// 2026-11-24T03:35:23Z.
const AT_MS: u64 = 1_795_491_323_000;

#[tokio::test(flavor = "multi_thread")]
async fn where_a_device_was_is_printed_in_every_format() {
    let site = Site::new();
    let store = site.store().await;
    let tenant = store.ensure_tenant("apollo").await.unwrap().id();
    let device = account(&store, tenant, "neil").await;
    let fix = |fix_ms: u64, source: u32, altitude: &str| {
        format!("({device}, {fix_ms}, {source}, {fix_ms}, 45.25, -179.5, NULL, {altitude}, 1.5, NULL, 80, 0, 0, NULL)")
    };
    let rows = [fix(AT_MS, 1, "7.5"), fix(AT_MS + 1_000, 1, "NULL"), fix(AT_MS + 2_000, 2, "NULL"), fix(AT_MS + 3_000, 1, "NULL")];
    let sql = format!("INSERT INTO fix VALUES {}", rows.join(", "));
    let mut connection = SqliteConnection::connect(&site.sql()).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();

    let trace = |more: &[&str]| {
        let range = ["trace", "neil", "--from", "2026-11-24", "--to", "2026-11-24T03:35:26Z"];
        site.roger(&[&range, more].concat()).succeeded()
    };
    let table = trace(&[]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[1].contains("2026-11-24T03:35:23Z") && lines[1].contains("-179.500000"), "{table}");
    let times = |answer: &Value| answer.as_array().unwrap().iter().map(|fix| fix["fix_ms"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(times(&trace(&["--json"]).json()), [AT_MS, AT_MS + 1_000]);
    assert_eq!(times(&trace(&["--format", "json", "--wifi"]).json()), [AT_MS, AT_MS + 1_000, AT_MS + 2_000]);
    let points = trace(&["--format", "geojson"]).json();
    assert_eq!((points["type"].as_str(), points["features"].as_array().unwrap().len()), (Some("FeatureCollection"), 2));
    let coordinates = |at: usize| points["features"][at]["geometry"]["coordinates"].to_string();
    assert_eq!((coordinates(0).as_str(), coordinates(1).as_str()), ("[-179.5,45.25,7.5]", "[-179.5,45.25]"));
    assert_eq!(points["features"][0]["properties"]["battery_percent"], 80);
    let track = trace(&["--format", "gpx"]).stdout;
    for part in [
        "<gpx xmlns=\"http://www.topografix.com/GPX/1/1\" version=\"1.1\"",
        "<name>neil</name>",
        "lat=\"45.25\" lon=\"-179.5\"",
        "<ele>7.5</ele>",
        "<time>2026-11-24T03:35:24Z</time>",
    ] {
        assert!(track.contains(part), "{part} is not in {track}");
    }
    assert_eq!(track.matches("<trkpt").count(), 2);
    assert_eq!(site.roger(&["trace", "neil", "--from", "1s"]).succeeded().stdout.trim(), "No fixes.");
}
