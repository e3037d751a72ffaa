//! The owner of a shard, in one of several processes: lease, claim, load, perhaps a new epoch, then batches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use roger::topic::frame::{InFrame, Input, Lane, LogFrame, OutFrame, OutItem, Outcome, RowKind};
use roger::topic::{Batch, Followers, Shard};

use super::pair::{Program, Replicated, Written};
use super::redis::Meta;
use super::sql::{Allocation, shard_of};
use super::world::{Late, Planted, Unanswered, World};

/// The producer under which a shard forwards.
const FORWARDER: u64 = 1_000;

/// One process's try to own one shard.
pub(super) struct Owner {
    pub(super) process: u64,
    pub(super) shard: usize,
    pub(super) asleep: bool,
    phase: Phase,
}

/// What an edge is told.
type Said = (usize, Vec<OutItem>);

enum Phase {
    Idle,
    /// Under a nonce, over a connection to the server with that run id.
    Claimed(u64, Meta, u64),
    /// Has the state; first pushes what its predecessor may not have forwarded.
    Loaded(Loaded),
    /// SQL has allocated an epoch for a server; whether that is the primary still is asked then.
    Allocated(Loaded, Allocation, Written),
    /// Has a new epoch from SQL.
    Answered(Loaded, Rows, Option<LogFrame>),
    /// The rows of the epoch are written.
    Prepared(Loaded, Option<LogFrame>),
    Running(Box<Running>),
}

struct Rows {
    rows: Vec<RowKind>,
    /// In the place of all others.
    gone: bool,
}

struct Loaded {
    nonce: u64,
    meta: Meta,
    run: u64,
    state: Shard,
    forwards: VecDeque<(usize, InFrame)>,
}

struct Running {
    nonce: u64,
    turn: u64,
    token: u64,
    run: u64,
    state: Shard,
    followers: Followers,
    /// The last input read.
    position: u64,
    /// Decided, not committed.
    pending: Option<(LogFrame, Vec<Said>)>,
    forwards: VecDeque<(usize, InFrame)>,
    /// What edges are to be told, once the replica has what was written by then.
    outs: VecDeque<(usize, OutFrame, Written)>,
    counters: BTreeMap<usize, u64>,
    /// Edges that have not spoken since the claim, and the input's last id then: nothing is decided before they have.
    unheard: BTreeSet<usize>,
    claimed_at: u64,
}

impl Owner {
    pub(super) fn new(process: u64, shard: usize) -> Self {
        Self { process, shard, asleep: false, phase: Phase::Idle }
    }

    pub(super) fn kill(&mut self, world: &mut World) {
        self.phase = Phase::Idle;
        self.asleep = false;
        let lease = &mut world.redis.shards[self.shard].lease;
        if *lease == Some(self.process) {
            *lease = None;
        }
    }

    /// It owns the shard, and nothing is left to do.
    pub(super) fn is_done(&self, world: &World) -> bool {
        let Phase::Running(running) = &self.phase else { return false };
        let untold = running.outs.iter().any(|(_, frame, _)| !frame.items.is_empty());
        running.run == world.redis.run
            && running.position >= world.redis.shards[self.shard].input.last()
            && running.pending.is_none()
            && running.forwards.is_empty()
            && !untold
    }

    pub(super) fn step(&mut self, world: &mut World) {
        let (process, shard) = (self.process, self.shard);
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        let loaded_in = match &phase {
            Phase::Loaded(loaded) | Phase::Allocated(loaded, ..) | Phase::Answered(loaded, ..) | Phase::Prepared(loaded, _) => {
                Some(loaded.run)
            }
            Phase::Running(running) => Some(running.run),
            Phase::Claimed(_, _, run) => Some(*run),
            Phase::Idle => None,
        };
        // A connection belongs to one run of Redis: what was pushed through it may be gone although no write of this shard is.
        if loaded_in.is_some_and(|run| run != world.redis.run) {
            return;
        }
        self.phase = match phase {
            Phase::Idle => self.claim(world),
            Phase::Claimed(nonce, meta, _) => load(world, shard, nonce, meta),
            Phase::Loaded(loaded) => decide(world, shard, loaded),
            Phase::Allocated(loaded, allocation, written) => answer(world, shard, loaded, allocation, written),
            Phase::Answered(mut loaded, rows, first) if !loaded.forwards.is_empty() => {
                push_forward(world, &mut loaded.forwards);
                Phase::Answered(loaded, rows, first)
            }
            Phase::Answered(mut loaded, Rows { rows, gone }, first) => {
                match world.redis.shards[shard].prepare_epoch(loaded.nonce, &mut loaded.meta.turn, rows, gone) {
                    Ok(()) => Phase::Prepared(loaded, first),
                    Err(_) => Phase::Idle,
                }
            }
            Phase::Prepared(mut loaded, first) => {
                let epoch = loaded.state.epoch();
                let keys = &mut world.redis.shards[shard];
                let begun = keys.begin_epoch(loaded.nonce, &mut loaded.meta.turn, epoch, loaded.run, first.clone());
                if begun.is_ok() {
                    world
                        .note(|| format!("owner {process} of {shard} begins epoch {epoch}: {:?}", first.as_ref().map(super::check::brief)));
                    first.iter().for_each(|first| world.truth.committed(shard, first));
                    loaded.meta.run = loaded.run;
                    loaded.forwards = first.iter().flat_map(|first| forwards_of(world.shape.shards, shard, first)).collect();
                    run(world, shard, loaded)
                } else {
                    Phase::Idle
                }
            }
            Phase::Running(running) => running.step(world, process, shard).map_or(Phase::Idle, Phase::Running),
        };
    }

