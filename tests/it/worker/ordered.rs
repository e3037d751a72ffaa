//! Shards by lease.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roger::broker::{self, Redis};
use roger::clock::Clock;
use roger::shutdown::Shutdown;
use roger::worker::{Ordered, OrderedSettings, Readiness, Tenure, own_name, run_ordered};
use tokio::task::JoinHandle;

use super::{handle, patient_handle_at};
use crate::support::link::Link;
use crate::support::{eventually, redis};

const SHARDS: u32 = 8;
const LEASE: Duration = Duration::from_secs(2);

/// Turns until it is stopped; fails as often as it is told to.
#[derive(Clone, Default)]
struct Turn {
    serving: Arc<Mutex<Vec<u32>>>,
    begun: Arc<AtomicU64>,
    panics: Arc<AtomicU64>,
}

impl Ordered for Turn {
    const JOB: &'static str = "deliver";
    type Error = broker::Error;

    async fn serve(&self, tenure: Tenure) -> Result<(), broker::Error> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.serving.lock().unwrap().push(tenure.shard);
        let _gone = Gone(self.clone(), tenure.shard);
        if self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |panics| panics.checked_sub(1)).is_ok() {
            panic!("planted");
        }
        while !tenure.stop.is_cancelled() {
            tenure.progress.turn();
            tokio::select! {
                () = tenure.stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        Ok(())
    }
}

struct Gone(Turn, u32);

impl Drop for Gone {
    fn drop(&mut self) {
        let mut serving = self.0.serving.lock().unwrap();
        let at = serving.iter().position(|shard| *shard == self.1).unwrap();
        serving.swap_remove(at);
    }
}

struct Running {
    job: Turn,
    shutdown: Shutdown,
    readiness: Readiness,
    task: JoinHandle<()>,
}

impl Running {
    fn start(redis: &Redis) -> Self {
        Self::start_with(redis, LEASE)
    }

    fn start_with(redis: &Redis, lease: Duration) -> Self {
        Self::start_as(Turn::default(), redis, lease)
    }

    fn start_as(job: Turn, redis: &Redis, lease: Duration) -> Self {
        let (shutdown, readiness) = (Shutdown::manual(), Readiness::new());
        let settings = OrderedSettings::new(SHARDS, lease).unwrap();
        let part = readiness.part("deliver");
        let task = tokio::spawn(run_ordered(job.clone(), redis.clone(), settings, Clock::system(), shutdown.clone(), part));
        Self { job, shutdown, readiness, task }
    }

    fn serving(&self) -> usize {
        self.job.serving.lock().unwrap().len()
    }

