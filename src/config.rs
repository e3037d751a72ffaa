//! What an operator may set: `config/roger.toml`, overridden by the environment, overridden by flags.
//!
//! Every key, its default and its rule stand once, in [`KEYS`]; the file documents them. A key of the file is overridden by
//! `ROGER_<SECTION>_<KEY>` (`ROGER_REDIS_URL` for `url` in `[redis]`; lists are separated by commas), so that secrets need not stand in a
//! file. A key nobody knows is refused, in the file and in the environment: a typing error would otherwise be a default.
//!
//! Everything that can be judged without a server is judged by [`Config::load`], before a port is bound. Nothing is read again later.

mod keys;
mod load;
mod notify;
mod secret;
mod servers;
mod talk;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

pub use keys::{KEYS, Key, Rule, Value};
pub use load::{Error, Origin, Sources};
pub use notify::{Doctor, Listener, Sms, SmsProvider};
pub use secret::{BadSecret, Secret};
pub use servers::{Receipts, Redis};
pub use talk::{Floor, Janus};

/// The exit code of a program whose configuration is wrong; supervisord takes it as final.
pub const EXIT_CODE: u8 = 78;

/// For whom a configuration is loaded: a program refuses to start without the files that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Needs the public key.
    Edge,
    /// Needs the public and the secret key.
    Directory,
    /// Needs the public key, and its own files where they are set.
    Gateway,
    /// Needs no key.
    Delivery,
    /// Needs no key.
    Offline,
    /// Needs no key.
    Sos,
    /// Needs no key.
    Gps,
    /// Needs the secret of Janus, where there is a stock one.
    Janus,
    /// Needs its rules, and what carries texts.
    Listener,
    /// The command line: its commands open what they need themselves.
    Roger,
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What all programs of a deployment must agree on.
    pub fleet: Fleet,
    /// The queue.
    pub redis: Redis,
    /// What a receipt waits for.
    pub durability: Receipts,
    /// The store.
    pub sql: Sql,
    /// Tokens.
    pub auth: Auth,
    /// The edge program.
    pub edge: Edge,
    /// The directory program.
    pub directory: Directory,
    /// The gateway program.
    pub gateway: Gateway,
    /// The delivery program.
    pub delivery: Delivery,
    /// Who may talk in a room, and for how long.
    pub floor: Floor,
    /// The offline program.
    pub offline: Offline,
    /// The gps program, and what it leaves to the doors.
    pub gps: Gps,
    /// The sos program, and where SOS goes.
    pub sos: Sos,
    /// The janus program.
    pub janus: Janus,
    /// Texts to telephones.
    pub sms: Sms,
    /// The sms-listener program.
    pub listener: Listener,
    /// What `roger doctor` looks at beside the fleet.
    pub doctor: Doctor,
    /// Where each program serves its counters.
    pub metrics: Metrics,
    /// Where traces go.
    pub trace: Trace,
    /// Who yields the processor to whom.
    pub processor: Processor,
    /// What goes to stderr.
    pub log: Log,
    /// How long stopping may take.
    pub shutdown: Shutdown,
}

/// `[fleet]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// How many shards topics are spread over: 1 to 1024, fixed for the life of a deployment.
    pub shards: u16,
}

/// `[sql]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    /// `sqlite:/absolute/path` or `mysql://user:password@host:port/database`.
    pub url: String,
    /// The other server of a pair, `mysql://user:password@host:port/database`; empty for none.
    pub standby_url: String,
    /// Whether history is read from the standby.
    pub read_from_standby: bool,
    /// How far it may be behind for that; beyond, the primary is read from.
    #[serde(rename = "standby_lag_max_s", deserialize_with = "seconds")]
    pub standby_lag_max: Duration,
    /// The file with the accounts of the administrator and of the replication, for `roger sql`; its mode is at most 0600.
    #[serde(deserialize_with = "path_or_off")]
    pub admin_file: Option<PathBuf>,
    /// The longest a statement may take before its connection is given up.
    #[serde(rename = "statement_timeout_ms", deserialize_with = "milliseconds")]
    pub statement_timeout: Duration,
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The key that verifies access tokens; edges and the directory read it.
    pub public_key_file: PathBuf,
    /// The key that signs them; only the directory reads it. Its mode is at most 0640.
    pub secret_key_file: PathBuf,
    /// How long an access token is good for.
    #[serde(rename = "token_lifetime_s", deserialize_with = "seconds")]
    pub token_lifetime: Duration,
    /// How long a resume token is good for, unless used: using it gives a new one.
    #[serde(rename = "resume_lifetime_s", deserialize_with = "seconds")]
    pub resume_lifetime: Duration,
}

