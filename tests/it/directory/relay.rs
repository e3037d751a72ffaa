//! The relay: from the outbox in SQL into the shards' inputs, at least once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use roger::broker::{self, StreamId, keys};
use roger::directory::{self, LEASE_JOB, MEMBERSHIPS_PRODUCER, REGISTERS_PRODUCER};
use roger::model::{GroupId, TopicId};
use roger::retry::ErrorClass;
use roger::shutdown::Shutdown;
use roger::topic::frame::{InFrame, Input, Lane};
use roger::topic::{Batch, Followers, Shard};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::{CREW, Ground, by_password, log_in};
use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually};

fn broker(url: &str) -> broker::Redis {
    let settings = broker::Settings {
        url: url.to_owned(),
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        replication: roger::broker::Replication::none(),
    };
    broker::Redis::new(settings).unwrap()
}

/// Everything on the inputs of the shards, by shard and in order.
async fn frames(redis: &broker::Redis, shards: u32) -> BTreeMap<u32, Vec<InFrame>> {
    let mut all = BTreeMap::new();
    for shard in 0..shards {
        let key = keys::input(shard);
        let entries = redis.range(&key, StreamId(0, 0), StreamId(u64::MAX, u64::MAX), 10_000).await.unwrap();
        let decoded: Vec<InFrame> = entries.iter().map(|entry| entry.decode(&key).unwrap()).collect();
        if !decoded.is_empty() {
            all.insert(shard, decoded);
        }
    }
    all
}

fn inputs(frames: &BTreeMap<u32, Vec<InFrame>>) -> impl Iterator<Item = &Input> {
    frames.values().flatten().flat_map(|frame| &frame.items).filter_map(|item| item.input.as_ref())
}

async fn drained(ground: &Ground) {
    let store = ground.store().await;
    eventually("the outbox is empty", || async { store.outbox(0, 1).await.unwrap().is_empty().then_some(()) }).await;
}

