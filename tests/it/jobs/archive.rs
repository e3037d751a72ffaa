//! From the log into SQL.

use std::time::Duration;

use roger::broker::{StreamId, keys};
use roger::model::{Place, Span};
use roger::store::{ArchiveBatch, Error, Position, Store};
use roger::topic::frame::{Entry, Forward, Input, Notice, Outcome};
use roger::worker::{Readiness, deadletter};

use super::{Archiving, Owner, archived};
use crate::store::{Database, entry, frame, over_both, places, topic};
use crate::support::mariadb::MariaDb;
use crate::support::{eventually, redis};
use crate::worker::handle;

over_both!(
    a_killed_archive_leaves_nothing_out_and_nothing_twice,
    a_batch_from_before_a_new_epoch_is_refused_and_read_again,
    a_message_at_a_taken_place_stops_the_shard_and_files_one_letter,
);

const FOREVER: Duration = Duration::from_secs(3_600);

async fn all(store: &Store, name: &str) -> Vec<Entry> {
    store.entries(topic(name), Span::new(Place::START, Place::END), usize::MAX, usize::MAX).await.unwrap()
}

async fn a_killed_archive_leaves_nothing_out_and_nothing_twice(database: &Database) {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let mut owner = Owner::begin(&redis, 1).await;
    for round in 0..4 {
        let archiving = Archiving::start(&redis, &database.store, FOREVER);
        owner.post(topic("g:1"), round * 25 + 1..=round * 25 + 25).await;
        // In the middle of it, as by SIGKILL; the lease lapses.
        archiving.task.abort();
    }
    let archiving = Archiving::start(&redis, &database.store, FOREVER);
    archived(&database.store, owner.at).await;
    eventually("ready", async || archiving.readiness.is_ready().then_some(())).await;
    let expected: Vec<Place> = (1..=100).map(|seq| Place::new(1, seq)).collect();
    assert_eq!(places(&all(&database.store, "g:1").await), expected);
    eventually("the position on Redis", async || (server.cli(&["GET", &keys::archived(0)]) == "1-100").then_some(())).await;
    assert_eq!(redis.lengths(&[keys::log(0)]).await.unwrap(), [100], "trimmed before its time");
}

