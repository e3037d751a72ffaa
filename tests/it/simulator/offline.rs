//! The offline program's archive of each shard, and the directory's relay.

use roger::topic::Shard;
use roger::topic::frame::{InFrame, LogFrame, RowKind, WirePlace};

use super::pair::{Program, Written};
use super::redis::Commit;
use super::sql::{Change, shard_of};
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
    /// The position is to be noted in Redis.
    unnoted: bool,
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
            self.state = Some(Archiving { epoch: sql.epoch, position: sql.position, folded, read: Vec::new(), unnoted: true });
            return;
        };
        if std::mem::take(&mut state.unnoted) {
            world.redis.shards[shard].archived = state.position;
            return;
        }
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
                state.unnoted = true;
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
