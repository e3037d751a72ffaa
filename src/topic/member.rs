//! When somebody is a member of a group, or in a room.

use super::frame::Membership;
use crate::model::{Place, Span};

/// When a user was a member of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// Of the last change.
    pub version: u64,
    /// In order; the last one ends at [`Place::END`] for a present member.
    pub spans: Vec<Span>,
}

impl Member {
    pub(super) fn present(&self) -> bool {
        self.spans.last().is_some_and(|span| span.upto == Place::END)
    }

    /// Takes a change in; false when it is not newer. A join opens an interval behind its place, a leave closes it there.
    pub fn change(&mut self, change: &Membership, place: Place) -> bool {
        if change.version <= self.version {
            return false;
        }
        self.version = change.version;
        let present = self.present();
        if change.joined && !present {
            self.spans.push(Span::new(place, Place::END));
        } else if !change.joined
            && present
            && let Some(last) = self.spans.last_mut()
        {
            last.upto = place;
            self.spans.retain(|span| span.after < span.upto);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_open_behind_a_join_and_close_at_a_leave() {
        let mut member = Member::default();
        let mut check = |version, joined, seq, expected: &[(u64, u64)]| {
            let change = Membership { topic: 0, user: 9, version, joined };
            member.change(&change, Place::new(1, seq));
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
}