/// What the shards hold after these frames.
fn states(frames: &BTreeMap<u32, Vec<InFrame>>) -> Vec<String> {
    let mut states = Vec::new();
    for (shard, frames) in frames {
        let (mut state, mut followers) = (Shard::new(1), Followers::default());
        for (at, frame) in frames.iter().enumerate() {
            let mut batch = Batch::default();
            let now_ms = at as u64 + 1;
            state.step(&mut batch, &mut followers, Lane::Normal, frame.clone(), now_ms).unwrap();
            state.seal(&mut batch, now_ms);
        }
        let facts =
            state.facts().into_iter().filter(|(key, _)| !key.starts_with("feed")).map(|(key, row)| format!("{shard} {key} {row:?}"));
        states.extend(facts);
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_reach_the_shards_in_order_and_a_group_before_its_members() {
    let redis = Redis::start();
    // One shard, so that there is one order.
    let ground = Ground { shards: 1, ..Ground::new(&redis.url()) };
    ground.apply(CREW).await.unwrap();
    let running = ground.start(&[]).await;
    drained(&ground).await;
    let registry = ground.registry().await;
    registry.remove_member("apollo", "loop", "buzz").await.unwrap();
    registry.add_member("apollo", "loop", "buzz").await.unwrap();
    registry.rename_group("apollo", "loop", "air-ground").await.unwrap();
    drained(&ground).await;

    let frames = frames(&broker(&redis.url()), 1).await;
    let mut known = BTreeSet::new();
    for input in inputs(&frames) {
        match input {
            Input::Membership(change) => drop(known.insert(change.version)),
            // The sixth version is that of the new name, of which only the inboxes hear.
            Input::Register(change) => assert!(change.version == 6 || known.contains(&change.version), "{change:?} came too early"),
            _ => {}
        }
    }
    for frame in frames.values().flatten() {
        let registers = frame.items.iter().all(|item| matches!(item.input, Some(Input::Register(_))));
        assert_eq!(frame.producer, if registers { REGISTERS_PRODUCER } else { MEMBERSHIPS_PRODUCER });
    }
    for shard in frames.values() {
        for producer in [MEMBERSHIPS_PRODUCER, REGISTERS_PRODUCER] {
            let numbers: Vec<u64> = shard.iter().filter(|frame| frame.producer == producer).map(|frame| frame.number).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        }
    }
    let versions = |wanted: fn(&Input) -> Option<u64>| inputs(&frames).filter_map(wanted).collect::<Vec<u64>>();
    assert_eq!(versions(|input| if let Input::Membership(change) = input { Some(change.version) } else { None }), [1, 2, 3, 4, 5]);
    assert_eq!(versions(|input| if let Input::Profile(profile) = input { Some(profile.version) } else { None }), [1, 1, 1, 1]);
    // Three joined, one left and joined again, three heard of the new name.
    let registers: BTreeSet<u64> =
        versions(|input| if let Input::Register(change) = input { Some(change.version) } else { None }).into_iter().collect();
    assert_eq!(registers, (1..=6).collect());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dies_before_it_is_done_repeats_harmlessly() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    ground.apply(CREW).await.unwrap();
    // The outbox as it was before the relay: what a crash between the push and the removal leaves.
    let before = ground.path().join("before.db").display().to_string();
    let mut connection = SqliteConnection::connect(&ground.sql()).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(format!("VACUUM INTO '{before}'"))).await.unwrap();
    connection.close().await.unwrap();
    let running = ground.start(&[]).await;
    drained(&ground).await;
    running.stop().await;
    let reader = broker(&redis.url());
    let once = frames(&reader, 16).await;

    let before = format!("sqlite:{before}");
    let store = crate::store::open(&before);
    assert!(!store.outbox(0, 1).await.unwrap().is_empty());
    let running = ground.start(&[("sql.url", &before)]).await;
    eventually("the outbox is empty again", || async { store.outbox(0, 1).await.unwrap().is_empty().then_some(()) }).await;
    running.stop().await;
    let twice = frames(&reader, 16).await;
    let count = |frames: &BTreeMap<u32, Vec<InFrame>>| frames.values().map(Vec::len).sum::<usize>();
    assert_eq!(count(&twice), 2 * count(&once), "nothing was repeated");
    assert_eq!(states(&twice), states(&once));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_change_while_redis_is_away() {
    let mut redis = Redis::start();
    let ground = Ground::new(&redis.url());
    ground.apply(CREW).await.unwrap();
    let running = ground.start(&[]).await;
    drained(&ground).await;
    let reader = broker(&redis.url());
    let before = inputs(&frames(&reader, 16).await).count();

    redis.kill();
    let registry = ground.registry().await;
    let group = registry.add_group("apollo", "away", None).await.unwrap();
    for name in ["neil", "buzz", "capcom"] {
        registry.add_member("apollo", "away", name).await.unwrap();
    }
    let token = log_in(&mut running.client().await, by_password("neil", "eagle")).await.token;
    assert!(ground.verifier().verify(&token, 0).is_ok());
    assert_eq!(ground.store().await.outbox(0, 100).await.unwrap().len(), 6, "pushed without Redis");

    redis.restart();
    drained(&ground).await;
    let frames = frames(&broker(&redis.url()), 16).await;
    let topic = TopicId::group(GroupId(group.0)).packed();
    let joined: BTreeSet<u64> = inputs(&frames)
        .filter_map(|input| match input {
            Input::Membership(change) if change.topic == topic => Some(change.version),
            _ => None,
        })
        .collect();
    assert_eq!(joined, BTreeSet::from([1, 2, 3]));
    assert!(inputs(&frames).count() >= before + 6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_relay_works_and_another_takes_over() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    ground.apply(CREW).await.unwrap();
    let (first, second) = (ground.start(&[]).await, ground.start(&[]).await);
    drained(&ground).await;
    let reader = broker(&redis.url());
    let holder = || async { reader.lease_holders(LEASE_JOB, 1).await.unwrap().remove(0) };
    let before = holder().await.expect("nobody relays");
    let pushed = frames(&reader, 16).await;
    let rows: Vec<String> = inputs(&pushed).map(|input| format!("{input:?}")).collect();
    assert_eq!(rows.len(), rows.iter().collect::<BTreeSet<_>>().len(), "two relays pushed the same");

    // Whichever relays: it gives the lease up when it stops.
    first.stop().await;
    let registry = ground.registry().await;
    registry.add_group("apollo", "next", None).await.unwrap();
    registry.add_member("apollo", "next", "neil").await.unwrap();
    drained(&ground).await;
    assert_eq!(inputs(&frames(&reader, 16).await).count(), rows.len() + 2);
    let begun = Instant::now();
    second.stop().await;
    // A Redis that stands still while it is given up is not waited for: then it lapses.
    let holder = if begun.elapsed() < Duration::from_secs(1) {
        holder().await
    } else {
        eventually("the lease lapses", async || holder().await.is_none().then_some(None)).await
    };
    assert_eq!(holder, None, "the lease of {before} or its successor outlived them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_of_another_fleet_is_refused() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    assert_eq!(broker(&redis.url()).pin_shards(8).await.unwrap(), 8);
    let ended = tokio::time::timeout(
        Duration::from_secs(20),
        directory::run(ground.config(&[]), roger::clock::Clock::system(), Shutdown::manual()),
    );
    let error = ended.await.expect("it runs on").unwrap_err();
    assert!(matches!(error, directory::Error::Shards { configured: 16, pinned: 8 }), "{error}");
    assert_eq!(error.class(), ErrorClass::Permanent);
}
