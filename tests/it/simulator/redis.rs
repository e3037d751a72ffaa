//! A model of what the fleet keeps in Redis, with its scripts. Each method is atomic, as a script is.

use std::collections::{BTreeMap, VecDeque};

use roger::topic::frame::{InFrame, LogFrame, OutFrame, ReplayRequest, RowKind};

/// A stream with ids from 1.
#[derive(Clone)]
pub(super) struct Stream<T> {
    last: u64,
    entries: VecDeque<(u64, T)>,
}

impl<T> Default for Stream<T> {
    fn default() -> Self {
        Self { last: 0, entries: VecDeque::new() }
    }
}

impl<T> Stream<T> {
    pub(super) fn push(&mut self, entry: T) {
        self.last += 1;
        self.entries.push_back((self.last, entry));
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn behind(&self, id: u64) -> impl Iterator<Item = &(u64, T)> {
        let from = self.entries.partition_point(|(known, _)| *known <= id);
        self.entries.range(from..)
    }

    pub(super) fn trim(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|(id, _)| *id <= upto) {
            self.entries.pop_front();
        }
    }

    /// Entries vanish: the last ones or the first ones.
    pub(super) fn lose(&mut self, count: u64, tail: bool) {
        for _ in 0..count {
            if tail {
                self.entries.pop_back()
            } else {
                self.entries.pop_front()
            };
        }
    }
}

/// The position of a commit: epoch and number.
pub(super) type Commit = (u64, u64);

/// What the commit script checks and changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Meta {
    /// The last commit.
    pub(super) commit: Commit,
    /// The commit whose state the rows hold at least.
    pub(super) checkpoint: Commit,
    /// The owner that may write.
    pub(super) nonce: u64,
    /// How many times an owner wrote: each write names the number before it, so an owner notices that any of its writes is gone.
    pub(super) turn: u64,
    pub(super) token: u64,
    /// The Redis run in which the epoch began.
    pub(super) run: u64,
    /// The last input taken in.
    pub(super) position: u64,
    /// Something was lost: whoever owns the shard begins a new epoch first.
    pub(super) lost: bool,
}

/// Somebody else owns the shard, or a tail was lost.
#[derive(Debug)]
pub(super) struct Fenced;

/// The keys of one shard.
#[derive(Clone, Default)]
pub(super) struct Keys {
    pub(super) input: Stream<InFrame>,
    pub(super) log: BTreeMap<Commit, LogFrame>,
    pub(super) rows: BTreeMap<String, RowKind>,
    pub(super) meta: Option<Meta>,
    /// Up to where SQL has the log, as it was noted last.
    pub(super) archived: Commit,
    pub(super) lease: Option<u64>,
    pub(super) tokens: u64,
}

/// Everything.
#[derive(Clone)]
pub(super) struct Redis {
    pub(super) run: u64,
    pub(super) shards: Vec<Keys>,
    pub(super) outs: BTreeMap<usize, Stream<OutFrame>>,
    pub(super) pages: BTreeMap<usize, Stream<OutFrame>>,
    pub(super) replay: VecDeque<ReplayRequest>,
}

impl Redis {
    pub(super) fn new(run: u64, shards: u32) -> Self {
        let shards = vec![Keys::default(); shards as usize];
        Self { run, shards, outs: BTreeMap::new(), pages: BTreeMap::new(), replay: VecDeque::new() }
    }

    /// Ids of streams come from the clock: after a loss new ones still lie behind those of before.
    pub(super) fn ids_behind(&mut self, before: &Self) {
        for (keys, before) in self.shards.iter_mut().zip(&before.shards) {
            keys.input.last = before.input.last;
        }
        for (edge, stream) in &before.outs {
            self.outs.entry(*edge).or_default().last = stream.last;
        }
        for (edge, stream) in &before.pages {
            self.pages.entry(*edge).or_default().last = stream.last;
        }
    }
}

impl Keys {
    /// The lease, if it is free or the process has it.
    pub(super) fn take_lease(&mut self, process: u64) -> bool {
        if self.lease.is_none() {
            self.tokens += 1;
            self.lease = Some(process);
        }
        self.lease == Some(process)
    }

    /// From here on only `nonce` may write. The token rises even if the counter of leases went back.
    pub(super) fn claim(&mut self, process: u64, nonce: u64) -> Result<Meta, Fenced> {
        if self.lease != Some(process) {
            return Err(Fenced);
        }
        let meta = self.meta.get_or_insert_with(|| Meta { lost: true, ..Meta::default() });
        meta.nonce = nonce;
        meta.turn += 1;
        meta.token = self.tokens.max(meta.token + 1);
        Ok(meta.clone())
    }

    fn fence(&mut self, nonce: u64, turn: &mut u64) -> Result<&mut Meta, Fenced> {
        let meta = self.meta.as_mut().filter(|meta| meta.nonce == nonce && meta.turn == *turn).ok_or(Fenced)?;
        meta.turn += 1;
        *turn += 1;
        Ok(meta)
    }

    pub(super) fn commit(&mut self, nonce: u64, turn: &mut u64, frame: LogFrame, position: u64) -> Result<(), Fenced> {
        let meta = self.fence(nonce, turn)?;
        let commit = (frame.epoch, frame.commit);
        (meta.commit, meta.position) = (commit, position);
        self.log.insert(commit, frame);
        self.input.trim(position);
        Ok(())
    }

    /// The rows that changed, and the commit whose state they complete.
    pub(super) fn checkpoint(&mut self, nonce: u64, turn: &mut u64, at: Commit, rows: Vec<RowKind>) -> Result<(), Fenced> {
        self.fence(nonce, turn)?.checkpoint = at;
        self.rows.extend(rows.into_iter().map(|row| (row.key(), row)));
        Ok(())
    }

    /// Remembers a loss that only this owner knows of.
    pub(super) fn mark_lost(&mut self, nonce: u64) -> Result<(), Fenced> {
        let meta = self.meta.as_mut().filter(|meta| meta.nonce == nonce).ok_or(Fenced)?;
        meta.lost = true;
        Ok(())
    }

    /// The rows of a new epoch, as they are before anything is decided in it; in the place of all others when those are gone. Harmless when nothing
    /// follows: rows only rise.
    pub(super) fn prepare_epoch(&mut self, nonce: u64, turn: &mut u64, rows: Vec<RowKind>, gone: bool) -> Result<(), Fenced> {
        self.fence(nonce, turn)?;
        if gone {
            self.rows.clear();
        }
        self.rows.extend(rows.into_iter().map(|row| (row.key(), row)));
        Ok(())
    }

    /// Begins the epoch, with its first commit if there is one.
    pub(super) fn begin_epoch(&mut self, nonce: u64, turn: &mut u64, epoch: u64, run: u64, first: Option<LogFrame>) -> Result<(), Fenced> {
        let meta = self.fence(nonce, turn)?;
        (meta.checkpoint, meta.run, meta.lost) = ((epoch, 0), run, false);
        meta.commit = (epoch, first.as_ref().map_or(0, |first| first.commit));
        let commit = meta.commit;
        self.log.extend(first.map(|first| (commit, first)));
        Ok(())
    }

    /// Drops the log up to and including a commit, but nothing the checkpoint does not hold.
    pub(super) fn trim_log(&mut self, archived: Commit, unguarded: bool) {
        let checkpoint = self.meta.as_ref().map_or((0, 0), |meta| meta.checkpoint);
        let upto = if unguarded { archived } else { archived.min(checkpoint) };
        self.log = self.log.split_off(&(upto.0, upto.1 + 1));
    }
}
