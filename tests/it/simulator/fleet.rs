//! A whole fleet and its scheduler.

use super::client::Client;
use super::edge::Edge;
use super::offline::{Archiver, Relay};
use super::owner::Owner;
use super::pair::Program;
use super::redis::{Keys, Redis};
use super::replay::Replayer;
use super::world::{Faults, Shape, World};
use roger::model::{GroupId, Place, TopicId, UserId};

/// Rounds of every program until all has come to rest, but for what timers do: so many at least, and at most. And how often the timers run.
const ROUNDS_MIN: u64 = 5;
const ROUNDS_MAX: u64 = 30;
const LOOKS: u64 = 60;

pub(super) struct Fleet {
    pub(super) world: World,
    pub(super) clients: Vec<Client>,
    pub(super) edges: Vec<Edge>,
    pub(super) owners: Vec<Owner>,
    pub(super) archivers: Vec<Archiver>,
    replayer: Replayer,
    relay: Relay,
    /// Redis as it was some steps ago: what its disk has.
    pub(super) durable: Option<Redis>,
    pub(super) durable_at: u64,
}

/// Who takes a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
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
        let Shape { shards, edges, processes, users, groups, .. } = world.shape;
        for group in 1..=groups {
            for user in 1..=users {
                if !world.chance.once_in(3) {
                    world.sql.change(group, user, true);
                }
            }
        }
        // User 1 has two installations, which say what they hold from the start; user 3 never says it.
        let mut clients: Vec<_> = (1..=users).map(|user| Client::new(user, user * 10 + 1, user != 3)).collect();
        clients.push(Client::new(1, 12, true));
        for client in clients.iter_mut().filter(|client| client.user == 1) {
            client.at.insert(TopicId::inbox(UserId(1)).packed(), Place::START);
            client.at.extend((1..=groups).map(|group| (TopicId::group(GroupId(group)).packed(), Place::START)));
        }
        let edges = (0..edges).map(|id| Edge::new(id as usize, &mut world)).collect();
        let owners = (0..processes).flat_map(|process| (0..shards).map(move |shard| Owner::new(process + 1, shard as usize))).collect();
        let archivers = (0..shards).map(|shard| Archiver::new(shard as usize)).collect();
        let replayer = Replayer::new([1, 4, 1_000][world.chance.below(3) as usize]);
        Self { world, clients, edges, owners, archivers, replayer, relay: Relay::default(), durable: None, durable_at: 0 }
    }

    /// Runs until the faults stop and everything has come to rest, then judges.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.world.shape.steps {
            let who = self.choose();
            self.act(who, true);
            self.world.turn_of_the_pair();
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
        let archives = chance.once_in(self.world.shape.archive_every);
        match chance.below(26) {
            0..5 => Who::Client(chance.below(self.clients.len() as u64) as usize),
            5..10 => Who::Edge(chance.below(self.edges.len() as u64) as usize),
            10..16 => Who::Owner(chance.below(self.owners.len() as u64) as usize),
            16 | 17 if archives => Who::Archiver(chance.below(self.archivers.len() as u64) as usize),
            16..21 => Who::Replayer,
            _ => Who::Relay,
        }
    }

    pub(super) fn act(&mut self, who: Who, posts: bool) {
        self.world.tick();
        let program = match who {
            Who::Client(index) => return self.clients[index].step(&mut self.world, posts),
            Who::Edge(index) => Program::Edge(index),
            Who::Owner(index) => Program::Delivery(self.owners[index].process),
            Who::Archiver(_) | Who::Replayer => Program::Offline,
            Who::Relay => Program::Directory,
        };
        self.world.enter(program);
        self.act_on_redis(who);
        self.world.leave();
    }

    fn act_on_redis(&mut self, who: Who) {
        let world = &mut self.world;
        match who {
            Who::Edge(index) if world.stalled && !self.edges[index].asleep => self.edges[index].step_unanswered(world),
            Who::Owner(index) if world.stalled && !self.owners[index].asleep => self.owners[index].step_unanswered(world),
            _ if world.stalled => {}
            Who::Edge(index) if !self.edges[index].asleep => self.edges[index].step(world),
            Who::Owner(index) if !self.owners[index].asleep => self.owners[index].step(world),
            Who::Archiver(index) => self.archivers[index].step(world),
            Who::Replayer => self.replayer.step(world),
            Who::Relay => self.relay.step(world),
            Who::Client(_) | Who::Edge(_) | Who::Owner(_) => {}
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

    /// The faults stop; everybody goes on until nothing changes any more.
    fn drain(&mut self) -> Result<(), String> {
        self.world.note(|| "the faults stop".into());
        let faults = &self.world.faults;
        // Where the register in the inbox may be out of step with the group, in a new epoch or by a relay without order, what a user saw of
        // a group only in between comes with the next session: there everybody connects once more. Elsewhere it must be there without.
        let mut reconnect = faults.relay_disorder || self.world.sql.shards.iter().any(|shard| shard.epoch > 1);
        let (trim_at_once, planted, relay_disorder) = (faults.trim_at_once, faults.planted, faults.relay_disorder);
        self.world.faults = Faults { trim_at_once, planted, relay_disorder, ..Faults::default() };
        if self.world.stalled {
            self.answer_again();
        }
        while !self.world.late.is_empty() {
            self.world.land(0);
        }
        self.world.calm();
        self.owners.iter_mut().for_each(|owner| owner.asleep = false);
        for edge in &mut self.edges {
            edge.asleep = false;
            self.world.beating.insert(edge.id);
        }
        let (mut before, mut unchanged) = (None, 0);
        for _ in 0..LOOKS {
            let rested = (1..=ROUNDS_MAX).any(|round| {
                self.round();
                round >= ROUNDS_MIN && self.at_rest()
            });
            if let Some(failure) = self.world.truth.failure() {
                return Err(failure.clone());
            }
            let now = self.progress();
            unchanged = if rested && before == Some(now) { unchanged + 1 } else { 0 };
            before = Some(now);
            if unchanged >= 2 {
                if !std::mem::take(&mut reconnect) {
                    return Ok(());
                }
                self.edges.iter_mut().for_each(|edge| edge.kill(&mut self.world));
                unchanged = 0;
            }
            self.edges.iter_mut().for_each(|edge| edge.look_around(&mut self.world));
        }
        let edges: Vec<bool> = self.edges.iter().map(|edge| edge.is_done(&self.world)).collect();
        let clients: Vec<bool> = self.clients.iter().map(|client| client.is_done(&self.world)).collect();
        let owners: Vec<bool> = self.owners.iter().map(|owner| owner.is_done(&self.world)).collect();
        let archived: Vec<_> = self.world.sql.shards.iter().map(|shard| shard.position).collect();
        let committed: Vec<_> = self.world.redis.shards.iter().map(|keys| keys.log.keys().last()).collect();
        let asked = &self.world.redis.replay;
        Err(format!(
            "no rest: {:?}, done are edges {edges:?}, clients {clients:?}, owners {owners:?}; archived {archived:?} of {committed:?}, asked {asked:?}",
            self.progress()
        ))
    }

    fn round(&mut self) {
        // An edge hears every shard.
        let acts = 8 + 4 * self.world.shape.shards;
        (0..self.clients.len()).for_each(|index| (0..3).for_each(|_| self.act(Who::Client(index), false)));
        (0..self.edges.len()).for_each(|index| (0..acts).for_each(|_| self.act(Who::Edge(index), false)));
        (0..self.owners.len()).for_each(|index| (0..4).for_each(|_| self.act(Who::Owner(index), false)));
        (0..self.archivers.len()).for_each(|index| (0..2).for_each(|_| self.act(Who::Archiver(index), false)));
        (0..40).for_each(|_| self.act(Who::Replayer, false));
        (0..2).for_each(|_| self.act(Who::Relay, false));
    }

    /// What everybody has so far.
    fn progress(&self) -> [usize; 2] {
        [
            self.clients.iter().flat_map(|client| client.received.values()).map(Vec::len).sum(),
            self.world.sql.shards.iter().map(|shard| shard.history.len()).sum(),
        ]
    }

    /// Nothing is under way. What timers do comes on top.
    fn at_rest(&self) -> bool {
        let world = &self.world;
        let owned = |(shard, keys): (usize, &Keys)| {
            self.owners.iter().any(|owner| owner.shard == shard && owner.is_done(world))
                && keys.log.last_key_value().is_none_or(|(commit, _)| *commit <= world.sql.shards[shard].position)
        };
        world.sql.outbox.len() + world.redis.replay.len() == 0
            && self.relay.is_done()
            && self.replayer.is_done()
            && self.edges.iter().all(|edge| edge.is_done(world))
            && self.clients.iter().all(|client| client.is_done(world))
            && world.redis.shards.iter().enumerate().all(owned)
    }
}
