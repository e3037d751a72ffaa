//! A page in the making, and what is missing from it.

use super::window::{CommitId, Window};
use crate::model::{Place, Span, TopicId};
use crate::topic::frame::Entry;

/// What is asked for, within bounds.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The topic.
    pub topic: TopicId,
    /// The places.
    pub span: Span,
    /// The most entries in a page; from 1.
    pub entries_max: usize,
    /// The most bytes of bodies in a page. One entry may be above it.
    pub bytes_max: usize,
}

/// Entries in order, and up to where they answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// As many as fit.
    pub entries: Vec<Entry>,
    /// The end of the span, or the last entry when the bounds were met.
    pub upto: Place,
    /// Whether there was more than fits.
    pub clipped: bool,
    /// What is missing from the entries.
    pub lost: Vec<Span>,
}

impl Draft {
    /// As many of `entries` as fit, at least one.
    pub fn of(ask: Ask, entries: impl Iterator<Item = Entry>) -> Self {
        let mut draft = Self { upto: ask.span.upto, ..Self::default() };
        let mut bytes = 0;
        for entry in entries {
            bytes += entry.body.len();
            if draft.entries.len() == ask.entries_max || (bytes > ask.bytes_max && !draft.entries.is_empty()) {
                draft.clipped = true;
                draft.upto = draft.last(ask.span.after);
                break;
            }
            draft.entries.push(entry);
        }
        draft
    }

    /// The place of the last entry; `after` without one.
    pub fn last(&self, after: Place) -> Place {
        self.entries.last().map_or(after, Entry::place)
    }
}

impl Draft {
    /// What a window on the log answers alone; `None` when it does not prove that this is all there is.
    pub fn of_window(ask: Ask, window: &Window) -> Option<Self> {
        // A server that missed an epoch has another end in its place, as whole as it looks.
        if ask.span.upto.epoch > window.epoch() {
            return None;
        }
        let draft = Self::of(ask, window.entries(ask.topic, ask.span, CommitId::default()).cloned());
        draft.is_all(ask.span.after, window.whole_behind().0).then_some(draft)
    }

    /// What SQL has, with what the window has behind it, and the holes in that as lost. `more` says whether SQL has more than `stored`, and
    /// `archived` up to which commit it had everything before `stored` was read. Fails with the place behind which nothing is known: the
    /// window had it and no longer has, or never saw its epoch, and SQL does not have it yet.
    pub fn of_both(ask: Ask, stored: Vec<Entry>, more: bool, archived: CommitId, window: &Window) -> Result<Self, Place> {
        let known = Self::of(ask, stored.into_iter());
        let last = known.last(ask.span.after);
        let draft = if known.clipped || more {
            Self { upto: last, ..known }
        } else if window.evicted() > archived || ask.span.upto.epoch > window.epoch().max(archived.0) {
            return Err(last);
        } else {
            // What is not archived up to there never will be: it is the end of a log that another one outran.
            let rest = window.entries(ask.topic, Span::new(last, ask.span.upto), archived);
            Self::of(ask, known.entries.into_iter().chain(rest.cloned()))
        };
        let lost = holes(ask.span.after, &draft.entries, draft.upto);
        Ok(Self { lost, ..draft })
    }

    /// Behind which place something is missing that may still come: nothing behind it is archived, as `head`, the topic's head in SQL, says, and its
    /// epoch is not below the one of the last commit archived. `None` when all that is missing is lost.
    pub fn waits_behind(&self, head: Place, archived: u64) -> Option<Place> {
        self.lost.iter().find(|hole| hole.upto > head && hole.upto.epoch >= archived).map(|hole| hole.after)
    }

    /// Whether a draft from a window on the log is all there is behind `after`. The window has every commit of the epochs above
    /// `whole_above`. Within an epoch the sequence shows it. Beyond a border it does not: the places behind `after` may have been lost, and
    /// given anew in an epoch whose begin the window does not have.
    fn is_all(&self, after: Place, whole_above: u64) -> bool {
        let epoch = match self.entries.first() {
            Some(first) if after.seq == 0 && first.seq == 1 => first.epoch,
            _ => after.epoch,
        };
        let border = self.upto.epoch != epoch || self.entries.iter().any(|entry| entry.epoch != epoch);
        (!border || whole_above <= after.epoch) && holes(after, &self.entries, self.upto).is_empty()
    }
}

