//! What the programs share: the queue, the store, the wires, chance, and the faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use roger::model::Place;
use roger::topic::frame::{Entry, InFrame, Post};

use super::check::Truth;
use super::redis::Redis;
use super::sql::Sql;

/// How many shards the fleet has.
pub(super) const SHARDS: u32 = 2;

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
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
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
    /// Everything up to the client_seq is stored.
    Receipt(u64, u64),
}

pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) redis: Redis,
    pub(super) sql: Sql,
    pub(super) truth: Truth,
    pub(super) faults: Faults,
    pub(super) links: BTreeMap<u64, Link>,
    /// Frames in old sockets.
    pub(super) late: Vec<(usize, InFrame)>,
    /// Edges with a heartbeat.
    pub(super) beating: BTreeSet<usize>,
    pub(super) now_ms: u64,
    /// Filled only when a failed run is repeated.
    pub(super) trace: Option<VecDeque<String>>,
    step: u64,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, tracing: bool) -> Self {
        Self {
            chance: Chance::new(seed),
            redis: Redis::new(1),
            sql: Sql::new(),
            truth: Truth::default(),
            faults,
            links: BTreeMap::new(),
            late: Vec::new(),
            beating: BTreeSet::new(),
            now_ms: 1_000,
            trace: tracing.then(VecDeque::new),
            step: 0,
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
                _ => self.late.push((shard, frame)),
            }
            return false;
        }
        self.redis.shards[shard].input.push(frame);
        true
    }

    /// Whether a write to anything else than an input gets through.
    pub(super) fn reaches(&mut self) -> bool {
        !self.chance.once_in(self.faults.pushes_fail)
    }
}
