//! `roger doctor`: everything the fleet needs, looked at from outside, each with what is wrong and what to do.

mod shards;
mod sos;
mod store;
mod streams;

use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::error::Error;
use super::output::table;
use super::streams as worked;
use crate::broker::{Redis, ServerLook, StreamLook, keys};
use crate::worker::chain;

/// Between two looks at the shards: who has work and does not move in this time stands still.
const LOOK_AGAIN: Duration = Duration::from_millis(1_500);
/// Commits the archive may be behind without a word.
const ARCHIVE_LAG_WARN: u64 = 10_000;
/// Frames a shard's input may hold without a word.
const INPUT_WARN: u64 = 1_000;
/// Clocks may differ by this much without a word; and without failing. Heartbeats of 20 s and tokens of minutes go by them.
const SKEW_WARN_MS: u64 = 500;
const SKEW_FAIL_MS: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    /// What was seen.
    reason: String,
    /// What to do; empty when nothing.
    fix: &'static str,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, check: &'static str, verdict: Verdict, reason: impl Into<String>, fix: &'static str) {
        let fix = if verdict == Verdict::Ok { "" } else { fix };
        self.0.push(Check { check, verdict, reason: reason.into(), fix });
    }
}

fn verdict(fail: bool, warn: bool) -> Verdict {
    match (fail, warn) {
        (true, _) => Verdict::Fail,
        (false, true) => Verdict::Warn,
        (false, false) => Verdict::Ok,
    }
}

pub(super) async fn doctor(context: &Context) -> Result<(), Error> {
    let mut checks = Checks::default();
    let redis = context.redis()?;
    match redis.look_at_server().await {
        Err(error) => checks.add("redis", Verdict::Fail, chain(&error), "start Redis 7.0 or later, or set redis.url"),
        Ok(server) => {
            judge_server(&mut checks, &server, context.shards(), context.clock.now_ms());
            if let Err(error) = judge_fleet(&mut checks, &redis, &server.run_id, context).await {
                checks.add("redis", Verdict::Fail, chain(&error), "see its log; it stopped answering while it was looked at");
            }
        }
    }
    let sos = context.sos_redis()?;
    streams::judge_alerts(&mut checks, look_at_alerts(&sos, context).await);
    sos::judge(&mut checks, sos.probes().await, context.config.sos.probe_interval, context.clock.now_ms());
    match context.store() {
        Err(Error::Store(error)) => checks.add("sql", Verdict::Fail, chain(&error), "set sql.url"),
        Err(error) => return Err(error),
        Ok(store) => store::judge(&mut checks, &store, context.shards()).await,
    }
    let failed = checks.0.iter().any(|check| check.verdict == Verdict::Fail);
    context.out.answer(&checks.0, |checks| {
        let row = |check: &Check| {
            [format!("{:?}", check.verdict).to_uppercase(), check.check.to_owned(), check.reason.clone(), check.fix.to_owned()]
        };
        table(&["", "CHECK", "SEEN", "WHAT TO DO"], checks.iter().map(row))
    });
    if failed { Err(Error::Findings) } else { Ok(()) }
}

fn judge_server(checks: &mut Checks, server: &ServerLook, shards: u32, now_ms: u64) {
    let major = server.version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
    let seen = format!("version {}, run id {}", server.version, server.run_id);
    checks.add("redis", verdict(major < 7, false), seen, "upgrade to Redis 7.0 or later");
    let policy = format!("maxmemory-policy {}, maxmemory {}", server.maxmemory_policy, server.maxmemory);
    let evicts = server.maxmemory_policy != "noeviction";
    checks.add("redis.memory", verdict(evicts && server.maxmemory > 0, evicts), policy, "CONFIG SET maxmemory-policy noeviction");
    let durable = format!("appendonly {}, appendfsync {}", server.appendonly, server.appendfsync);
    let weak = server.appendonly != "yes" || server.appendfsync == "everysec";
    let fix = "set appendonly yes and appendfsync always; until then receipts say no more than \"memory\"";
    checks.add("redis.durability", verdict(false, weak), durable, fix);
    if server.appendonly == "yes" {
        let bad = server.aof_last_write_status != "ok";
        let seen = format!("last write {}", server.aof_last_write_status);
        checks.add("redis.aof", verdict(bad, false), seen, "free the disk Redis writes to");
    }
    let skew = server.time_ms.abs_diff(now_ms);
    let seen = format!("Redis and this machine differ by {skew} ms");
    checks.add("clock", verdict(skew > SKEW_FAIL_MS, skew > SKEW_WARN_MS), seen, "run an NTP client on both machines");
    match server.shards {
        None => checks.add("shards", Verdict::Warn, "not pinned: no fleet has started on this Redis", "start the fleet"),
        Some(pinned) => {
            let seen = format!("{pinned} pinned, {shards} configured");
            checks.add(
                "shards",
                verdict(pinned != shards, false),
                seen,
                "set fleet.shards to what is pinned, or redis.url to the Redis of this fleet: the number is fixed for the life of a deployment",
            );
        }
    }
}

