//! The engine, over a real Redis: who works on what when workers come, go, sleep and die.

mod competing;
mod deadletter;
mod ends;
mod ordered;
mod spread;

use std::time::Duration;

use roger::broker::{Redis, Replication, Settings};

/// A handle that waits for longer than a server stands still beside other tests.
pub fn handle(server: &crate::support::redis::Redis) -> Redis {
    handle_at(server.url())
}

pub fn handle_at(url: String) -> Redis {
    handle_that_waits(url, Duration::from_secs(10), Duration::from_secs(10))
}

/// One that waits for answers that are slow on purpose.
pub fn patient_handle_at(url: String) -> Redis {
    handle_that_waits(url, Duration::from_secs(30), Duration::from_secs(30))
}

fn handle_that_waits(url: String, connect_timeout: Duration, response_timeout: Duration) -> Redis {
    Redis::new(Settings { url, connect_timeout, response_timeout, replication: Replication::none() }).unwrap()
}
