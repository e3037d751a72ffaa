//! Servers that die, freeze or change their role, callers that go away.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use roger::retry::ErrorClass;
use roger::store::{Error, Options, Store};

use super::{Database, archive, entry, over_both, topic};
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
    assert_eq!(store.audit(None, 10).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_mariadb_is_left_for_a_new_connection() {
    let server = MariaDb::start();
    let store = Store::open(&server.database().await).unwrap();
    store.migrate().await.unwrap();
    until_archived(&store, 1).await;
    server.admin("SET GLOBAL read_only = 1").await;
    let error = archive(&store, 2, [entry(topic("g:1"), 1, 2, 2)]).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
    assert!(matches!(error, Error::Database { .. }), "{error:?}");
    server.admin("SET GLOBAL read_only = 0").await;
    until_archived(&store, 2).await;
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
    assert_eq!(Store::open(&wrong).unwrap().ping().await.unwrap_err().class(), ErrorClass::Permanent);
    // A missing table is nobody's weather.
    assert_eq!(Store::open(&url).unwrap().archive_position(1).await.unwrap_err().class(), ErrorClass::Defect);
}
