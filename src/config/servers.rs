//! What concerns the servers the fleet stands on, and what they promise.

use std::time::Duration;

use serde::Deserialize;

use super::milliseconds;
use crate::model::Durability;

/// `[redis]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://[user:password@]host[:port][/database]`, `redis+unix:///path`,
    /// `redis-sentinel://[user:password@]host:port,host:port,…[/database]#service`, or `redis-cluster://[user:password@]host:port,host:port,…`.
    pub url: String,
    /// The longest a connection may take to be there.
    #[serde(rename = "connect_timeout_ms", deserialize_with = "milliseconds")]
    pub connect_timeout: Duration,
    /// The longest an answer may take; blocking reads add their block time.
    #[serde(rename = "response_timeout_ms", deserialize_with = "milliseconds")]
    pub response_timeout: Duration,
    /// On so many replicas something has to be to count as replicated; 0 for no replica at all.
    pub replicas: u32,
    /// The longest they may take.
    #[serde(rename = "replica_wait_ms", deserialize_with = "milliseconds")]
    pub replica_wait: Duration,
}

impl Redis {
    /// Whether a replica takes over by itself when a primary dies: under sentinels and in a cluster.
    pub fn fails_over(&self) -> bool {
        ["redis-sentinel://", "redis-cluster://"].iter().any(|scheme| self.url.starts_with(scheme))
    }
}

/// `[durability]`: what a receipt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipts {
    /// Of messages.
    pub messages: Durability,
    /// Of presses of SOS.
    pub alerts: Durability,
    /// Of reports of positions.
    pub reports: Durability,
    /// How long receipts wait for SQL that are to.
    #[serde(rename = "sql_wait_ms", deserialize_with = "milliseconds")]
    pub sql_wait: Duration,
}
