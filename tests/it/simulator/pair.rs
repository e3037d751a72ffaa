//! The primary of Redis and its replica, and which server a program is connected to.
//!
//! The replica follows in leaps: what it lacks is always the end of what was written. After a failover it is the primary, with another run
//! id; the old one is gone, or takes writes for some time yet from whoever did not look again. Then it is a replica, with what the new primary has;
//! or the primary again, with what it had, because the new one died before.

use std::collections::BTreeMap;

use super::redis::Redis;
use super::world::{Chance, Faults, World};

/// For how many steps a program that missed the replicas does not look for them again.
const LOOK_EVERY: u64 = 40;

/// What has connections of its own, and hears by itself which server is the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Program {
    Edge(usize),
    Delivery(u64),
    Offline,
    /// An offline program that answers floors, and archives nothing.
    Answerer,
    Directory,
}

/// Where something was written, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    run: u64,
    step: u64,
}

/// Whether the replica has what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replicated {
    Yes,
    /// It does not follow: nobody waits for it.
    No,
    NotYet,
    /// The server that took it is not the one that the program is connected to.
    Broken,
}

struct Replica {
    redis: Redis,
    /// It has what was written up to this step.
    upto: u64,
    frozen: bool,
}

/// What stands beside the primary.
#[derive(Default)]
pub(super) struct Pair {
    replica: Option<Replica>,
    /// The replica follows once in so many steps.
    lag: u64,
    /// The old primary becomes its replica once in so many steps.
    returns: u64,
    /// A program that is connected to the old primary looks again once in so many of its steps.
    looks: BTreeMap<Program, u64>,
    /// The primary of before, while it still takes writes.
    stale: Option<Redis>,
    /// The primary of before that is dead, as it was.
    dead: Option<Redis>,
    /// The step takes place there.
    on_stale: bool,
    /// How often another server became the primary.
    generation: u64,
    /// The generation that a program heard of last.
    heard: BTreeMap<Program, u64>,
    /// Until which step a program does not look for replicas.
    missing: BTreeMap<Program, u64>,
}

impl Pair {
    pub(super) fn new(chance: &mut Chance) -> Self {
        let lag = [3, 10, 30, 100][chance.below(4) as usize];
        let returns = [20, 150][chance.below(2) as usize];
        Self { lag, returns, ..Self::default() }
    }
}

impl World {
    /// Of what is written in this step.
    pub(super) fn written(&self) -> Written {
        Written { run: self.redis.run, step: self.step }
    }

    /// What a program hears when it asks whether the replica has what it wrote.
    pub(super) fn replicated(&mut self, program: Program, written: Written) -> Replicated {
        if written.run != self.redis.run {
            return Replicated::Broken;
        }
        let Some(pair) = &mut self.pair else { return Replicated::No };
        if pair.on_stale || pair.missing.get(&program).is_some_and(|until| self.step < *until) {
            return Replicated::No;
        }
        match &pair.replica {
            Some(replica) if replica.upto >= written.step => return Replicated::Yes,
            Some(replica) if !replica.frozen || !self.chance.once_in(3) => return Replicated::NotYet,
            _ => {}
        }
        pair.missing.insert(program, self.step + LOOK_EVERY);
        Replicated::No
    }

    /// Whether sentinels, asked anew, name the server that took something; a program that is connected to another looks again.
    pub(super) fn is_primary(&mut self, program: Program, written: Written) -> bool {
        let Some(pair) = &mut self.pair else { return written.run == self.redis.run };
        let elsewhere = pair.on_stale || written.run != self.redis.run;
        pair.heard.insert(program, pair.generation);
        !elsewhere
    }

    /// Puts the server that a program is connected to in the place of the primary, for one step; [`World::leave`] puts it back.
    pub(super) fn enter(&mut self, program: Program) {
        let Some(pair) = &mut self.pair else { return };
        let heard = pair.heard.entry(program).or_default();
        if *heard == pair.generation {
            return;
        }
        let chance = &mut self.chance;
        let looks = *pair.looks.entry(program).or_insert_with(|| [4, 12, 60][chance.below(3) as usize]);
        if let Some(stale) = &mut pair.stale
            && !self.chance.once_in(looks)
        {
            pair.on_stale = true;
            std::mem::swap(stale, &mut self.redis);
            return;
        }
        // Connected anew, to the server that every sentinel names.
        *heard = pair.generation;
        pair.missing.remove(&program);
    }

