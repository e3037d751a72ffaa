//! A receipt names what its Redis has done, and never more.

use std::time::{Duration, Instant};

use roger::broker::Redis;
use roger::config::{Config, Program, Sources};
use roger::model::{Place, Span};
use roger::proto::v1::Durability;
use roger::store::{Options, Store};

use super::stage::Stage;
use crate::support::eventually;
use crate::support::fleet::FleetOptions;
use crate::support::redis::Appendfsync;

async fn receipts_name(appendfsync: Appendfsync, expected: Durability) {
    let stage = Stage::with(FleetOptions { edges: 1, appendfsync, ..FleetOptions::default() }).await;
    let mut neil = stage.radio(0, "neil").await;
    for number in 1..=3 {
        neil.say(stage.group, number, "roger").await;
        assert_eq!(neil.receipt(stage.group, number).await.durability(), expected);
    }
    // Of a repeat too.
    neil.heard.receipts.clear();
    neil.say(stage.group, 2, "roger").await;
    assert_eq!(neil.receipt(stage.group, 2).await.durability(), expected);
    assert_eq!(stage.radio(0, "buzz").await.heard.welcome.durability(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_appendfsync_always_a_receipt_says_fsync() {
    receipts_name(Appendfsync::Always, Durability::Fsync).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_appendfsync_everysec_a_receipt_says_memory() {
    receipts_name(Appendfsync::Everysec, Durability::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_appendfsync_no_a_receipt_says_written() {
    receipts_name(Appendfsync::No, Durability::Written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_waits_for_sql_comes_once_sql_has_the_message_and_says_less_while_that_does_not_follow() {
    let overrides = vec![("durability.messages", "\"sql\"".to_owned()), ("durability.sql_wait_ms", "10000".to_owned())];
    let stage = Stage::with(FleetOptions { edges: 1, overrides, ..FleetOptions::default() }).await;
    let config = Config::load(Program::Roger, &Sources { file: Some(stage.fleet.config()), ..Sources::default() }).unwrap();
    let store = Store::open_with(&Options::from(&config.sql)).unwrap();
    let stored = async || store.entries(stage.group, Span::new(Place::START, Place::END), usize::MAX, usize::MAX).await.unwrap().len();
    let mut neil = stage.radio(0, "neil").await;
    for number in 1..=10 {
        neil.say(stage.group, number, "roger").await;
        assert_eq!(neil.receipt(stage.group, number).await.durability(), Durability::Sql);
        assert_eq!(stored().await as u64, number, "its receipt said that it is in SQL");
    }

    stage.fleet.roger(&["pause", "archive", "--until", "1h", "--why", "SQL moves house"]).succeeded();
    let redis = Redis::new(roger::broker::Settings::from(&config.redis)).unwrap();
    let holders = async || redis.lease_holders("archive", config.fleet.shards.into()).await.unwrap();
    eventually("nobody archives", async || holders().await.iter().all(Option::is_none).then_some(())).await;
    let before = stored().await;
    let begun = Instant::now();
    for number in 11..=40 {
        neil.say(stage.group, number, "roger").await;
        assert_eq!(neil.receipt(stage.group, number).await.durability(), Durability::Fsync);
    }
    // One of them waits.
    assert!(begun.elapsed().as_secs() < 30, "they waited for SQL, which does not follow: {:?}", begun.elapsed());
    assert_eq!(stored().await, before);

    stage.fleet.roger(&["resume", "archive"]).succeeded();
    let (mut number, mut said) = (40, Durability::Fsync);
    while said != Durability::Sql {
        assert!(begun.elapsed().as_secs() < 60, "receipts do not speak of SQL again");
        number += 1;
        neil.say(stage.group, number, "roger").await;
        said = neil.receipt(stage.group, number).await.durability();
        // It is looked for once a second.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stored().await as u64, number);
}
