//! Talk that a primary of before took, by a program that did not hear of the failover yet.

use std::time::Duration;

use roger::broker::{Redis, Replication, Settings, keys};
use roger::clock::Clock;
use roger::jobs::talk::Talk;
use roger::model::UserKind;
use roger::shutdown::Shutdown;
use roger::store::NewAccount;
use roger::worker::{OrderedSettings, Readiness, run_ordered};

use super::scene::{LIST, burst};
use crate::store::Database;
use crate::support::link::Link;
use crate::support::redis::{self, Appendfsync};
use crate::support::sentinel::{SERVICE, Sentinels};
use crate::support::{eventually, wait_until};

/// A primary, and the replica that sentinels will name instead; the program reaches them over links.
struct Failover {
    before: redis::Redis,
    sentinels: Sentinels,
    links: Vec<Link>,
    program: Redis,
}

impl Failover {
    async fn prepare() -> Self {
        let before = redis::Redis::start();
        let sentinels = Sentinels::over(&before, vec![Vec::new()], Appendfsync::Always);
        // The test proclaims the new primary: of themselves they take nobody for dead that stands still for a moment.
        for sentinel in 0..sentinels.ports().len() {
            sentinels.cli(sentinel, &["SENTINEL", "SET", SERVICE, "down-after-milliseconds", "60000"]);
        }
        let mut links = Vec::new();
        for port in sentinels.ports() {
            links.push(Link::to(port).await);
        }
        let hosts: Vec<String> = links.iter().map(|link| format!("127.0.0.1:{}", link.port())).collect();
        let program = Redis::new(Settings {
            url: format!("redis-sentinel://{}/0#{SERVICE}", hosts.join(",")),
            // Also for each question to a sentinel, which waits until it is answered.
            connect_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(20),
            replication: Replication::none(),
        });
        let program = program.unwrap();
        program.facts().await.unwrap();
        Self { before, sentinels, links, program }
    }

    fn now(&self) -> &redis::Redis {
        &self.sentinels.replicas[0]
    }

    /// Another server is the primary, and the program is not told.
    fn happens(&self) {
        self.links.iter().for_each(Link::hold);
        self.sentinels.proclaim(0);
    }

    fn is_heard_of(&self) {
        self.links.iter().for_each(Link::release);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_not_taken_before_the_primary_has_it() {
    let failover = Failover::prepare().await;
    failover.happens();
    let announce = |program: Redis| async move { program.announce_talk(LIST, "b-1", "a burst", Duration::from_secs(600)).await };
    let taken = tokio::spawn(announce(failover.program.clone()));
    wait_until("the primary of before took it", || failover.before.cli(&["LLEN", LIST]) == "1");
    failover.is_heard_of();
    let answered = taken.await.unwrap();
    assert!(answered.is_err(), "{answered:?}, and it is lost");
    // Said again it is not taken for said before; nor is it said twice then.
    assert!(eventually("it is announced", async || announce(failover.program.clone()).await.ok()).await);
    assert!(!announce(failover.program.clone()).await.unwrap());
    assert_eq!(failover.now().cli(&["LRANGE", LIST, "0", "-1"]), "a burst");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_was_moved_on_a_primary_of_before_is_told_by_the_next_one() {
    let (failover, database) = (Failover::prepare().await, Database::sqlite().await);
    let store = &database.store;
    let tenant = store.ensure_tenant("apollo").await.unwrap().id();
    let (name, nickname, kind, password_hash) = ("neil".to_owned(), "neil".to_owned(), UserKind::Device, String::new());
    let neil = store.create_account(NewAccount { name, nickname, kind, tenant, password_hash, parent: None }, 5).await.unwrap();
    let group = store.create_group(tenant, "loop").await.unwrap();
    failover.before.cli(&["RPUSH", LIST, &burst(neil.0, group.0, 1).to_string()]);
    wait_until("the replica has it", || failover.now().cli(&["LLEN", LIST]) == "1");
    failover.happens();

    let job = Talk::new(failover.program.clone(), store.clone(), Clock::system(), 1, LIST.to_owned());
    let (shutdown, part) = (Shutdown::manual(), Readiness::new().part("talk"));
    let lease = OrderedSettings::new(1, Duration::from_secs(2)).unwrap();
    let working = tokio::spawn(run_ordered(job, failover.program.clone(), lease, Clock::system(), shutdown.clone(), part));
    wait_until("it is moved on the primary of before", || failover.before.cli(&["LLEN", LIST]) == "0");
    // As long as it takes to be kept and told of there, if nobody asked.
    tokio::time::sleep(Duration::from_secs(1)).await;
    failover.is_heard_of();
    wait_until("the room is told", || failover.now().cli(&["XLEN", &keys::input(0)]) == "1");
    shutdown.start();
    working.await.unwrap();
}
