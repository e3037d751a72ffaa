//! What a fleet of real programs does when a part of it dies, sleeps, or loses what it had.

mod asleep;
mod bare;
pub mod cast;
mod clocks;
mod cluster;
mod deaths;
mod disk;
mod everysec;
mod exhausted;
mod failover;
mod flushall;
mod full;
mod handover;
mod lanes;
mod limits;
pub mod loss;
mod mariadb;
mod older;
mod outrun;
mod pair;
mod paused;
mod poison;
mod readiness;
mod refusals;
mod rolling;
mod room;
mod stale;
mod stalls;
mod stopping;
mod trimmed;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::eventually;
use crate::support::fleet::{Answer, Fleet, FleetOptions};

/// A fleet that takes as much as one sends.
pub fn options() -> FleetOptions {
    let overrides = vec![("edge.rate_messages_per_s", "0".to_owned()), ("edge.rate_burst", "0".to_owned())];
    FleetOptions { overrides, ..FleetOptions::default() }
}

/// Runs a command of `roger` that waits for servers which are held up.
#[track_caller]
fn patiently(fleet: &Fleet, args: &[&str]) -> Answer {
    let waits = ["REDIS_CONNECT_TIMEOUT_MS", "REDIS_RESPONSE_TIMEOUT_MS", "SQL_STATEMENT_TIMEOUT_MS"];
    fleet.roger_with(args, waits.map(|name| (format!("ROGER_{name}"), "60000".to_owned())))
}

/// What `roger queues` says of the shards.
fn shards(fleet: &Fleet) -> Vec<Value> {
    patiently(fleet, &["--json", "queues"]).succeeded().json()["shards"].as_array().unwrap().clone()
}

/// Waits until every shard has taken in its input, and SQL holds every commit.
async fn quiet(fleet: &Fleet) {
    let done = |shard: &Value| ["input", "urgent", "archive_lag"].iter().all(|name| shard[*name] == 0);
    eventually("input and archive are through", async || shards(fleet).iter().all(done).then_some(())).await;
}

/// The process ids of all programs.
fn pids(fleet: &mut Fleet) -> BTreeMap<String, u32> {
    fleet.names().into_iter().map(|name| (name.clone(), fleet.program(&name).pid())).collect()
}

/// Panics unless each program is the process that it was.
#[track_caller]
fn all_still_run(fleet: &mut Fleet, pids: &BTreeMap<String, u32>) {
    for (name, pid) in pids {
        let program = fleet.program(name);
        assert_eq!((program.pid(), program.ended()), (*pid, None), "{name}");
    }
}

/// Panics unless SQL holds nothing twice, out of order, or with a hole.
#[track_caller]
fn audit(fleet: &Fleet) {
    let audit = patiently(fleet, &["--json", "audit"]);
    assert_eq!(audit.code, 0, "{}{}", audit.stdout, audit.stderr);
}
