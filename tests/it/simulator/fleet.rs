//! A whole fleet, its scheduler and its faults.

use super::client::Client;
use super::edge::Edge;
use super::offline::{Archiver, Relay, Replayer};
use super::owner::Owner;
use super::redis::{Keys, Redis};
use super::sql::{GROUPS, USERS};
use super::world::{Faults, SHARDS, World};
use roger::model::{GroupId, Place, TopicId, UserId};

const EDGES: u64 = 2;
const PROCESSES: u64 = 2;
/// Steps before the faults stop.
const STEPS: u64 = 700;
/// Rounds of every program between two looks at whether all has come to rest, and how often is looked.
const ROUNDS: u64 = 20;
const LOOKS: u64 = 60;

pub(super) struct Fleet {
    pub(super) world: World,
    clients: Vec<Client>,
    edges: Vec<Edge>,
    owners: Vec<Owner>,
    archivers: Vec<Archiver>,
    replayer: Replayer,
    relay: Relay,
    /// Redis as it was some steps ago: what its disk has.
    durable: Option<Redis>,
}

/// Who takes a step.
#[derive(Clone, Copy, Debug)]
enum Who {
    Client(usize),
    Edge(usize),
    Owner(usize),
    Archiver(usize),
    Replayer,
    Relay,
}

impl Fleet {
    pub(super) fn new(seed: u64, faults: Faults, tracing: bool) -> Self {
        let mut world = World::new(seed, faults, tracing);
        for group in 1..=GROUPS {
            for user in 1..=USERS {
                if !world.chance.once_in(3) {
                    world.sql.change(group, user, true);
                }
            }
        }
        // User 1 has two installations, which say what they hold from the start; user 3 never says it.
        let mut clients: Vec<_> = (1..=USERS).map(|user| Client::new(user, user * 10 + 1, user != 3)).collect();
        clients.push(Client::new(1, 12, true));
        for client in clients.iter_mut().filter(|client| client.user == 1) {
            client.at.insert(TopicId::inbox(UserId(1)).packed(), Place::START);
            client.at.extend((1..=GROUPS).map(|group| (TopicId::group(GroupId(group)).packed(), Place::START)));
        }
        let edges = (0..EDGES).map(|id| Edge::new(id as usize, &mut world)).collect();
        let owners = (0..PROCESSES).flat_map(|process| (0..SHARDS).map(move |shard| Owner::new(process + 1, shard as usize))).collect();
        let archivers = (0..SHARDS).map(|shard| Archiver::new(shard as usize)).collect();
        Self { world, clients, edges, owners, archivers, replayer: Replayer::default(), relay: Relay::default(), durable: None }
    }

