//! The turns of an owner: read, step, commit, tell the edges.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::forward::Forwards;
use super::outlet::{self, Frames, Outlet};
use super::poison::{Poison, batch_limit};
use super::{Deliver, Error};
use crate::broker::{self, Claim, Commit, CommitAnswer, Fence, Reader, Redis, StreamEntry, StreamId, keys};
use crate::topic::frame::{InFrame, Lane};
use crate::topic::{Batch, Followers, Shard};
use crate::worker::{Tenure, chain};

/// How long a read waits for input; also how soon a stop is seen when nothing comes.
const BLOCK: Duration = Duration::from_millis(500);
/// How often an owner shows the edges that it is there, and looks after what is due.
const TICK: Duration = Duration::from_secs(1);
/// The most bytes of frames in one commit, but for the first: alerts wait for no more than that.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// After this long without a frame a producer is forgotten.
const FEED_MEMORY_MS: u64 = 86_400_000;

/// Who owns a shard, with its state in memory. Dropped whenever anything is in doubt.
pub(super) struct Owner {
    pub(super) job: Deliver,
    /// Held to the connection of the claim.
    pub(super) redis: Redis,
    pub(super) state: Shard,
    tenure: Tenure,
    pub(super) fence: Fence,
    followers: Followers,
    outlet: Outlet,
    forwards: Forwards,
    /// Up to where the input is taken in, by lane.
    taken: [StreamId; 2],
    pub(super) deaths: u64,
    pub(super) suspect: Option<usize>,
    ticked: Instant,
    checkpointed: Instant,
}

impl Owner {
    #[expect(clippy::too_many_arguments, reason = "one place makes it, of what it just loaded")]
    pub(super) fn new(
        job: &Deliver,
        redis: Redis,
        tenure: Tenure,
        fence: Fence,
        claim: Claim,
        state: Shard,
        outlet: Outlet,
        forwards: Forwards,
    ) -> Self {
        let now = Instant::now();
        Self {
            job: job.clone(),
            redis,
            state,
            tenure,
            fence,
            followers: Followers::default(),
            outlet,
            forwards,
            taken: claim.taken,
            deaths: claim.deaths,
            suspect: claim.suspect,
            ticked: now,
            checkpointed: now,
        }
    }

    fn failed(&self, source: broker::Error) -> Error {
        Error::Broker { shard: self.fence.shard, source }
    }

    /// What a fenced write came to.
    pub(super) fn judge(&self, answer: Result<CommitAnswer, broker::Error>) -> Result<(), Error> {
        match answer.map_err(|source| self.failed(source))? {
            CommitAnswer::Done => Ok(()),
            CommitAnswer::Fenced => Err(Error::Fenced { shard: self.fence.shard }),
        }
    }

    /// Tells every live edge that there is a new owner: they attach their sessions again.
    pub(super) async fn announce(&mut self) -> Result<(), Error> {
        let edges = self.redis.live_edges(self.job.clock.now_ms()).await.map_err(|source| self.failed(source))?;
        let frames = self.outlet.beat(edges.into_iter().map(Arc::from), self.state.commit());
        outlet::write(&self.redis, frames).await.map_err(|source| self.failed(source))
    }

    /// Serves until it is time to stop.
    pub(super) async fn run(&mut self, poison: &mut Poison) -> Result<(), Error> {
        let shard = self.fence.shard;
        let streams = [keys::urgent(shard), keys::input(shard)];
        let mut reader = Reader::new(&self.job.redis, BLOCK);
        let mut unsent = Frames::new();
        // How many frames are read at a time: fewer while they are large.
        let mut frames = self.job.settings.batch_frames_max;
        while !self.tenure.stop.is_cancelled() {
            let (limit, put_aside) = batch_limit(self.job.settings.batch_frames_max, self.deaths);
            let after = BTreeMap::from([(streams[0].clone(), self.taken[0]), (streams[1].clone(), self.taken[1])]);
            let redis = self.redis.clone();
            // The edges are told of the last batch while the next one is read.
            let both = async { tokio::join!(reader.read(limit.min(frames), &after), outlet::write(&redis, std::mem::take(&mut unsent))) };
            let (read, written) = tokio::select! {
                () = self.tenure.stop.cancelled() => break,
                both = both => both,
            };
            if let Err(error) = written {
                tracing::warn!(shard, error = %error, "edges were not told of a batch; they will attach again");
            }
            let mut input = read.map_err(|source| self.failed(source))?;
            // Alerts first.
            input.sort_by_key(|(key, _)| *key != streams[0]);
            let lanes = input.into_iter().map(|(key, entries)| (if key == streams[0] { Lane::Urgent } else { Lane::Normal }, entries));
            let mut lanes: Vec<_> = lanes.collect();
            if limit == 1 {
                lanes.truncate(1);
            }
            frames = match bound(&mut lanes) {
                Some(fitting) => fitting,
                None => (frames * 2).min(self.job.settings.batch_frames_max),
            };
            if !lanes.is_empty() {
                if self.deaths > 0 && !self.suspect_first(&lanes, limit, put_aside, poison).await? {
                    continue;
                }
                unsent = self.turn(lanes, poison).await?;
            }
            self.tenure.progress.turn();
            if self.ticked.elapsed() >= TICK {
                unsent.extend(self.tick().await?);
            }
        }
        if let Err(error) = outlet::write(&self.redis, unsent).await {
            tracing::warn!(shard, error = %error, "edges were not told of the last batch; they will attach again");
        }
        Ok(())
    }

