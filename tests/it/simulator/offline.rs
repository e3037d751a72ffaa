//! The offline program: the archive of each shard, and the worker that answers replays. And the directory's relay.

use std::collections::BTreeMap;

use roger::model::{Place, Span};
use roger::topic::Shard;
use roger::topic::frame::{Entry, InFrame, LogFrame, OutFrame, Outcome, Output, Page, ReplayRequest, RowKind, WirePlace};

use super::pair::{Program, Written};
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
            let keys = &world.redis.shards[shard];
            // An epoch that did not begin here: this may be a primary of before, and what it has behind its failover no epoch knows of. If nobody
            // is about to begin it, whoever asked for it was too late: the owner has to hear of it.
            let any = world.faults.planted == Some(Planted::ArchiveOfAnyServer);
            if !any && keys.meta.as_ref().is_some_and(|meta| meta.commit.0 < state.epoch) {
                let seen = (state.epoch, 0);
                self.state = None;
                if world.chance.once_in(8) {
                    self.tell_owner(world, seen);
                }
                return;
            }
            let behind = (state.position.0, state.position.1 + 1);
            state.read = keys.log.range(behind..).map(|(_, frame)| frame.clone()).take(4).collect();
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

    /// SQL has what Redis does not.
    fn tell_owner(&self, world: &mut World, (epoch, seq): Commit) {
        let seen = Some(WirePlace { epoch, seq });
        let frame = InFrame { producer: ARCHIVER, number: world.now_ms, seen, ..InFrame::default() };
        world.push_in(self.shard, frame);
    }

    /// Behind the lower of archived and checkpointed. And if the log ends before what is archived, the owner must know.
    fn trim(&mut self, world: &mut World) {
        let Some(state) = &self.state else { return };
        let keys = &mut world.redis.shards[self.shard];
        if keys.meta.as_ref().is_some_and(|meta| !meta.lost && meta.commit < state.position) {
            let seen = state.position;
            return self.tell_owner(world, seen);
        }
        keys.trim_log(state.position, world.faults.planted == Some(Planted::TrimBeforeCheckpoint));
    }
}

/// Answers one replay at a time. A request taken and not answered is lost: the edge asks again.
#[derive(Default)]
enum Answering {
    #[default]
    Nothing,
    /// Has what the log had; and whether it looks for the second time.
    Log(ReplayRequest, BTreeMap<Place, Entry>, bool),
    /// Has what SQL had, too, and lacks something.
    Lacking(ReplayRequest, Page),
    /// What it lacks seemed lost, and may have come into SQL before that was found out.
    Doubting(ReplayRequest),
}

/// The worker that answers replays.
#[derive(Default)]
pub(super) struct Replayer(Answering);

impl Replayer {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.0, Answering::Nothing)
    }

    pub(super) fn kill(&mut self) {
        self.0 = Answering::Nothing;
    }

    /// First the log, then SQL: what leaves the log between the two looks is in SQL by then.
    pub(super) fn step(&mut self, world: &mut World) {
        self.0 = match std::mem::take(&mut self.0) {
            Answering::Nothing => world.redis.replay.pop_front().map_or(Answering::Nothing, |request| look_at_log(world, request, false)),
            Answering::Log(request, found, again) => {
                let page = look_at_sql(world, &request, found);
                if page.lost.is_empty() || again && is_lost(world, &page) {
                    answer(world, &request.edge, page);
                    Answering::Nothing
                } else if again {
                    Answering::Nothing
                } else {
                    Answering::Lacking(request, page)
                }
            }
            Answering::Lacking(request, page) if is_lost(world, &page) => Answering::Doubting(request),
            Answering::Lacking(..) => Answering::Nothing,
            Answering::Doubting(request) => look_at_log(world, request, true),
        };
    }
}