    /// One step while Redis answers nobody. Whoever waits that out goes on afterwards; whoever does not leaves in the socket what it was about to
    /// write, and its memory is void.
    pub(super) fn step_unanswered(&mut self, world: &mut World) {
        let Phase::Running(running) = &mut self.phase else { return };
        if running.run != world.redis.run || !world.chance.once_in(4) {
            return;
        }
        let what = match running.pending.take() {
            Some((frame, _)) => Unanswered::Commit(running.nonce, running.turn, frame, running.position),
            None if running.forwards.is_empty() && running.state.is_dirty() => {
                let at = (running.state.epoch(), running.state.commit());
                Unanswered::Checkpoint(running.nonce, running.turn, at, running.state.take_dirty())
            }
            None => return,
        };
        world.late.push(Late { run: running.run, shard: self.shard, what });
        self.phase = Phase::Idle;
    }

    fn claim(&self, world: &mut World) -> Phase {
        let nonce = world.chance.any() | 1;
        let run = world.redis.run;
        let keys = &mut world.redis.shards[self.shard];
        if !keys.take_lease(self.process) {
            return Phase::Idle;
        }
        keys.claim(self.process, nonce).map_or(Phase::Idle, |meta| Phase::Claimed(nonce, meta, run))
    }
}

/// Nobody else can write since the claim: rows and log stand still.
fn load(world: &mut World, shard: usize, nonce: u64, meta: Meta) -> Phase {
    let keys = &world.redis.shards[shard];
    let mut state = Shard::from_checkpoint(meta.checkpoint.0, meta.checkpoint.1, keys.rows.values().cloned());
    let tail: Vec<_> = keys.log.range((meta.checkpoint.0, meta.checkpoint.1 + 1)..).map(|(_, frame)| frame.clone()).collect();
    let forwards = tail.iter().flat_map(|frame| forwards_of(world.shape.shards, shard, frame)).collect();
    state.fold_all(tail);
    world.note(|| format!("owner of {shard} loads {:?} from {meta:?}", (state.epoch(), state.commit())));
    Phase::Loaded(Loaded { nonce, meta, run: world.redis.run, state, forwards })
}

fn decide(world: &mut World, shard: usize, mut loaded: Loaded) -> Phase {
    let sound = (loaded.state.epoch(), loaded.state.commit()) == loaded.meta.commit;
    if !sound || loaded.meta.lost || loaded.meta.run != loaded.run {
        let above = loaded.state.epoch().max(loaded.meta.commit.0);
        return Phase::Allocated(loaded, world.sql.allocate(shard, above), world.written());
    }
    if push_forward(world, &mut loaded.forwards) {
        return Phase::Loaded(loaded);
    }
    run(world, shard, loaded)
}

/// The offline program answers with an epoch, unless the server of the request is the primary no more. Who hears nothing asks again.
fn answer(world: &mut World, shard: usize, mut loaded: Loaded, allocation: Allocation, written: Written) -> Phase {
    if !world.is_primary(Program::Answerer, written) {
        return Phase::Loaded(loaded);
    }
    let Allocation { epoch, archived, rows, current } = allocation;
    let gone = loaded.state.yield_to(archived);
    if gone {
        loaded.forwards.clear();
    }
    let (rows, mut batch) = loaded.state.restart(epoch, rows, current, world.now_ms);
    if gone {
        let log: Vec<_> = world.redis.shards[shard].log.values().cloned().collect();
        loaded.state.rescue(&mut batch, &log, world.now_ms);
        world.truth.void(log.iter(), &world.sql);
    }
    let first = loaded.state.seal(&mut batch, world.now_ms);
    Phase::Answered(loaded, Rows { rows, gone }, first)
}