    pub(super) fn leave(&mut self) {
        let Some(pair) = &mut self.pair else { return };
        if std::mem::take(&mut pair.on_stale)
            && let Some(stale) = &mut pair.stale
        {
            std::mem::swap(stale, &mut self.redis);
        }
    }

    /// A program that was killed asks for the primary first.
    pub(super) fn begins(&mut self, program: Program) {
        if let Some(pair) = &mut self.pair {
            pair.heard.insert(program, pair.generation);
            pair.missing.remove(&program);
        }
    }

    /// The server with that run id, if it still is there.
    pub(super) fn server(&mut self, run: u64) -> Option<&mut Redis> {
        if self.redis.run == run {
            return Some(&mut self.redis);
        }
        self.pair.as_mut()?.stale.as_mut().filter(|stale| stale.run == run)
    }

    /// What happens beside the programs: the replica follows, stops following, becomes the primary; the old primary becomes its replica.
    pub(super) fn turn_of_the_pair(&mut self) {
        let Faults { failovers, replica_freezes: freezes, relapses, .. } = self.faults;
        let step = self.step;
        let Some(pair) = &mut self.pair else { return };
        let Some(replica) = &mut pair.replica else {
            if self.chance.once_in(pair.returns) {
                self.the_old_one_follows();
            } else if self.chance.once_in(relapses) {
                self.relapse();
            }
            return;
        };
        if self.chance.once_in(if replica.frozen { 40 } else { freezes }) {
            replica.frozen = !replica.frozen;
            let frozen = replica.frozen;
            self.note(|| format!("the replica {}", if frozen { "stops following" } else { "follows again" }));
        } else if !replica.frozen && self.chance.once_in(pair.lag) {
            (replica.redis, replica.upto) = (self.redis.clone(), step);
        }
        if self.chance.once_in(failovers) {
            self.fail_over();
        }
    }

    /// Full synchronisation: what only the old primary has is lost now, if not before.
    pub(super) fn the_old_one_follows(&mut self) {
        self.note(|| "the old primary follows the new one".into());
        let Some(pair) = &mut self.pair else { return };
        if let Some(stale) = pair.stale.take() {
            self.truth.redis_lost(&stale, &self.redis, &self.sql);
        }
        pair.dead = None;
        pair.replica = Some(Replica { redis: self.redis.clone(), upto: self.step, frozen: false });
    }

    fn fail_over(&mut self) {
        let run = self.new_run();
        let Some(pair) = &mut self.pair else { return };
        let Some(Replica { redis: mut after, .. }) = pair.replica.take() else { return };
        after.run = run;
        after.ids_behind(&self.redis);
        self.truth.redis_lost(&self.redis, &after, &self.sql);
        let before = std::mem::replace(&mut self.redis, after);
        pair.generation += 1;
        *(if self.chance.once_in(2) { &mut pair.stale } else { &mut pair.dead }) = Some(before);
        let stale = pair.stale.is_some();
        self.note(|| format!("the replica becomes the primary, the old one {}", if stale { "takes writes" } else { "is dead" }));
    }

    /// The primary dies, and the one of before comes back with what it had when it died itself.
    fn relapse(&mut self) {
        let Some(mut after) = self.pair.as_mut().and_then(|pair| pair.dead.take()) else { return };
        after.run = self.new_run();
        after.ids_behind(&self.redis);
        self.truth.redis_lost(&self.redis, &after, &self.sql);
        let before = std::mem::replace(&mut self.redis, after);
        if let Some(pair) = &mut self.pair {
            pair.generation += 1;
            pair.dead = Some(before);
        }
        self.note(|| "the primary dies, and the one of before is the primary again".into());
    }

    /// Redis was replaced under the replica: that follows what is there now.
    pub(super) fn resync(&mut self) {
        if let Some(replica) = self.pair.as_mut().and_then(|pair| pair.replica.as_mut()) {
            (replica.redis, replica.upto) = (self.redis.clone(), self.step);
        }
    }

    /// No fault any more: everybody knows the primary, and the replica has everything at once.
    pub(super) fn calm(&mut self) {
        if self.pair.as_ref().is_some_and(|pair| pair.replica.is_none()) {
            self.the_old_one_follows();
        }
        if let Some(pair) = &mut self.pair {
            let generation = pair.generation;
            pair.heard.values_mut().for_each(|heard| *heard = generation);
            pair.missing.clear();
            pair.replica.iter_mut().for_each(|replica| replica.upto = u64::MAX);
        }
    }
}