fn look_at_log(world: &World, request: ReplayRequest, again: bool) -> Answering {
    let span = Span::from(request.span);
    let log = &world.redis.shards[shard(request.topic, world.shape.shards)].log;
    let outcomes = log.values().flat_map(|frame| &frame.outcomes).filter_map(|item| item.outcome.as_ref());
    let found = outcomes.filter_map(|outcome| match outcome {
        Outcome::Entry(entry) if entry.topic == request.topic && span.contains(entry.place()) => Some((entry.place(), entry.clone())),
        _ => None,
    });
    let found = found.collect();
    Answering::Log(request, found, again)
}

fn look_at_sql(world: &World, request: &ReplayRequest, mut found: BTreeMap<Place, Entry>) -> Page {
    let mut span = Span::from(request.span);
    let archive = &world.sql.shards[shard(request.topic, world.shape.shards)].entries;
    let inside = archive.range((request.topic, span.after)..=(request.topic, span.upto));
    found.extend(inside.filter(|((_, place), _)| span.contains(*place)).map(|((_, place), entry)| (*place, entry.clone())));
    let mut entries: Vec<Entry> = found.into_values().collect();
    if entries.len() > request.entries_max as usize {
        entries.truncate(request.entries_max as usize);
        span.upto = entries.last().map_or(span.upto, Entry::place);
    }
    // Seq has no holes, over epochs either: what is not there is lost, or not there yet.
    let (mut lost, mut last) = (Vec::new(), span.after);
    for place in entries.iter().map(Entry::place) {
        if place.seq > last.seq + 1 {
            lost.push(Span::new(last, Place::new(place.epoch, place.seq - 1)).into());
        }
        last = place;
    }
    if last.seq < span.upto.seq {
        lost.push(Span::new(last, span.upto).into());
    }
    Page { topic: request.topic, session: request.session, span: span.into(), entries, lost, request: request.request }
}

/// Whether what a page lacks never comes: something behind it is archived, or its epoch is over.
fn is_lost(world: &World, page: &Page) -> bool {
    let shard = shard(page.topic, world.shape.shards);
    let archive = &world.sql.shards[shard];
    let heads = archive.rows.values().filter_map(|row| if let RowKind::Head(row) = row { Some(row) } else { None });
    let head = heads.filter(|row| row.topic == page.topic).map(|row| Place::from(row.head)).max().unwrap_or(Place::START);
    let epoch = world.redis.shards[shard].meta.as_ref().map_or(0, |meta| meta.commit.0).max(archive.position.0);
    page.lost.iter().map(|lost| Place::from(lost.upto)).all(|upto| upto <= head || upto.epoch < epoch)
}

fn answer(world: &mut World, edge: &str, page: Page) {
    world.note(|| format!("page for {}: {:?} {} entries, lost {:?}", page.session, page.span, page.entries.len(), page.lost));
    let frame = OutFrame { items: vec![Output::Page(page).into()], ..OutFrame::default() };
    if world.reaches() {
        world.redis.pages.entry(edge.parse().unwrap()).or_default().push(frame);
    }
}

/// Tells the shards what the directory changed, each change into the group first and into the inbox then.
#[derive(Default)]
pub(super) struct Relay {
    telling: Option<(Change, usize)>,
    /// A server took the next input; whether that is the primary is asked then.
    pushed: Option<Written>,
}

impl Relay {
    pub(super) fn is_done(&self) -> bool {
        self.telling.is_none()
    }

    /// What is pushed counts once sentinels, asked after that, still name the server that took it: then every later epoch begins with the change.
    fn confirm(&mut self, world: &mut World, written: Written) -> bool {
        let confirmed = world.faults.planted == Some(Planted::RelayUnconfirmed) || world.is_primary(Program::Directory, written);
        self.pushed = None;
        confirmed
    }

    pub(super) fn kill(&mut self) {
        (self.telling, self.pushed) = (None, None);
    }

    pub(super) fn step(&mut self, world: &mut World) {
        if let Some(written) = self.pushed {
            if self.confirm(world, written)
                && let Some((_, told)) = &mut self.telling
            {
                *told += 1;
            }
            return;
        }
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
        world.relayed = world.step;
        if world.push_in(shard_of(&input, world.shape.shards), frame) {
            self.pushed = Some(world.written());
        }
    }
}
