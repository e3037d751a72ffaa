//! Looks into a fleet's Redis, for operators. Nothing here changes anything.

use std::collections::HashMap;

use super::connection::Redis;
use super::error::Error;
use super::groups::GroupState;
use super::keys;
use super::route::Route;
use super::streams::{StreamId, parse_entries};

/// How a shard stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ShardLook {
    /// The shard.
    pub shard: u32,
    /// Input frames that wait, on the normal lane.
    pub input: u64,
    /// Input frames that wait, on the urgent lane.
    pub urgent: u64,
    /// Frames of the log that Redis holds.
    pub log: u64,
    /// The epoch; 0 for a shard that never moved.
    pub epoch: u64,
    /// The last commit of the epoch.
    pub commit: u64,
    /// Commits that SQL does not hold yet; `None` when there are some and the archive stands in another epoch, or nowhere.
    pub archive_lag: Option<u64>,
    /// Claims since the last commit that followed no clean stop.
    pub deaths: u64,
    /// What somebody found lost since the epoch began; the next owner begins a new one.
    pub lost: Option<String>,
    /// The run id of the Redis in which the epoch began.
    pub run_id: String,
    /// Who delivers it; `None` for nobody.
    pub deliver: Option<String>,
    /// Who archives it; `None` for nobody.
    pub archive: Option<String>,
    /// Sessions whose user's inbox it has.
    pub sessions: u64,
}

/// How a stream stands from which work is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StreamLook {
    /// Its key.
    pub stream: String,
    /// How many entries it has, those included that are worked on.
    pub length: u64,
    /// For how long the oldest of them has stood there, by the clock of Redis; `None` when there is none.
    pub oldest_ms: Option<u64>,
    /// Its consumer groups.
    pub groups: Vec<GroupState>,
    /// The workers whose heartbeat has not lapsed, idle ones too; none for a stream that no job reads.
    pub workers: Vec<String>,
}

impl StreamLook {
    /// How many entries are given out and not finished.
    pub fn pending(&self) -> u64 {
        self.groups.iter().map(|group| group.pending).sum()
    }
}

/// What a sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelLook {
    /// `host:port`.
    pub name: String,
    /// Whom it names as the primary, or why it says nothing.
    pub primary: Result<PrimaryLook, String>,
}

/// A primary as a sentinel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryLook {
    /// `host:port`.
    pub address: String,
    /// Of the sentinel's configuration: the higher is the newer.
    pub epoch: u64,
}

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ServerLook {
    /// `host:port`, or the path of its socket.
    pub address: String,
    /// As `7.0.15`.
    pub version: String,
    /// Random per start.
    pub run_id: String,
    /// Its process.
    pub pid: u32,
    /// `yes` or `no`.
    pub appendonly: String,
    /// `always`, `everysec` or `no`.
    pub appendfsync: String,
    /// What happens when memory is short.
    pub maxmemory_policy: String,
    /// `ok`, or the append-only file could not be written.
    pub aof_last_write_status: String,
    /// How many replicas follow it.
    pub replicas: u64,
    /// `ok`, or the last snapshot could not be written.
    pub rdb_last_bgsave_status: String,
    /// Whether it refuses all writes when a snapshot could not be written, and snapshots are wanted.
    pub stops_without_snapshot: bool,
    /// Commands it has done since its start.
    pub commands: u64,
    /// Connections it has, and the most it takes.
    pub clients: u64,
    /// See [`ServerLook::clients`].
    pub clients_max: u64,
    /// In bytes.
    pub used_memory: u64,
    /// In bytes; 0 for no bound.
    pub maxmemory: u64,
    /// Its clock, UTC ms.
    pub time_ms: u64,
    /// The number of shards pinned; `None` before the first start of a fleet.
    pub shards: Option<u32>,
}

type ShardParts = (u64, u64, u64, [Option<String>; 5], Option<String>, Option<String>, Option<String>, u64);

impl Redis {
    /// How the shards stand.
    pub async fn look_at_shards(&self, shards: u32) -> Result<Vec<ShardLook>, Error> {
        let mut looks = Vec::new();
        for shard in 0..shards {
            looks.push(self.look_at_shard(shard).await?);
        }
        Ok(looks)
    }