/// `[edge]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Names the edge in Redis keys: unique among the edges of a fleet.
    pub name: String,
    /// Where clients connect, in clear text.
    pub listen: SocketAddr,
    /// Whether `listen` may be an address that others can reach.
    pub cleartext_beyond_loopback: bool,
    /// How often a client shows that it is there; three missed ones end the session.
    #[serde(rename = "heartbeat_interval_ms", deserialize_with = "milliseconds")]
    pub heartbeat_interval: Duration,
    /// The most sessions; a further one is refused as `edge_full`.
    pub sessions_max: usize,
    /// What a session may send for long; 0 for no limit. More is refused as `rate_limited`.
    pub rate_messages_per_s: u32,
    /// What a session may send at once; 0 for no limit.
    pub rate_burst: u32,
    /// The most entries that wait for a session; at the bound it stops taking live entries and is replayed.
    pub queue_entries_max: usize,
    /// The most bytes that wait for a session; at the bound as above.
    pub queue_bytes_max: usize,
    /// The most entries a session was sent and has not acknowledged; at the bound nothing more is sent to it.
    pub unacked_entries_max: usize,
    /// How long a client may leave its stream unread before the session is closed as `slow_consumer`.
    #[serde(rename = "slow_consumer_ms", deserialize_with = "milliseconds")]
    pub slow_consumer: Duration,
    /// How long acknowledgements wait for others to share a frame with.
    #[serde(rename = "mark_linger_ms", deserialize_with = "milliseconds")]
    pub mark_linger: Duration,
    /// The origins of web pages that may call; empty for none.
    pub cors_origins: Vec<String>,
}

/// `[directory]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Where clients log in, in clear text.
    pub listen: SocketAddr,
    /// Whether `listen` may be an address that others can reach.
    pub cleartext_beyond_loopback: bool,
    /// The most connections; a further one is closed at once.
    pub connections_max: usize,
    /// How often a minute one may try to log in to an account with a password; 0 for no limit. More is refused as `rate_limited`.
    pub account_logins_per_min: u32,
    /// How often a minute one may try from an address; 0 for no limit. More is refused as `rate_limited`.
    pub address_logins_per_min: u32,
    /// Where apps find the gateway's releases, `http(s)://HOST[/PATH]`; empty when apps of any age may log in.
    pub releases_url: String,
    /// The origins of web pages that may call; empty for none.
    pub cors_origins: Vec<String>,
}

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Where clients ask over HTTP, in clear text.
    pub listen: SocketAddr,
    /// Whether `listen` may be an address that others can reach.
    pub cleartext_beyond_loopback: bool,
    /// The most connections; a further one is closed at once.
    pub connections_max: usize,
    /// The most uploads at once; a further one is refused as `busy`. Each may need as much room in `spool_dir` as the largest upload.
    pub uploads_max: usize,
    /// How long an upload may bring nothing, or a download take nothing, before its connection is closed.
    #[serde(rename = "stall_ms", deserialize_with = "milliseconds")]
    pub stall: Duration,
    /// Where releases and files lie: `file:///absolute/path` or `s3://bucket/prefix`.
    pub object_url: String,
    /// Where uploads lie until they are judged; files without a name.
    pub spool_dir: PathBuf,
    /// The key that verifies the signatures of releases; `None`: no release is taken in.
    #[serde(deserialize_with = "path_or_off")]
    pub release_public_key_file: Option<PathBuf>,
    /// The largest release.
    pub release_bytes_max: u64,
    /// The largest file.
    pub file_bytes_max: u64,
    /// The most bytes of all files of a tenant, each upload counted; 0 for no limit. More is refused as `quota_exceeded`.
    pub tenant_bytes_max: u64,
    /// How many days an attachment is kept; 0 for ever.
    pub attachment_days: u64,
    /// How many days a log is kept; 0 for ever.
    pub log_days: u64,
    /// The nodes of the deployment and their addresses; `None`: nobody is told one.
    #[serde(deserialize_with = "path_or_off")]
    pub nodes_file: Option<PathBuf>,
    /// How often a minute an address may ask for server addresses or its release; 0 for no limit. More is refused as `rate_limited`.
    pub address_requests_per_min: u32,
    /// How often a minute a phone may report, SOS apart; 0 for no limit. More is refused as `rate_limited`.
    pub phone_reports_per_min: u32,
    /// The origins of web pages that may call; empty for none.
    pub cors_origins: Vec<String>,
}

