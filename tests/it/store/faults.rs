//! Servers that die, freeze or change their role, callers that go away.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use roger::retry::ErrorClass;
use roger::store::{ChangesWanted, Error, Options, Store};
use sqlx::{Connection as _, MySqlConnection};

use super::{Database, archive, entry, open, over_both, patient, topic};
use crate::support::eventually;
use crate::support::mariadb::MariaDb;

over_both!(a_caller_that_goes_away_breaks_nothing);

const PATIENCE: Duration = Duration::from_secs(20);

/// Repeats an archive, which is harmless, until it succeeds.
async fn until_archived(store: &Store, commit: u64) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = archive(store, commit, [entry(topic("g:1"), 1, commit, commit)]).await {
        assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
        assert!(Instant::now() < deadline, "still {error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_caller_that_goes_away_breaks_nothing(database: &Database) {
    let store = &database.store;
    let group = topic("g:1");
    for round in 0..200_u64 {
        let store = store.clone();
        let call = tokio::spawn(async move {
            match round % 3 {
                0 => archive(&store, 1 + round, (1..=40).map(|seq| entry(group, 1, seq + round * 40, seq + round * 40))).await.map(drop),
                1 => store.floor_rows(3, None, 1_000).await.map(drop),
                _ => store.allocate_epoch(3, round).await.map(drop),
            }
        });
        tokio::time::sleep(Duration::from_micros(round * 37 % 3_000)).await;
        call.abort();
    }
    // Whatever still runs ends by itself; every connection left answers its own questions.
    eventually("what still runs leaves a connection", async || store.ping().await.ok()).await;
    for round in 0..200_u64 {
        if round % 3 == 0 {
            archive(store, 1 + round, (1..=40).map(|seq| entry(group, 1, seq + round * 40, seq + round * 40))).await.unwrap();
        }
        store.ping().await.unwrap();
    }
    assert_eq!(store.archive_position(3).await.unwrap().commit, 199);
    let page = store.audit(None, 10).await.unwrap();
    assert_eq!(page.messages, 67 * 40);
    assert_eq!(page.findings.len(), 66, "only the holes between the rounds: {:?}", page.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_mariadb_is_a_transient_error_until_it_is_back() {
    let server = MariaDb::start();
    let store = Store::open(&server.database().await).unwrap();
    store.migrate().await.unwrap();
    until_archived(&store, 1).await;
    // Killed in the middle of work.
    let worker = tokio::spawn({
        let store = store.clone();
        async move {
            for commit in 2.. {
                if let Err(error) = archive(&store, commit, [entry(topic("g:1"), 1, commit, commit)]).await {
                    return (commit, error);
                }
            }
            unreachable!("the server was never killed")
        }
    });
    eventually("the archive is at work", async || (store.archive_position(3).await.ok()?.commit > 3).then_some(())).await;
    server.stop();
    let (commit, error) = worker.await.unwrap();
    assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
    let asked = Instant::now();
    let error = store.head(topic("g:1")).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(4), "a dead server held a caller for {:?}", asked.elapsed());
    assert!(Store::open("mysql://roger:roger@127.0.0.1:1/roger").unwrap().ping().await.is_err_and(|e| e.class() == ErrorClass::Transient));

    server.resume();
    until_archived(&store, commit).await;
    until_archived(&store, commit + 1).await;
    let page = store.audit(None, 10).await.unwrap();
    assert_eq!((page.messages, page.findings), (commit + 1, Vec::new()), "an answered batch is gone, or there twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_mariadb_costs_a_deadline_and_no_connection() {
    let server = MariaDb::start();
    let url = server.database().await;
    let store = Store::open_with(&Options { deadline: Duration::from_millis(500), connections_max: 2, ..Options::new(url) }).unwrap();
    store.migrate().await.unwrap();
    until_archived(&store, 1).await;
    server.signal(Signal::SIGSTOP);
    for commit in 2..5 {
        let asked = Instant::now();
        let error = archive(&store, commit, [entry(topic("g:1"), 1, commit, commit)]).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
        assert!(asked.elapsed() < Duration::from_secs(4), "held for {:?}", asked.elapsed());
    }
    server.signal(Signal::SIGCONT);
    for commit in 2..5 {
        until_archived(&store, commit).await;
    }
    assert_eq!(eventually("an audit", async || store.audit(None, 10).await.ok()).await.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_mariadb_is_left_for_a_new_connection() {
    let server = MariaDb::start();
    let store = open(&server.database().await);
    store.migrate().await.unwrap();
    until_archived(&store, 1).await;
    server.admin("SET GLOBAL read_only = 1").await;
    let error = archive(&store, 2, [entry(topic("g:1"), 1, 2, 2)]).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
    assert!(matches!(error, Error::Database { .. }), "{error:?}");
    server.admin("SET GLOBAL read_only = 0").await;
    until_archived(&store, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_followed_without_a_restart_and_an_old_primary_gets_nothing() {
    let [old, new] = MariaDb::pair().await;
    let options = |url: String, standby: String| Options { standby_url: Some(standby), ..patient(&url) };
    let store = Store::open_with(&options(old.fleet_url(), new.fleet_url())).unwrap();
    store.migrate().await.unwrap();
    until_archived(&store, 1).await;
    let count = async |server: &MariaDb| server.ask("roger_fleet", "SELECT CAST(COUNT(*) AS CHAR) FROM message").await;
    let tables =
        "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.tables WHERE table_schema = 'roger_fleet' AND table_name = 'sql_primary'";
    eventually("the standby has the tables", async || (new.ask("mysql", tables).await == "1").then_some(())).await;
    eventually("the standby follows", async || (count(&new).await == "1").then_some(())).await;
    // A standby that takes writes gets none: its row names the other.
    new.admin("SET GLOBAL read_only = 0").await;
    let stranger = Store::open_with(&options(new.fleet_url(), old.fleet_url())).unwrap();
    until_archived(&stranger, 2).await;
    eventually("the standby follows", async || (count(&new).await == "2").then_some(())).await;

    // Promoted, and the old one writable as before: 1927 for those that are connected, then the epoch.
    new.admin("STOP SLAVE; UPDATE roger_fleet.sql_primary SET epoch = 2, server = @@global.server_id WHERE one = 1").await;
    stranger.require_epoch(2);
    until_archived(&stranger, 3).await;
    assert_eq!((count(&old).await.as_str(), count(&new).await.as_str()), ("2", "3"), "the one that was told writes to the new one");
    old.admin(
        // One may end by itself in between.
        "BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR 1094 BEGIN END; FOR one IN (SELECT id FROM information_schema.processlist WHERE user = 'roger') DO KILL one.id; END FOR; END",
    )
    .await;
    until_archived(&store, 4).await;
    assert_eq!((count(&old).await.as_str(), count(&new).await.as_str()), ("2", "4"), "the one that was not told finds out");

    // One that begins while the new one does not answer.
    new.stop();
    let late = Store::open_with(&options(old.fleet_url(), new.fleet_url())).unwrap();
    let error = archive(&late, 5, [entry(topic("g:1"), 1, 5, 5)]).await.unwrap_err();
    assert!(matches!(error, Error::NoPrimary { class: ErrorClass::Transient, .. }), "{error:?}");
    late.require_epoch(2);
    let error = archive(&late, 5, [entry(topic("g:1"), 1, 5, 5)]).await.unwrap_err();
    assert!(matches!(error, Error::NoPrimary { class: ErrorClass::Transient, .. }), "{error:?}");
    assert_eq!(count(&old).await, "2");
    new.resume();
    until_archived(&late, 5).await;
    assert_eq!((count(&old).await.as_str(), count(&new).await.as_str()), ("2", "5"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_read_from_the_standby_while_it_follows() {
    let [primary, standby] = MariaDb::pair().await;
    let bound = Some(Duration::from_secs(10));
    // One connection: a second one would be made while the first is on its way back to the pool, and stay.
    let options =
        Options { standby_url: Some(standby.fleet_url()), standby_lag_max: bound, connections_max: 1, ..patient(&primary.fleet_url()) };
    let store = Store::open_with(&options).unwrap();
    store.prepare(16).await.unwrap();
    let seeds = async || store.changes(ChangesWanted { limit: 100, ..ChangesWanted::default() }).await.map(|changes| changes.len());
    let readers = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.processlist WHERE user = 'roger' AND db = 'roger_fleet'";
    store.note_seed(serde_json::json!({ "one": 1 })).await.unwrap();
    eventually("read from the standby", async || (seeds().await.ok()? == 1 && standby.ask("mysql", readers).await == "1").then_some(()))
        .await;
    // It stands still: what is new is read from the primary.
    standby.admin("STOP SLAVE").await;
    store.note_seed(serde_json::json!({ "two": 2 })).await.unwrap();
    eventually("read from the primary", async || (seeds().await.ok()? == 2).then_some(())).await;
    standby.stop();
    assert_eq!(seeds().await.unwrap(), 2, "without a standby");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_refused_by_a_server_whose_epoch_was_raised() {
    let server = MariaDb::start();
    let url = server.database().await;
    // One connection: a second one would be made while the first is on its way back to the pool, and find the new epoch before it writes.
    let store = Store::open_with(&Options { connections_max: 1, ..patient(&url) }).unwrap();
    let raise = |epoch: u64| format!("UPDATE {}.sql_primary SET epoch = {epoch}", url.rsplit('/').next().unwrap());
    store.migrate().await.unwrap();
    until_archived(&store, 1).await;
    server.admin(&raise(2)).await;
    let error = archive(&store, 2, [entry(topic("g:1"), 1, 2, 2)]).await.unwrap_err();
    assert!(matches!(error, Error::Deposed { epoch: 1, found: 2, .. }), "{error:?}");
    assert_eq!(store.archive_position(3).await.unwrap().commit, 1, "something was written");
    until_archived(&store, 2).await;
    // Restored from before: nothing below what was seen is used again.
    server.admin(&raise(1)).await;
    let refused = archive(&store, 3, [entry(topic("g:1"), 1, 3, 3)]).await.unwrap_err();
    assert!(matches!(refused, Error::Deposed { epoch: 2, found: 1, .. }), "{refused:?}");
    let refused = archive(&store, 3, [entry(topic("g:1"), 1, 3, 3)]).await.unwrap_err();
    assert!(matches!(refused, Error::NoPrimary { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_a_transient_error_and_costs_nothing() {
    let server = MariaDb::start();
    let url = server.database().await;
    let store = open(&url);
    store.migrate().await.unwrap();
    until_archived(&store, 1).await;
    // Holds what the next batch writes last, and more than that batch: of two the lighter one is given up.
    let mut other = MySqlConnection::connect(&url).await.unwrap();
    let run = async |other: &mut MySqlConnection, sql: &'static str| sqlx::raw_sql(sql).execute(other).await.map(drop);
    let heavy = "CREATE TEMPORARY TABLE more AS SELECT * FROM message; BEGIN; \
                 FOR n IN 2..60 DO UPDATE more SET seq = n; INSERT INTO message SELECT * FROM more; END FOR";
    run(&mut other, heavy).await.unwrap();
    let batch = tokio::spawn({
        let store = store.clone();
        async move { archive(&store, 2, [entry(topic("g:1"), 1, 2, 2)]).await }
    });
    // Not innodb_trx: who asks for that more than ten times a second is told the same for ever.
    let waits = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'INNODB_ROW_LOCK_CURRENT_WAITS'";
    eventually("the batch waits", async || (server.ask("mysql", waits).await == "1").then_some(())).await;
    run(&mut other, "SELECT * FROM shard FOR UPDATE").await.unwrap();
    let error = batch.await.unwrap().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
    assert!(format!("{error:?}").contains("1213"), "{error:?}");
    run(&mut other, "ROLLBACK").await.unwrap();
    until_archived(&store, 2).await;
    let page = store.audit(None, 10).await.unwrap();
    assert_eq!((page.messages, page.findings), (2, Vec::new()));
}

#[tokio::test]
async fn urls_and_rights_are_refused_for_good() {
    let class = |url: &str| Store::open(url).unwrap_err().class();
    assert_eq!(class("postgres://localhost/roger"), ErrorClass::Permanent);
    assert_eq!(class("mysql://localhost:port/roger"), ErrorClass::Permanent);
    let error = Store::open("postgres://roger:secret@localhost/roger").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");

    let server = MariaDb::shared();
    let url = server.database().await;
    let wrong = url.replace("roger:roger", "roger:wrong");
    assert_eq!(open(&wrong).ping().await.unwrap_err().class(), ErrorClass::Permanent);
    // A missing table is nobody's weather.
    assert_eq!(open(&url).archive_position(1).await.unwrap_err().class(), ErrorClass::Defect);
}
