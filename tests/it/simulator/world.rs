//! What the programs share: the queue, the store, the wires, chance, and the faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use roger::model::Place;
use roger::topic::frame::{Entry, InFrame, LogFrame, Post, RowKind};

use super::check::Truth;
use super::pair::Pair;
use super::redis::{Commit, Redis};
use super::sql::Sql;

/// How many actions are remembered.
const TRACE_MAX: usize = 10_000;

/// Chance from a seed: SplitMix64.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// Any number.
    pub(super) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound
    }

    /// True once in `times`; never for 0.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }
}

/// What goes wrong, and how often: once in so many steps; 0 for never. Each belongs to one nemesis by name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A push fails: it did not land, it landed, or it lands later from the old socket.
    pub(super) pushes_fail: u64,
    /// Entries vanish from `out:<edge>`.
    pub(super) outs_vanish: u64,
    /// Redis comes back without its last writes, and with another run id.
    pub(super) redis_restarts: u64,
    /// Redis loses its last writes and looks the same; the owners die with it.
    pub(super) redis_forgets: u64,
    /// Redis is emptied.
    pub(super) flushes: u64,
    /// The counter of fencing tokens starts again.
    pub(super) tokens_go_back: u64,
    /// A lease runs out although its owner lives.
    pub(super) leases_expire: u64,
    /// An owner sleeps, with whatever it was about to write.
    pub(super) owners_sleep: u64,
    /// An edge sleeps, its heartbeat lapses.
    pub(super) edges_sleep: u64,
    /// A program is killed behind one of its steps.
    pub(super) kills: u64,
    /// The directory changes a membership; more often than the usual once in 40.
    pub(super) changes: u64,
    /// The directory's relay keeps no order.
    pub(super) relay_disorder: bool,
    /// The replica of Redis becomes the primary, without what it does not have yet.
    pub(super) failovers: u64,
    /// A primary that died before comes back as the primary, with what it had, before it followed the new one.
    pub(super) relapses: u64,
    /// The replica of Redis stops following for a while.
    pub(super) replica_freezes: u64,
    /// Redis answers nobody for a while, then everything lands at once.
    pub(super) stalls: u64,
    /// The archive trims as soon as it may, and owners checkpoint at every chance.
    pub(super) trim_at_once: bool,
    /// A planted defect, to see that the checker finds it.
    pub(super) planted: Option<Planted>,
}

/// Defects that the checker must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    ReceiptBeforePush,
    NoFence,
    ArchiveWithoutEpochFence,
    TrimBeforeCheckpoint,
    /// A receipt that says `replica`, and nobody asked the replica.
    ReplicaUnasked,
    /// Edges are told before the replica has the commit.
    ToldBeforeReplica,
    /// The archive reads whatever server it is connected to, also one where the epoch that SQL allocated did not begin.
    ArchiveOfAnyServer,
    /// The directory's relay is done with what the server took that it is connected to.
    RelayUnconfirmed,
}

/// What stands in the socket of a connection that nobody waits for any more: to the server with a run id, for one of its shards.
pub(super) struct Late {
    pub(super) run: u64,
    pub(super) shard: usize,
    pub(super) what: Unanswered,
}

/// What may still land.
pub(super) enum Unanswered {
    Frame(InFrame),
    /// A commit: by whom, at which turn, and up to where in the input.
    Commit(u64, u64, LogFrame, u64),
    /// A checkpoint: by whom, at which turn, of which commit.
    Checkpoint(u64, u64, Commit, Vec<RowKind>),
}

impl Late {
    pub(super) fn frame(run: u64, shard: usize, frame: InFrame) -> Self {
        Self { run, shard, what: Unanswered::Frame(frame) }
    }
}

/// A connection between a client and an edge.
#[derive(Default)]
pub(super) struct Link {
    pub(super) edge: usize,
    pub(super) up: VecDeque<Up>,
    pub(super) down: VecDeque<Down>,
    pub(super) client_gone: bool,
    pub(super) edge_gone: bool,
}

/// What a client says.
pub(super) enum Up {
    Hello { user: u64, installation: u64, marks: BTreeMap<u64, Place> },
    Post(Post),
    Mark(u64, Place),
}

/// What an edge says.
#[derive(Debug)]
pub(super) enum Down {
    /// The session follows a topic from the place on.
    Follow(u64, Place),
    Entry(Entry),
    /// Up to the place there is nothing more for the client.
    Gap(u64, Place),
    /// Everything up to the client_seq is stored; and whether on the replica, too.
    Receipt(u64, u64, bool),
}

/// How big a fleet is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) shards: u32,
    pub(super) edges: u64,
    /// Delivery programs; each tries to own every shard.
    pub(super) processes: u64,
    pub(super) users: u64,
    pub(super) groups: u64,
    /// Steps before the faults stop.
    pub(super) steps: u64,
    /// The archive does something once in so many of its turns: SQL may be slow.
    pub(super) archive_every: u64,
}

