//! What a server is, and whether it can be trusted with messages.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;

use super::error::Error;
use crate::model::Durability;

/// What a connection found out about its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which server it is: `host:port`, or the path of its socket.
    pub server: String,
    /// Of which history what is written to it becomes a part: its run id, random per start of the process, and under Sentinel and in a cluster the epoch of
    /// its configuration, which each promotion raises. A server that was a replica meanwhile has another, though it is the same process: it may have
    /// lost its last writes. (Its replication id says no such thing: it is another one also when the first replica comes.)
    pub history: String,
    /// How many replicas are connected.
    pub replicas: u64,
    /// How safe a write is once it is answered.
    pub durability: Durability,
}

/// What holds for each of several servers: the least durability, and the fewest replicas. The rest is of the first. `None` for no server.
pub(super) fn weakest(all: &[Arc<Facts>]) -> Option<Arc<Facts>> {
    let first = all.first()?;
    let durability = all.iter().map(|facts| facts.durability).min().unwrap_or(first.durability);
    let replicas = all.iter().map(|facts| facts.replicas).min().unwrap_or(first.replicas);
    Some(Arc::new(Facts { durability, replicas, ..Facts::clone(first) }))
}

/// Learns what server this is, named by a configuration of that epoch, and refuses one that would lose what it was given.
pub(super) async fn examine(connection: &mut MultiplexedConnection, server: &str, epoch: Option<u64>) -> Result<Facts, Error> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("INFO").arg("server").arg("replication");
    for name in ["appendonly", "appendfsync", "maxmemory-policy", "maxmemory"] {
        pipeline.cmd("CONFIG").arg("GET").arg(name);
    }
    type Setting = std::collections::HashMap<String, String>;
    let (info, appendonly, appendfsync, policy, maxmemory): (String, Setting, Setting, Setting, Setting) =
        pipeline.query_async(connection).await.map_err(|source| Error::of("ask Redis what it is", source))?;
    let fact = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().to_owned();
    let value = |setting: Setting| setting.into_values().next().unwrap_or_default();
    let version = fact("redis_version");
    if version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_none_or(|major| major < 7) {
        return Err(Error::Unfit { why: format!("its version is {version}, and 7.0 is the lowest that works") });
    }
    // What lives on as a replica takes no write, and is the primary no more: another has to be looked for.
    let role = fact("role");
    if role != "master" {
        return Err(Error::Replica);
    }
    let (policy, maxmemory) = (value(policy), value(maxmemory));
    if policy != "noeviction" && maxmemory != "0" {
        return Err(Error::Unfit {
            why: format!("maxmemory-policy is {policy}, which deletes queues when memory is short: set noeviction"),
        });
    }
    let durability = match (value(appendonly).as_str(), value(appendfsync).as_str()) {
        ("yes", "always") => Durability::Fsync,
        ("yes", "no") => Durability::Written,
        // everysec answers up to two seconds before it writes while an fsync is slow.
        _ => Durability::Memory,
    };
    let run_id = fact("run_id");
    let history = epoch.map_or(run_id.clone(), |epoch| format!("{run_id}:{epoch}"));
    Ok(Facts { server: server.to_owned(), history, replicas: fact("connected_slaves").parse().unwrap_or(0), durability })
}