async fn a_batch_from_before_a_new_epoch_is_refused_and_read_again(database: &Database) {
    let store = &database.store;
    let group = topic("g:1");
    let batch = |fence| {
        let mut batch = ArchiveBatch::new(0).fenced_by(fence);
        batch.take(frame(1, 1, [Outcome::Entry(entry(group, 1, 1, 1))])).unwrap();
        batch
    };
    assert_eq!(store.allocate_epoch(0, 0).await.unwrap(), 1);
    assert_eq!(store.allocate_epoch(0, 1).await.unwrap(), 2);
    let refused = store.archive(batch(1)).await.unwrap_err();
    assert!(matches!(refused, Error::Fenced { shard: 0, allocated: 1, epoch: 2 }), "{refused:?}");
    assert_eq!((all(store, "g:1").await, store.archive_position(0).await.unwrap().commit), (vec![], 0));
    store.archive(batch(2)).await.unwrap();

    // The job finds its way: an epoch allocated while it runs, and what the old one still left in the log. That counts once the new one began
    // there: until then this may be a primary of before, and what its owner goes on to commit is lost.
    let server = redis::Redis::start();
    let redis = handle(&server);
    let mut owner = Owner::begin(&redis, 2).await;
    owner.post(group, [2, 3]).await;
    let archiving = Archiving::start(&redis, store, FOREVER);
    archived(store, owner.at).await;
    store.allocate_epoch(0, 3).await.unwrap();
    owner.post(group, [4]).await;
    let waits = |readiness: &Readiness| readiness.waits_for().iter().any(|what| what.contains("begin the epoch")).then_some(());
    eventually("waits for the epoch", async || waits(&archiving.readiness)).await;
    assert_eq!(store.archive_position(0).await.unwrap(), Position { epoch: 2, commit: 2 });
    let mut next = Owner::begin(&redis, 4).await;
    next.post(group, [5]).await;
    archived(store, next.at).await;
    let expected = [(1, 1), (2, 2), (2, 3), (2, 4), (4, 5)].map(|(epoch, seq)| Place::new(epoch, seq));
    assert_eq!(places(&all(store, "g:1").await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_nobody_begins_unseats_the_owner() {
    let (server, database) = (redis::Redis::start(), Database::sqlite().await);
    let redis = handle(&server);
    let mut owner = Owner::begin(&redis, 1).await;
    let _archiving = Archiving::start_with(&redis, &database.store, FOREVER, Duration::from_secs(3));
    owner.post(topic("g:1"), [1]).await;
    archived(&database.store, owner.at).await;
    // Whoever asked for it was too late, or heard nothing of it.
    database.store.allocate_epoch(0, 4).await.unwrap();
    owner.post(topic("g:1"), [2]).await;
    let lost = eventually("the owner is unseated", async || Some(redis.meta(0).await.ok()?.get("lost")?.clone())).await;
    assert!(lost.contains("allocated epoch 5"), "{lost}");
    let mut next = Owner::begin(&redis, 6).await;
    next.post(topic("g:1"), [3]).await;
    archived(&database.store, next.at).await;
    assert_eq!(all(&database.store, "g:1").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_is_waited_for_while_its_rows_are_gathered() {
    let (server, database) = (redis::Redis::start(), Database::sqlite().await);
    let redis = handle(&server);
    let mut owner = Owner::begin(&redis, 1).await;
    let patience = Duration::from_millis(300);
    let _archiving = Archiving::start_with(&redis, &database.store, FOREVER, patience);
    database.store.allocate_epoch(0, 4).await.unwrap();
    redis.note_gathering(0, FOREVER).await.unwrap();
    owner.post(topic("g:1"), [1]).await;
    tokio::time::sleep(patience * 5).await;
    assert_eq!(redis.meta(0).await.unwrap().get("lost"), None);
    // Whoever gathered them died.
    server.cli(&["DEL", &keys::floor_under_way(0)]);
    eventually("the owner is unseated", async || Some(redis.meta(0).await.ok()?.get("lost")?.clone())).await;
}

async fn a_message_at_a_taken_place_stops_the_shard_and_files_one_letter(database: &Database) {
    let (store, group) = (&database.store, topic("g:1"));
    let mut other = ArchiveBatch::new(9);
    other.take(frame(1, 1, [Outcome::Entry(entry(group, 1, 2, 99))])).unwrap();
    store.archive(other).await.unwrap();
    let server = redis::Redis::start();
    let redis = handle(&server);
    let mut owner = Owner::begin(&redis, 1).await;
    let archiving = Archiving::start(&redis, store, Duration::ZERO);
    owner.post(group, 1..=3).await;
    owner.checkpoint(3).await;
    let letters = eventually("a letter", async || {
        let letters = deadletter::list(&redis, None, 10).await.ok()?;
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].letter.reason.contains("g:1 at 1/2 already holds another message"), "{:?}", letters[0]);
    eventually("not ready", async || archiving.readiness.waits_for().iter().any(|what| what.contains("dead letters")).then_some(())).await;
    assert!(redis.range(&keys::log(0), StreamId(1, 2), StreamId(1, 3), 10).await.unwrap().len() == 2, "what SQL does not hold went");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_goes_up_to_the_checkpoint() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let mut owner = Owner::begin(&redis, 1).await;
    owner.post(topic("g:1"), 1..=6).await;
    let notice = Notice { topic: topic("u:1").packed(), kind: 64, body: "".into() };
    owner.commit([Outcome::Forward(Forward { item: Input::Notice(notice).into() })]).await;
    owner.post(topic("g:1"), 8..=10).await;
    owner.checkpoint(4).await;
    let _archiving = Archiving::start(&redis, &database.store, Duration::ZERO);
    archived(&database.store, owner.at).await;
    let first = async || redis.range(&keys::log(0), StreamId(0, 0), StreamId(9, 0), 1).await.ok()?.first().map(|entry| entry.id.1);
    // Ticks pass, and it stays so.
    for _ in 0..3 {
        server.cli(&["DEL", &keys::archived(0)]);
        owner.commit([]).await;
        eventually("a batch", async || (server.cli(&["EXISTS", &keys::archived(0)]) == "1").then_some(())).await;
    }
    eventually("trimmed up to the checkpoint", async || (first().await? == 5).then_some(())).await;
    owner.checkpoint(owner.at.1).await;
    eventually("all trimmed", async || (redis.lengths(&[keys::log(0)]).await.ok()? == [0]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_sql_is_away_nothing_is_trimmed_and_then_it_catches_up() {
    let (server, sql) = (redis::Redis::start(), MariaDb::start());
    let redis = handle(&server);
    let store = Store::open(&sql.database().await).unwrap();
    store.migrate().await.unwrap();
    let mut owner = Owner::begin(&redis, 1).await;
    let archiving = Archiving::start(&redis, &store, Duration::ZERO);
    owner.post(topic("g:1"), 1..=5).await;
    owner.checkpoint(5).await;
    eventually("trimmed", async || (redis.lengths(&[keys::log(0)]).await.ok()? == [0]).then_some(())).await;
    sql.stop();
    owner.post(topic("g:1"), 6..=30).await;
    owner.checkpoint(30).await;
    eventually("waits for SQL", async || archiving.readiness.waits_for().contains(&"archive: SQL".to_owned()).then_some(())).await;
    assert_eq!(redis.lengths(&[keys::log(0)]).await.unwrap(), [25]);
    sql.resume();
    archived(&store, owner.at).await;
    eventually("ready again", async || archiving.readiness.is_ready().then_some(())).await;
    eventually("trimmed again", async || (redis.lengths(&[keys::log(0)]).await.ok()? == [0]).then_some(())).await;
    assert_eq!(all(&store, "g:1").await.len(), 30);
}

/// As after a switch to a server that lacked the last commits: the archive finds out with its next batch, and does not go on from memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_sql_does_not_have_any_more_is_archived_again_from_the_log() {
    let (server, sql) = (redis::Redis::start(), MariaDb::start());
    let redis = handle(&server);
    let url = sql.database().await;
    let store = Store::open(&url).unwrap();
    store.migrate().await.unwrap();
    let mut owner = Owner::begin(&redis, 1).await;
    let _archiving = Archiving::start(&redis, &store, FOREVER);
    owner.post(topic("g:1"), 1..=20).await;
    archived(&store, owner.at).await;
    let database = url.rsplit('/').next().unwrap();
    sql.admin(&format!("DELETE FROM {database}.message WHERE seq > 5; UPDATE {database}.shard SET archived_commit = 5 WHERE shard = 0"))
        .await;
    owner.post(topic("g:1"), 21..=22).await;
    archived(&store, owner.at).await;
    let expected: Vec<Place> = (1..=22).map(|seq| Place::new(1, seq)).collect();
    assert_eq!(places(&all(&store, "g:1").await), expected);
}

#[tokio::test]
async fn a_note_that_redis_lost_is_made_again_though_nothing_happens() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let mut owner = Owner::begin(&redis, 1).await;
    let database = Database::sqlite().await;
    let archiving = Archiving::start(&redis, &database.store, FOREVER);
    owner.post(topic("g:1"), 1..=5).await;
    archived(&database.store, owner.at).await;
    let noted = async || (server.cli(&["GET", &keys::archived(0)]) == "1-5").then_some(());
    eventually("the position on Redis", noted).await;
    archiving.task.abort();
    server.cli(&["DEL", &keys::archived(0)]);
    let _archiving = Archiving::start(&redis, &database.store, FOREVER);
    eventually("the position on Redis once more", noted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_redis_lost_what_sql_has_is_unseated_once() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let mut batch = ArchiveBatch::new(0);
    batch.take(frame(1, 50, [Outcome::Entry(entry(topic("g:1"), 1, 50, 50))])).unwrap();
    database.store.archive(batch).await.unwrap();
    let mut owner = Owner::begin(&redis, 1).await;
    owner.post(topic("g:1"), [1]).await;
    let _archiving = Archiving::start(&redis, &database.store, FOREVER);
    eventually("the owner is unseated", async || (server.cli(&["HGET", &keys::meta(0), "nonce"]).is_empty()).then_some(())).await;
    let mut owner = Owner::begin(&redis, 2).await;
    owner.post(topic("g:1"), [51]).await;
    archived(&database.store, owner.at).await;
    assert_eq!(places(&all(&database.store, "g:1").await), [Place::new(1, 50), Place::new(2, 51)]);
}