    /// How one shard stands.
    pub async fn look_at_shard(&self, shard: u32) -> Result<ShardLook, Error> {
        let mut pipeline = redis::Pipeline::new();
        for stream in [keys::input(shard), keys::urgent(shard), keys::log(shard)] {
            pipeline.cmd("XLEN").arg(stream);
        }
        pipeline.cmd("HMGET").arg(keys::meta(shard)).arg(["epoch", "commit", "deaths", "lost", "run_id"].as_slice());
        for key in [keys::lease(shard, "deliver"), keys::lease(shard, "archive"), keys::archived(shard)] {
            pipeline.cmd("GET").arg(key);
        }
        pipeline.cmd("ZCARD").arg(keys::deadlines(shard));
        let (input, urgent, log, meta, deliver, archive, archived, sessions): ShardParts = self.pipe("look at a shard", &pipeline).await?;
        let [epoch, commit, deaths, lost, run_id] = meta;
        // Without the epoch of the sentinels, which the server does not know.
        let run_id = run_id.unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
        let [epoch, commit, deaths] = [epoch, commit, deaths].map(|text| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0));
        let archived = archived.and_then(|text| text.parse::<StreamId>().ok());
        let archive_lag = match archived {
            Some(at) if at.0 == epoch => Some(commit.saturating_sub(at.1)),
            _ if log == 0 => Some(0),
            // An epoch that began and decided nothing since: what matters is whether there is anything behind.
            Some(at) => {
                let behind = self.range(&keys::log(shard), at.next(), StreamId(u64::MAX, u64::MAX), 1).await?;
                behind.is_empty().then_some(0)
            }
            None => None,
        };
        Ok(ShardLook { shard, input, urgent, log, epoch, commit, archive_lag, deaths, lost, run_id, deliver, archive, sessions })
    }

    /// How a stream stands, and who works on it: `job` is who takes from it.
    pub async fn look_at_stream(&self, stream: &str, job: Option<&str>, now_ms: u64) -> Result<StreamLook, Error> {
        const OPERATION: &str = "look at a stream";
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("XLEN").arg(stream).cmd("XRANGE").arg(stream).arg("-").arg("+").arg("COUNT").arg(1).cmd("TIME");
        let (length, oldest, time): (u64, redis::Value, (u64, u64)) = self.pipe(OPERATION, &pipeline).await?;
        let oldest = parse_entries(OPERATION, oldest)?.pop();
        // For people alone: the id is by the clock that is asked beside it, and nothing is decided by it.
        let oldest_ms = oldest.map(|entry| time_ms(time).saturating_sub(entry.id.0));
        let workers = match job {
            Some(job) => self.live_workers(job, now_ms).await?,
            None => Vec::new(),
        };
        Ok(StreamLook { stream: stream.to_owned(), length, oldest_ms, groups: self.groups(stream).await?, workers })
    }

    /// What each server says of itself: one, or all primaries of a cluster.
    pub async fn look_at_servers(&self) -> Result<Vec<ServerLook>, Error> {
        let mut command = redis::cmd("GET");
        command.arg(keys::shards());
        let shards: Option<u32> = self.command("look for the number of shards", command).await?;
        let mut looks = Vec::new();
        for server in self.each().await? {
            looks.push(ServerLook { shards, ..server.look_at_server().await? });
        }
        Ok(looks)
    }

    /// What each sentinel says; nothing where there are none.
    ///
    /// # Errors
    /// Of a cluster none of whose servers answers.
    pub async fn look_at_sentinels(&self) -> Result<Vec<SentinelLook>, Error> {
        match self.server_of(None).await?.route() {
            Route::Sentinels(sentinels) => Ok(sentinels.look().await),
            _ => Ok(Vec::new()),
        }
    }

    /// What the server says of itself; of a cluster one of them. Not the number of shards.
    pub async fn look_at_server(&self) -> Result<ServerLook, Error> {
        let address = self.facts().await?.server.clone();
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("INFO");
        let names = ["appendonly", "appendfsync", "maxmemory-policy", "stop-writes-on-bgsave-error", "save", "maxclients"];
        pipeline.cmd("CONFIG").arg("GET").arg(names.as_slice());
        pipeline.cmd("TIME");
        let (info, settings, time): (String, HashMap<String, String>, (u64, u64)) = self.pipe("look at the server", &pipeline).await?;
        let fact =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim().to_owned();
        let number = |name: &str| fact(name).parse().unwrap_or(0);
        let setting = |name: &str| settings.get(name).cloned().unwrap_or_default();
        Ok(ServerLook {
            address,
            version: fact("redis_version"),
            run_id: fact("run_id"),
            pid: fact("process_id").parse().unwrap_or(0),
            appendonly: setting("appendonly"),
            appendfsync: setting("appendfsync"),
            maxmemory_policy: setting("maxmemory-policy"),
            aof_last_write_status: fact("aof_last_write_status"),
            replicas: number("connected_slaves"),
            rdb_last_bgsave_status: fact("rdb_last_bgsave_status"),
            stops_without_snapshot: setting("stop-writes-on-bgsave-error") == "yes" && !setting("save").is_empty(),
            commands: number("total_commands_processed"),
            clients: number("connected_clients"),
            clients_max: setting("maxclients").parse().unwrap_or(0),
            used_memory: number("used_memory"),
            maxmemory: number("maxmemory"),
            time_ms: time_ms(time),
            shards: None,
        })
    }
}

/// What TIME says, in UTC ms.
fn time_ms((seconds, micros): (u64, u64)) -> u64 {
    seconds * 1_000 + micros / 1_000
}