/// Pushes one of the forwards that may not have been pushed; whether there was one.
fn push_forward(world: &mut World, forwards: &mut VecDeque<(usize, InFrame)>) -> bool {
    let Some((to, frame)) = forwards.pop_front() else { return false };
    if !world.push_in(to, frame.clone()) {
        forwards.push_front((to, frame));
    }
    true
}

fn run(world: &mut World, shard: usize, loaded: Loaded) -> Phase {
    let mut running = Running {
        nonce: loaded.nonce,
        turn: loaded.meta.turn,
        token: loaded.meta.token,
        run: loaded.run,
        state: loaded.state,
        followers: Followers::default(),
        position: loaded.meta.position,
        pending: None,
        forwards: loaded.forwards,
        outs: VecDeque::new(),
        counters: BTreeMap::new(),
        unheard: if world.faults.redis_forgets > 0 { world.beating.clone() } else { BTreeSet::new() },
        claimed_at: world.redis.shards[shard].input.last(),
    };
    running.say_something(world, shard);
    Phase::Running(Box::new(running))
}

/// The frames for other shards, of so many, that a commit forwards.
fn forwards_of(shards: u32, shard: usize, frame: &LogFrame) -> Vec<(usize, InFrame)> {
    let mut by_shard: BTreeMap<usize, InFrame> = BTreeMap::new();
    for outcome in frame.outcomes.iter().filter_map(|item| item.outcome.as_ref()) {
        let Outcome::Forward(forward) = outcome else { continue };
        let Some(Input::Notice(notice)) = &forward.item.input else { panic!("only notices are forwarded: {forward:?}") };
        let number = frame.epoch << 32 | frame.commit;
        let new = || InFrame { producer: FORWARDER + shard as u64, number, ..InFrame::default() };
        by_shard.entry(shard_of(&Input::Notice(notice.clone()), shards)).or_insert_with(new).items.push(forward.item.clone());
    }
    by_shard.into_iter().collect()
}

impl Running {
    /// One step; `None` when the memory is void.
    fn step(mut self: Box<Self>, world: &mut World, process: u64, shard: usize) -> Option<Box<Self>> {
        if self.pending.is_some() {
            return self.commit(world, shard).then_some(self);
        }
        match world.chance.below(8) {
            0 | 1 if !self.outs.is_empty() => return self.push_out(world, process, shard).then_some(self),
            _ if !self.forwards.is_empty() => self.push_forward(world),
            _ if self.outs.len() > 6 => return self.push_out(world, process, shard).then_some(self),
            2 if self.forwards.is_empty() && self.state.is_dirty() => return self.checkpoint(world, shard).then_some(self),
            3 if world.faults.trim_at_once && self.forwards.is_empty() => return self.checkpoint(world, shard).then_some(self),
            4 => {
                if world.redis.shards[shard].lease != Some(process) {
                    return None;
                }
                self.drop_dead_edges(world);
                self.say_something(world, shard);
            }
            _ => return self.read(world, shard).then_some(self),
        }
        Some(self)
    }

    fn read(&mut self, world: &mut World, shard: usize) -> bool {
        let most = world.chance.below(4) as usize + 1;
        let input = &world.redis.shards[shard].input;
        if !self.unheard.is_empty() {
            let stands = (self.state.epoch(), self.state.commit());
            if input.behind(self.claimed_at).any(|(_, frame)| frame.seen.is_some_and(|seen| (seen.epoch, seen.seq) > stands)) {
                let _ = world.redis.shards[shard].mark_lost(self.nonce);
                return false;
            }
            for (_, frame) in input.behind(self.claimed_at) {
                self.unheard.retain(|edge| frame.edge != edge.to_string());
            }
            self.unheard.retain(|edge| world.beating.contains(edge));
            return true;
        }
        let frames: Vec<_> = input.behind(self.position).take(most).cloned().collect();
        if frames.is_empty() {
            return true;
        }
        let mut batch = Batch::default();
        for (id, frame) in frames {
            world.note(|| format!("owner of {shard} takes {id}: {} of {:x} {:?}", frame.number, frame.producer, frame.items));
            if let Err(lost) = self.state.step(&mut batch, &mut self.followers, Lane::Normal, frame, world.now_ms) {
                world.note(|| format!("owner of {shard}: {lost}"));
                let _ = world.redis.shards[shard].mark_lost(self.nonce);
                return false;
            }
            self.position = id;
        }
        let sealed = self.state.seal(&mut batch, world.now_ms);
        let mut outputs: Vec<_> = batch.outputs.into_edges().map(|(edge, items)| (edge.parse().unwrap(), items)).collect();
        outputs.sort_by_key(|(edge, _)| *edge);
        match sealed {
            Some(frame) => self.pending = Some((frame, outputs)),
            None => outputs.into_iter().for_each(|(edge, items)| self.queue_out(world.written(), shard, edge, items)),
        }
        true
    }

