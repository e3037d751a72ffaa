//! `roger doctor`.

use std::collections::BTreeMap;
use std::time::Duration;

use roger::broker::EdgeBeat;
use roger::clock::Clock;
use roger::store::Store;
use serde_json::Value;

use super::{SHARDS, Site};
use crate::support::fleet::{Answer, Fleet, FleetOptions};
use crate::support::mariadb::MariaDb;
use crate::support::{PATIENCE, wait_for};

/// What the doctor says, by check.
pub struct Said(BTreeMap<String, Value>);

impl Said {
    fn by(site: &Site, environment: &[(&str, &str)]) -> Self {
        Self::of(&site.roger_with(&["doctor", "--json"], environment))
    }

    pub fn of(answer: &Answer) -> Self {
        assert!([0, 1].contains(&answer.code), "{}", answer.stderr);
        let checks = answer.json().as_array().unwrap().clone();
        let failed = checks.iter().any(|check| check["verdict"] == "FAIL");
        assert_eq!(answer.code, i32::from(failed));
        Self(checks.into_iter().map(|check| (check["check"].as_str().unwrap().to_owned(), check)).collect())
    }

    /// A check has this verdict and says this; what is wrong says what to do.
    /// Whether a check has this verdict.
    pub fn is(&self, check: &str, verdict: &str) -> bool {
        self.0.get(check).is_some_and(|found| found["verdict"] == verdict)
    }

    #[track_caller]
    pub fn says(&self, check: &str, verdict: &str, words: &str) {
        let found = self.0.get(check).unwrap_or_else(|| panic!("no check {check}"));
        let (seen, fix) = (found["reason"].as_str().unwrap(), found["fix"].as_str().unwrap());
        assert_eq!(found["verdict"], verdict, "{check}: {seen}");
        assert!(seen.contains(words), "{check}: {seen}");
        assert_eq!(fix.is_empty(), verdict == "OK", "{check}: {fix}");
    }
}

fn run_id(site: &Site) -> String {
    let info = site.redis.cli(&["INFO", "server"]);
    info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned()
}

/// A shard as its owner leaves it.
fn plant(site: &Site, shard: u32, fields: &[&str]) {
    site.redis.cli(&[&["HSET", &format!("{{s{shard}}}:meta")], fields].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_troubles_of_redis_are_named() {
    let site = Site::new();
    site.store().await.pin_shards(SHARDS.into()).await.unwrap();
    let run = run_id(&site);
    site.redis.cli(&["SET", "shards", "8"]);
    plant(&site, 0, &["epoch", "1", "commit", "0", "run_id", &run]);
    plant(&site, 1, &["epoch", "1", "commit", "0", "run_id", &run, "lost", "an edge saw commit 9"]);
    plant(&site, 2, &["epoch", "1", "commit", "0", "run_id", "another"]);
    plant(&site, 3, &["epoch", "1", "commit", "0", "run_id", &run, "deaths", "2"]);
    // The log has what SQL has not, and nobody archives.
    site.redis.cli(&["XADD", "{s0}:log", "1-5", "1", "x"]);
    // An edge that lives, one that is gone and whose streams go with time, and one whose streams would stay.
    let (redis, now_ms) = (site.broker(), Clock::system().now_ms());
    for (boot, deadline_ms) in [("alive", now_ms), ("gone", now_ms - 600_000)] {
        let beat = EdgeBeat { boot: boot.to_owned(), name: boot.to_owned(), ..EdgeBeat::default() };
        redis.beat_edge(&beat, deadline_ms, Duration::from_secs(300)).await.unwrap();
    }
    site.redis.cli(&["XADD", "out:{stays}", "*", "1", "x"]);
    site.redis.cli(&["PERSIST", "out:{alive}"]);

    let said = Said::by(&site, &[]);
    said.says("shards", "FAIL", "8 pinned, 4 configured");
    said.says("sql.shards", "OK", "4 pinned");
    said.says("deliver.epoch", "WARN", "1 (an edge saw commit 9), 2 (Redis was restarted or replaced)");
    said.says("deliver.deaths", "WARN", "3 (2 times)");
    said.says("archive.lag", "WARN", "far behind: 0");
    said.says("edges.streams", "WARN", "out:{stays}");
    assert!(!said.0["edges.streams"]["reason"].as_str().unwrap().contains("alive"), "{:?}", said.0["edges.streams"]);

    for shard in 0..u32::from(SHARDS) {
        plant(&site, shard, &["epoch", "2", "run_id", &run, "deaths", "1"]);
        site.redis.cli(&["HDEL", &format!("{{s{shard}}}:meta"), "lost"]);
    }
    site.redis.cli(&["DEL", "out:{stays}", "{s0}:log"]);
    site.redis.cli(&["SET", "shards", "4"]);
    let said = Said::by(&site, &[]);
    for check in ["shards", "deliver.epoch", "deliver.deaths", "archive.lag", "edges.streams", "sql.tables"] {
        said.says(check, "OK", "");
    }
}

/// A statement behind the store's back.
pub async fn execute(url: &str, sql: &'static str) {
    use sqlx::{Connection as _, Executor as _};
    if url.starts_with("sqlite") {
        sqlx::SqliteConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    } else {
        sqlx::MySqlConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
    }
}

async fn troubles_of_sql_are_named(site: &Site, url: &str) {
    let environment = [("ROGER_SQL_URL", url)];
    Said::by(site, &environment).says("sql.tables", "FAIL", "none yet");
    let store = Store::open(url).unwrap();
    store.migrate().await.unwrap();
    let said = Said::by(site, &environment);
    said.says("sql.tables", "OK", "as this program wants");
    said.says("sql.shards", "WARN", "not pinned");
    store.pin_shards(64).await.unwrap();
    Said::by(site, &environment).says("sql.shards", "FAIL", "64 pinned, 4 configured");
    for (sql, words) in [
        ("UPDATE _sqlx_migrations SET version = 9000 WHERE version = 1", "of version 9000, newer than this program"),
        ("DELETE FROM _sqlx_migrations WHERE version > 2", "of version 2, older than this program"),
        ("UPDATE _sqlx_migrations SET success = 0 WHERE version = 2", "the migration to version 2 began and did not end"),
    ] {
        execute(url, sql).await;
        Said::by(site, &environment).says("sql.tables", "FAIL", words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_troubles_of_sql_are_named() {
    let site = Site::new();
    troubles_of_sql_are_named(&site, &site.sql()).await;
    let server = MariaDb::shared();
    troubles_of_sql_are_named(&site, &server.database().await).await;
    let said = Said::by(&site, &[("ROGER_SQL_URL", "mysql://roger:roger@127.0.0.1:1/roger")]);
    said.says("sql", "FAIL", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_fleet_is_told_nothing() {
    let fleet = Fleet::start(FleetOptions { sos: 1, gps: 1, ..FleetOptions::default() });
    // Just started, a shard may not be archived yet, no probe have come through, or this machine be slow.
    wait_for("a doctor with nothing to say", PATIENCE * 2, || {
        let checks = fleet.roger(&["doctor", "--json"]).json();
        let wrong: Vec<&Value> = checks.as_array().unwrap().iter().filter(|check| check["verdict"] != "OK").collect();
        println!("{wrong:?}");
        wrong.is_empty().then_some(())
    });
}
