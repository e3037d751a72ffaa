//! What an installation has received of one topic.

use crate::model::Place;

/// What a place that came means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// New, and next.
    Next,
    /// New, but places before it are missing and nobody said so.
    BehindHole,
    /// It came on this connection already, or lies at or below the mark this connection began with.
    Repeat,
    /// Asked for again because the app had not acknowledged it; handed over already.
    Known,
}

/// How far one topic has been received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inbound {
    /// The last place of this connection, or what it began with.
    at: Option<Place>,
    /// The last place handed to the app.
    handed: Place,
    /// What the app stored.
    mark: Option<Place>,
    /// Whether `mark` moved since it was last sent.
    pub(super) dirty: bool,
}

impl Inbound {
    pub(super) fn restore(mark: Option<Place>) -> Self {
        Self { at: mark, handed: mark.unwrap_or_default(), mark, dirty: false }
    }

    pub(super) fn mark(&self) -> Option<Place> {
        self.mark
    }

    pub(super) fn at(&self) -> Option<Place> {
        self.at
    }

    /// Whether the app stored everything that was handed to it.
    pub(super) fn is_complete(&self) -> bool {
        self.mark.unwrap_or_default() >= self.handed
    }

    /// A new connection, which begins from the mark.
    pub(super) fn rewind(&mut self) {
        self.at = self.mark;
        self.dirty = false;
    }

    pub(super) fn arrive(&mut self, place: Place) -> Arrival {
        let at = self.at.unwrap_or_default();
        if place <= at {
            return Arrival::Repeat;
        }
        // A new epoch continues from the floor: at most right behind what was the head.
        let next = if place.epoch == at.epoch { place.seq == at.seq + 1 } else { place.seq <= at.seq + 1 };
        self.at = Some(place);
        if place <= self.handed {
            return Arrival::Known;
        }
        self.handed = place;
        if next { Arrival::Next } else { Arrival::BehindHole }
    }

    /// The fleet says that it continues behind `place`. Returns whether that leaves a hole behind `from`, if it named one.
    pub(super) fn skip(&mut self, from: Option<Place>, place: Place) -> bool {
        let at = self.at.unwrap_or_default();
        if place <= at && self.at.is_some() {
            return false;
        }
        let complete = self.is_complete();
        self.at = Some(place);
        self.handed = self.handed.max(place);
        // Nothing waits for the app to store it: what is skipped counts as stored.
        if complete && self.mark.is_none_or(|mark| mark < place) {
            self.mark = Some(place);
        }
        // By the sequence, as with places: an epoch that has begun and given nothing moves the fleet on, and the client hears nothing of it.
        from.is_some_and(|from| from > at && from.seq > at.seq)
    }

    /// The app stored everything up to `place`. Returns whether that is news.
    pub(super) fn acknowledge(&mut self, place: Place) -> bool {
        let place = place.min(self.handed);
        if self.mark.is_some_and(|mark| place <= mark) || place == Place::START {
            return false;
        }
        self.mark = Some(place);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(at: (u64, u64), place: (u64, u64), expected: Arrival) {
        let mut inbound = Inbound::restore(Some(Place::new(at.0, at.1)));
        assert_eq!(inbound.arrive(Place::new(place.0, place.1)), expected, "{place:?} behind {at:?}");
    }

    #[test]
    fn places_are_judged_by_the_one_before() {
        check((1, 7), (1, 8), Arrival::Next);
        check((1, 7), (1, 7), Arrival::Repeat);
        check((1, 7), (1, 3), Arrival::Repeat);
        check((1, 7), (1, 9), Arrival::BehindHole);
        check((1, 7), (2, 8), Arrival::Next);
        // The floor was below what this client has: the fleet lost what it had promised "memory" for.
        check((1, 7), (2, 5), Arrival::Next);
        check((1, 7), (2, 9), Arrival::BehindHole);
        check((0, 0), (1, 1), Arrival::Next);
        check((0, 0), (1, 2), Arrival::BehindHole);
    }

    #[test]
    fn what_was_handed_over_and_not_stored_comes_again_unseen() {
        let mut inbound = Inbound::restore(Some(Place::new(1, 1)));
        assert_eq!(inbound.arrive(Place::new(1, 2)), Arrival::Next);
        assert_eq!(inbound.arrive(Place::new(1, 3)), Arrival::Next);
        assert!(inbound.acknowledge(Place::new(1, 2)) && !inbound.acknowledge(Place::new(1, 2)));
        inbound.rewind();
        assert_eq!(inbound.arrive(Place::new(1, 3)), Arrival::Known);
        assert_eq!(inbound.arrive(Place::new(1, 3)), Arrival::Repeat);
        assert_eq!(inbound.arrive(Place::new(1, 4)), Arrival::Next);
    }

    #[test]
    fn a_told_gap_is_no_hole() {
        let mut inbound = Inbound::default();
        assert!(!inbound.skip(None, Place::new(1, 10)), "a late joiner begins at their mark");
        assert_eq!(inbound.arrive(Place::new(1, 11)), Arrival::Next);
        inbound.acknowledge(Place::new(1, 11));
        assert!(!inbound.skip(Some(Place::new(1, 11)), Place::new(1, 20)));
        assert_eq!(inbound.mark(), Some(Place::new(1, 20)));
        assert_eq!(inbound.arrive(Place::new(1, 21)), Arrival::Next);
        assert!(inbound.skip(Some(Place::new(1, 25)), Place::new(1, 30)), "22 to 25 are missing");
        assert_eq!(inbound.mark(), Some(Place::new(1, 20)), "21 is not stored yet");
        assert!(!inbound.skip(Some(Place::new(2, 30)), Place::new(2, 33)), "epoch 2 had begun behind 30");
        assert!(inbound.skip(Some(Place::new(3, 34)), Place::new(3, 36)), "34 is missing");
    }
}
