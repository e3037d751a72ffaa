//! Pages of what a session lacks.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use roger::broker::{EdgeBeat, Reader, Redis, StreamId, keys};
use roger::clock::Clock;
use roger::jobs::replay::Replay;
use roger::model::{Place, Span};
use roger::shutdown::Shutdown;
use roger::store::{ArchiveBatch, Store};
use roger::topic::frame::{OutFrame, Outcome, Output, Page, ReplayRequest};
use roger::worker::{CompetingSettings, Readiness, run_competing};
use sqlx::{Connection as _, Executor as _, MySqlConnection};
use tokio::task::JoinHandle;

use super::{Archiving, Owner, archived};
use crate::store::{Database, entry, frame, places, topic};
use crate::support::mariadb::MariaDb;
use crate::support::{eventually, redis};
use crate::worker::handle;

const FOREVER: Duration = Duration::from_secs(3_600);

struct Replaying {
    redis: Redis,
    reader: Reader,
    after: StreamId,
    request: u64,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Drop for Replaying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replaying {
    async fn start(redis: &Redis, store: &Store, window_bytes_max: usize) -> Self {
        let job = Replay::new(redis.clone(), store.clone(), Clock::system(), super::SHARDS, window_bytes_max);
        let settings = CompetingSettings::new::<Replay>(4, 64, Duration::from_secs(10)).unwrap();
        let part = Readiness::new().part("replay");
        let shutdown = Shutdown::manual();
        let task = tokio::spawn(run_competing(job, redis.clone(), settings, Clock::system(), shutdown.clone(), part));
        let beat = EdgeBeat { boot: "boot".to_owned(), ..EdgeBeat::default() };
        redis.beat_edge(&beat, 1, FOREVER).await.unwrap();
        let reader = Reader::new(redis, Duration::from_millis(100));
        Self { redis: redis.clone(), reader, after: StreamId::default(), request: 0, shutdown, task }
    }

    /// Another program in its place, which has read nothing yet.
    async fn another(mut self, store: &Store) -> Self {
        let (redis, after) = (self.redis.clone(), self.after);
        eventually("all requests are done", async || (redis.lengths(&[keys::replay()]).await.ok()? == [0]).then_some(())).await;
        // Not while it reads: it would take the next request with it.
        self.shutdown.start();
        (&mut self.task).await.unwrap();
        let mut another = Self::start(&redis, store, 1 << 20).await;
        another.after = after;
        another
    }

    async fn ask(&mut self, edge: &str, after: (u64, u64), upto: (u64, u64), entries_max: u32) {
        self.ask_at(0, edge, after, upto, entries_max).await;
    }

    /// Asks as of a time, with a patience of ten seconds.
    async fn ask_at(&mut self, asked_ms: u64, edge: &str, after: (u64, u64), upto: (u64, u64), entries_max: u32) {
        self.request += 1;
        let span = Span::new(Place::new(after.0, after.1), Place::new(upto.0, upto.1)).into();
        let (topic, edge) = (topic("g:1").packed(), edge.to_owned());
        let asked = ReplayRequest { asked_ms, patience_ms: 10_000, ..ReplayRequest::default() };
        let request = ReplayRequest { topic, session: 5, edge, span, entries_max, bytes_max: 0, request: self.request, ..asked };
        self.redis.add(&keys::replay(), &request.encode_to_vec()).await.unwrap();
    }

    async fn page(&mut self) -> Page {
        let key = keys::out_replay("boot");
        for _ in 0..300 {
            let streams = BTreeMap::from([(key.clone(), self.after)]);
            let read = self.reader.read(1, &streams).await.unwrap();
            let Some(found) = read.into_iter().flat_map(|(_, entries)| entries).next() else { continue };
            self.after = found.id;
            let frame: OutFrame = found.decode(&key).unwrap();
            let Some(Output::Page(page)) = frame.items.into_iter().next().and_then(|item| item.output) else { panic!("not a page") };
            assert_eq!((page.request, page.session), (self.request, 5));
            return page;
        }
        panic!("waited 30 s for a page in vain");
    }

    /// Asks and checks the places of the page, its end, and what it calls lost.
    async fn check(
        &mut self,
        after: (u64, u64),
        upto: (u64, u64),
        entries_max: u32,
        expected: &[(u64, u64)],
        end: (u64, u64),
        lost: usize,
    ) {
        self.ask("boot", after, upto, entries_max).await;
        let page = self.page().await;
        let expected: Vec<Place> = expected.iter().map(|(epoch, seq)| Place::new(*epoch, *seq)).collect();
        assert_eq!(places(&page.entries), expected, "behind {after:?} up to {upto:?}");
        let span = Span::from(page.span);
        assert_eq!((span.after, span.upto), (Place::new(after.0, after.1), Place::new(end.0, end.1)));
        assert_eq!(page.lost.len(), lost, "{:?}", page.lost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_began_and_ended_at_another_server_is_not_skipped() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let group = topic("g:1");
    // Somebody heard five messages here. The server that took over had three of them, and gave the fourth place anew; then this one is back.
    let mut first = Owner::begin(&redis, 1).await;
    first.post(group, 1..=5).await;
    let mut elsewhere = ArchiveBatch::new(0);
    elsewhere.take(frame(1, 3, (1..=3).map(|seq| Outcome::Entry(entry(group, 1, seq, seq))))).unwrap();
    elsewhere.take(frame(2, 1, [Outcome::Entry(entry(group, 2, 4, 4))])).unwrap();
    let mut replaying = Replaying::start(&redis, &database.store, 1 << 20).await;
    replaying.check((1, 3), (1, 5), 0, &[(1, 4), (1, 5)], (1, 5), 0).await;
    database.store.archive(elsewhere).await.unwrap();
    let mut third = Owner::begin(&redis, 3).await;
    third.post(group, [5]).await;
    replaying.check((1, 5), (3, 5), 0, &[(2, 4), (3, 5)], (3, 5), 0).await;
    // Also by one that reads all of the log at once.
    let mut replaying = replaying.another(&database.store).await;
    replaying.check((1, 5), (3, 5), 0, &[(2, 4), (3, 5)], (3, 5), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_missed_an_epoch_answers_nothing_of_it() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let group = topic("g:1");
    let mut first = Owner::begin(&redis, 1).await;
    first.post(group, 1..=5).await;
    // Who asks heard of places of the second epoch at the server that had it.
    let mut replaying = Replaying::start(&redis, &database.store, 1 << 20).await;
    replaying.ask("boot", (1, 3), (2, 5), 0).await;
    eventually("the request waits", async || (waiting(&server) == 1).then_some(())).await;
    assert_eq!(redis.lengths(&[keys::out_replay("boot")]).await.unwrap(), [0], "(1, 4) and (1, 5) were given anew there");
    let mut elsewhere = ArchiveBatch::new(0);
    elsewhere.take(frame(1, 3, (1..=3).map(|seq| Outcome::Entry(entry(group, 1, seq, seq))))).unwrap();
    elsewhere.take(frame(2, 1, (4..=5).map(|seq| Outcome::Entry(entry(group, 2, seq, seq))))).unwrap();
    database.store.archive(elsewhere).await.unwrap();
    assert_eq!(places(&replaying.page().await.entries), [Place::new(2, 4), Place::new(2, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_an_epoch_that_lost_its_end_is_not_called_lost() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let group = topic("g:1");
    let mut first = Owner::begin(&redis, 1).await;
    first.post(group, 1..=5).await;
    let mut replaying = Replaying::start(&redis, &database.store, 1 << 20).await;
    replaying.check((1, 3), (1, 5), 0, &[(1, 4), (1, 5)], (1, 5), 0).await;
    // None of it is in SQL yet.
    assert_eq!(server.cli(&["XDEL", &keys::log(0), "1-4", "1-5"]), "2");
    let mut second = Owner::begin(&redis, 2).await;
    second.post(group, [4]).await;
    replaying.check((0, 0), (1, 3), 0, &[(1, 1), (1, 2), (1, 3)], (1, 3), 0).await;
    replaying.check((1, 2), (2, 4), 0, &[(1, 3), (2, 4)], (2, 4), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_trimmed_whole_is_not_what_was_read_of_it_before() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let group = topic("g:1");
    let mut first = Owner::begin(&redis, 1).await;
    first.post(group, 1..=5).await;
    let mut replaying = Replaying::start(&redis, &database.store, 1 << 20).await;
    replaying.check((1, 3), (1, 5), 0, &[(1, 4), (1, 5)], (1, 5), 0).await;
    // The end is lost, its places are given anew, and all of it is archived and trimmed before anybody asks again.
    let mut batch = ArchiveBatch::new(0);
    batch.take(frame(1, 3, (1..=3).map(|seq| Outcome::Entry(entry(group, 1, seq, seq))))).unwrap();
    batch.take(frame(2, 2, (4..=5).map(|seq| Outcome::Entry(entry(group, 2, seq, seq))))).unwrap();
    database.store.archive(batch).await.unwrap();
    let mut second = Owner::begin(&redis, 2).await;
    second.post(group, [4, 5]).await;
    server.cli(&["XTRIM", &keys::log(0), "MAXLEN", "0"]);
    replaying.check((1, 3), (2, 5), 0, &[(2, 4), (2, 5)], (2, 5), 0).await;
    // Nor by one that never saw the log.
    let mut replaying = replaying.another(&database.store).await;
    replaying.check((1, 5), (2, 5), 0, &[(2, 4), (2, 5)], (2, 5), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_span_sql_and_log_and_epoch_borders() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let group = topic("g:1");
    let mut first = Owner::begin(&redis, 1).await;
    first.post(group, 1..=6).await;
    let archiving = Archiving::start(&redis, &database.store, Duration::ZERO);
    archived(&database.store, first.at).await;
    first.checkpoint(6).await;
    eventually("trimmed", async || (redis.lengths(&[keys::log(0)]).await.ok()? == [0]).then_some(())).await;
    archiving.shutdown.start();
    archiving.task.await.unwrap();
    // (1, 7) is only in the log, the next epoch goes on behind it.
    first.post(group, [7]).await;
    let mut second = Owner::begin(&redis, 2).await;
    second.post(group, 8..=10).await;

    let mut replaying = Replaying::start(&redis, &database.store, 1 << 20).await;
    let all: Vec<(u64, u64)> = (1..=7).map(|seq| (1, seq)).chain((8..=10).map(|seq| (2, seq))).collect();
    replaying.check((0, 0), (2, 10), 0, &all, (2, 10), 0).await;
    replaying.check((1, 5), (2, 9), 0, &all[5..9], (2, 9), 0).await;
    replaying.check((2, 8), (2, 10), 0, &all[8..], (2, 10), 0).await;
    replaying.check((0, 0), (2, 10), 3, &all[..3], (1, 3), 0).await;
    replaying.check((1, 6), (2, 10), 2, &all[6..8], (2, 8), 0).await;
    replaying.check((2, 10), (2, 10), 0, &[], (2, 10), 0).await;
    // What is committed while the window stands is in it.
    second.post(group, [11]).await;
    replaying.check((2, 10), (2, 11), 0, &[(2, 11)], (2, 11), 0).await;
    eventually("all requests are done", async || (redis.lengths(&[keys::replay()]).await.ok()? == [0]).then_some(())).await;
}

/// How many requests failed and wait for another attempt: beside each count stands what went wrong first.
fn waiting(server: &redis::Redis) -> usize {
    server.cli(&["HKEYS", &keys::failures(&keys::replay())]).lines().filter(|field| !field.contains(':')).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_is_said_only_of_what_nothing_brings_back() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let group = topic("g:1");
    let mut batch = ArchiveBatch::new(0);
    batch.take(frame(1, 1, [1, 2, 5, 6].map(|seq| Outcome::Entry(entry(group, 1, seq, seq))))).unwrap();
    database.store.archive(batch).await.unwrap();
    let mut replaying = Replaying::start(&redis, &database.store, 1 << 20).await;
    replaying.check((1, 0), (1, 6), 0, &[(1, 1), (1, 2), (1, 5), (1, 6)], (1, 6), 1).await;

    // Nothing is known of (1, 7): it waits, and is answered once it is there.
    replaying.ask("boot", (1, 6), (1, 7), 0).await;
    eventually("the request waits", async || (waiting(&server) == 1).then_some(())).await;
    let mut batch = ArchiveBatch::new(0);
    batch.take(frame(1, 2, [Outcome::Entry(entry(group, 1, 7, 7))])).unwrap();
    database.store.archive(batch).await.unwrap();
    assert_eq!(places(&replaying.page().await.entries), [Place::new(1, 7)]);

    // The epoch of (1, 8) is over and nobody has it. The server that gave it may be back, until SQL goes on without it.
    Owner::begin(&redis, 2).await;
    replaying.ask("boot", (1, 7), (1, 8), 0).await;
    eventually("the request waits", async || (waiting(&server) == 1).then_some(())).await;
    let mut batch = ArchiveBatch::new(0);
    batch.take(frame(2, 1, [Outcome::Entry(entry(topic("g:2"), 2, 1, 1))])).unwrap();
    database.store.archive(batch).await.unwrap();
    let page = replaying.page().await;
    assert_eq!((places(&page.entries).len(), page.lost.len()), (0, 1), "{page:?}");
}

/// As after a failover: the archive has in hand what the new primary has not, and brings it in while the replay looks.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_during_the_look_is_not_called_lost() {
    let (server, sql) = (redis::Redis::start(), MariaDb::start());
    let (redis, url) = (handle(&server), sql.database().await);
    let store = Store::open(&url).unwrap();
    store.migrate().await.unwrap();
    let mut batch = ArchiveBatch::new(0);
    batch.take(frame(1, 1, [1, 2, 3].map(|seq| Outcome::Entry(entry(topic("g:1"), 1, seq, seq))))).unwrap();
    store.archive(batch).await.unwrap();
    let mut archive = MySqlConnection::connect(&url).await.unwrap();
    // Not there yet: the messages, and for whoever asks, how far they go.
    archive.execute("CREATE TABLE in_hand AS SELECT * FROM message").await.unwrap();
    archive.execute("DELETE FROM message").await.unwrap();
    let mut head = MySqlConnection::connect(&url).await.unwrap();
    head.execute("LOCK TABLES topic_head WRITE").await.unwrap();
    let mut replaying = Replaying::start(&redis, &store, 1 << 20).await;
    replaying.ask("boot", (1, 0), (1, 3), 0).await;
    let judges = "SELECT CAST(COUNT(*) AS CHAR) FROM PROCESSLIST WHERE STATE LIKE 'Waiting for table%'";
    eventually("it has looked, and judges", async || (sql.ask("information_schema", judges).await == "1").then_some(())).await;
    archive.execute("INSERT INTO message SELECT * FROM in_hand").await.unwrap();
    head.execute("UNLOCK TABLES").await.unwrap();
    let page = replaying.page().await;
    assert_eq!((places(&page.entries).len(), page.lost.len()), (3, 0), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_answers_while_sql_is_away_and_the_rest_waits() {
    let (server, sql) = (redis::Redis::start(), MariaDb::start());
    let redis = handle(&server);
    let store = Store::open(&sql.database().await).unwrap();
    store.migrate().await.unwrap();
    let group = topic("g:1");
    let mut owner = Owner::begin(&redis, 1).await;
    owner.post(group, 1..=5).await;
    let archiving = Archiving::start(&redis, &store, Duration::ZERO);
    owner.checkpoint(5).await;
    eventually("trimmed", async || (redis.lengths(&[keys::log(0)]).await.ok()? == [0]).then_some(())).await;
    sql.stop();
    owner.post(group, 6..=9).await;
    let mut replaying = Replaying::start(&redis, &store, 1 << 20).await;
    replaying.check((1, 5), (1, 9), 0, &[(1, 6), (1, 7), (1, 8), (1, 9)], (1, 9), 0).await;
    replaying.check((1, 7), (1, 8), 0, &[(1, 8)], (1, 8), 0).await;
    replaying.ask("boot", (1, 3), (1, 7), 0).await;
    eventually("the request waits", async || (waiting(&server) == 1).then_some(())).await;
    sql.resume();
    assert_eq!(places(&replaying.page().await.entries), [4, 5, 6, 7].map(|seq| Place::new(1, seq)));
    archived(&store, owner.at).await;
    drop(archiving);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_too_small_waits_for_the_archive() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let mut owner = Owner::begin(&redis, 1).await;
    owner.post(topic("g:1"), 1..=20).await;
    let mut replaying = Replaying::start(&redis, &database.store, 300).await;
    replaying.check((1, 19), (1, 20), 0, &[(1, 20)], (1, 20), 0).await;
    replaying.ask("boot", (1, 0), (1, 20), 0).await;
    eventually("the request waits", async || (waiting(&server) == 1).then_some(())).await;
    let _archiving = Archiving::start(&redis, &database.store, FOREVER);
    assert_eq!(replaying.page().await.entries.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_log_only_its_end_is_read_and_what_sql_lacks() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let group = topic("g:1");
    let mut owner = Owner::begin(&redis, 1).await;
    owner.post(group, 1..=9_000).await;
    let archive = async |store: &Store, commits: std::ops::RangeInclusive<u64>| {
        let mut batch = ArchiveBatch::new(0);
        commits.for_each(|seq| batch.take(frame(1, seq, [Outcome::Entry(entry(group, 1, seq, seq))])).unwrap());
        store.archive(batch).await.unwrap();
    };
    let reads = || {
        let stats = server.cli(&["INFO", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xrange:calls=")).unwrap();
        calls.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    let last = |count: u64| (9_001 - count..=9_000).map(|seq| (1, seq)).collect::<Vec<_>>();
    let whole = 9_000 / 128;

    // SQL has most of it: the last few thousand frames are read, as many as answer what was said just now without it.
    archive(&database.store, 1..=8_000).await;
    redis.set_archived(0, StreamId(1, 8_000)).await.unwrap();
    let mut replaying = Replaying::start(&redis, &database.store, 64 << 20).await;
    server.cli(&["CONFIG", "RESETSTAT"]);
    replaying.check((1, 8_998), (1, 9_000), 0, &last(2), (1, 9_000), 0).await;
    assert!(reads() < whole * 2 / 3, "{} of {whole} reads", reads());
    replaying.check((1, 10), (1, 12), 0, &[(1, 11), (1, 12)], (1, 12), 0).await;
    replaying.check((1, 6_000), (1, 9_000), 0, &last(3_000), (1, 9_000), 0).await;
    // Again at once, and after a while of which nobody asked for anything.
    let before = reads();
    replaying.check((1, 8_999), (1, 9_000), 0, &last(1), (1, 9_000), 0).await;
    assert!(reads() - before < 3, "what was read once is read again");

    // SQL has little: everything that it lacks is read.
    let little = Database::sqlite().await;
    archive(&little.store, 1..=1_000).await;
    redis.set_archived(0, StreamId(1, 1_000)).await.unwrap();
    let mut replaying = replaying.another(&little.store).await;
    replaying.check((1, 998), (1, 1_002), 0, &[(1, 999), (1, 1_000), (1, 1_001), (1, 1_002)], (1, 1_002), 0).await;
    replaying.check((1, 8_998), (1, 9_000), 0, &last(2), (1, 9_000), 0).await;

    // What Redis says is of an SQL that is gone: what the new one lacks is waited for, and not called lost.
    let behind = Database::sqlite().await;
    redis.set_archived(0, StreamId(1, 9_000)).await.unwrap();
    let mut replaying = replaying.another(&behind.store).await;
    replaying.ask("boot", (1, 0), (1, 3), 0).await;
    eventually("the request waits", async || (waiting(&server) == 1).then_some(())).await;
    archive(&behind.store, 1..=9_000).await;
    let page = replaying.page().await;
    assert_eq!((places(&page.entries).len(), page.lost.len()), (3, 0), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_gone_gets_nothing() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let mut replaying = Replaying::start(&redis, &database.store, 300).await;
    replaying.ask("other", (1, 0), (1, 20), 0).await;
    eventually("the request is done", async || {
        (server.cli(&["XINFO", "STREAM", &keys::replay()]).contains("entries-added\n1")
            && redis.lengths(&[keys::replay()]).await.ok()? == [0])
        .then_some(())
    })
    .await;
    assert!(!redis.exists(&keys::out_replay("other")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_any_more_is_dropped_unread() {
    let server = redis::Redis::start();
    let (redis, database) = (handle(&server), Database::sqlite().await);
    let mut owner = Owner::begin(&redis, 1).await;
    owner.post(topic("g:1"), 1..=20).await;
    let mut replaying = Replaying::start(&redis, &database.store, 1 << 20).await;
    let now_ms = Clock::system().now_ms();
    replaying.ask_at(now_ms - 20_000, "boot", (1, 0), (1, 10), 0).await;
    replaying.ask_at(now_ms, "boot", (1, 10), (1, 20), 0).await;
    // The first page that comes answers the second request.
    assert_eq!(replaying.page().await.entries.len(), 10);
    eventually("both are done", async || (redis.lengths(&[keys::replay()]).await.ok()? == [0]).then_some(())).await;
    assert_eq!(redis.lengths(&[keys::out_replay("boot")]).await.unwrap(), [1]);
}