async fn judge_fleet(checks: &mut Checks, redis: &Redis, run_id: &str, context: &Context) -> Result<(), crate::broker::Error> {
    let now_ms = context.clock.now_ms();
    let edges = redis.describe_edges(now_ms).await?;
    let seen = edges.iter().map(|edge| format!("{} ({} sessions)", edge.name, edge.sessions)).collect::<Vec<_>>().join(", ");
    let seen = if seen.is_empty() { "none".to_owned() } else { seen };
    checks.add(
        "edges",
        verdict(edges.is_empty(), edges.len() == 1),
        seen,
        "start two edges or more: clients of one that dies need another",
    );
    let (left, all_seen) = redis.left_over_streams(now_ms).await?;
    let mut seen = if left.is_empty() { "none is left over".to_owned() } else { format!("of edges that are gone: {}", left.join(", ")) };
    if !all_seen {
        seen.push_str("; Redis has too many keys to look at all");
    }
    let fix = "DEL them with redis-cli: nobody reads them and they do not expire; what was in them is replayed to its sessions";
    checks.add("edges.streams", verdict(false, !left.is_empty()), seen, fix);
    for (job, check) in [("deliver", "workers.deliver"), ("archive", "workers.archive")] {
        let workers = redis.live_workers(job, now_ms).await?;
        let seen = format!("{} alive", workers.len());
        checks.add(check, verdict(workers.is_empty(), false), seen, "start the program; its log says what it waits for");
    }
    let before = redis.look_at_shards(context.shards()).await?;
    context.clock.sleep(LOOK_AGAIN).await;
    let after = redis.look_at_shards(context.shards()).await?;
    shards::judge(checks, run_id, &before, &after);
    let letters = redis.lengths(&[keys::dead()]).await?.first().copied().unwrap_or(0);
    checks.add("dead-letters", verdict(false, letters > 0), format!("{letters}"), "`roger dead list`, then redrive or drop each");
    for stream in [keys::replay(), keys::floor()] {
        let groups = redis.groups(&stream).await?;
        let waiting: u64 = groups.iter().map(|group| group.pending + group.lag.unwrap_or(0)).sum();
        let name = if stream == keys::replay() { "replay" } else { "floor" };
        let seen = format!("{waiting} requests wait, {} consumer groups", groups.len());
        checks.add(name, verdict(false, waiting > INPUT_WARN), seen, "is offline up, and SQL fast enough?");
    }
    let fix = worked::reports().look(redis, now_ms).await?;
    streams::judge_talk(checks, &worked::talk(redis, &context.config.janus.list, now_ms).await?);
    if context.config.janus.url.is_some() {
        let commands = worked::commands(redis, &context.config.janus.commands, now_ms).await?;
        streams::judge_media(checks, &commands, &worked::media(redis, context.shards(), now_ms).await?);
    }
    streams::judge_reports(checks, &fix, redis.memory_bytes(&keys::fix()).await?, context.config.gps.backlog_bytes_max);
    Ok(())
}

/// The streams of alerts, and the dead letters beside them unless they were counted with those of the fleet.
async fn look_at_alerts(sos: &Redis, context: &Context) -> Result<(Vec<StreamLook>, Option<u64>), crate::broker::Error> {
    let mut looks = Vec::new();
    for stream in worked::alerts() {
        looks.push(stream.look(sos, context.clock.now_ms()).await?);
    }
    let letters = if context.sos_apart() { sos.lengths(&[keys::dead()]).await?.first().copied() } else { None };
    Ok((looks, letters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_forgets_is_named() {
        let good = ServerLook {
            version: "7.0.15".into(),
            appendonly: "yes".into(),
            appendfsync: "always".into(),
            maxmemory_policy: "noeviction".into(),
            aof_last_write_status: "ok".into(),
            time_ms: 1_000,
            shards: Some(16),
            ..ServerLook::default()
        };
        let judged = |server: &ServerLook| {
            let mut checks = Checks::default();
            judge_server(&mut checks, server, 16, 1_100);
            checks.0.into_iter().filter(|check| check.verdict != Verdict::Ok).map(|check| (check.check, check.verdict)).collect::<Vec<_>>()
        };
        assert_eq!(judged(&good), []);
        assert_eq!(judged(&ServerLook { appendfsync: "everysec".into(), ..good.clone() }), [("redis.durability", Verdict::Warn)]);
        assert_eq!(judged(&ServerLook { version: "6.2.1".into(), ..good.clone() }), [("redis", Verdict::Fail)]);
        assert_eq!(judged(&ServerLook { shards: Some(8), ..good.clone() }), [("shards", Verdict::Fail)]);
        assert_eq!(judged(&ServerLook { time_ms: 9_000, ..good }), [("clock", Verdict::Fail)]);
    }
}
