//! Entries by consumer group.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roger::broker::{Group, Reader, Redis, StreamId, keys};
use roger::clock::Clock;
use roger::shutdown::Shutdown;
use roger::worker::{Competing, CompetingSettings, Readiness, Verdict, Work, deadletter, run_competing};
use tokio::task::JoinHandle;

use super::handle;
use crate::support::{eventually, redis};

const STREAM: &str = "work";
const IDLE: Duration = Duration::from_secs(1);

/// Does with an entry what its payload says, and counts.
#[derive(Clone, Default)]
struct Obey(Arc<Mutex<HashMap<String, u64>>>);

impl Obey {
    fn runs(&self, payload: &str) -> u64 {
        self.0.lock().unwrap().get(payload).copied().unwrap_or(0)
    }
}

impl Competing for Obey {
    const JOB: &'static str = "obey";
    const GROUP: &'static str = "test";
    const DEADLINE: Duration = Duration::from_millis(900);
    const ATTEMPTS_MAX: u64 = 3;

    fn stream(&self) -> String {
        STREAM.to_owned()
    }

    async fn run(&self, work: Work) -> Verdict {
        let payload = String::from_utf8(work.entry.payload.unwrap().to_vec()).unwrap();
        let runs = {
            let mut counts = self.0.lock().unwrap();
            let runs = counts.entry(payload.clone()).or_default();
            *runs += 1;
            *runs
        };
        match payload.as_str() {
            "reject" => Verdict::Reject("cannot be done".to_owned()),
            "fail" => Verdict::Retry { after: Some(Duration::from_millis(1)), error: "not today".to_owned() },
            "panic" => panic!("planted"),
            "twice" if runs < 2 => Verdict::Retry { after: Some(IDLE * 6), error: "later".to_owned() },
            "hang" => std::future::pending().await,
            _ => Verdict::Done,
        }
    }
}

struct Running {
    job: Obey,
    redis: Redis,
    shutdown: Shutdown,
    readiness: Readiness,
    task: JoinHandle<()>,
}

impl Running {
    fn start(server: &redis::Redis) -> Self {
        Self::start_with(server, IDLE)
    }

    fn start_with(server: &redis::Redis, idle: Duration) -> Self {
        let (job, redis, shutdown, readiness) = (Obey::default(), handle(server), Shutdown::manual(), Readiness::new());
        let settings = CompetingSettings::new::<Obey>(4, 16, idle).unwrap();
        let part = readiness.part("obey");
        let task = tokio::spawn(run_competing(job.clone(), redis.clone(), settings, Clock::system(), shutdown.clone(), part));
        Self { job, redis, shutdown, readiness, task }
    }

    /// Waits until nothing is left to do.
    async fn drained(&self) {
        eventually("the stream is empty", async || (self.redis.lengths(&[STREAM.to_owned()]).await.ok()? == [0]).then_some(())).await;
    }

    async fn letters(&self, count: usize) -> Vec<deadletter::DeadLetter> {
        eventually("dead letters", async || {
            let letters = deadletter::list(&self.redis, None, 100).await.ok()?;
            (letters.len() == count).then(|| letters.into_iter().map(|filed| filed.letter).collect())
        })
        .await
    }
}

fn consumer(name: &str) -> Group {
    Group { stream: STREAM.to_owned(), group: Obey::GROUP.to_owned(), consumer: name.to_owned() }
}

/// A consumer that was given `payload` and says no more.
async fn dead_consumer(redis: &Redis, name: &str, payload: &str) -> StreamId {
    redis.ensure_group(&consumer(name)).await.unwrap();
    let id = redis.add(STREAM, payload.as_bytes()).await.unwrap();
    given_to(redis, name, id).await
}

