//! Showing that work goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where a piece of work shows that its loop goes round, and what it waits for when it does not. Clones show the same work.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Shown>>);

#[derive(Debug)]
struct Shown {
    begun: Instant,
    turns: u64,
    last: Option<Instant>,
    waits_for: Option<&'static str>,
}

impl Default for Shown {
    fn default() -> Self {
        Self { begun: Instant::now(), turns: 0, last: None, waits_for: None }
    }
}

impl Progress {
    /// The loop went round.
    pub fn turn(&self) {
        let mut shown = self.shown();
        shown.turns += 1;
        shown.last = Some(Instant::now());
        shown.waits_for = None;
    }

    /// The loop cannot go on without `what`: "SQL", "the floor of the shard". Holds until the next turn.
    pub fn waits_for(&self, what: &'static str) {
        self.shown().waits_for = Some(what);
    }

    /// The loop ended with an error, and waits for `what` unless it said so itself.
    pub(super) fn failed(&self, what: &'static str) {
        self.shown().waits_for.get_or_insert(what);
    }

    /// How often the loop went round.
    pub fn turns(&self) -> u64 {
        self.shown().turns
    }

    /// Whether the work has just begun, and neither made a turn nor waits for anything.
    pub(super) fn is_starting(&self, patience: Duration) -> bool {
        let shown = self.shown();
        shown.last.is_none() && shown.waits_for.is_none() && shown.begun.elapsed() <= patience
    }

    /// Why this work does not count as going on: it waits for something, or made no turn within `patience`. `None` when it goes on.
    pub fn trouble(&self, patience: Duration) -> Option<&'static str> {
        self.trouble_at(Instant::now(), patience)
    }

    fn trouble_at(&self, now: Instant, patience: Duration) -> Option<&'static str> {
        let shown = self.shown();
        match (shown.waits_for, shown.last) {
            (Some(what), _) => Some(what),
            (None, None) => Some("its first turn"),
            (None, Some(last)) => (now.saturating_duration_since(last) > patience).then_some("its next turn"),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // Plain values: whoever panicked while it had the lock left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_from_its_first_turn_until_it_waits_or_falls_silent() {
        let (progress, patience) = (Progress::default(), Duration::from_secs(60));
        assert_eq!(progress.trouble(patience), Some("its first turn"));
        progress.turn();
        assert_eq!((progress.trouble(patience), progress.turns()), (None, 1));
        let later = Instant::now() + patience;
        assert_eq!(progress.trouble_at(later + Duration::from_secs(1), patience), Some("its next turn"));
        assert_eq!(progress.trouble_at(later - Duration::from_secs(30), patience), None);
        progress.waits_for("SQL");
        assert_eq!(progress.trouble(patience), Some("SQL"));
        progress.clone().turn();
        assert_eq!(progress.trouble(patience), None);
    }
}
