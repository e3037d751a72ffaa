//! Taking a shard over: claim, checkpoint, log; and a new epoch where something was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;

use super::forward::Forwards;
use super::outlet::Outlet;
use super::turn::Owner;
use super::{Deliver, Error};
use crate::broker::{self, Claim, CommitAnswer, Fence, Reader, Redis, StreamId, keys};
use crate::topic::Shard;
use crate::topic::frame::{FloorFrame, FloorRequest, Input, LogFrame, RowKind};
use crate::worker::Tenure;

/// How many log frames are loaded at a time.
const LOG_FRAMES_A_CALL: usize = 500;
/// How long a floor may take to begin, or to go on, before it is asked for again.
const FLOOR_PATIENCE: Duration = Duration::from_secs(10);
/// How long the stream for an answer lives that never begins: a request whose stream is gone is not answered.
const FLOOR_LIFETIME: Duration = Duration::from_secs(20);

/// Claims the shard and loads it; `None` when it is time to stop before that. `lost` says what an edge saw that Redis does not have.
pub(super) async fn take(job: &Deliver, tenure: &Tenure, lost: Option<&str>) -> Result<Option<Owner>, Error> {
    let shard = tenure.shard;
    let failed = |source| Error::Broker { shard, source };
    // All of it over one connection: what was pushed or written before it broke may be gone, and nothing else would show that.
    let (redis, facts) = job.redis.hold(&keys::meta(shard)).await.map_err(failed)?;
    let mut fence = Fence::new(shard);
    let Some(mut claim) = redis.claim(&mut fence, "deliver", &tenure.holder).await.map_err(failed)? else {
        return Err(Error::Fenced { shard });
    };
    if let Some(how) = lost {
        claim.lost = Some(how.to_owned());
    }
    let (mut state, mut forwards) = load(&redis, shard, job.settings.shards, &claim).await.map_err(failed)?;
    if let Some(why) = why_new_epoch(&claim, &facts.history, &state) {
        tracing::warn!(shard, why, epoch = state.epoch(), "a new epoch is needed");
        let Some(floor) = ask_floor(job, &redis, tenure, state.epoch(), why).await? else { return Ok(None) };
        let ends_at = StreamId(state.epoch(), state.commit());
        let outrun = state.yield_to(floor.archived);
        if outrun {
            // An empty one missed all of them, and that was said.
            if ends_at.0 > 0 {
                tracing::warn!(shard, archived = floor.archived, %ends_at, "this server missed an epoch; the shard starts from what SQL has");
            }
            forwards = Forwards::new(shard, job.settings.shards);
        } else {
            // Before anything new is decided.
            forwards.push(&redis).await.map_err(failed)?;
        }
        let first = begin(&redis, &mut fence, &mut state, floor, outrun, &facts.history, job.clock.now_ms()).await?;
        first.iter().for_each(|frame| forwards.collect(frame));
        // An emptied Redis forgot that too, and a program with another number must not be the first to say it.
        redis.pin_shards(job.settings.shards).await.map_err(failed)?;
    }
    // Before anything new is decided.
    forwards.push(&redis).await.map_err(failed)?;
    let outlet = Outlet::new(shard, state.epoch(), claim.token, fence.nonce());
    tracing::info!(shard, epoch = state.epoch(), commit = state.commit(), token = claim.token, topics = state.topics(), "owns the shard");
    state.set_floor_limits(job.settings.floor);
    let mut owner = Owner::new(job, (redis, facts), tenure.clone(), fence, claim, state, outlet, forwards);
    owner.announce().await?;
    owner.resume_floors().await?;
    Ok(Some(owner))
}

/// The state as Redis has it, and the forwards that may not have been pushed. Nobody else can write since the claim.
async fn load(redis: &Redis, shard: u32, shards: u32, claim: &Claim) -> Result<(Shard, Forwards), broker::Error> {
    let rows = redis.load_rows(shard).await?;
    let mut state = Shard::from_checkpoint(claim.checkpoint.0, claim.checkpoint.1, rows);
    let mut forwards = Forwards::new(shard, shards);
    let mut from = claim.checkpoint.next();
    while let Some(frames) = read_log(redis, shard, &mut from).await? {
        for frame in &frames {
            state.fold(frame);
            forwards.collect(frame);
        }
    }
    Ok((state, forwards))
}

/// The next frames of the log; `None` when there are no more.
async fn read_log(redis: &Redis, shard: u32, from: &mut StreamId) -> Result<Option<Vec<LogFrame>>, broker::Error> {
    let log = keys::log(shard);
    let entries = redis.range(&log, *from, StreamId(u64::MAX, u64::MAX), LOG_FRAMES_A_CALL).await?;
    let Some(last) = entries.last() else { return Ok(None) };
    *from = last.id.next();
    entries.iter().map(|entry| entry.decode(&log)).collect::<Result<_, _>>().map(Some)
}

