//! Places in a topic's log.

use std::fmt;

/// A place in a topic's log. Ordered by epoch, then seq. (0, 0) is before everything.
///
/// Within an epoch seq has no holes. A new epoch begins where Redis lost something; its seq goes on behind the highest one that SQL or
/// Redis still knew, so a place is never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Allocated in SQL, rises when a shard lost state. From 1.
    pub epoch: u64,
    /// From 1.
    pub seq: u64,
}

impl Place {
    /// Before everything.
    pub const START: Self = Self { epoch: 0, seq: 0 };
    /// Behind everything.
    pub const END: Self = Self { epoch: u64::MAX, seq: u64::MAX };

    /// The place (epoch, seq).
    pub fn new(epoch: u64, seq: u64) -> Self {
        Self { epoch, seq }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.seq)
    }
}

/// The places behind `after`, up to and including `upto`. What a member may see, what a gap lacks, and what a replay asks for are all
/// of this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// Exclusive.
    pub after: Place,
    /// Inclusive; [`Place::END`] for an interval that is still open.
    pub upto: Place,
}

impl Span {
    /// The places behind `after` up to and including `upto`.
    pub fn new(after: Place, upto: Place) -> Self {
        Self { after, upto }
    }

    /// Whether `place` lies in it.
    pub fn contains(self, place: Place) -> bool {
        self.after < place && place <= self.upto
    }

    /// The part that lies in both; `None` when there is none.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let both = Self { after: self.after.max(other.after), upto: self.upto.min(other.upto) };
        (both.after < both.upto).then_some(both)
    }
}
