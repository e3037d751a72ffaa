//! Which messages of others were handed over: their numbers, which are theirs for ever, while their places are not.
//!
//! A fleet that lost its last moments decides again what it still has the input of, and the same message comes at another place. Its sender's number
//! shows that it is the same one.

use std::collections::VecDeque;

use crate::model::{InstallationId, Place};

/// How many installations are remembered in a topic; beyond that the one heard longest ago is forgotten.
const INSTALLATIONS_MAX: usize = 256;

/// The highest client_seq heard of each installation in one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whoever was heard last is last.
    last: VecDeque<(InstallationId, u64)>,
    /// What was handed over and the app has not stored, in order.
    unstored: VecDeque<(Place, InstallationId, u64)>,
}

impl Heard {
    pub(super) fn restore(last: impl IntoIterator<Item = (InstallationId, u64)>) -> Self {
        Self { last: last.into_iter().collect(), unstored: VecDeque::new() }
    }

    /// What must be kept, whoever was heard last at the end: what the app has not stored comes again, and is new to it.
    pub(super) fn kept(&self) -> Vec<(InstallationId, u64)> {
        let mut kept: Vec<_> = self.last.iter().copied().collect();
        for (_, installation, client_seq) in self.unstored.iter().rev() {
            if let Some(last) = kept.iter_mut().find(|(known, _)| known == installation) {
                last.1 = client_seq - 1;
            }
        }
        kept.retain(|(_, client_seq)| *client_seq > 0);
        kept
    }

    /// The app stored everything up to `place`.
    pub(super) fn stored(&mut self, place: Place) {
        while self.unstored.front().is_some_and(|(at, ..)| *at <= place) {
            self.unstored.pop_front();
        }
    }

    /// Takes a message in that is handed over at `place`; false when it, or one after it, was heard already. Within a topic the numbers of an
    /// installation rise.
    pub(super) fn is_new(&mut self, place: Place, installation: InstallationId, client_seq: u64) -> bool {
        let at = self.last.iter().rposition(|(known, _)| *known == installation);
        if at.is_some_and(|at| self.last[at].1 >= client_seq) {
            return false;
        }
        match at {
            Some(at) if at + 1 == self.last.len() => self.last[at].1 = client_seq,
            at => {
                if let Some(at) = at {
                    self.last.remove(at);
                } else if self.last.len() == INSTALLATIONS_MAX {
                    self.last.pop_front();
                }
                self.last.push_back((installation, client_seq));
            }
        }
        self.unstored.push_back((place, installation, client_seq));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstallationId = InstallationId(1);
    const TWO: InstallationId = InstallationId(2);

    #[test]
    fn a_number_is_new_once_and_whoever_was_heard_longest_ago_is_forgotten_first() {
        let (mut heard, mut seq) = (Heard::default(), 0);
        let mut is_new = |heard: &mut Heard, installation, client_seq| {
            seq += 1;
            heard.is_new(Place::new(1, seq), installation, client_seq)
        };
        assert!(is_new(&mut heard, ONE, 4) && is_new(&mut heard, TWO, 1) && is_new(&mut heard, ONE, 5));
        assert!(!is_new(&mut heard, ONE, 5) && !is_new(&mut heard, ONE, 4) && !is_new(&mut heard, TWO, 1));
        for other in 0..INSTALLATIONS_MAX as u64 - 1 {
            assert!(is_new(&mut heard, InstallationId(10 + other), 1));
        }
        assert!(!is_new(&mut heard, ONE, 5), "heard last of the two");
        assert!(is_new(&mut heard, TWO, 1), "forgotten");
    }

    #[test]
    fn what_was_not_stored_is_new_to_whoever_begins_from_what_was_kept() {
        let mut heard = Heard::default();
        for (seq, installation, client_seq) in [(1, ONE, 4), (2, TWO, 1), (3, ONE, 5), (4, ONE, 9)] {
            assert!(heard.is_new(Place::new(1, seq), installation, client_seq));
        }
        heard.stored(Place::new(1, 1));
        assert_eq!(heard.kept(), [(ONE, 4)]);
        heard.stored(Place::new(1, 3));
        let mut later = Heard::restore(heard.kept());
        assert!(
            !later.is_new(Place::new(2, 3), ONE, 5) && !later.is_new(Place::new(2, 3), TWO, 1) && later.is_new(Place::new(2, 3), ONE, 9)
        );
    }
}