impl Shape {
    /// Small most of the time: where few meet they meet more often. A big one now and then, for what takes many.
    fn of(chance: &mut Chance) -> Self {
        let archive_every = [1, 1, 4, 30][chance.below(4) as usize];
        let mut within = |low: u64, high: u64| low + chance.below(high - low + 1);
        if within(1, 25) == 1 {
            let (shards, edges, processes) = (within(3, 8) as u32, within(2, 5), within(2, 4));
            return Self { shards, edges, processes, users: within(6, 14), groups: within(3, 7), steps: 2_500, archive_every };
        }
        let (shards, edges, processes) = (within(1, 3) as u32, within(1, 3), within(1, 3));
        Self { shards, edges, processes, users: within(2, 5), groups: within(1, 3), steps: 700, archive_every }
    }
}

pub(super) struct World {
    pub(super) shape: Shape,
    pub(super) chance: Chance,
    pub(super) redis: Redis,
    pub(super) sql: Sql,
    pub(super) truth: Truth,
    pub(super) faults: Faults,
    pub(super) links: BTreeMap<u64, Link>,
    /// What stands in old sockets.
    pub(super) late: Vec<Late>,
    /// Redis answers nobody.
    pub(super) stalled: bool,
    /// The replica, where there is one.
    pub(super) pair: Option<Pair>,
    /// Edges with a heartbeat.
    pub(super) beating: BTreeSet<usize>,
    pub(super) now_ms: u64,
    /// Filled only when a failed run is repeated.
    pub(super) trace: Option<VecDeque<String>>,
    pub(super) step: u64,
    /// When the directory's relay wrote last.
    pub(super) relayed: u64,
    runs: u64,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, tracing: bool) -> Self {
        let mut chance = Chance::new(seed);
        let shape = Shape::of(&mut chance);
        let pair = (faults.failovers + faults.replica_freezes > 0).then(|| Pair::new(&mut chance));
        Self {
            shape,
            chance,
            redis: Redis::new(1, shape.shards),
            sql: Sql::new(shape),
            truth: Truth::default(),
            faults,
            links: BTreeMap::new(),
            late: Vec::new(),
            stalled: false,
            pair,
            beating: BTreeSet::new(),
            now_ms: 1_000,
            trace: tracing.then(VecDeque::new),
            step: 0,
            relayed: 0,
            runs: 1,
        }
    }

    pub(super) fn tick(&mut self) {
        self.step += 1;
        self.now_ms += self.chance.below(5);
    }

    /// Notes an action, if somebody is going to read it.
    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_MAX {
                trace.pop_front();
            }
            trace.push_back(format!("{:5} {}", self.step, text()));
        }
    }

    /// Pushes a frame to a shard's input; false when the producer cannot know whether it landed.
    pub(super) fn push_in(&mut self, shard: usize, frame: InFrame) -> bool {
        if self.chance.once_in(self.faults.pushes_fail) {
            match self.chance.below(3) {
                0 => {}
                1 => self.redis.shards[shard].input.push(frame),
                _ => self.late.push(Late::frame(self.redis.run, shard, frame)),
            }
            return false;
        }
        self.redis.shards[shard].input.push(frame);
        true
    }

    /// A run id that no server had.
    pub(super) fn new_run(&mut self) -> u64 {
        self.runs += 1;
        self.runs
    }

    /// What stood in an old socket lands, if its server is still there.
    pub(super) fn land(&mut self, index: usize) {
        let Late { run, shard, what } = self.late.remove(index);
        let Some(keys) = self.server(run).map(|redis| &mut redis.shards[shard]) else { return };
        match what {
            Unanswered::Frame(frame) => {
                let (number, producer) = (frame.number, frame.producer);
                keys.input.push(frame);
                self.note(|| format!("late frame {number} of {producer:x} lands on {shard}"));
            }
            Unanswered::Commit(nonce, mut turn, frame, position) => {
                if keys.commit(nonce, &mut turn, frame.clone(), position).is_ok() {
                    self.note(|| format!("late commit {}/{} lands on {shard}", frame.epoch, frame.commit));
                    self.truth.committed(shard, &frame);
                }
            }
            Unanswered::Checkpoint(nonce, mut turn, at, rows) => {
                let landed = keys.checkpoint(nonce, &mut turn, at, rows).is_ok();
                self.note(|| format!("late checkpoint {at:?} of {shard}: {landed}"));
            }
        }
    }

    /// Whether a write to anything else than an input gets through.
    pub(super) fn reaches(&mut self) -> bool {
        !self.chance.once_in(self.faults.pushes_fail)
    }
}