    /// One batch: steps it, commits it, and returns what the edges are to be told.
    async fn turn(&mut self, lanes: Vec<(Lane, Vec<StreamEntry>)>, poison: &mut Poison) -> Result<Frames, Error> {
        let shard = self.fence.shard;
        let now_ms = self.job.clock.now_ms();
        let mut batch = Batch::default();
        let mut commit = Commit { epoch: self.state.epoch(), previous: self.state.commit(), ..Commit::default() };
        for (lane, entries) in lanes {
            let stream = match lane {
                Lane::Urgent => keys::urgent(shard),
                Lane::Normal => keys::input(shard),
            };
            for entry in entries {
                commit.taken[lane as usize] = Some(entry.id);
                let mut frame: InFrame = match entry.decode(&stream) {
                    Ok(frame) => frame,
                    Err(error) => {
                        self.bury(&stream, entry.id, entry.payload.as_deref(), chain(&error), 1).await?;
                        continue;
                    }
                };
                let asides = poison.sift(lane, entry.id, &mut frame);
                let (state, followers) = (&mut self.state, &mut self.followers);
                let stepped =
                    poison.guard(lane, entry.id, &mut batch, frame, |batch, frame| state.step(batch, followers, lane, frame, now_ms));
                match stepped {
                    Ok(stepped) => stepped.map_err(|source| Error::LostTail { shard, source })?,
                    Err(()) => return Err(Error::Panicked { shard, id: entry.id }),
                }
                // Behind the rest of its frame: a refusal before that would spend the numbers of the messages in front of it.
                for aside in asides {
                    self.put_item_aside(&stream, &aside, &mut batch).await?;
                }
            }
        }
        commit.frame = self.state.seal(&mut batch, now_ms);
        self.commit(commit).await?;
        count(&batch);
        Ok(self.outlet.pack(batch.outputs, self.state.commit()))
    }

    /// Commits, and pushes what that forwards.
    pub(super) async fn commit(&mut self, commit: Commit) -> Result<(), Error> {
        let answer = self.redis.commit(&mut self.fence, &commit).await;
        self.judge(answer)?;
        (self.deaths, self.suspect) = (0, None);
        for lane in Lane::ALL {
            self.taken[lane as usize] = commit.taken[lane as usize].unwrap_or(self.taken[lane as usize]);
        }
        if let Some(frame) = &commit.frame {
            self.forwards.collect(frame);
        }
        self.forwards.push(&self.redis).await.map_err(|source| self.failed(source))
    }

    /// What is due once a second: edges that are gone, sessions that lapsed, the checkpoint, a beat for every edge. And a look at the
    /// fence: an owner that has nothing to write would not notice that Redis was emptied.
    async fn tick(&mut self) -> Result<Frames, Error> {
        self.ticked = Instant::now();
        let (redis, now_ms) = (self.redis.clone(), self.job.clock.now_ms());
        let answer = redis.still_owns(&self.fence).await;
        self.judge(answer)?;
        let live = redis.live_edges(now_ms).await.map_err(|source| self.failed(source))?;
        let names: HashSet<&str> = live.iter().map(String::as_str).collect();
        let gone: Vec<_> = self.followers.edges().filter(|edge| !names.contains(&***edge)).cloned().collect();
        for edge in gone {
            tracing::info!(shard = self.fence.shard, edge = &*edge, "the edge's heartbeat lapsed; its sessions no longer follow");
            self.followers.drop_edge(&edge);
        }
        self.outlet.lapse(&names);
        crate::session::sweep(&redis, self.fence.shard, self.job.settings.shards, now_ms).await.map_err(|source| self.failed(source))?;
        if self.checkpointed.elapsed() >= self.job.settings.checkpoint_interval {
            self.checkpoint().await?;
        }
        Ok(self.outlet.beat(live.into_iter().map(Arc::from), self.state.commit()))
    }