    /// Runs until the faults stop and everything has come to rest, then judges.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.world.tick();
            let who = self.choose();
            self.act(who, true);
            if self.world.chance.once_in(self.world.faults.kills) {
                self.kill(who);
            }
            self.go_wrong();
            if let Some(failure) = self.world.truth.failure() {
                return Err(failure.clone());
            }
        }
        self.drain()?;
        self.world.truth.judge(&self.clients, &self.world.sql)
    }

    fn choose(&mut self) -> Who {
        let chance = &mut self.world.chance;
        match chance.below(23) {
            0..5 => Who::Client(chance.below(self.clients.len() as u64) as usize),
            5..10 => Who::Edge(chance.below(EDGES) as usize),
            10..16 => Who::Owner(chance.below(self.owners.len() as u64) as usize),
            16 | 17 => Who::Archiver(chance.below(self.archivers.len() as u64) as usize),
            18..21 => Who::Replayer,
            _ => Who::Relay,
        }
    }

    fn act(&mut self, who: Who, posts: bool) {
        let world = &mut self.world;
        match who {
            Who::Client(index) => self.clients[index].step(world, EDGES, posts),
            Who::Edge(index) if !self.edges[index].asleep => self.edges[index].step(world),
            Who::Owner(index) if !self.owners[index].asleep => self.owners[index].step(world),
            Who::Archiver(index) => self.archivers[index].step(world),
            Who::Replayer => self.replayer.step(world),
            Who::Relay => self.relay.step(world),
            Who::Edge(_) | Who::Owner(_) => {}
        }
    }

    fn kill(&mut self, who: Who) {
        self.world.note(|| format!("kill {who:?}"));
        match who {
            Who::Client(_) => {}
            Who::Edge(index) => self.edges[index].kill(&mut self.world),
            Who::Owner(index) => self.owners[index].kill(&mut self.world),
            Who::Archiver(index) => self.archivers[index].kill(),
            Who::Replayer => self.replayer.kill(),
            Who::Relay => self.relay.kill(),
        }
    }

    /// Gives every fault its chance.
    fn go_wrong(&mut self) {
        let faults = self.world.faults.clone();
        let changes = if faults.changes > 0 { faults.changes } else { 40 };
        if self.world.chance.once_in(changes) {
            let (group, user) = (self.world.chance.below(GROUPS) + 1, self.world.chance.below(USERS) + 1);
            let joined = !self.world.sql.is_member(group, user);
            self.world.note(|| format!("{user} {} group {group}", if joined { "joins" } else { "leaves" }));
            self.world.sql.change(group, user, joined);
        }
        if !self.world.late.is_empty() && self.world.chance.once_in(15) {
            self.land(0);
        }
        if self.world.chance.once_in(50) {
            let edge = self.world.chance.below(EDGES) as usize;
            if !self.edges[edge].asleep {
                self.edges[edge].look_around(&mut self.world);
            }
        }
        if self.world.chance.once_in(faults.outs_vanish) {
            let edge = self.world.chance.below(EDGES) as usize;
            let tail = self.world.chance.once_in(2);
            let count = self.world.chance.below(3) + 1;
            self.world.redis.outs.entry(edge).or_default().lose(count, tail);
        }
        let shard = self.world.chance.below(u64::from(SHARDS)) as usize;
        if self.world.chance.once_in(faults.tokens_go_back) {
            self.world.note(|| format!("tokens of {shard} go back"));
            let keys = &mut self.world.redis.shards[shard];
            (keys.tokens, keys.lease) = (0, None);
        }
        if self.world.chance.once_in(faults.leases_expire) {
            self.world.redis.shards[shard].lease = None;
        }
        self.sleep_and_wake(&faults);
        self.harm_redis(&faults);
    }

    fn land(&mut self, index: usize) {
        let (shard, frame) = self.world.late.remove(index);
        self.world.note(|| format!("late frame {} of {:x} lands on {shard}", frame.number, frame.producer));
        self.world.redis.shards[shard].input.push(frame);
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
        let edge = self.world.chance.below(EDGES) as usize;
        if self.world.chance.once_in(faults.edges_sleep) {
            self.world.note(|| format!("edge {edge} sleeps"));
            self.edges[edge].asleep = true;
            self.world.beating.remove(&edge);
        } else if self.edges[edge].asleep && self.world.chance.once_in(30) {
            self.edges[edge].asleep = false;
            self.world.beating.insert(edge);
        }
    }

    fn harm_redis(&mut self, faults: &Faults) {
        let loses_tails = faults.redis_restarts > 0 || faults.redis_forgets > 0;
        if loses_tails && (self.durable.is_none() || self.world.chance.once_in(25)) {
            self.durable = Some(self.world.redis.clone());
        }
        if self.world.chance.once_in(faults.flushes) {
            let run = self.world.redis.run;
            self.replace(Redis::new(run), "is emptied");
        }
        if self.world.chance.once_in(faults.redis_restarts)
            && let Some(mut durable) = self.durable.clone()
        {
            durable.run = self.world.redis.run + 1;
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
        self.world.truth.redis_lost(&self.world.redis, &after, &self.world.sql);
        self.world.redis = after;
        // What the disk had before is not what a later loss goes back to.
        self.durable = Some(self.world.redis.clone());
    }

    /// A loss that nothing in Redis shows; only where an edge can tell, and nothing lost was archived.
    fn forget(&mut self, durable: Redis) {
        let behind = |shard: usize| {
            let commit = durable.shards[shard].meta.as_ref().map_or((0, 0), |meta| meta.commit);
            commit < self.world.sql.shards[shard].position || commit.0 < self.world.sql.shards[shard].epoch
        };
        // A change of the directory that is lost alone is told again only with a new epoch.
        let told = |shard: &Keys| shard.input.behind(0).filter(|(_, frame)| frame.edge.is_empty()).map(|(id, _)| *id).max();
        let untold = self.world.redis.shards.iter().zip(&durable.shards).any(|(now, then)| told(now) > Some(then.input.last()));
        if untold || (0..SHARDS as usize).any(behind) || self.edges.iter().any(|edge| edge.asleep) {
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

    /// The faults stop; everybody goes on until nothing changes any more.
    fn drain(&mut self) -> Result<(), String> {
        self.world.note(|| "the faults stop".into());
        let faults = &self.world.faults;
        // Where the register in the inbox may be out of step with the group, in a new epoch or by a relay without order, what a user saw of
        // a group only in between comes with the next session: there everybody connects once more. Elsewhere it must be there without.
        let mut reconnect = faults.relay_disorder || faults.flushes > 0 || faults.redis_restarts > 0;
        let (trim_at_once, planted, relay_disorder) = (faults.trim_at_once, faults.planted, faults.relay_disorder);
        self.world.faults = Faults { trim_at_once, planted, relay_disorder, ..Faults::default() };
        while !self.world.late.is_empty() {
            self.land(0);
        }
        self.owners.iter_mut().for_each(|owner| owner.asleep = false);
        for edge in &mut self.edges {
            edge.asleep = false;
            self.world.beating.insert(edge.id);
        }
        let (mut before, mut unchanged) = (None, 0);
        for _ in 0..LOOKS {
            for _ in 0..ROUNDS {
                self.round();
            }
            if let Some(failure) = self.world.truth.failure() {
                return Err(failure.clone());
            }
            let now = self.progress();
            unchanged = if before == Some(now) { unchanged + 1 } else { 0 };
            before = Some(now);
            if unchanged >= 3 && self.at_rest() {
                if !std::mem::take(&mut reconnect) {
                    return Ok(());
                }
                self.edges.iter_mut().for_each(|edge| edge.kill(&mut self.world));
                unchanged = 0;
            }
            self.edges.iter_mut().for_each(|edge| edge.look_around(&mut self.world));
        }
        let unread: Vec<bool> = self.edges.iter().map(|edge| edge.unread(&self.world)).collect();
        let archived: Vec<_> = self.world.sql.shards.iter().map(|shard| shard.position).collect();
        let committed: Vec<_> = self.world.redis.shards.iter().map(|keys| keys.log.keys().last()).collect();
        let asked = &self.world.redis.replay;
        Err(format!("no rest: {:?}, pages {unread:?}, archived {archived:?} of {committed:?}, asked {asked:?}", self.progress()))
    }

    fn round(&mut self) {
        self.world.tick();
        (0..self.clients.len()).for_each(|index| (0..3).for_each(|_| self.act(Who::Client(index), false)));
        (0..self.edges.len()).for_each(|index| (0..12).for_each(|_| self.act(Who::Edge(index), false)));
        (0..self.owners.len()).for_each(|index| (0..4).for_each(|_| self.act(Who::Owner(index), false)));
        (0..self.archivers.len()).for_each(|index| (0..2).for_each(|_| self.act(Who::Archiver(index), false)));
        (0..10).for_each(|_| self.act(Who::Replayer, false));
        (0..2).for_each(|_| self.act(Who::Relay, false));
    }

    fn progress(&self) -> [usize; 5] {
        [
            self.clients.iter().flat_map(|client| client.received.values()).map(Vec::len).sum(),
            self.world.sql.shards.iter().map(|shard| shard.history.len()).sum(),
            self.clients.iter().map(Client::pending).sum(),
            self.world.sql.outbox.len(),
            self.world.links.values().filter(|link| !link.client_gone).map(|link| link.down.len()).sum(),
        ]
    }

    fn at_rest(&self) -> bool {
        let [_, _, pending, outbox, down] = self.progress();
        let archived = self.world.redis.shards.iter().zip(&self.world.sql.shards);
        pending + outbox + down + self.world.redis.replay.len() == 0
            && !self.edges.iter().any(|edge| edge.unread(&self.world))
            && self.clients.iter().all(Client::connected)
            && archived.into_iter().all(|(keys, sql)| keys.log.keys().all(|commit| *commit <= sql.position))
    }
}
