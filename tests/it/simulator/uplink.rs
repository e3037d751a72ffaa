//! From an edge to one shard: what waits, one frame in flight, and the receipts that are due once it is through.

use std::collections::VecDeque;

use roger::topic::frame::{InFrame, InItem, Input, WirePlace};

use super::pair::{Program, Replicated, Written};
use super::redis::Commit;
use super::world::{Down, Late, Planted, World};

/// Session, topic, client_seq.
pub(super) type Receipt = (u64, u64, u64);

pub(super) struct Uplink {
    producer: u64,
    edge: usize,
    number: u64,
    queue: VecDeque<(InItem, Option<Receipt>)>,
    flight: Option<Flight>,
    /// Push a frame even without items: a new owner waits to hear.
    pub(super) answer: bool,
}

struct Flight {
    frame: InFrame,
    receipts: Vec<Receipt>,
    /// Redis has it; whether the replica has it too is still asked.
    pushed: Option<Written>,
}

impl Uplink {
    pub(super) fn new(producer: u64, edge: usize) -> Self {
        Self { producer, edge, number: 0, queue: VecDeque::new(), flight: None, answer: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.flight.is_none() && !self.answer
    }

    pub(super) fn queue(&mut self, input: Input, receipt: Option<Receipt>) {
        self.queue.push_back((input.into(), receipt));
    }

    /// The edge dies; what is in flight may still land.
    pub(super) fn cut(&mut self, world: &mut World, shard: usize) {
        if let Some(flight) = self.flight.take()
            && world.faults.pushes_fail > 0
        {
            let run = world.redis.run;
            world.late.push(Late::frame(run, shard, flight.frame));
        }
    }

    /// A failed push is tried again with the same number before anything else, and so is one to a server that is the primary no more.
    pub(super) fn push(&mut self, world: &mut World, shard: usize, seen: Commit) {
        self.fill(world, seen);
        let Some(flight) = &mut self.flight else { return };
        let written = match flight.pushed {
            Some(written) => written,
            None if !world.push_in(shard, flight.frame.clone()) => return,
            None => world.written(),
        };
        flight.pushed = Some(written);
        let asked = match world.faults.planted {
            Some(Planted::ReplicaUnasked) => Replicated::Yes,
            _ => world.replicated(Program::Edge(self.edge), written),
        };
        match asked {
            Replicated::NotYet => {}
            Replicated::Broken => flight.pushed = None,
            Replicated::Yes | Replicated::No => {
                for (session, topic, seq) in self.flight.take().into_iter().flat_map(|flight| flight.receipts) {
                    let Some(link) = world.links.get_mut(&session).filter(|link| !link.edge_gone) else { continue };
                    link.down.push_back(Down::Receipt(topic, seq, asked == Replicated::Yes));
                }
            }
        }
    }

    /// Redis answers nobody: the frame stands in the socket, perhaps in those of several attempts.
    pub(super) fn push_unanswered(&mut self, world: &mut World, shard: usize, seen: Commit) {
        self.fill(world, seen);
        if let Some(flight) = self.flight.as_ref().filter(|flight| flight.pushed.is_none())
            && world.chance.once_in(3)
        {
            let run = world.redis.run;
            world.late.push(Late::frame(run, shard, flight.frame.clone()));
        }
    }

    fn fill(&mut self, world: &mut World, seen: Commit) {
        let most = world.chance.below(5) as usize + 1;
        if self.flight.is_some() || self.queue.is_empty() && !self.answer {
            return;
        }
        self.number += 1;
        self.answer = false;
        let (items, receipts): (Vec<_>, Vec<_>) = self.queue.drain(..most.min(self.queue.len())).unzip();
        let seen = Some(WirePlace { epoch: seen.0, seq: seen.1 });
        let frame = InFrame { producer: self.producer, number: self.number, edge: self.edge.to_string(), seen, items };
        self.flight = Some(Flight { frame, receipts: receipts.into_iter().flatten().collect(), pushed: None });
    }
}
