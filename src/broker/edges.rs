//! Edges and workers telling that they live.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::WHEN_FULL;

/// How many keys one look takes, and how many looks are taken, for streams that are left over.
const SCANNED: u32 = 1_000;
const SCANS_MAX: u32 = 2_000;

/// What an edge says of itself with each heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeBeat {
    /// Its boot name: unique per start.
    pub boot: String,
    /// Its configured name.
    pub name: String,
    /// Where clients reach it.
    pub listen: String,
    /// How many sessions it has.
    pub sessions: u64,
    /// When it started, UTC ms.
    pub started_ms: u64,
}

/// An edge whose heartbeat has not lapsed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LiveEdge {
    /// Its boot name.
    pub boot: String,
    /// Its configured name.
    pub name: String,
    /// Where clients reach it.
    pub listen: String,
    /// How many sessions it said it has.
    pub sessions: u64,
}

/// The streams of an edge, in the order in which it reads them.
pub fn edge_streams(boot: &str) -> [String; 4] {
    [keys::out_urgent(boot), keys::out(boot), keys::out_replay(boot), keys::out_positions(boot)]
}

impl Redis {
    /// An edge lives for `lifetime` from `now_ms` on. Returns whether its streams are still there; when not (it slept, or Redis lost them),
    /// they are made again, and everything on them is lost: its sessions have to attach again.
    pub async fn beat_edge(&self, beat: &EdgeBeat, now_ms: u64, lifetime: Duration) -> Result<bool, Error> {
        let lifetime_ms = lifetime.as_millis() as u64;
        let streams = edge_streams(&beat.boot);
        let mut pipeline = redis::Pipeline::new();
        let mut command = WHEN_FULL.call(&[&keys::edges()]);
        command.arg("ZADD").arg(now_ms + lifetime_ms).arg(&beat.boot);
        pipeline.add_command(command).ignore();
        let about = keys::edge(&beat.boot);
        let mut command = WHEN_FULL.call(&[&about]);
        command.arg("HSET").arg("name").arg(&beat.name).arg("listen").arg(&beat.listen);
        command.arg("sessions").arg(beat.sessions).arg("started_ms").arg(beat.started_ms);
        pipeline.add_command(command).ignore();
        pipeline.cmd("PEXPIRE").arg(&about).arg(lifetime_ms).ignore();
        for stream in &streams {
            pipeline.cmd("PEXPIRE").arg(stream).arg(lifetime_ms);
        }
        let there: [bool; 4] = self.pipe("send an edge's heartbeat", &pipeline).await?;
        if there == [true; 4] {
            return Ok(true);
        }
        let mut pipeline = redis::Pipeline::new();
        for stream in &streams {
            // A group is the way to make an empty stream; nobody reads by it.
            pipeline.cmd("XADD").arg(stream).arg("MAXLEN").arg(0).arg("*").arg("made").arg("").ignore();
            pipeline.cmd("PEXPIRE").arg(stream).arg(lifetime_ms).ignore();
        }
        self.pipe::<()>("make an edge's streams", &pipeline).await?;
        Ok(false)
    }

