//! Talk that a primary of before took, by a program that did not hear of the failover yet.

use std::time::Duration;

use roger::broker::{Redis, Replication, Settings};

use super::scene::LIST;
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
        let mut links = Vec::new();
        for port in sentinels.ports() {
            links.push(Link::to(port).await);
        }
        let hosts: Vec<String> = links.iter().map(|link| format!("127.0.0.1:{}", link.port())).collect();
        let program = Redis::new(Settings {
            url: format!("redis-sentinel://{}/0#{SERVICE}", hosts.join(",")),
            // Also for each question to a sentinel, which waits until it is answered.
            connect_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(2),
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