/// The places behind `after` up to `upto` that must exist and are not among the entries. Within an epoch sequences have no holes, and a
/// new epoch goes on behind the highest sequence that was known at its begin; it may go on behind a lower one than the epoch before
/// reached, and then what it gave anew is behind, not missing.
fn holes(after: Place, entries: &[Entry], upto: Place) -> Vec<Span> {
    let mut holes = Vec::new();
    let mut last = after;
    for entry in entries {
        let place = entry.place();
        if place.seq > last.seq + 1 {
            holes.push(Span::new(last, Place::new(place.epoch, place.seq - 1)));
        }
        last = place;
    }
    if upto > last && upto.seq > last.seq {
        holes.push(Span::new(last, upto));
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupId, TopicId};

    type Pair = (u64, u64);

    fn entry((epoch, seq): Pair) -> Entry {
        Entry { epoch, seq, body: vec![0; 10].into(), ..Entry::default() }
    }

    #[test]
    fn holes_are_found_within_epochs_and_at_their_borders() {
        let check = |after: Pair, entries: &[Pair], upto: Pair, expected: &[(Pair, Pair)]| {
            let entries: Vec<Entry> = entries.iter().copied().map(entry).collect();
            let place = |(epoch, seq)| Place::new(epoch, seq);
            let found = holes(place(after), &entries, place(upto));
            let expected: Vec<Span> = expected.iter().map(|(after, upto)| Span::new(place(*after), place(*upto))).collect();
            assert_eq!(found, expected, "behind {after:?} up to {upto:?}");
        };
        check((0, 0), &[(1, 1), (1, 2)], (1, 2), &[]);
        check((1, 2), &[], (1, 2), &[]);
        check((1, 2), &[], (1, 4), &[((1, 2), (1, 4))]);
        check((1, 1), &[(1, 3), (1, 4)], (1, 4), &[((1, 1), (1, 2))]);
        // The new epoch goes on behind the old one, or gives lost sequences anew.
        check((1, 1), &[(1, 2), (2, 3)], (2, 3), &[]);
        check((1, 9), &[(2, 5), (2, 6)], (2, 6), &[]);
        // A floor that knew of more than there is.
        check((1, 1), &[(1, 2), (2, 5)], (2, 5), &[((1, 2), (2, 4))]);
        // A head in a new epoch that gave no place yet.
        check((1, 2), &[], (2, 2), &[]);
    }

    #[test]
    fn a_window_answers_alone_only_what_it_proves() {
        let check = |after: (u64, u64), entries: &[(u64, u64)], upto: (u64, u64), whole_above, expected| {
            let draft =
                Draft { entries: entries.iter().copied().map(entry).collect(), upto: Place::new(upto.0, upto.1), ..Draft::default() };
            assert_eq!(
                draft.is_all(Place::new(after.0, after.1), whole_above),
                expected,
                "{after:?} {entries:?} {upto:?} above {whole_above}"
            );
        };
        check((1, 4), &[(1, 5), (1, 6)], (1, 6), 1, true);
        check((1, 3), &[(1, 5), (1, 6)], (1, 6), 1, false);
        check((0, 0), &[(1, 1)], (1, 1), 1, true);
        // (2, 5) to (2, 9) may stand in SQL.
        check((1, 9), &[(2, 10)], (2, 10), 2, false);
        check((1, 9), &[], (2, 9), 2, false);
        check((1, 9), &[(2, 10)], (2, 10), 1, true);
        check((1, 8), &[(1, 9), (2, 5)], (2, 5), 2, false);
        check((1, 8), &[(1, 9), (2, 5)], (2, 5), 1, true);
        check((1, 8), &[(1, 9)], (1, 9), 2, true);
    }

    #[test]
    fn a_draft_ends_at_its_bounds_with_at_least_one_entry() {
        let topic = TopicId::group(GroupId(1));
        let check = |entries_max, bytes_max, count, upto, clipped| {
            let ask = Ask { topic, span: Span::new(Place::START, Place::new(1, 9)), entries_max, bytes_max };
            let draft = Draft::of(ask, (1..=3).map(|seq| entry((1, seq))));
            assert_eq!(
                (draft.entries.len(), draft.upto.seq, draft.clipped),
                (count, upto, clipped),
                "{entries_max} entries, {bytes_max} bytes"
            );
        };
        check(5, 100, 3, 9, false);
        check(3, 100, 3, 9, false);
        check(2, 100, 2, 2, true);
        check(5, 20, 2, 2, true);
        check(5, 1, 1, 1, true);
    }
}