/// Whether what Redis has can be trusted to be everything it ever answered for.
fn why_new_epoch(claim: &Claim, history: &str, state: &Shard) -> Option<String> {
    let Some(epoch) = claim.epoch else { return Some("Redis has no state of it".to_owned()) };
    if let Some(lost) = &claim.lost {
        return Some(lost.clone());
    }
    if (epoch, claim.commit) != (state.epoch(), state.commit()) {
        let (log_epoch, log_commit) = (state.epoch(), state.commit());
        return Some(format!("its log ends at {log_epoch}/{log_commit}, its last commit was {epoch}/{}", claim.commit));
    }
    // A server that was restarted or promoted may have lost its last writes.
    (claim.history != history).then(|| "Redis was restarted or replaced".to_owned())
}

/// Merges everything SQL knows into what is left, and begins the epoch that SQL allocated: its rows first, then all else in one step. Where another
/// server has outrun this one nothing is left: the rows take the place of all others, and what the log has on messages that SQL knows nothing of is
/// decided anew. Returns the first commit, if it decided anything.
async fn begin(
    redis: &Redis,
    fence: &mut Fence,
    state: &mut Shard,
    floor: Floor,
    outrun: bool,
    history: &str,
    now_ms: u64,
) -> Result<Option<LogFrame>, Error> {
    let shard = fence.shard;
    let failed = |source| Error::Broker { shard, source };
    let ended = state.epoch();
    let (rows, mut batch) = state.restart(floor.epoch, floor.rows, floor.current, now_ms);
    let mut gone = Vec::new();
    if outrun {
        gone.extend(redis.load_rows(shard).await.map_err(failed)?.iter().map(RowKind::key));
        // What this server knew to be archived of its own log is in SQL, and needs no second notice.
        let archived = redis.archived(&[shard]).await.map_err(failed)?.into_iter();
        let mut from = archived.flatten().find(|at| at.0 <= ended).unwrap_or_default().next();
        while let Some(frames) = read_log(redis, shard, &mut from).await.map_err(failed)? {
            state.rescue(&mut batch, &frames, now_ms);
        }
    }
    let first = state.seal(&mut batch, now_ms);
    let written = redis.checkpoint(fence, None, &rows, &gone).await.map_err(failed)?;
    if written == CommitAnswer::Fenced
        || redis.begin_epoch(fence, floor.epoch, history, first.as_ref()).await.map_err(failed)? == CommitAnswer::Fenced
    {
        return Err(Error::Fenced { shard });
    }
    tracing::info!(shard, epoch = floor.epoch, rows = rows.len(), "began a new epoch");
    Ok(first)
}

struct Floor {
    epoch: u64,
    /// The epoch of the last commit that SQL has.
    archived: u64,
    rows: Vec<RowKind>,
    current: Vec<Input>,
}

async fn ask_floor(job: &Deliver, redis: &Redis, tenure: &Tenure, epoch_above: u64, why: String) -> Result<Option<Floor>, Error> {
    let shard = tenure.shard;
    let failed = |source| Error::Broker { shard, source };
    let mut reader = Reader::new(&job.redis, Duration::from_millis(500));
    loop {
        let reply = keys::floor_reply(shard, rand::random());
        let request = FloorRequest { shard, shards: job.settings.shards, reply: reply.clone(), epoch_above, why: why.clone() };
        redis.make_stream(&reply, FLOOR_LIFETIME).await.map_err(failed)?;
        redis.add(&keys::floor(), &request.encode_to_vec()).await.map_err(failed)?;
        let mut floor = Floor { epoch: 0, archived: 0, rows: Vec::new(), current: Vec::new() };
        let mut after = BTreeMap::from([(reply.clone(), StreamId::default())]);
        let mut patience = tokio::time::Instant::now() + FLOOR_PATIENCE;
        while tokio::time::Instant::now() < patience {
            let read = tokio::select! {
                () = tenure.stop.cancelled() => return Ok(None),
                read = reader.read(16, &after) => read.map_err(failed)?,
            };
            for entry in read.into_iter().flat_map(|(_, entries)| entries) {
                after.insert(reply.clone(), entry.id);
                patience = tokio::time::Instant::now() + FLOOR_PATIENCE;
                let frame: FloorFrame = entry.decode(&reply).map_err(failed)?;
                floor.rows.extend(frame.rows.into_iter().filter_map(|row| row.row));
                floor.current.extend(frame.current.into_iter().filter_map(|item| item.input));
                if frame.epoch > 0 {
                    (floor.epoch, floor.archived) = (frame.epoch, frame.archived);
                    redis.delete(&reply).await.map_err(failed)?;
                    return Ok(Some(floor));
                }
            }
            tenure.progress.waits_for("the offline program to allocate an epoch in SQL");
        }
        // Nobody who still answers it shall allocate an epoch: the next request has one of its own.
        redis.delete(&reply).await.map_err(failed)?;
        tracing::warn!(shard, "waits for the offline program to allocate an epoch in SQL: is it running, and SQL reachable?");
    }
}
