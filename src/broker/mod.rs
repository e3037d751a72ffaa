//! Redis: connections, keys, streams and scripts. The only room that names the Redis client.
//!
//! What is promised: every call is bounded in time; a connection that failed or timed out is never used again; a call that failed may
//! have been executed, so callers repeat only what is harmless to repeat.

pub mod keys;

mod alerts;
mod cluster;
mod cluster_bench;
mod commands;
mod confirm;
mod connection;
mod edges;
mod error;
mod facts;
mod floor_bench;
mod groups;
mod letters;
mod live;
mod located;
mod look;
mod measure;
mod near;
mod pause;
mod peer;
mod presence;
mod probe;
mod replicate;
mod reports;
mod route;
mod scripts;
mod seats;
mod sentinel;
mod server;
mod shard;
mod slots;
mod sos;
mod spread;
mod sql;
mod streams;
mod switch;
mod talk;
mod time;
mod watch;

pub use alerts::{AlertAnswer, AlertCommit};
pub use cluster_bench::ServerShare;
pub use commands::Given;
pub use connection::{Redis, Settings};
pub use edges::{EdgeBeat, LiveEdge, edge_streams};
pub use error::Error;
pub use facts::Facts;
pub use floor_bench::FloorLoad;
pub use groups::{Delivery, Group, GroupState, Reclaimed};
pub use live::Live;
pub use look::{PrimaryLook, SentinelLook, ServerLook, ShardLook, StreamLook};
pub use measure::{Failing, GroupTrouble, StreamMeasure};
pub use pause::{Pause, Pauses};
pub use presence::{FoundSession, OpenAnswer, Opening, Void};
pub use probe::Probes;
pub use replicate::Replication;
pub use reports::Reports;
pub use route::Asked;
pub use shard::{Claim, Commit, CommitAnswer, Fence, LogMarks};
pub use streams::{Reader, StreamEntry, StreamId};
pub use switch::{Primary, Replica, Switched};
