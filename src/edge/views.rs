//! What an edge knows of the owners of shards: whether it heard all they said, and since when they say nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::topic::frame::{Lane, OutFrame};

/// After this long without a word a shard is asked again, and less often each time.
const SILENCE: Duration = Duration::from_secs(3);
const SILENCE_MAX: Duration = Duration::from_secs(24);

/// Of all shards.
pub(super) struct Views(Mutex<Vec<View>>);

/// What this edge knows of a shard's owner.
#[derive(Clone, Copy, Default)]
struct View {
    epoch: u64,
    token: u64,
    owner: u64,
    /// The counters of the last frames, by lane.
    counters: [u64; 2],
    heard: Option<Instant>,
    patience: Duration,
}

/// What a counted frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A repeat, or of an owner before the one that is known.
    Stale,
    /// The next one.
    Next,
    /// Not the next one: something was lost on the way.
    Jump,
    /// The first one of another owner, which knows nobody here.
    Stranger,
}

impl View {
    fn hear(&mut self, lane: Lane, frame: &OutFrame) -> Heard {
        let known = self.owner == frame.owner && self.heard.is_some();
        if known && frame.counter <= self.counters[lane as usize]
            || !known && self.heard.is_some() && (frame.epoch, frame.token) < (self.epoch, self.token)
        {
            return Heard::Stale;
        }
        let heard = match known {
            false => Heard::Stranger,
            true if frame.counter == self.counters[lane as usize] + 1 => Heard::Next,
            true => Heard::Jump,
        };
        if !known {
            *self = Self { epoch: frame.epoch, token: frame.token, owner: frame.owner, ..Self::default() };
        }
        self.counters[lane as usize] = frame.counter;
        self.heard = Some(Instant::now());
        self.patience = SILENCE;
        heard
    }
}

impl Views {
    pub(super) fn new(shards: u32) -> Self {
        Self(Mutex::new(vec![View { patience: SILENCE, ..View::default() }; shards as usize]))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<View>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a counted frame is; `None` when there is no such shard.
    pub(super) fn hear(&self, lane: Lane, frame: &OutFrame) -> Option<Heard> {
        self.lock().get_mut(frame.shard as usize).map(|view| view.hear(lane, frame))
    }

    /// Nothing counts any more: the streams of this edge were gone.
    pub(super) fn forget(&self) {
        self.lock().fill(View { patience: SILENCE, ..View::default() });
    }

    /// The shards to be asked again. One that has not yet got what it was asked, or told, is not among them: asked once more it would only have
    /// more to read, and this edge to keep.
    pub(super) fn silent(&self, holds: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut silent = Vec::new();
        for (shard, view) in (0..).zip(self.lock().iter_mut()) {
            let heard = *view.heard.get_or_insert_with(Instant::now);
            if heard.elapsed() < view.patience {
                continue;
            }
            if holds(shard) {
                view.heard = Some(Instant::now());
                continue;
            }
            let patience = (view.patience * 2).clamp(SILENCE, SILENCE_MAX);
            // Whoever answers is the owner, whatever was known before.
            *view = View { heard: None, patience, ..View::default() };
            silent.push(shard);
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Views {
        /// As if nobody had said anything for long.
        pub(in crate::edge) fn all_silent(&self) {
            self.lock().fill(View { heard: Instant::now().checked_sub(SILENCE_MAX), patience: SILENCE, ..View::default() });
        }
    }

    #[test]
    fn frames_of_an_owner_are_told_apart_by_their_counters_and_owners_by_their_tokens() {
        let mut view = View::default();
        let mut check = |lane, (epoch, token, owner, counter), expected| {
            let frame = OutFrame { epoch, token, owner, counter, ..OutFrame::default() };
            assert_eq!(view.hear(lane, &frame), expected, "{frame:?}");
        };
        check(Lane::Normal, (1, 5, 10, 4), Heard::Stranger);
        check(Lane::Normal, (1, 5, 10, 5), Heard::Next);
        check(Lane::Normal, (1, 5, 10, 5), Heard::Stale);
        check(Lane::Normal, (1, 5, 10, 3), Heard::Stale);
        // Each lane counts for itself.
        check(Lane::Urgent, (1, 5, 10, 1), Heard::Next);
        check(Lane::Normal, (1, 5, 10, 8), Heard::Jump);
        check(Lane::Normal, (1, 5, 10, 9), Heard::Next);
        // An owner from before, whatever it counts; and the ones behind.
        check(Lane::Normal, (1, 4, 9, 50), Heard::Stale);
        check(Lane::Normal, (1, 6, 11, 1), Heard::Stranger);
        check(Lane::Urgent, (1, 6, 11, 1), Heard::Next);
        check(Lane::Normal, (1, 5, 10, 10), Heard::Stale);
        check(Lane::Normal, (2, 1, 12, 1), Heard::Stranger);
        check(Lane::Normal, (1, 7, 13, 1), Heard::Stale);
    }
}
