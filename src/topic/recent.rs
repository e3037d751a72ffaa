//! Whether a number that is used again stands for the same message.

use std::collections::VecDeque;

/// The last numbers used by one installation in a topic, `MAX` at most, each with the fingerprint of its message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent<const MAX: usize>(VecDeque<(u64, u64)>);

impl<const MAX: usize> Recent<MAX> {
    /// Remembers a number, and forgets the oldest when there is no room. Numbers come in their order.
    pub fn note(&mut self, number: u64, print: u64) {
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back((number, print));
    }

    /// The number noted last.
    pub fn last(&self) -> Option<u64> {
        self.0.back().map(|(number, _)| *number)
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether a number at or below `high`, the highest one used, was used for another message, or passed over. One that is too old to
    /// compare is taken for a repeat: its sender may be told twice that it was stored, but never wrongly that it was not. So is every
    /// number while the last one noted is not `high`.
    pub fn is_reused(&self, number: u64, print: u64, high: u64) -> bool {
        match self.0.iter().find(|(known, _)| *known == number) {
            Some((_, known)) => *known != print,
            None => self.last() == Some(high) && self.0.front().is_some_and(|(first, _)| *first < number),
        }
    }
}

/// Tells contents apart: XXH3 of the text, mixed with the kind.
pub fn fingerprint(kind: u32, body: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(body, u64::from(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_compared_is_called_reused() {
        let mut recent = Recent::<3>::default();
        assert!(!recent.is_reused(1, 10, 0), "nothing is known");
        for number in [1, 2, 4, 5] {
            recent.note(number, number * 10);
        }
        assert!(!recent.is_reused(5, 50, 5) && !recent.is_reused(2, 20, 5));
        assert!(recent.is_reused(5, 51, 5) && recent.is_reused(2, 21, 5), "with other content");
        assert!(recent.is_reused(3, 30, 5), "passed over");
        assert!(!recent.is_reused(1, 10, 5) && !recent.is_reused(1, 11, 5), "too old to compare");
        assert!(!recent.is_reused(3, 30, 9), "the numbers up to the highest are not known");
        recent.clear();
        assert!(!recent.is_reused(5, 51, 5));
    }
}
