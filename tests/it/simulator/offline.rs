//! The offline program: the archive of each shard, and the worker that answers replays. And the directory's relay.

use std::collections::BTreeMap;

use roger::model::{Place, Span};
use roger::topic::Shard;
use roger::topic::frame::{Entry, InFrame, LogFrame, OutFrame, Outcome, Output, Page, ReplayRequest, RowKind, WirePlace};

use super::redis::Commit;
use super::sql::{Change, shard, shard_of};
use super::world::{Planted, World};

/// The producers of the archive and the relay.
const ARCHIVER: u64 = 2_000;
const RELAY: u64 = 3_000;

/// The archive of one shard.
pub(super) struct Archiver {
    shard: usize,
    state: Option<Archiving>,
}

struct Archiving {
    /// The epoch SQL had before the log was read.
    epoch: u64,
    position: Commit,
    folded: Shard,
    read: Vec<LogFrame>,
}

impl Archiver {
    pub(super) fn new(shard: usize) -> Self {
        Self { shard, state: None }
    }

    pub(super) fn kill(&mut self) {
        self.state = None;
    }

    pub(super) fn step(&mut self, world: &mut World) {
        let shard = self.shard;
        let Some(state) = &mut self.state else {
            let sql = &world.sql.shards[shard];
            let folded = Shard::from_checkpoint(sql.position.0, sql.position.1, sql.rows.values().cloned());
            self.state = Some(Archiving { epoch: sql.epoch, position: sql.position, folded, read: Vec::new() });
            return;
        };
        if state.read.is_empty() {
            let log = &world.redis.shards[shard].log;
            let behind = (state.position.0, state.position.1 + 1);
            state.read = log.range(behind..).map(|(_, frame)| frame.clone()).take(4).collect();
            if state.read.is_empty() && world.chance.once_in(4) {
                self.trim(world);
            }
            return;
        }
        let mut folded = state.folded.clone();
        folded.fold_all(state.read.iter().cloned());
        // Not the last frames of producers: a frame that Redis has again after a loss must be judged again, or a refusal whose notice was
        // lost is never told.
        let rows = folded.take_dirty().into_iter().filter(|row| !matches!(row, RowKind::Feed(_))).collect();
        let unfenced = world.faults.planted == Some(Planted::ArchiveWithoutEpochFence);
        let believed = (!unfenced).then_some(state.epoch);
        match world.sql.archive(shard, believed, state.position, &state.read, rows) {
            Ok(()) => {
                state.folded = folded;
                state.position = state.read.last().map_or(state.position, |frame| (frame.epoch, frame.commit));
                state.read.clear();
                let position = state.position;
                world.note(|| format!("archive of {shard} at {position:?}"));
                if world.faults.trim_at_once {
                    self.trim(world);
                }
            }
            Err(why) if why == "stale" => self.state = None,
            Err(why) => world.truth.fail(why),
        }
    }

    /// Behind the lower of archived and checkpointed. And if the log ends before what is archived, the owner must know.
    fn trim(&mut self, world: &mut World) {
        let Some(state) = &self.state else { return };
        let keys = &mut world.redis.shards[self.shard];
        if keys.meta.as_ref().is_some_and(|meta| !meta.lost && meta.commit < state.position) {
            let seen = Some(WirePlace { epoch: state.position.0, seq: state.position.1 });
            let frame = InFrame { producer: ARCHIVER, number: world.now_ms, seen, ..InFrame::default() };
            world.push_in(self.shard, frame);
            return;
        }
        keys.trim_log(state.position, world.faults.planted == Some(Planted::TrimBeforeCheckpoint));
    }
}

/// Answers one replay at a time. A request taken and not answered is lost: the edge asks again.
#[derive(Default)]
pub(super) struct Replayer {
    taken: Option<(ReplayRequest, BTreeMap<Place, Entry>)>,
}

impl Replayer {
    pub(super) fn kill(&mut self) {
        self.taken = None;
    }

    /// First the log, then SQL: what leaves the log between the two looks is in SQL by then.
    pub(super) fn step(&mut self, world: &mut World) {
        let Some((request, mut found)) = self.taken.take() else {
            if let Some(request) = world.redis.replay.pop_front() {
                let span = Span::from(request.span);
                let log = &world.redis.shards[shard(request.topic)].log;
                let outcomes = log.values().flat_map(|frame| &frame.outcomes).filter_map(|item| item.outcome.as_ref());
                let found = outcomes.filter_map(|outcome| match outcome {
                    Outcome::Entry(entry) if entry.topic == request.topic && span.contains(entry.place()) => {
                        Some((entry.place(), entry.clone()))
                    }
                    _ => None,
                });
                self.taken = Some((request.clone(), found.collect()));
            }
            return;
        };
        let mut span = Span::from(request.span);
        let archive = &world.sql.shards[shard(request.topic)].entries;
        let inside = archive.range((request.topic, span.after)..=(request.topic, span.upto));
        found.extend(inside.filter(|((_, place), _)| span.contains(*place)).map(|((_, place), entry)| (*place, entry.clone())));
        let mut entries: Vec<Entry> = found.into_values().collect();
        let mut lost = Vec::new();
        if entries.len() > request.entries_max as usize {
            entries.truncate(request.entries_max as usize);
            span.upto = entries.last().map_or(span.upto, Entry::place);
        } else {
            // Seq has no holes, over epochs either: what is not there any more is lost.
            let last = entries.last().map_or(span.after, Entry::place);
            if last.seq < span.upto.seq {
                lost.push(Span::new(last, span.upto).into());
            }
        }
        let page = Page { topic: request.topic, session: request.session, span: span.into(), entries, lost, request: request.request };
        world.note(|| format!("page for {}: {:?} {} entries", page.session, span, page.entries.len()));
        let frame = OutFrame { items: vec![Output::Page(page).into()], ..OutFrame::default() };
        if world.reaches() {
            world.redis.pages.entry(request.edge.parse().unwrap()).or_default().push(frame);
        }
    }
}

/// Tells the shards what the directory changed, each change into the group first and into the inbox then.
#[derive(Default)]
pub(super) struct Relay {
    telling: Option<(Change, usize)>,
}

impl Relay {
    pub(super) fn kill(&mut self) {
        self.telling = None;
    }

    pub(super) fn step(&mut self, world: &mut World) {
        let disorder = world.faults.relay_disorder;
        let Some((change, told)) = &mut self.telling else {
            let index = if disorder { world.chance.below(world.sql.outbox.len().max(1) as u64) } else { 0 };
            self.telling = world.sql.outbox.get(index as usize).map(|change| (change.clone(), 0));
            return;
        };
        let Some(input) = change.told.get(*told).cloned() else {
            let id = change.id;
            world.sql.outbox.retain(|change| change.id != id);
            self.telling = None;
            return;
        };
        // Without order the frame numbers protect nothing: each change comes from a producer of its own, and versions must do.
        let producer = if disorder { RELAY + change.id } else { RELAY };
        // Both inputs of a change may go to one shard: each needs a number of its own.
        let number = change.id * 2 + *told as u64;
        let frame = InFrame { producer, number, items: vec![input.clone().into()], ..InFrame::default() };
        if world.push_in(shard_of(&input), frame) {
            *told += 1;
        }
    }
}
