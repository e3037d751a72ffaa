//! What the doctor says of a Redis: whether it keeps what it is given, and takes more.

use std::ops::RangeInclusive;

use super::{Checks, SKEW_FAIL_MS, SKEW_WARN_MS, Verdict, verdict};
use crate::broker::{self, ServerLook};
use crate::config;

/// Of how many hundredths of a bound is warned.
const NEAR_PERCENT: u64 = 90;

/// Of several servers each check names the one it is about. They said what time it is within `asked_ms`, by the clock of this machine.
pub(super) fn judge_all(checks: &mut Checks, servers: &[ServerLook], config: &config::Config, asked_ms: RangeInclusive<u64>) {
    for server in servers {
        let first = checks.0.len();
        judge(checks, server, u32::from(config.fleet.shards), &asked_ms);
        judge_replicas(checks, server, &config.redis);
        if servers.len() > 1 {
            for check in &mut checks.0[first..] {
                check.reason = format!("{}: {}", server.address, check.reason);
            }
        }
    }
}

fn judge(checks: &mut Checks, server: &ServerLook, shards: u32, asked_ms: &RangeInclusive<u64>) {
    let major = server.version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
    let seen = format!("version {}, run id {}", server.version, server.run_id);
    checks.add("redis", verdict(major < 7, false), seen, "upgrade to Redis 7.0 or later");
    let policy = format!("maxmemory-policy {}, maxmemory {}", server.maxmemory_policy, server.maxmemory);
    let evicts = server.maxmemory_policy != "noeviction";
    checks.add("redis.memory", verdict(evicts && server.maxmemory > 0, evicts), policy, "CONFIG SET maxmemory-policy noeviction, or --fix");
    judge_writes(checks, server);
    let durable = format!("appendonly {}, appendfsync {}", server.appendonly, server.appendfsync);
    let weak = server.appendonly != "yes" || server.appendfsync == "everysec";
    let fix = "set appendonly yes and appendfsync always; until then receipts say no more than \"memory\"";
    checks.add("redis.durability", verdict(false, weak), durable, fix);
    if server.appendonly == "yes" {
        let bad = server.aof_last_write_status != "ok";
        let seen = format!("last write {}", server.aof_last_write_status);
        checks.add("redis.aof", verdict(bad, false), seen, "free the disk Redis writes to");
    }
    // Slow answers are no skew.
    let skew = server.time_ms.saturating_sub(*asked_ms.end()).max(asked_ms.start().saturating_sub(server.time_ms));
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

/// What is wrong with a Redis that does not answer as it should,
pub(super) fn check_of(error: &broker::Error) -> &'static str {
    match error {
        broker::Error::Replica => "redis.role",
        broker::Error::NoPrimary { .. } => "redis.sentinels",
        broker::Error::NoCluster { .. } | broker::Error::NoOwner { .. } => "redis.cluster",
        _ => "redis",
    }
}

/// and what to do about it.
pub(super) fn fix_of(error: &broker::Error) -> &'static str {
    match error {
        broker::Error::Replica => return "point redis.url at the primary or at sentinels, or REPLICAOF NO ONE on it",
        broker::Error::NoPrimary { .. } => return "start the sentinels that redis.url names; a majority has to live for a failover",
        broker::Error::NoCluster { .. } => return "start the servers that redis.url names, or those they became",
        broker::Error::NoOwner { .. } => return "`redis-cli --cluster fix` gives every slot a server",
        _ => {}
    }
    let text = crate::worker::chain(error);
    if text.contains("BusyLoading") || text.contains("LOADING") {
        "it reads its append-only file: wait, and see its log for how far it is"
    } else if text.contains("NOAUTH") || text.contains("WRONGPASS") {
        "set the password in redis.url"
    } else if text.contains("MASTERDOWN") {
        "it is a replica that has lost its primary: point redis.url at the primary"
    } else {
        "start Redis 7.0 or later, or set redis.url"
    }
}

/// Where a replica is to take over, whether as many replicas follow as receipts are to speak of.
pub(super) fn judge_replicas(checks: &mut Checks, server: &ServerLook, config: &config::Redis) {
    if config.fails_over() && config.replicas > 0 {
        let missing = server.replicas < u64::from(config.replicas);
        let seen = format!("{} of {} replicas follow", server.replicas, config.replicas);
        let fix = "start the replica, and see `roger redis status`: until then receipts promise no more than one server keeps";
        checks.add("redis.replicas", verdict(false, missing), seen, fix);
    }
}

/// What makes it refuse writes, or is about to; nothing is said of what is well.
fn judge_writes(checks: &mut Checks, server: &ServerLook) {
    let share = |part: u64, whole: u64| part.saturating_mul(100).checked_div(whole).unwrap_or(0);
    let full = share(server.used_memory, server.maxmemory);
    if full >= NEAR_PERCENT {
        let seen = format!("{} of {} bytes used", server.used_memory, server.maxmemory);
        let fix = "raise maxmemory, or see what grows with `roger queues`: at the bound everything that is sent is refused";
        checks.add("redis.full", verdict(full >= 100, true), seen, fix);
    }
    if server.rdb_last_bgsave_status == "err" && server.stops_without_snapshot {
        let fix =
            "free the disk Redis writes to and see its log; roger needs no snapshots beside the append-only file: CONFIG SET save \"\"";
        checks.add("redis.snapshot", Verdict::Fail, "the last snapshot could not be written, and until one is all writes are refused", fix);
    }
    let taken = share(server.clients, server.clients_max);
    if taken >= NEAR_PERCENT {
        let seen = format!("{} of {} connections", server.clients, server.clients_max);
        checks.add("redis.clients", verdict(taken >= 100, true), seen, "raise maxclients, or see with CLIENT LIST who holds them");
    }
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
            judge(&mut checks, server, 16, &(1_100..=5_000));
            checks.0.into_iter().filter(|check| check.verdict != Verdict::Ok).map(|check| (check.check, check.verdict)).collect::<Vec<_>>()
        };
        assert_eq!(judged(&good), []);
        assert_eq!(judged(&ServerLook { appendfsync: "everysec".into(), ..good.clone() }), [("redis.durability", Verdict::Warn)]);
        assert_eq!(judged(&ServerLook { version: "6.2.1".into(), ..good.clone() }), [("redis", Verdict::Fail)]);
        assert_eq!(judged(&ServerLook { shards: Some(8), ..good.clone() }), [("shards", Verdict::Fail)]);
        let at = |time_ms| judged(&ServerLook { time_ms, ..good.clone() });
        assert_eq!((at(4_000), at(5_900), at(19_000)), (vec![], vec![("clock", Verdict::Warn)], vec![("clock", Verdict::Fail)]));
        let memory = |used_memory| judged(&ServerLook { used_memory, maxmemory: 1_000, ..good.clone() });
        assert_eq!(
            (memory(899), memory(900), memory(1_000)),
            (vec![], vec![("redis.full", Verdict::Warn)], vec![("redis.full", Verdict::Fail)])
        );
        let snapshot = ServerLook { rdb_last_bgsave_status: "err".into(), stops_without_snapshot: true, ..good.clone() };
        assert_eq!(judged(&snapshot), [("redis.snapshot", Verdict::Fail)]);
        assert_eq!(judged(&ServerLook { stops_without_snapshot: false, ..snapshot }), []);
        assert_eq!(judged(&ServerLook { clients: 95, clients_max: 100, ..good }), [("redis.clients", Verdict::Warn)]);
    }
}
