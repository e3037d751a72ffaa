//! The turns of an owner: read, step, commit, tell the edges.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::forward::Forwards;
use super::intake::{BLOCK, Bite, Intake};
use super::outlet::{self, Frames, Outlet};
use super::poison::{Poison, batch_limit};
use super::{Deliver, Error};
use crate::broker::{self, Claim, Commit, CommitAnswer, Facts, Fence, Reader, Redis, StreamEntry, StreamId, keys};
use crate::telemetry;
use crate::telemetry::trace::{self, Hop};
use crate::topic::frame::{InFrame, Lane};
use crate::topic::{Batch, Followers, Shard};
use crate::worker::{Tenure, chain};

/// How often an owner shows the edges that it is there, and looks after what is due.
const TICK: Duration = Duration::from_secs(1);
/// After this long without a frame a producer is forgotten.
const FEED_MEMORY_MS: u64 = 86_400_000;

/// How much later than due time passes for the floors while there is input.
const FLOOR_PATIENCE_MS: u64 = 200;

/// Who owns a shard, with its state in memory. Dropped whenever anything is in doubt.
pub(super) struct Owner {
    pub(super) job: Deliver,
    /// Held to the connection of the claim.
    pub(super) redis: Redis,
    /// The server of that connection.
    facts: Arc<Facts>,
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
    /// There was no input left at the end of the last turn.
    idle: bool,
    ticked: Instant,
    checkpointed: Instant,
}