    async fn wait_for(&self, shards: usize) {
        eventually(&format!("a worker serves {shards} shards"), async || (self.serving() == shards).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_spread_and_rebalanced_and_a_clean_stop_hands_over_within_a_second() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let first = Running::start(&redis);
    first.wait_for(8).await;
    eventually("the only worker is ready", async || first.readiness.is_ready().then_some(())).await;

    let second = Running::start(&handle(&server));
    first.wait_for(4).await;
    second.wait_for(4).await;
    eventually("both are ready", async || (first.readiness.is_ready() && second.readiness.is_ready()).then_some(())).await;
    let mut all: Vec<u32> = first.job.serving.lock().unwrap().clone();
    all.extend(second.job.serving.lock().unwrap().iter());
    all.sort_unstable();
    assert_eq!(all, (0..SHARDS).collect::<Vec<_>>());

    let (mut goes, mut stays, mut took) = (first, second, Vec::new());
    // A machine that is busy elsewhere may take longer once.
    for _ in 0..3 {
        let begun = Instant::now();
        goes.shutdown.start();
        goes.task.await.unwrap();
        stays.wait_for(8).await;
        took.push(begun.elapsed());
        if took.iter().any(|took| *took < Duration::from_secs(1)) {
            break;
        }
        (goes, stays) = (stays, Running::start(&handle(&server)));
        goes.wait_for(4).await;
        stays.wait_for(4).await;
    }
    assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "handed over in {took:?}");
    assert_eq!(redis.live_workers("deliver", 0).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_a_worker_that_died_are_taken_within_seconds() {
    let server = redis::Redis::start();
    let (first, second) = (Running::start(&handle(&server)), Running::start(&handle(&server)));
    first.wait_for(4).await;
    second.wait_for(4).await;
    let begun = Instant::now();
    // Without a word to Redis, as by SIGKILL.
    first.task.abort();
    second.wait_for(8).await;
    assert!(begun.elapsed() < LEASE * 5, "taken over in {:?}", begun.elapsed());
    eventually("the dead one serves nothing", async || (first.serving() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_a_dead_process_of_this_machine_are_taken_at_once_and_no_others() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let (own, pid) = (own_name(), format!("-{}-", std::process::id()));
    let dead = own.replacen(&pid, &format!("-{}-", child.id()), 1);
    child.wait().unwrap();
    let elsewhere = format!("elsewhere-{dead}");
    // An hour, in which nothing lapses.
    for shard in 0..SHARDS {
        let holder = [&dead, &elsewhere, &own, &dead][shard as usize % 4];
        assert!(redis.renew_lease(shard, "deliver", holder, 3_600_000).await.unwrap());
    }
    let running = Running::start(&redis);
    // Its share among three.
    running.wait_for(3).await;
    assert_eq!(running.job.serving.lock().unwrap().iter().map(|shard| shard % 4).filter(|at| [1, 2].contains(at)).count(), 0);
    let holders = redis.lease_holders("deliver", SHARDS).await.unwrap();
    assert_eq!(holders[1..3], [Some(elsewhere), Some(own)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_of_redis_ends_no_tenure_and_a_long_one_ends_all() {
    let server = redis::Redis::start();
    // Ten times as long as the stall.
    let worker = Running::start_with(&handle(&server), LEASE * 3);
    worker.wait_for(8).await;
    let begun = worker.job.begun.load(Ordering::SeqCst);
    server.stop();
    tokio::time::sleep(Duration::from_millis(600)).await;
    server.cont();
    eventually("a heartbeat after the stall", async || worker.readiness.is_ready().then_some(())).await;
    assert_eq!((worker.serving(), worker.job.begun.load(Ordering::SeqCst)), (8, begun));

    server.stop();
    worker.wait_for(0).await;
    assert!(!worker.readiness.is_ready());
    server.cont();
    worker.wait_for(8).await;
}

/// As on a machine out of breath. Whoever gives up then what is theirs makes it no better: all leases would go round and nobody would work.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_take_a_quarter_of_a_lease_end_no_tenure() {
    let server = redis::Redis::start();
    // Long, so that what this machine adds is little.
    let lease = LEASE * 4;
    let link = Link::slow(server.port(), lease / 4).await;
    let redis = patient_handle_at(format!("redis://127.0.0.1:{}", link.port()));
    let worker = Running::start_with(&redis, lease);
    worker.wait_for(8).await;
    tokio::time::sleep(lease * 2).await;
    assert_eq!((worker.serving(), worker.job.begun.load(Ordering::SeqCst)), (8, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_is_survived() {
    let mut server = redis::Redis::start();
    let worker = Running::start(&handle(&server));
    worker.wait_for(8).await;
    server.kill();
    eventually("the worker notices", async || (!worker.readiness.is_ready()).then_some(())).await;
    server.restart();
    eventually("the worker goes on", async || (worker.readiness.is_ready() && worker.serving() == 8).then_some(())).await;
    worker.shutdown.start();
    worker.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_attempt_and_not_the_shard() {
    let server = redis::Redis::start();
    let job = Turn { panics: Arc::new(AtomicU64::new(2)), ..Turn::default() };
    let worker = Running::start_as(job, &handle(&server), LEASE * 5);
    eventually("all shards are served after two panics", async || {
        (worker.serving() == 8 && worker.job.begun.load(Ordering::SeqCst) == 10).then_some(())
    })
    .await;
}