    /// All that is forwarded so far is pushed: a new owner need not look before the checkpoint.
    async fn checkpoint(&mut self) -> Result<(), Error> {
        self.checkpointed = Instant::now();
        let gone = self.state.forget_feeds(self.job.clock.now_ms().saturating_sub(FEED_MEMORY_MS));
        if !self.state.is_dirty() && gone.is_empty() {
            return Ok(());
        }
        let (rows, at) = (self.state.take_dirty(), StreamId(self.state.epoch(), self.state.commit()));
        let answer = self.redis.checkpoint(&mut self.fence, Some(at), &rows, &gone).await;
        self.judge(answer)
    }

    /// Remembers on Redis that an edge saw what the shard does not have: also the next owner, if it is another, has to begin a new epoch.
    pub(super) async fn note_loss(&self, how: &str) {
        if let Err(error) = self.redis.note_loss(self.fence.shard, Some(&self.fence), how).await {
            tracing::warn!(shard = self.fence.shard, error = chain(&error), "a loss could not be noted");
        }
    }

    /// Stops cleanly: the next owner finds everything in the checkpoint, and takes the shard at once.
    pub(super) async fn leave(mut self) -> Result<(), Error> {
        self.checkpoint().await?;
        let shard = self.fence.shard;
        let released = self.redis.release_lease(shard, "deliver", &self.tenure.holder, Some(self.fence)).await;
        tracing::info!(shard, epoch = self.state.epoch(), commit = self.state.commit(), "gave the shard up");
        released.map_err(|source| self.failed(source))
    }
}

/// Leaves of what was read as much as makes one batch; the rest is read again. Returns how many frames that is, if it is not all.
fn bound(lanes: &mut Vec<(Lane, Vec<StreamEntry>)>) -> Option<usize> {
    let (mut bytes, mut fitting, mut all) = (0, 0, 0);
    for (_, entries) in lanes.iter_mut() {
        all += entries.len();
        entries.retain(|entry| {
            bytes += entry.payload.as_ref().map_or(0, |payload| payload.len());
            // What does not fit ends the batch: nothing behind it may go before it.
            let fits = fitting == 0 || bytes <= BATCH_BYTES_MAX;
            fitting += usize::from(fits);
            fits
        });
    }
    lanes.retain(|(_, entries)| !entries.is_empty());
    (fitting < all).then_some(fitting.max(1))
}

fn count(batch: &Batch) {
    let tally = batch.tally;
    metrics::counter!("roger_messages_accepted_total").increment(tally.accepted);
    metrics::counter!("roger_messages_repeated_total").increment(tally.repeated);
    metrics::counter!("roger_messages_rejected_total").increment(tally.rejected);
    metrics::counter!("roger_frames_repeated_total").increment(tally.frames_repeated);
    metrics::counter!("roger_inputs_malformed_total").increment(tally.malformed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_by_bytes_and_has_at_least_one_frame() {
        let check = |mib: &[&[usize]], kept: &[usize], fitting: Option<usize>| {
            let entry = |mib: &usize| StreamEntry { id: StreamId(1, 0), payload: Some(vec![0; mib << 20].into()) };
            let entries = |frames: &&[usize]| frames.iter().map(entry).collect();
            let mut lanes: Vec<_> = Lane::ALL.into_iter().zip(mib.iter().map(entries)).collect();
            assert_eq!(bound(&mut lanes), fitting, "{mib:?}");
            assert_eq!(lanes.iter().map(|(_, entries): &(_, Vec<_>)| entries.len()).collect::<Vec<_>>(), kept, "{mib:?}");
        };
        check(&[&[1], &[1, 1]], &[1, 2], None);
        check(&[&[1, 1], &[1, 1, 1]], &[2, 2], Some(4));
        check(&[&[9], &[1, 1]], &[1], Some(1));
        check(&[&[], &[3, 3, 1]], &[1], Some(1));
    }
}