    fn commit(&mut self, world: &mut World, shard: usize) -> bool {
        let Some((frame, outputs)) = self.pending.take() else { return true };
        let keys = &mut world.redis.shards[shard];
        if world.faults.planted == Some(Planted::NoFence)
            && let Some(meta) = &mut keys.meta
        {
            (meta.nonce, meta.turn) = (self.nonce, self.turn);
        }
        if let Err(fenced) = keys.commit(self.nonce, &mut self.turn, frame.clone(), self.position) {
            world.note(|| format!("owner of {shard}: commit {}/{} {fenced:?}", frame.epoch, frame.commit));
            return false;
        }
        world.note(|| format!("owner of {shard} commits {}/{}: {:?}", frame.epoch, frame.commit, super::check::brief(&frame)));
        world.truth.committed(shard, &frame);
        self.forwards.extend(forwards_of(world.shape.shards, shard, &frame));
        for (edge, items) in outputs {
            self.queue_out(world.written(), shard, edge, items);
        }
        // The answer to the script got lost: it may or may not have counted, so the memory is void.
        world.reaches()
    }

    fn checkpoint(&mut self, world: &mut World, shard: usize) -> bool {
        let rows = self.state.take_dirty();
        let at = (self.state.epoch(), self.state.commit());
        world.redis.shards[shard].checkpoint(self.nonce, &mut self.turn, at, rows).is_ok()
    }

    fn push_forward(&mut self, world: &mut World) {
        let Some((to, frame)) = self.forwards.front().cloned() else { return };
        if world.push_in(to, frame) {
            self.forwards.pop_front();
        }
    }

    fn queue_out(&mut self, written: Written, shard: usize, edge: usize, items: Vec<OutItem>) {
        let counter = self.counters.entry(edge).or_default();
        *counter += 1;
        self.outs.push_back((
            edge,
            OutFrame {
                shard: shard as u32,
                epoch: self.state.epoch(),
                token: self.token,
                owner: self.nonce,
                counter: *counter,
                commit: self.state.commit(),
                items,
                ..OutFrame::default()
            },
            written,
        ));
    }

    /// Tells an edge, once the replica has what it is told of, or does not follow. False when the memory is void.
    fn push_out(&mut self, world: &mut World, process: u64, shard: usize) -> bool {
        let Some((edge, frame, written)) = self.outs.pop_front() else { return true };
        let unasked = world.faults.planted == Some(Planted::ToldBeforeReplica);
        match if unasked { Replicated::Yes } else { world.replicated(Program::Delivery(process), written) } {
            Replicated::Broken => return false,
            Replicated::NotYet => {
                self.outs.push_front((edge, frame, written));
                return true;
            }
            Replicated::No => world.truth.told_without_replica(shard, (frame.epoch, frame.commit)),
            Replicated::Yes => {}
        }
        // Not tried again: the counter tells the edge.
        if world.reaches() {
            world.redis.outs.entry(edge).or_default().push(frame);
        }
        true
    }

    /// To every edge that lives, so that it knows of this owner and of what it missed.
    fn say_something(&mut self, world: &World, shard: usize) {
        for edge in &world.beating {
            self.queue_out(world.written(), shard, *edge, Vec::new());
        }
    }

    /// The counter of a dropped edge jumps, so that it notices even when it never knew.
    fn drop_dead_edges(&mut self, world: &World) {
        let known: Vec<usize> = self.counters.keys().copied().filter(|edge| !world.beating.contains(edge)).collect();
        for edge in known {
            self.followers.drop_edge(&edge.to_string());
            *self.counters.entry(edge).or_default() += 1;
        }
    }
}
