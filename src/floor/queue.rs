//! Who waits, in the order in which the floor is given.

use serde::{Deserialize, Serialize};

use super::input::{Participant, Request};
use super::limits::Limits;
use crate::model::{FloorRequestId, UserId};

/// How a request stands against others; the higher goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Level(u8),
    /// Passed over as often as one may be.
    Aged,
    Emergency,
}

/// A request that waits, or has the floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) request: Request,
    /// Counts up within the floor: who came first.
    pub(super) arrival: u64,
    /// When it was heard of last, UTC ms.
    pub(super) alive_ms: u64,
    /// How often the floor was given to later ones while it waited.
    pub(super) passed_over: u32,
    /// The position it was told last; 0 for none.
    pub(super) told: u32,
}

impl Claim {
    /// As it asked.
    pub(super) fn asked(&self) -> Rank {
        if self.request.emergency { Rank::Emergency } else { Rank::Level(self.request.level) }
    }

    /// As it stands, for having waited.
    pub(super) fn rank(&self, limits: &Limits) -> Rank {
        if self.passed_over >= limits.age_bursts { self.asked().max(Rank::Aged) } else { self.asked() }
    }

    pub(super) fn vanishes_ms(&self, limits: &Limits) -> u64 {
        self.alive_ms.saturating_add(limits.vanish_ms)
    }
}

/// The claims that wait. Sorted anew where the order matters, since ranks change by waiting; a queue is short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Queue(Vec<Claim>);

impl Queue {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Claim> {
        self.0.iter_mut()
    }

    pub(super) fn push(&mut self, claim: Claim) {
        self.0.push(claim);
    }

    pub(super) fn of(&mut self, who: Participant) -> Option<&mut Claim> {
        self.0.iter_mut().find(|claim| claim.request.who == who)
    }

    /// Takes out the first, and notes with those that came before it that they were passed over.
    pub(super) fn pop(&mut self, limits: &Limits) -> Option<Claim> {
        self.sort(limits);
        let first = (!self.0.is_empty()).then(|| self.0.remove(0))?;
        for claim in self.0.iter_mut().filter(|claim| claim.arrival < first.arrival) {
            claim.passed_over = claim.passed_over.saturating_add(1);
        }
        Some(first)
    }

    /// Takes out what is beyond the bound, from the end.
    pub(super) fn trim(&mut self, limits: &Limits) -> Vec<Claim> {
        self.sort(limits);
        self.0.split_off(limits.queue_max.min(self.0.len()))
    }

    /// Takes out those that match, in their order.
    pub(super) fn take(&mut self, limits: &Limits, mut matches: impl FnMut(&Claim) -> bool) -> Vec<Claim> {
        self.sort(limits);
        self.0.extract_if(.., |claim| matches(claim)).collect()
    }

    /// Those whose position is another than they were told; notes that they are told.
    pub(super) fn moved(&mut self, limits: &Limits) -> Vec<(Participant, FloorRequestId, u32)> {
        self.sort(limits);
        let moved = self.0.iter_mut().zip(1..).filter_map(|(claim, position)| {
            (claim.told != position).then(|| {
                claim.told = position;
                (claim.request.who, claim.request.id, position)
            })
        });
        moved.collect()
    }

    /// Lets all that a user waits for begin to wait now, behind who is there.
    pub(super) fn renew(&mut self, user: UserId, arrivals: &mut u64) {
        self.0.sort_unstable_by_key(|claim| claim.arrival);
        for claim in self.0.iter_mut().filter(|claim| claim.request.who.user == user) {
            *arrivals += 1;
            (claim.arrival, claim.passed_over) = (*arrivals, 0);
        }
    }

    fn sort(&mut self, limits: &Limits) {
        self.0.sort_unstable_by_key(|claim| (std::cmp::Reverse(claim.rank(limits)), claim.arrival));
    }
}