    /// An edge stops.
    pub async fn retire_edge(&self, boot: &str) -> Result<(), Error> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("ZREM").arg(keys::edges()).arg(boot).ignore();
        pipeline.cmd("DEL").arg(keys::edge(boot)).arg(edge_streams(boot).as_slice()).ignore();
        self.pipe("retire an edge", &pipeline).await
    }

    /// The boot names of the edges whose heartbeat has not lapsed.
    pub async fn live_edges(&self, now_ms: u64) -> Result<Vec<String>, Error> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(keys::edges()).arg(format!("({now_ms}")).arg("+inf");
        self.command("list edges", command).await
    }

    /// The streams of edges that do not live and that no expiry takes away: owners write to none of them, and nobody reads them. Also
    /// whether all keys were looked at; of a Redis with very many only about two million are.
    pub async fn left_over_streams(&self, now_ms: u64) -> Result<(Vec<String>, bool), Error> {
        let live: HashSet<String> = self.live_edges(now_ms).await?.into_iter().collect();
        let (mut left, mut all_seen) = (BTreeSet::new(), true);
        for server in self.each().await? {
            all_seen &= server.left_over(&live, &mut left).await?;
        }
        Ok((left.into_iter().collect(), all_seen))
    }

    /// Those of one server; whether all its keys were looked at.
    async fn left_over(&self, live: &HashSet<String>, left: &mut BTreeSet<String>) -> Result<bool, Error> {
        let operation = "look for streams of edges that are gone";
        let mut cursor = 0_u64;
        for _ in 0..SCANS_MAX {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(format!("{}*", keys::OUT_PREFIX)).arg("COUNT").arg(SCANNED);
            let (next, found): (u64, Vec<String>) = self.command(operation, command).await?;
            for key in found {
                let boot = key.strip_prefix(keys::OUT_PREFIX).and_then(|rest| rest.split('}').next()).unwrap_or_default();
                if live.contains(boot) {
                    continue;
                }
                let mut command = redis::cmd("PTTL");
                command.arg(&key);
                // -1: there is no expiry.
                if self.command::<i64>(operation, command).await? == -1 {
                    left.insert(key);
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(cursor == 0)
    }

    /// The boot names of edges that did not retire and whose heartbeat lapsed within the last ten minutes, with since when (UTC ms).
    pub async fn silent_edges(&self, now_ms: u64) -> Result<Vec<(String, u64)>, Error> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(keys::edges()).arg(now_ms.saturating_sub(600_000)).arg(now_ms).arg("WITHSCORES");
        self.command("list edges that are silent", command).await
    }

    /// Deletes streams of edges that are gone, as [`Redis::left_over_streams`] lists them.
    pub async fn drop_streams(&self, streams: &[String]) -> Result<(), Error> {
        let mut pipeline = redis::Pipeline::with_capacity(streams.len());
        for stream in streams {
            pipeline.cmd("UNLINK").arg(stream).ignore();
        }
        self.pipe("delete streams of edges that are gone", &pipeline).await
    }

    /// Has Redis refuse writes rather than forget something when its memory is full; until it is started again, if its file says otherwise.
    pub async fn evict_nothing(&self) -> Result<(), Error> {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxmemory-policy").arg("noeviction");
        self.command("set maxmemory-policy", command).await
    }

    /// The live edges with what they said of themselves; whoever only listens as one says nothing.
    pub async fn describe_edges(&self, now_ms: u64) -> Result<Vec<LiveEdge>, Error> {
        let mut edges = Vec::new();
        for boot in self.live_edges(now_ms).await? {
            let mut command = redis::cmd("HMGET");
            command.arg(keys::edge(&boot)).arg("name").arg("listen").arg("sessions");
            let (name, listen, sessions): (Option<String>, Option<String>, Option<u64>) = self.command("describe an edge", command).await?;
            let Some(name) = name else { continue };
            let listen = listen.unwrap_or_default();
            edges.push(LiveEdge { boot, name, listen, sessions: sessions.unwrap_or(0) });
        }
        Ok(edges)
    }

    /// A worker of `job` lives for `lifetime_ms` from `now_ms` on; returns how many of its kind do, itself included. Also forgets the edges
    /// and workers whose heartbeat lapsed long ago.
    pub async fn beat_worker(&self, job: &str, name: &str, now_ms: u64, lifetime_ms: u64) -> Result<u64, Error> {
        let (workers, long_ago) = (keys::workers(job), now_ms.saturating_sub(600_000));
        let mut pipeline = redis::Pipeline::new();
        let mut command = WHEN_FULL.call(&[&workers]);
        command.arg("ZADD").arg(now_ms + lifetime_ms).arg(name);
        pipeline.add_command(command).ignore();
        pipeline.cmd("ZREMRANGEBYSCORE").arg(&workers).arg("-inf").arg(long_ago).ignore();
        pipeline.cmd("ZREMRANGEBYSCORE").arg(keys::edges()).arg("-inf").arg(long_ago).ignore();
        pipeline.cmd("ZCOUNT").arg(&workers).arg(format!("({now_ms}")).arg("+inf");
        self.pipe::<(u64,)>("send a worker's heartbeat", &pipeline).await.map(|(live,)| live)
    }

    /// A worker stops.
    pub async fn retire_worker(&self, job: &str, name: &str) -> Result<(), Error> {
        let mut command = redis::cmd("ZREM");
        command.arg(keys::workers(job)).arg(name);
        self.command("retire a worker", command).await
    }

    /// The workers of a job whose heartbeat has not lapsed.
    pub async fn live_workers(&self, job: &str, now_ms: u64) -> Result<Vec<String>, Error> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(keys::workers(job)).arg(format!("({now_ms}")).arg("+inf");
        self.command("list workers", command).await
    }
}