impl Owner {
    #[expect(clippy::too_many_arguments, reason = "one place makes it, of what it just loaded")]
    pub(super) fn new(
        job: &Deliver,
        (redis, facts): (Redis, Arc<Facts>),
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
            facts,
            state,
            tenure,
            fence,
            followers: Followers::default(),
            outlet,
            forwards,
            taken: claim.taken,
            deaths: claim.deaths,
            suspect: claim.suspect,
            idle: false,
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
    /// Those that it does not reach learn it from the beats.
    pub(super) async fn announce(&mut self) -> Result<(), Error> {
        let edges = self.redis.live_edges(self.job.clock.now_ms()).await.map_err(|source| self.failed(source))?;
        let frames = self.outlet.beat(edges.into_iter().map(Arc::from), self.state.commit());
        self.note_untold(outlet::write(&self.redis, frames).await);
        Ok(())
    }

    /// Serves until it is time to stop.
    pub(super) async fn run(&mut self, poison: &mut Poison) -> Result<(), Error> {
        let (shard, frames_max) = (self.fence.shard, self.job.settings.batch_frames_max);
        if !self.run_careful(poison).await? {
            return Ok(());
        }
        let intake = Intake::open(&self.job.redis, shard, self.taken, frames_max, self.job.under_way.clone()).await;
        let mut intake = intake.map_err(|source| self.failed(source))?;
        let (mut unsent, mut share) = (Frames::new(), None);
        while !self.tenure.stop.is_cancelled() {
            // The edges are told of the last batch while the next one is waited for.
            let (telling, shared) = (std::mem::take(&mut unsent), share.take());
            let tell = async {
                let told = self.tell(telling).await;
                drop(shared);
                told
            };
            let due = self.floor_due();
            let next = async {
                tokio::select! {
                    biased;
                    next = intake.next() => next,
                    () = tokio::time::sleep(due) => Ok(None),
                }
            };
            let (next, told) = tokio::select! {
                () = self.tenure.stop.cancelled() => break,
                both = async { tokio::join!(next, tell) } => both,
            };
            self.note_untold(told);
            if let Some(Bite { lane, entries, share: held }) = next.map_err(|source| self.failed(source))? {
                unsent = self.turn(lane, entries, poison).await?;
                share = held;
                self.idle = false;
            } else {
                self.idle = true;
            }
            unsent.extend(self.tick_floors().await?);
            self.tenure.progress.turn();
            if self.ticked.elapsed() >= TICK {
                unsent.extend(self.tick().await?);
            }
        }
        self.note_untold(self.tell(unsent).await);
        Ok(())
    }

    /// As long as owners died over what comes next: one lane after the other, in the same order for each owner, and few frames at a time. False
    /// when it is time to stop.
    async fn run_careful(&mut self, poison: &mut Poison) -> Result<bool, Error> {
        let streams = [keys::urgent(self.fence.shard), keys::input(self.fence.shard)];
        let mut reader = Reader::new(&self.job.redis, BLOCK);
        while self.deaths > 0 {
            let (limit, put_aside) = batch_limit(self.job.settings.batch_frames_max, self.deaths);
            let after = BTreeMap::from([(streams[0].clone(), self.taken[0]), (streams[1].clone(), self.taken[1])]);
            let read = tokio::select! {
                () = self.tenure.stop.cancelled() => return Ok(false),
                read = reader.read(limit, &after) => read.map_err(|source| self.failed(source))?,
            };
            // Alerts first.
            if let Some((key, entries)) = read.into_iter().min_by_key(|(key, _)| *key != streams[0]) {
                let lane = if key == streams[0] { Lane::Urgent } else { Lane::Normal };
                if self.suspect_first(lane, &entries, limit, put_aside, poison).await? {
                    let unsent = self.turn(lane, entries, poison).await?;
                    let told = self.tell(unsent).await;
                    self.note_untold(told);
                }
            }
            self.tenure.progress.turn();
            if self.ticked.elapsed() >= TICK {
                let beat = self.tick().await?;
                let told = outlet::write(&self.redis, beat).await;
                self.note_untold(told);
            }
        }
        Ok(true)
    }

    /// Tells edges of what was committed, once replicas have it too, where there are any: what somebody heard is not decided anew, and said again at
    /// another place, by whoever goes on with a replica. Replicas that do not follow hold up nobody.
    async fn tell(&self, frames: Frames) -> Result<(), broker::Error> {
        if frames.is_empty() {
            return Ok(());
        }
        self.job.redis.replicated(&self.facts).await?;
        outlet::write(&self.redis, frames).await
    }

    fn note_untold(&self, told: Result<(), broker::Error>) {
        if let Err(error) = told {
            tracing::warn!(shard = self.fence.shard, error = chain(&error), "edges were not told of a batch; they will attach again");
        }
    }

    /// One batch: steps it, commits it, and returns what the edges are to be told.
    async fn turn(&mut self, lane: Lane, entries: Vec<StreamEntry>, poison: &mut Poison) -> Result<Frames, Error> {
        let shard = self.fence.shard;
        let now_ms = self.job.clock.now_ms();
        let mut batch = Batch::default();
        let mut commit = self.next_commit();
        let stream = match lane {
            Lane::Urgent => keys::urgent(shard),
            Lane::Normal => keys::input(shard),
        };
        let first_ms = entries.first().map(|entry| entry.id.0);
        for entry in entries {
            commit.taken[lane as usize] = Some(entry.id);
            let mut frame: InFrame = match entry.decode(&stream) {
                Ok(frame) => frame,
                Err(error) => {
                    self.bury(&stream, entry.id, entry.payload.as_deref(), chain(&error), 1).await?;
                    continue;
                }
            };
            let (edge, number) = (frame.edge.clone(), frame.number);
            let asides = poison.sift(lane, entry.id, &mut frame);
            let (state, followers) = (&mut self.state, &mut self.followers);
            let stepped = poison.guard(lane, entry.id, &mut batch, frame, |batch, frame| state.step(batch, followers, lane, frame, now_ms));
            match stepped {
                Ok(stepped) => stepped.map_err(|source| Error::LostTail { shard, source })?,
                Err(()) => return Err(Error::Panicked { shard, id: entry.id }),
            }
            self.outlet.took(&edge, lane, number);
            // Behind the rest of its frame: a refusal before that would spend the numbers of the messages in front of it.
            for aside in asides {
                self.put_item_aside(&stream, &aside, &mut batch).await?;
            }
        }
        let frames = self.close(batch, commit, now_ms, first_ms).await?;
        if let Some(first_ms) = first_ms {
            telemetry::hop("commit", first_ms, self.job.clock.now_ms());
        }
        Ok(frames)
    }

    /// Commits a batch; returns what the edges are to be told. `first_ms`: when the first input of it came, if there was any.
    async fn close(&mut self, mut batch: Batch, mut commit: Commit, now_ms: u64, first_ms: Option<u64>) -> Result<Frames, Error> {
        commit.frame = self.state.seal(&mut batch, now_ms);
        let traced = commit.frame.as_ref().map(|frame| trace::traced(frame.messages())).unwrap_or_default();
        self.commit(commit).await?;
        for (trace, topic) in traced {
            trace.over(Hop::Commit, first_ms.unwrap_or(now_ms), telemetry::now_ms(), topic);
        }
        count(&batch);
        Ok(self.outlet.pack(batch.outputs, self.state.commit()))
    }

    /// How long until time changes a floor.
    fn floor_due(&self) -> Duration {
        let due = self.state.next_floor_due_ms().map(|due| Duration::from_millis(due.saturating_sub(self.job.clock.now_ms())));
        due.unwrap_or(BLOCK).min(BLOCK)
    }

    /// Lets time pass for the floors: once there is no input left, for whoever seems gone may only have been unheard; under a flood a little later.
    async fn tick_floors(&mut self) -> Result<Frames, Error> {
        let now_ms = self.job.clock.now_ms();
        let patience = if self.idle { 0 } else { FLOOR_PATIENCE_MS };
        if self.state.next_floor_due_ms().is_none_or(|due| due.saturating_add(patience) > now_ms) {
            return Ok(Frames::new());
        }
        let (mut batch, commit) = (Batch::default(), self.next_commit());
        self.state.tick_floors(&mut batch, &mut self.followers, now_ms);
        if batch.is_empty() { Ok(Frames::new()) } else { self.close(batch, commit, now_ms, None).await }
    }

    /// Of those who had, or waited for, the floors of the shard's rooms nothing could be heard until now.
    pub(super) async fn resume_floors(&mut self) -> Result<(), Error> {
        let (mut batch, commit, now_ms) = (Batch::default(), self.next_commit(), self.job.clock.now_ms());
        self.state.resume_floors(&mut batch, now_ms);
        if !batch.is_empty() {
            let unsent = self.close(batch, commit, now_ms, None).await?;
            self.note_untold(self.tell(unsent).await);
        }
        Ok(())
    }

    fn next_commit(&self) -> Commit {
        Commit { epoch: self.state.epoch(), previous: self.state.commit(), ..Commit::default() }
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

fn count(batch: &Batch) {
    let tally = batch.tally;
    metrics::counter!("roger_messages_accepted_total").increment(tally.accepted);
    metrics::counter!("roger_messages_repeated_total").increment(tally.repeated);
    metrics::counter!("roger_messages_rejected_total").increment(tally.rejected);
    metrics::counter!("roger_frames_repeated_total").increment(tally.frames_repeated);
    metrics::counter!("roger_inputs_malformed_total").increment(tally.malformed);
}