/// A consumer that is given the next entry, which has that id, and says no more.
async fn given_to(redis: &Redis, name: &str, id: StreamId) -> StreamId {
    let group = consumer(name);
    let read = Reader::new(redis, Duration::from_secs(5)).read_group(&group, 1).await.unwrap();
    assert_eq!(read.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id]);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entry_of_a_dead_worker_is_taken_over_and_its_late_completion_refused() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let id = dead_consumer(&redis, "zombie", "ok").await;
    let worker = Running::start(&server);
    worker.drained().await;
    assert_eq!(worker.job.runs("ok"), 1);
    let zombie = consumer("zombie");
    assert!(!redis.finish(&zombie, id).await.unwrap());
    assert_eq!(redis.keep(&zombie, &[id]).await.unwrap(), []);
    assert_eq!(redis.count_failure(&zombie, id, "late").await.unwrap(), None);
    assert_eq!(deadletter::list(&redis, None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_does_not_get_back_what_was_taken_over() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let id = dead_consumer(&redis, "zombie", "ok").await;
    let (zombie, heir) = (consumer("zombie"), consumer("heir"));
    let taken = eventually("the idle time passes", async || {
        let taken = redis.reclaim(&heir, Duration::from_millis(50), StreamId::default(), 10).await.unwrap();
        (!taken.deliveries.is_empty()).then_some(taken)
    })
    .await;
    assert_eq!((taken.deliveries[0].entry.id, taken.deliveries[0].count, taken.next), (id, 2, None));
    assert!(!redis.finish(&zombie, id).await.unwrap());
    assert!(redis.finish(&heir, id).await.unwrap());
    assert!(!redis.finish(&heir, id).await.unwrap(), "finished twice");
    assert_eq!(redis.lengths(&[STREAM.to_owned()]).await.unwrap(), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_but_alive_is_not_taken_over() {
    let server = redis::Redis::start();
    // Shorter than until its second attempt, and longer than this machine may stand still.
    let idle = IDLE * 5;
    let slow = Running::start_with(&server, idle);
    slow.redis.add(STREAM, b"twice").await.unwrap();
    eventually("the first attempt", async || (slow.job.runs("twice") == 1).then_some(())).await;
    let other = Running::start_with(&server, idle);
    other.drained().await;
    assert_eq!((slow.job.runs("twice"), other.job.runs("twice")), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_becomes_a_dead_letter_and_the_lane_goes_on() {
    let server = redis::Redis::start();
    let worker = Running::start(&server);
    server.cli(&["XADD", STREAM, "*", "0", "of another format"]);
    for payload in ["reject", "fail", "panic", "hang", "ok"] {
        worker.redis.add(STREAM, payload.as_bytes()).await.unwrap();
    }
    worker.drained().await;
    let mut found: Vec<(String, u64, String)> =
        worker.letters(5).await.into_iter().map(|letter| (letter.reason, letter.attempts, letter.payload.unwrap_or_default())).collect();
    found.sort();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = [
        ("cannot be done", 1, hex("reject")),
        ("not done within 900ms", 3, hex("hang")),
        ("not today", 3, hex("fail")),
        ("nothing of a known format in it", 0, String::new()),
        ("panic: planted", 3, hex("panic")),
    ];
    assert_eq!(found, expected.map(|(reason, attempts, payload)| (reason.to_owned(), attempts, payload)));
    assert_eq!(worker.job.runs("ok"), 1);
    assert_eq!(server.cli(&["EXISTS", &keys::failures(STREAM)]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_over_which_three_workers_died_is_quarantined() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let id = dead_consumer(&redis, "dead-1", "ok").await;
    for name in ["dead-2", "dead-3"] {
        let next = consumer(name);
        eventually("the next victim", async || {
            let taken = redis.reclaim(&next, Duration::from_millis(20), StreamId::default(), 10).await.unwrap();
            taken.deliveries.first().map(|delivery| assert_eq!(delivery.entry.id, id))
        })
        .await;
    }
    let worker = Running::start(&server);
    worker.drained().await;
    let letters = worker.letters(1).await;
    assert_eq!((letters[0].reason.as_str(), letters[0].deliveries), ("quarantined: 3 workers died over it", 4));
    assert_eq!(worker.job.runs("ok"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_gives_back_what_waits_and_costs_no_delivery() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let id = redis.add(STREAM, b"twice").await.unwrap();
    // More stops than an entry may have deaths.
    for _ in 0..5 {
        let worker = Running::start(&server);
        eventually("an attempt", async || (worker.job.runs("twice") == 1).then_some(())).await;
        worker.shutdown.start();
        worker.task.await.unwrap();
        let pending = server.cli(&["XPENDING", STREAM, Obey::GROUP, "-", "+", "10"]);
        assert!(pending.contains(&id.to_string()) && pending.ends_with("0"), "{pending}");
        redis.count_failure(&consumer("nobody"), id, "never").await.unwrap();
        server.cli(&["DEL", &keys::failures(STREAM)]);
    }
    assert_eq!(deadletter::list(&redis, None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn stalls_restarts_and_an_emptied_redis_are_survived() {
    let mut server = redis::Redis::start();
    let worker = Running::start(&server);
    worker.redis.add(STREAM, b"a").await.unwrap();
    worker.drained().await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(600)).await;
    server.cont();
    server.restart();
    eventually("an entry after the restart", async || worker.redis.add(STREAM, b"b").await.ok()).await;
    worker.drained().await;
    server.flushall();
    eventually("an entry after the loss", async || worker.redis.add(STREAM, b"c").await.ok()).await;
    worker.drained().await;
    assert_eq!(["a", "b", "c"].map(|payload| worker.job.runs(payload)), [1, 1, 1]);
    eventually("ready", async || worker.readiness.is_ready().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_got_lost_is_found_again_and_counts_no_death() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let id = dead_consumer(&redis, "forgetful", "ok").await;
    let stray = redis.stray(&consumer("forgetful"), StreamId::default(), 10).await.unwrap();
    assert_eq!(stray.iter().map(|delivery| (delivery.entry.id, delivery.count)).collect::<Vec<_>>(), [(id, 1)]);
    assert_eq!(stray[0].entry.payload.as_deref(), Some(&b"ok"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_consumer_had_is_done_by_another() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    for payload in ["a", "b", "c"] {
        dead_consumer(&redis, "deleted", payload).await;
    }
    let given = redis.groups(STREAM).await.unwrap()[0].given;
    assert_eq!(server.cli(&["XGROUP", "DELCONSUMER", STREAM, Obey::GROUP, "deleted"]), "3");
    assert_eq!(redis.groups(STREAM).await.unwrap()[0].pending, 0, "Redis was to forget them");
    // Nothing is said of what is still to be given out, or in somebody's hands.
    let fresh = redis.add(STREAM, b"d").await.unwrap();
    let held = given_to(&redis, "holder", fresh).await;
    redis.add(STREAM, b"e").await.unwrap();
    let taken = redis.reclaim(&consumer("heir"), Duration::from_secs(60), StreamId::default(), 2).await.unwrap();
    assert_eq!((taken.adopted, taken.deliveries.len()), (3, 2));
    assert!(taken.deliveries.iter().all(|delivery| delivery.count == 1 && delivery.entry.id <= given), "{taken:?}");
    let taken = redis.reclaim(&consumer("heir"), Duration::from_secs(60), StreamId::default(), 10).await.unwrap();
    assert_eq!((taken.adopted, taken.deliveries.len()), (0, 1));
    assert!(held > given);

    let worker = Running::start(&server);
    worker.drained().await;
    assert_eq!(["a", "b", "c", "d", "e"].map(|payload| worker.job.runs(payload)), [1; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_dead_workers_go_only_when_nothing_is_pending() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let id = dead_consumer(&redis, "dead", "ok").await;
    let (dead, heir) = (consumer("dead"), consumer("heir"));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(redis.reap_consumers(&dead, Duration::from_millis(1)).await.unwrap(), 0);
    redis.reclaim(&heir, Duration::from_millis(1), StreamId::default(), 10).await.unwrap();
    server.cli(&["XDEL", STREAM, &id.to_string()]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(redis.reap_consumers(&dead, Duration::from_millis(1)).await.unwrap(), 1);
    let lost = redis.reclaim(&dead, Duration::from_millis(1), StreamId::default(), 10).await.unwrap();
    assert_eq!((lost.deliveries, lost.lost), (vec![], vec![id]));
}

#[test]
fn an_idle_time_within_a_deadline_is_refused() {
    let refused = CompetingSettings::new::<Obey>(1, 1, Obey::DEADLINE).unwrap_err();
    assert_eq!(refused.to_string(), "obey: the reclaim idle of 900ms must exceed the deadline of 900ms");
    assert!(CompetingSettings::new::<Obey>(2, 1, IDLE).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_had_anything_to_do_shows_that_it_lives_until_it_stops() {
    let server = redis::Redis::start();
    let worker = Running::start(&server);
    let (redis, job) = (handle(&server), Obey::JOB);
    let alive = async |count: usize, at_ms: u64| (redis.live_workers(job, at_ms).await.ok()?.len() == count).then_some(());
    let now_ms = Clock::system().now_ms();
    eventually("it says that it lives", async || alive(1, now_ms).await).await;
    assert!(redis.live_workers(job, now_ms + 60_000).await.unwrap().is_empty(), "a heartbeat lapses");
    worker.shutdown.start();
    worker.task.await.unwrap();
    assert!(redis.live_workers(job, now_ms).await.unwrap().is_empty());
}
