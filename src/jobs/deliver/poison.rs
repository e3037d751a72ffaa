//! Entries that panic the core, or kill its process.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::broker::StreamId;
use crate::topic::Batch;
use crate::topic::frame::{InFrame, InItem, Input, Lane, Post};

/// Looks at every input before the core does.
pub type Hook = Arc<dyn Fn(&Input) + Send + Sync>;

/// How often an entry may panic before it is put aside.
const PANICS_MAX: u32 = 3;
/// How often an entry that is alone in its batch may see its owner die before it is put aside.
const LONELY_DEATHS_MAX: u64 = 3;

/// What is known of entries that panicked, for as long as this process serves the shard.
pub(super) struct Poison {
    hook: Option<Hook>,
    panics: HashMap<(Lane, StreamId, usize), u32>,
    /// An item that killed its owners again and again.
    deadly: Option<(Lane, StreamId, usize)>,
}

/// An input that was put aside.
pub(super) struct Aside {
    pub(super) lane: Lane,
    pub(super) id: StreamId,
    pub(super) item: InItem,
    pub(super) reason: &'static str,
}

impl Aside {
    /// The message in it, if it is one: its sender is told.
    pub(super) fn post(&self) -> Option<&Post> {
        match self.item.input.as_ref() {
            Some(Input::Post(post)) => Some(post),
            _ => None,
        }
    }
}

impl Poison {
    pub(super) fn new(hook: Option<Hook>) -> Self {
        Self { hook, panics: HashMap::new(), deadly: None }
    }

    /// Takes out of a frame what panicked or killed too often.
    pub(super) fn sift(&self, lane: Lane, id: StreamId, frame: &mut InFrame) -> Vec<Aside> {
        if self.panics.is_empty() && self.deadly.is_none() {
            return Vec::new();
        }
        let mut aside = Vec::new();
        for (index, item) in frame.items.iter_mut().enumerate() {
            let entry = (lane, id, index);
            let panicked = self.panics.get(&entry).is_some_and(|panics| *panics >= PANICS_MAX);
            let reason = if panicked { "panicked the core three times" } else { "its owners died over it again and again" };
            if panicked || self.deadly == Some(entry) {
                aside.push(Aside { lane, id, item: std::mem::take(item), reason });
            }
        }
        aside
    }

    /// An item is to be put aside for the deaths of its owners.
    pub(super) fn condemn(&mut self, lane: Lane, id: StreamId, item: usize) {
        self.deadly = Some((lane, id, item));
    }

    /// Runs `step` on a scratch state. What panics here does so again where it is counted.
    pub(super) fn probe(&self, item: &InItem, step: impl FnOnce()) {
        let guarded = AssertUnwindSafe(|| {
            if let (Some(hook), Some(input)) = (&self.hook, &item.input) {
                hook(input);
            }
            step();
        });
        drop(catch_unwind(guarded));
    }

    /// Runs `step` for a frame. A panic is counted for the entry it happened in; the memory it happened over is void.
    pub(super) fn guard<T>(
        &mut self,
        lane: Lane,
        id: StreamId,
        batch: &mut Batch,
        frame: InFrame,
        step: impl FnOnce(&mut Batch, InFrame) -> T,
    ) -> Result<T, ()> {
        let hooked = Cell::new(None);
        let guarded = AssertUnwindSafe(|| {
            if let Some(hook) = &self.hook {
                for (index, input) in frame.items.iter().enumerate().filter_map(|(index, item)| Some((index, item.input.as_ref()?))) {
                    hooked.set(Some(index));
                    hook(input);
                }
                hooked.set(None);
            }
            step(batch, frame)
        });
        catch_unwind(guarded).map_err(|_| {
            let index = hooked.get().unwrap_or(batch.current_item());
            *self.panics.entry((lane, id, index)).or_default() += 1;
        })
    }
}

/// How something is put aside that kills whoever takes it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PutAside {
    /// The item that the last owner had in hand, if it had one: who was killed from outside mostly had none.
    Item,
    /// The whole frame; its senders are told.
    Told,
    /// Without another look at it.
    Unseen,
}

/// How many frames to take at a time after `deaths` owners died without a word over what comes next, and whether to put the first one
/// aside: the batch is halved with each death, down to one frame, which is tried alone three times. Deaths that happened over none of its
/// items may have come from outside, so the whole frame goes only after many more.
pub(super) fn batch_limit(frames_max: usize, deaths: u64) -> (usize, Option<PutAside>) {
    let alone = deaths.saturating_sub(u64::from(frames_max.max(1).ilog2()));
    let aside = match alone {
        0..=LONELY_DEATHS_MAX => None,
        _ if alone <= 3 * LONELY_DEATHS_MAX => Some(PutAside::Item),
        _ if alone <= 4 * LONELY_DEATHS_MAX => Some(PutAside::Told),
        _ => Some(PutAside::Unseen),
    };
    (frames_max.checked_shr(deaths.min(63) as u32).unwrap_or(0).max(1), aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_halves_with_each_death_until_its_first_frame_is_put_aside() {
        let check = |deaths, expected| assert_eq!(batch_limit(256, deaths), expected, "after {deaths} deaths");
        check(0, (256, None));
        check(1, (128, None));
        check(8, (1, None));
        check(11, (1, None));
        check(12, (1, Some(PutAside::Item)));
        check(17, (1, Some(PutAside::Item)));
        check(18, (1, Some(PutAside::Told)));
        check(20, (1, Some(PutAside::Told)));
        check(21, (1, Some(PutAside::Unseen)));
        check(1_000, (1, Some(PutAside::Unseen)));
    }
}
