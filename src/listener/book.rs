//! When changes are told: many at once in one text, the same one not again and again, within a budget, by day unless they are severe. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::event::{Change, Kind, Severity};
use super::spool::PENDING_MAX;

const HOUR_MS: u64 = 3_600_000;

/// How texts are paced. All times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// How long a change waits for others to share a text with.
    pub(super) group_ms: u64,
    /// How soon the same kind of change of a program is told again.
    pub(super) repeat_ms: u64,
    /// How long a program is up before that is told.
    pub(super) steady_ms: u64,
    /// The most messages in any hour, of which the last quarter is for critical ones.
    pub(super) per_hour_max: usize,
}

/// What waits to be told, and what was told lately.
#[derive(Debug)]
pub(super) struct Book {
    pace: Pace,
    pending: BTreeMap<u64, Change>,
    /// When each kind of change of a program was told last.
    told: BTreeMap<(String, Kind), u64>,
    /// Since when each program is in trouble; until its recovery is told.
    trouble: BTreeMap<String, u64>,
    messages_ms: VecDeque<u64>,
    given_up: u64,
}

impl Book {
    /// An empty one.
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, pending: BTreeMap::new(), told: BTreeMap::new(), trouble: BTreeMap::new(), messages_ms: VecDeque::new(), given_up: 0 }
    }

    /// Takes a change that waits to be told. False when there is nothing to tell: a program is up that was not in trouble.
    pub(super) fn take(&mut self, change: Change) -> bool {
        match change.kind {
            Kind::Running | Kind::PeerBack if !self.trouble.contains_key(&change.program) => return false,
            Kind::SupervisorStops => return false,
            _ => {}
        }
        if change.kind.is_trouble() && change.kind != Kind::Said {
            self.trouble.entry(change.program.clone()).or_insert(change.at_ms);
        }
        self.pending.insert(change.seq, change);
        true
    }

    /// Changes that are given up because too many wait; the caller settles them.
    pub(super) fn overflow(&mut self) -> Vec<u64> {
        let excess = self.pending.len().saturating_sub(PENDING_MAX);
        let mut seqs: Vec<u64> =
            self.pending.values().filter(|change| change.severity == Severity::Notice).map(|change| change.seq).take(excess).collect();
        let more = excess - seqs.len();
        seqs.extend(self.pending.values().filter(|change| change.severity != Severity::Notice).map(|change| change.seq).take(more));
        seqs.iter().for_each(|seq| drop(self.pending.remove(seq)));
        self.given_up += seqs.len() as u64;
        seqs
    }

    /// How many changes were given up since that was asked last.
    pub(super) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// What the next message tells: everything that may be told now, if anything of it is due; empty otherwise.
    pub(super) fn due(&self, now_ms: u64, quiet: bool) -> Vec<Change> {
        let recent = self.messages_ms.iter().filter(|at| **at + HOUR_MS > now_ms).count();
        let for_critical = self.pace.per_hour_max.div_ceil(4).min(self.pace.per_hour_max - 1);
        let least = if recent >= self.pace.per_hour_max {
            return Vec::new();
        } else if quiet || recent >= self.pace.per_hour_max - for_critical {
            Severity::Critical
        } else {
            Severity::Notice
        };
        if !self.pending.values().any(|change| change.severity >= least && self.due_ms(change) <= now_ms) {
            return Vec::new();
        }
        // What is told of a program is all of it, so that it is not told as dead when it is up again.
        let programs: BTreeSet<&str> =
            self.pending.values().filter(|change| change.severity >= least).map(|change| change.program.as_str()).collect();
        let goes = |change: &&Change| {
            programs.contains(change.program.as_str())
                && (change.kind != Kind::Running || self.troubled_after(change) || self.due_ms(change) <= now_ms)
        };
        self.pending.values().filter(goes).cloned().collect()
    }

    /// A message with these changes was composed: they wait no longer.
    pub(super) fn composed(&mut self, changes: &[Change], now_ms: u64) {
        for change in changes {
            self.pending.remove(&change.seq);
            let told = self.told.entry((change.program.clone(), change.kind)).or_insert(0);
            *told = now_ms.max(*told);
            match change.kind {
                Kind::Running | Kind::PeerBack if !self.troubled_after(change) => drop(self.trouble.remove(&change.program)),
                kind if kind.is_trouble() && kind != Kind::Said => {
                    self.trouble.entry(change.program.clone()).or_insert(change.at_ms);
                }
                _ => {}
            }
        }
        self.messages_ms.push_back(now_ms);
        self.messages_ms.retain(|at| *at + HOUR_MS > now_ms);
        self.told.retain(|_, at| *at + self.pace.repeat_ms.max(HOUR_MS) > now_ms);
    }

    /// These are told by somebody else, or not at all.
    pub(super) fn settle(&mut self, seqs: &[u64]) {
        seqs.iter().for_each(|seq| drop(self.pending.remove(seq)));
    }

    /// Since when a program has been in trouble that was not yet told to be over.
    pub(super) fn trouble_since(&self, program: &str) -> Option<u64> {
        self.trouble.get(program).copied()
    }

    /// Which programs are in trouble, and since when, by what stands in the spool and waits no more.
    pub(super) fn set_trouble(&mut self, trouble: BTreeMap<String, u64>) {
        self.trouble = trouble;
    }

    /// All that waits.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Change> {
        self.pending.values()
    }

    fn due_ms(&self, change: &Change) -> u64 {
        let waits = if change.kind == Kind::Running { self.pace.steady_ms } else { self.pace.group_ms };
        let told = self.told.get(&(change.program.clone(), change.kind));
        told.map_or(0, |told| told + self.pace.repeat_ms).max(change.at_ms + waits)
    }

    /// Whether a program that came up was in trouble again.
    fn troubled_after(&self, change: &Change) -> bool {
        let mut later = self.pending.range(change.seq + 1..).map(|(_, later)| later);
        later.any(|later| later.program == change.program && later.kind.is_trouble())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const PACE: Pace = Pace { group_ms: 10, repeat_ms: 300, steady_ms: 60, per_hour_max: 4 };

    pub(in crate::listener) fn change(program: &str, kind: Kind, seq: u64) -> Change {
        let program = program.to_owned();
        Change {
            seq,
            id: format!("b/{seq}"),
            at_ms: seq,
            program,
            kind,
            severity: kind.severity(),
            pid: 0,
            count: 0,
            detail: String::new(),
        }
    }

    fn at(program: &str, kind: Kind, seq: u64, at_ms: u64) -> Change {
        Change { at_ms, ..change(program, kind, seq) }
    }

    /// Which seqs are told at a time, and that they were.
    fn tell(book: &mut Book, now_ms: u64, quiet: bool) -> Vec<u64> {
        let due = book.due(now_ms, quiet);
        if !due.is_empty() {
            book.composed(&due, now_ms);
        }
        due.iter().map(|change| change.seq).collect()
    }

    #[test]
    fn many_at_once_are_one_message_and_the_same_is_told_again_only_later() {
        let mut book = Book::new(PACE);
        for seq in 1..=5 {
            assert!(book.take(at(&format!("p{seq}"), Kind::Exited, seq, seq)));
        }
        assert_eq!(tell(&mut book, 10, false), [0; 0]);
        assert_eq!(tell(&mut book, 11, false), [1, 2, 3, 4, 5]);
        book.take(at("p1", Kind::Exited, 6, 20));
        assert_eq!(tell(&mut book, 310, false), [0; 0]);
        // Another kind is news, and takes the repeat along.
        book.take(at("p1", Kind::Fatal, 7, 25));
        assert_eq!(tell(&mut book, 35, false), [6, 7]);
        book.take(at("p1", Kind::Fatal, 8, 40));
        assert_eq!((tell(&mut book, 334, false), tell(&mut book, 335, false)), (vec![], vec![8]));
    }

    #[test]
    fn a_recovery_is_told_once_it_lasts_and_only_after_trouble() {
        let mut book = Book::new(PACE);
        assert!(!book.take(at("edge", Kind::Running, 1, 0)));
        book.take(at("edge", Kind::Exited, 2, 100));
        book.take(at("edge", Kind::Running, 3, 101));
        assert_eq!((tell(&mut book, 110, false), book.trouble_since("edge")), (vec![2], Some(100)));
        assert_eq!(tell(&mut book, 160, false), [0; 0]);
        // It went down again: told with that, as one of many.
        book.take(at("edge", Kind::Exited, 4, 160));
        book.take(at("edge", Kind::Running, 5, 161));
        assert_eq!(tell(&mut book, 410, false), [3, 4, 5]);
        assert_eq!(book.trouble_since("edge"), None);
        assert!(!book.take(at("edge", Kind::Running, 6, 500)));
    }

    #[test]
    fn quiet_hours_and_the_budget_let_what_is_critical_through() {
        let mut book = Book::new(PACE);
        book.take(at("a", Kind::Exited, 1, 0));
        book.take(at("b", Kind::Exited, 2, 0));
        book.take(at("b", Kind::Fatal, 3, 0));
        assert_eq!(tell(&mut book, 50, true), [2, 3]);
        assert_eq!((tell(&mut book, 60, true), tell(&mut book, 60, false)), (vec![], vec![1]));
        book.take(at("c", Kind::Exited, 4, 100));
        assert_eq!(tell(&mut book, 200, false), [4]);
        book.take(at("d", Kind::Exited, 5, 200));
        assert_eq!(tell(&mut book, 300, false), [0; 0], "the fourth of the hour is for critical ones");
        book.take(at("d", Kind::Fatal, 6, 300));
        assert_eq!(tell(&mut book, 400, false), [5, 6]);
        book.take(at("e", Kind::Fatal, 7, 500));
        assert_eq!((tell(&mut book, 600, false), tell(&mut book, HOUR_MS + 50, false)), (vec![], vec![7]));
    }

    #[test]
    fn more_than_may_wait_are_counted() {
        let mut book = Book::new(PACE);
        for seq in 1..=PENDING_MAX as u64 + 2 {
            book.take(change("p", if seq == 9 { Kind::SupervisorBegan } else { Kind::Exited }, seq));
        }
        assert_eq!((book.overflow(), book.take_given_up(), book.take_given_up()), (vec![9, 1], 2, 0));
    }
}
