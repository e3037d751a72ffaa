//! What goes wrong in a fleet beside what its programs meet by themselves.

use super::fleet::{Fleet, Who};
use super::offline::Archiver;
use super::redis::Redis;
use super::world::Faults;

impl Fleet {
    /// Gives every fault its chance.
    pub(super) fn go_wrong(&mut self) {
        let (faults, shape) = (self.world.faults, self.world.shape);
        let changes = if faults.changes > 0 { faults.changes } else { 40 };
        if self.world.chance.once_in(changes) {
            let (group, user) = (self.world.chance.below(shape.groups) + 1, self.world.chance.below(shape.users) + 1);
            let joined = !self.world.sql.is_member(group, user);
            self.world.note(|| format!("{user} {} group {group}", if joined { "joins" } else { "leaves" }));
            self.world.sql.change(group, user, joined);
        }
        if !self.world.late.is_empty() && !self.world.stalled && self.world.chance.once_in(15) {
            self.world.land(0);
        }
        if self.world.chance.once_in(50) && !self.world.stalled {
            let edge = self.world.chance.below(shape.edges) as usize;
            if !self.edges[edge].asleep {
                self.edges[edge].look_around(&mut self.world);
            }
        }
        if self.world.chance.once_in(faults.outs_vanish) {
            let edge = self.world.chance.below(shape.edges) as usize;
            let tail = self.world.chance.once_in(2);
            let count = self.world.chance.below(3) + 1;
            self.world.redis.outs.entry(edge).or_default().lose(count, tail);
        }
        let shard = self.world.chance.below(u64::from(shape.shards)) as usize;
        if self.world.chance.once_in(faults.tokens_go_back) {
            self.world.note(|| format!("tokens of {shard} go back"));
            let keys = &mut self.world.redis.shards[shard];
            (keys.tokens, keys.lease) = (0, None);
        }
        if self.world.chance.once_in(faults.leases_expire) {
            self.world.redis.shards[shard].lease = None;
        }
        if self.world.chance.once_in(if self.world.stalled { 30 } else { faults.stalls }) {
            if self.world.stalled {
                self.answer_again();
            } else {
                self.world.note(|| "Redis answers nobody".into());
                self.world.stalled = true;
            }
        }
        self.sleep_and_wake(&faults);
        self.harm_redis(&faults);
    }

    /// Redis goes on: leases and heartbeats lapsed meanwhile, and whatever was sent to it lands at once. Connections have no order among each other.
    pub(super) fn answer_again(&mut self) {
        self.world.note(|| "Redis answers again".into());
        self.world.stalled = false;
        for keys in &mut self.world.redis.shards {
            keys.lease = keys.lease.filter(|_| self.world.chance.once_in(2));
        }
        for edge in 0..self.edges.len() {
            if self.world.chance.once_in(3) {
                self.world.beating.remove(&edge);
            }
        }
        let mut waiting: Vec<Who> = (0..self.edges.len()).map(Who::Edge).chain((0..self.owners.len()).map(Who::Owner)).collect();
        waiting.extend((0..self.archivers.len()).map(Who::Archiver).chain([Who::Replayer, Who::Relay]));
        while self.world.late.len() + waiting.len() > 0 {
            let next = self.world.chance.below((self.world.late.len() + waiting.len()) as u64) as usize;
            match next.checked_sub(self.world.late.len()) {
                None => self.world.land(next),
                Some(index) => {
                    let who = waiting.swap_remove(index);
                    self.act(who, true);
                }
            }
        }
    }

    fn sleep_and_wake(&mut self, faults: &Faults) {
        let owner = self.world.chance.below(self.owners.len() as u64) as usize;
        if self.world.chance.once_in(faults.owners_sleep) {
            let shard = self.owners[owner].shard;
            self.world.note(|| format!("owner {owner} sleeps"));
            self.owners[owner].asleep = true;
            let lease = &mut self.world.redis.shards[shard].lease;
            if *lease == Some(self.owners[owner].process) {
                *lease = None;
            }
        } else if self.owners[owner].asleep && self.world.chance.once_in(15) {
            self.owners[owner].asleep = false;
        }
        let edge = self.world.chance.below(self.world.shape.edges) as usize;
        if self.world.chance.once_in(faults.edges_sleep) {
            self.world.note(|| format!("edge {edge} sleeps"));
            self.edges[edge].asleep = true;
            self.world.beating.remove(&edge);
        } else if self.edges[edge].asleep && self.world.chance.once_in(30) {
            self.edges[edge].asleep = false;
            self.world.beating.insert(edge);
        } else if !self.edges[edge].asleep && !self.world.stalled && self.world.chance.once_in(10) {
            self.world.beating.insert(edge);
        }
    }

    fn harm_redis(&mut self, faults: &Faults) {
        let loses_tails = faults.redis_restarts > 0 || faults.redis_forgets > 0;
        if loses_tails && (self.durable.is_none() || self.world.chance.once_in(25)) {
            (self.durable, self.durable_at) = (Some(self.world.redis.clone()), self.world.step);
        }
        if self.world.chance.once_in(faults.flushes) {
            let (run, shards) = (self.world.redis.run, self.world.shape.shards);
            self.replace(Redis::new(run, shards), "is emptied");
        }
        if self.world.chance.once_in(faults.redis_restarts)
            && let Some(mut durable) = self.durable.clone()
        {
            durable.run = self.world.new_run();
            self.replace(durable, "comes back without its tail");
        }
        if self.world.chance.once_in(faults.redis_forgets)
            && let Some(durable) = self.durable.clone()
        {
            self.forget(durable);
        }
    }

    fn replace(&mut self, mut after: Redis, how: &str) {
        self.world.note(|| format!("Redis {how}"));
        after.ids_behind(&self.world.redis);
        self.world.truth.both_lost(&self.world.redis, &after, &self.world.sql);
        self.world.redis = after;
        self.world.resync();
        // What the disk had before is not what a later loss goes back to.
        (self.durable, self.durable_at) = (Some(self.world.redis.clone()), self.world.step);
    }

    /// A loss that nothing in Redis shows; only where an edge can tell, and nothing lost was archived.
    fn forget(&mut self, durable: Redis) {
        let behind = |shard: usize| {
            let commit = durable.shards[shard].meta.as_ref().map_or((0, 0), |meta| meta.commit);
            commit < self.world.sql.shards[shard].position || commit.0 < self.world.sql.shards[shard].epoch
        };
        // A change of the directory that is lost alone is told again only with a new epoch.
        let untold = self.world.relayed >= self.durable_at;
        if untold || (0..self.world.shape.shards as usize).any(behind) || self.edges.iter().any(|edge| edge.asleep) {
            return;
        }
        for (shard, keys) in self.world.redis.shards.iter().enumerate() {
            let seen = self.edges.iter().map(|edge| edge.seen(shard)).max().unwrap_or_default();
            let unseen = keys.log.iter().filter(|(commit, _)| **commit > seen && !durable.shards[shard].log.contains_key(*commit));
            unseen.for_each(|(_, frame)| self.world.truth.never_seen(frame));
        }
        self.owners.iter_mut().for_each(|owner| owner.kill(&mut self.world));
        self.archivers.iter_mut().for_each(Archiver::kill);
        self.replace(durable, "forgets its tail");
    }
}