/// `[delivery]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// How long the lease of a shard outlives an owner that no longer renews it.
    #[serde(rename = "lease_ttl_ms", deserialize_with = "milliseconds")]
    pub lease_ttl: Duration,
    /// The most input frames in one commit.
    pub batch_frames_max: usize,
    /// The most input frames that wait for a shard; at the bound edges refuse new messages as `backlog`, alerts excepted.
    pub backlog_frames_max: usize,
    /// How often the state of a shard is written beside its log.
    #[serde(rename = "checkpoint_interval_ms", deserialize_with = "milliseconds")]
    pub checkpoint_interval: Duration,
}

/// `[offline]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offline {
    /// How long Redis keeps what SQL already holds.
    #[serde(rename = "retention_s", deserialize_with = "seconds")]
    pub retention: Duration,
    /// The most bytes of a shard's log; at the bound what SQL holds is trimmed before its retention is over. What SQL does not hold stays.
    pub log_bytes_max: u64,
    /// The most entries in one transaction of the archive.
    pub archive_batch_entries_max: usize,
    /// How long the archive waits for a batch to fill.
    #[serde(rename = "archive_linger_ms", deserialize_with = "milliseconds")]
    pub archive_linger: Duration,
}

/// `[gps]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gps {
    /// The most bytes of reports that wait for SQL; at the bound further ones are refused as `backlog`.
    pub backlog_bytes_max: u64,
    /// Whether access points are learned from devices with a good fix.
    pub learn_wifi: bool,
}

/// `[sos]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sos {
    /// A Redis of its own for alerts, as `redis.url`; empty for the one of all else.
    pub redis_url: String,
    /// How often an alert of nobody is sent the whole way; zero for never.
    #[serde(rename = "probe_interval_s", deserialize_with = "seconds")]
    pub probe_interval: Duration,
}

impl Config {
    /// The Redis of alerts.
    pub fn sos_url(&self) -> &str {
        if self.sos.redis_url.is_empty() { &self.redis.url } else { &self.sos.redis_url }
    }
}

/// `[metrics]`: Prometheus text over HTTP, on loopback; `None` for off.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Of the edge.
    #[serde(deserialize_with = "address_or_off")]
    pub edge_listen: Option<SocketAddr>,
    /// Of the directory.
    #[serde(deserialize_with = "address_or_off")]
    pub directory_listen: Option<SocketAddr>,
    /// Of the gateway.
    #[serde(deserialize_with = "address_or_off")]
    pub gateway_listen: Option<SocketAddr>,
    /// Of the delivery program.
    #[serde(deserialize_with = "address_or_off")]
    pub delivery_listen: Option<SocketAddr>,
    /// Of the offline program.
    #[serde(deserialize_with = "address_or_off")]
    pub offline_listen: Option<SocketAddr>,
    /// Of the sos program.
    #[serde(deserialize_with = "address_or_off")]
    pub sos_listen: Option<SocketAddr>,
    /// Of the gps program.
    #[serde(deserialize_with = "address_or_off")]
    pub gps_listen: Option<SocketAddr>,
    /// Of the janus program.
    #[serde(deserialize_with = "address_or_off")]
    pub janus_listen: Option<SocketAddr>,
    /// Of the sms-listener program.
    #[serde(deserialize_with = "address_or_off")]
    pub listener_listen: Option<SocketAddr>,
}

/// `[trace]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The collector that traces go to, by OTLP over gRPC; `None`: nothing is traced.
    #[serde(deserialize_with = "text_or_off")]
    pub otlp_url: Option<String>,
    /// Of how many messages one is traced.
    pub one_in: u32,
}

/// `[processor]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// Whether programs set their niceness.
    #[serde(rename = "yield")]
    pub yields: bool,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// The lowest level that is written: error, warn, info, debug or trace. `RUST_LOG` overrides it, by module.
    pub level: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[shutdown]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long a program finishes what it has begun after SIGTERM; shorter than supervisord's `stopwaitsecs` of 10 s.
    #[serde(rename = "grace_ms", deserialize_with = "milliseconds")]
    pub grace: Duration,
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

fn address_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

fn text_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then_some(text))
}

fn path_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| text.into()))
}
