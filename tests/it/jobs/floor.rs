//! What a shard that lost state is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message as _;
use roger::broker::{Reader, StreamId, keys};
use roger::clock::Clock;
use roger::jobs::floor::Floor;
use roger::shutdown::Shutdown;
use roger::store::{ArchiveBatch, Store};
use roger::topic::frame::{FloorFrame, FloorRequest, Outcome};
use roger::worker::{CompetingSettings, Readiness, deadletter, run_competing};
use sqlx::{Connection as _, Executor as _, MySqlConnection};

use crate::store::{Database, entry, frame, over_both, topic};
use crate::support::mariadb::MariaDb;
use crate::support::{eventually, redis};
use crate::worker::handle;

over_both!(a_floor_is_complete_and_ends_with_the_epoch);

async fn a_floor_is_complete_and_ends_with_the_epoch(database: &Database) {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let mut batch = ArchiveBatch::new(0);
    let messages = (1..=1_200).map(|id| Outcome::Entry(entry(topic(&format!("g:{id}")), 4, 1, 1)));
    batch.take(frame(4, 1, messages)).unwrap();
    database.store.archive(batch).await.unwrap();
    let settings = CompetingSettings::new::<Floor>(4, 64, Duration::from_secs(130)).unwrap();
    let (job, shutdown) = (Floor::new(redis.clone(), database.store.clone()), Shutdown::manual());
    let part = Readiness::new().part("floor");
    let task = tokio::spawn(run_competing(job, redis.clone(), settings, Clock::system(), shutdown.clone(), part));

    // Requests of owners that asked again since: their streams are gone, and none of them costs an epoch.
    for nonce in 100..300 {
        let request = FloorRequest { shard: 0, shards: 1, reply: keys::floor_reply(0, nonce), ..FloorRequest::default() };
        redis.add(&keys::floor(), &request.encode_to_vec()).await.unwrap();
    }
    let mut epochs = Vec::new();
    for nonce in [7, 8] {
        let reply = keys::floor_reply(0, nonce);
        let request = FloorRequest { shard: 0, shards: 1, reply: reply.clone(), epoch_above: 6, why: "a test".to_owned() };
        redis.make_stream(&reply, Duration::from_secs(20)).await.unwrap();
        redis.add(&keys::floor(), &request.encode_to_vec()).await.unwrap();
        let mut reader = Reader::new(&redis, Duration::from_millis(100));
        let (mut after, mut rows, mut epoch) = (StreamId::default(), BTreeSet::new(), 0);
        for _ in 0..300 {
            for (_, entries) in reader.read(10, &BTreeMap::from([(reply.clone(), after)])).await.unwrap() {
                for found in entries {
                    after = found.id;
                    let frame: FloorFrame = found.decode(&reply).unwrap();
                    assert!(frame.rows.len() <= 1_000);
                    rows.extend(frame.rows.into_iter().filter_map(|row| row.row).map(|row| row.key()));
                    epoch = frame.epoch;
                }
            }
            if epoch > 0 {
                break;
            }
        }
        // A head and a producer for each topic.
        assert_eq!(rows.len(), 2_400);
        epochs.push(epoch);
        let lifetime: i64 = server.cli(&["PTTL", &reply]).parse().unwrap();
        assert!((1..=60_000).contains(&lifetime), "expires in {lifetime} ms");
    }
    assert_eq!(epochs, [7, 8]);
    assert_eq!(server.cli(&["KEYS", "*floor:*"]).lines().count(), 2, "a stream was made for a request that nobody waits for");

    let foreign = FloorRequest { shard: 0, shards: 1, reply: "edges".to_owned(), ..FloorRequest::default() };
    redis.add(&keys::floor(), &foreign.encode_to_vec()).await.unwrap();
    let letters = eventually("a letter", async || {
        let letters = deadletter::list(&redis, None, 10).await.ok()?;
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!(letters[0].letter.reason, "shard 0 of 1 does not read edges");
    shutdown.start();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_hears_that_its_floor_is_under_way_however_long_sql_takes() {
    let (server, sql) = (redis::Redis::start(), MariaDb::start());
    let (redis, url) = (handle(&server), sql.database().await);
    let store = Store::open(&url).unwrap();
    store.migrate().await.unwrap();
    // As accounts without number: the last that is gathered does not come to its end.
    let mut accounts = MySqlConnection::connect(&url).await.unwrap();
    accounts.execute("LOCK TABLES account WRITE").await.unwrap();
    let settings = CompetingSettings::new::<Floor>(4, 64, Duration::from_secs(130)).unwrap();
    let (job, part) = (Floor::new(redis.clone(), store), Readiness::new().part("floor"));
    tokio::spawn(run_competing(job, redis.clone(), settings, Clock::system(), Shutdown::manual(), part));
    let reply = keys::floor_reply(0, 7);
    let request = FloorRequest { shard: 0, shards: 1, reply: reply.clone(), epoch_above: 6, why: "a test".to_owned() };
    redis.make_stream(&reply, Duration::from_secs(20)).await.unwrap();
    redis.add(&keys::floor(), &request.encode_to_vec()).await.unwrap();

    let heard = async || redis.range(&reply, StreamId::default(), StreamId(u64::MAX, u64::MAX), 100).await.unwrap();
    let frames = eventually("three frames", async || Some(heard().await).filter(|frames| frames.len() >= 3)).await;
    assert!(frames.iter().all(|frame| frame.decode::<FloorFrame>(&reply).unwrap() == FloorFrame::default()), "{frames:?}");
    assert!(redis.exists(&keys::floor_under_way(0)).await.unwrap(), "the archive is not told");
    accounts.execute("UNLOCK TABLES").await.unwrap();
    let last = async || heard().await.last().and_then(|frame| frame.decode::<FloorFrame>(&reply).ok()).filter(|frame| frame.epoch > 0);
    assert_eq!(eventually("the floor", last).await.epoch, 7);
}
