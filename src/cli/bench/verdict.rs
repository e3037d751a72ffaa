//! Whether everything became of a list of Janus that had to, and nothing else: counted in SQL and among the dead letters, by the number of each item.

use serde::Serialize;

use super::super::error::Error;
use super::items::{Cast, Fate, fate, number_of_bad, number_of_file};
use super::recordings::kinds;
use crate::broker::Redis;
use crate::model::{MessageKind, Place, Span, TopicId};
use crate::store::Store;
use crate::topic::frame::NoticeBody;
use crate::worker::deadletter;

/// Rows, entries and letters that are read at once.
const PAGE: usize = 2_000;
const PAGE_BYTES: usize = 4 << 20;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    pub(super) good: u64,
    /// Items that said again what a good one said.
    pub(super) again: u64,
    pub(super) bad: u64,
    /// Good ones without a row, with several, and rows that are of no good one or say something else than it.
    pub(super) not_stored: u64,
    pub(super) stored_again: u64,
    pub(super) stored_wrong: u64,
    /// Good ones that were not told in their rooms, those told again, those told in another room or with another number, and those told before
    /// one that has a lower number.
    pub(super) not_told: u64,
    pub(super) told_again: u64,
    pub(super) told_wrong: u64,
    pub(super) disordered: u64,
    /// Bad ones without a dead letter; letters about anything else, or with another reason.
    pub(super) unburied: u64,
    pub(super) buried_wrong: u64,
    /// Further letters about the same item: one may come twice when the program dies just then.
    pub(super) buried_again: u64,
}

impl Verdict {
    /// Whether everything is as it has to be.
    pub(super) fn is_sound(&self) -> bool {
        let Self { not_stored, stored_again, stored_wrong, not_told, told_again, told_wrong, disordered, .. } = self;
        let talk = [not_stored, stored_again, stored_wrong, not_told, told_again, told_wrong, disordered];
        self.good > 0 && talk.into_iter().chain([&self.unburied, &self.buried_wrong]).all(|count| *count == 0)
    }

    /// Counts what became of the first `items` items.
    pub(super) async fn of(store: &Store, redis: &Redis, cast: &Cast, items: u64) -> Result<Self, Error> {
        let (good, again, bad) = kinds(items);
        let mut verdict = Self { good, again, bad, ..Self::default() };
        // The number of each recording, by that of its item; 0 for none.
        let mut stored = vec![0; items as usize];
        verdict.count_stored(store, cast, &mut stored).await?;
        verdict.count_told(store, cast, &stored).await?;
        verdict.count_buried(redis, items).await?;
        Ok(verdict)
    }

    async fn count_stored(&mut self, store: &Store, cast: &Cast, stored: &mut [u64]) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let page = store.bench_recordings(after, PAGE as u32).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for row in page {
                let number = number_of_file(&row.file).filter(|number| is_good(*number, stored.len()));
                match number {
                    Some(number) if row.group == cast.room(number) && row.speaker == cast.speaker(number) => {
                        let place = &mut stored[number as usize];
                        self.stored_again += u64::from(*place != 0);
                        *place = row.id;
                    }
                    _ => self.stored_wrong += 1,
                }
            }
        }
        self.not_stored = missing(stored, |number| fate(number) == Fate::New);
        Ok(())
    }

    async fn count_told(&mut self, store: &Store, cast: &Cast, stored: &[u64]) -> Result<(), Error> {
        let mut told = vec![0_u64; stored.len()];
        for room in &cast.rooms {
            let (topic, mut after, mut before) = (TopicId::room(*room), Place::default(), 0);
            loop {
                let page = store.entries(topic, Span::new(after, Place::END), PAGE, PAGE_BYTES).await?;
                let Some(last) = page.last() else { break };
                after = last.place();
                for entry in page.iter().filter(|entry| entry.kind == MessageKind::Talk as u32) {
                    let body = <NoticeBody as prost::Message>::decode(&entry.body[..]).unwrap_or_default();
                    self.disordered += u64::from(body.recording <= before);
                    before = body.recording;
                    match number_of_file(&body.file).filter(|number| is_good(*number, stored.len())) {
                        Some(number) if cast.room(number) == *room && stored[number as usize] == body.recording => {
                            told[number as usize] += 1;
                        }
                        _ => self.told_wrong += 1,
                    }
                }
            }
        }
        self.not_told = missing(&told, |number| fate(number) == Fate::New);
        self.told_again = told.iter().map(|times| times.saturating_sub(1)).sum();
        Ok(())
    }

    async fn count_buried(&mut self, redis: &Redis, items: u64) -> Result<(), Error> {
        let (mut buried, mut after) = (vec![0_u64; items as usize], None::<String>);
        loop {
            let page = deadletter::list(redis, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for filed in page {
                let item = filed.letter.payload().unwrap_or_default();
                let number = number_of_bad(&String::from_utf8_lossy(&item)).filter(|number| *number < items);
                match number.map(|number| (number, fate(number))) {
                    Some((number, Fate::Bad(fault))) if fault.reason() == filed.letter.reason => buried[number as usize] += 1,
                    _ => self.buried_wrong += 1,
                }
            }
        }
        self.unburied = missing(&buried, |number| matches!(fate(number), Fate::Bad(_)));
        self.buried_again = buried.iter().map(|times| times.saturating_sub(1)).sum();
        Ok(())
    }
}

fn is_good(number: u64, items: usize) -> bool {
    number < items as u64 && fate(number) == Fate::New
}

/// How many of those that are wanted have nothing.
fn missing(found: &[u64], wanted: impl Fn(u64) -> bool) -> u64 {
    (0..).zip(found).filter(|(number, found)| **found == 0 && wanted(*number)).count() as u64
}
