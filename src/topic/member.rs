//! When somebody is a member of a group, or in a room.

use super::frame::{MemberRow, Membership, Stay};
use crate::model::{Place, Span, TopicId, UserId};

/// How many stays in a room are remembered of each user.
const STAYS_MAX: usize = 4;

/// When a user was a member of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// Of the last change.
    pub version: u64,
    /// In order; the last one ends at [`Place::END`] for a present member.
    pub spans: Vec<Span>,
    /// In a room: when, the last ones in order. A hint: a new epoch may know none.
    pub stays: Vec<Stay>,
}

impl Member {
    pub(super) fn present(&self) -> bool {
        self.spans.last().is_some_and(|span| span.upto == Place::END)
    }

    /// Takes a change in; false when it is not newer. A join opens an interval behind its place, a leave closes it there. With the time it happened at,
    /// UTC milliseconds, it is also remembered as a stay; 0 for none.
    pub fn change(&mut self, change: &Membership, place: Place, time_ms: u64) -> bool {
        if change.version <= self.version {
            return false;
        }
        self.version = change.version;
        let present = self.present();
        if change.joined && !present {
            self.spans.push(Span::new(place, Place::END));
            if time_ms != 0 {
                self.stays.drain(..self.stays.len().saturating_sub(STAYS_MAX - 1));
                self.stays.push(Stay { joined_ms: time_ms, left_ms: 0 });
            }
        } else if !change.joined
            && present
            && let Some(last) = self.spans.last_mut()
        {
            last.upto = place;
            self.spans.retain(|span| span.after < span.upto);
            if let Some(last) = self.stays.last_mut() {
                last.left_ms = time_ms.max(last.joined_ms);
            }
        }
        true
    }

    /// Whether they were in the room at some time between two, both included. Of whose times nothing is known that is whether they are there now.
    pub(super) fn was_there(&self, from_ms: u64, upto_ms: u64) -> bool {
        match self.stays.first() {
            None => self.present(),
            Some(_) => self.stays.iter().any(|stay| stay.joined_ms <= upto_ms && (stay.left_ms == 0 || stay.left_ms >= from_ms)),
        }
    }

    /// As a checkpoint has it.
    pub(super) fn row(&self, topic: TopicId, user: UserId) -> MemberRow {
        let spans = self.spans.iter().map(|span| (*span).into()).collect();
        MemberRow { topic: topic.packed(), user: user.0, version: self.version, spans, stays: self.stays.clone() }
    }

    /// Takes a row in that is newer.
    pub(super) fn merge(&mut self, row: MemberRow) {
        if row.version > self.version {
            *self = Self { version: row.version, spans: row.spans.into_iter().map(Span::from).collect(), stays: row.stays };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(member: &mut Member, version: u64, joined: bool, seq: u64, time_ms: u64) {
        member.change(&Membership { topic: 0, user: 9, version, joined }, Place::new(1, seq), time_ms);
    }

    #[test]
    fn intervals_open_behind_a_join_and_close_at_a_leave() {
        let mut member = Member::default();
        let mut check = |version, joined, seq, expected: &[(u64, u64)]| {
            change(&mut member, version, joined, seq, 0);
            let spans: Vec<(u64, u64)> = member.spans.iter().map(|span| (span.after.seq, span.upto.seq)).collect();
            assert_eq!(spans, expected, "after version {version}");
        };
        check(1, true, 0, &[(0, u64::MAX)]);
        check(1, false, 5, &[(0, u64::MAX)]);
        check(3, false, 5, &[(0, 5)]);
        check(4, false, 6, &[(0, 5)]);
        check(2, true, 9, &[(0, 5)]);
        check(6, true, 9, &[(0, 5), (9, u64::MAX)]);
        check(7, false, 9, &[(0, 5)]);
    }

    #[test]
    fn stays_are_known_by_their_times_though_nothing_was_told_meanwhile() {
        let mut member = Member::default();
        for (version, joined, time_ms) in [(1, true, 1_000), (2, false, 2_000), (3, true, 5_000)] {
            change(&mut member, version, joined, 7, time_ms);
        }
        let there = |from_ms, upto_ms| member.was_there(from_ms, upto_ms);
        assert_eq!(
            [there(0, 999), there(0, 1_000), there(2_000, 3_000), there(2_001, 4_999), there(4_000, 5_000)],
            [false, true, true, false, true]
        );
        assert!(there(9_000_000, 9_000_001), "still there");
        for version in 4..40 {
            change(&mut member, version, version % 2 == 1, 7, version * 10_000);
        }
        assert_eq!(member.stays.len(), STAYS_MAX);
        assert!(member.was_there(390_000, 390_000) && !member.was_there(0, 2_000));
        let of_sql = Member { stays: Vec::new(), ..member };
        assert!(of_sql.was_there(0, 1), "whose times are lost is there or not");
    }
}
