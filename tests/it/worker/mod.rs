//! The engine, over a real Redis: who works on what when workers come, go, sleep and die.

mod competing;
mod deadletter;
mod ordered;
mod spread;

use std::time::Duration;

use roger::broker::{Redis, Replication, Settings};

/// A handle as the programs have it.
pub fn handle(server: &crate::support::redis::Redis) -> Redis {
    handle_at(server.url())
}

pub fn handle_at(url: String) -> Redis {
    let settings = Settings {
        url,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(2),
        replication: Replication::none(),
    };
    Redis::new(settings).unwrap()
}
