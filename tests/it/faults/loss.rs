//! Traffic in whose middle something happens, and what may be missing afterwards.

use std::collections::{BTreeMap, BTreeSet};

use roger::model::{Place, TopicId, UserId};
use roger::topic::frame::Entry;

use super::cast::{Cast, Talker, word};
use super::{audit, quiet};
use crate::support::eventually;
use crate::support::fleet::Fleet;

const SPEAKERS: [&str; 2] = ["alice", "bob"];

/// Alice and bob talk without a pause, carol listens; dave is a member and not there.
pub struct Traffic {
    pub cast: Cast,
    pub topic: TopicId,
    talkers: [Talker; 2],
}

/// What a member heard of a topic, as [`as_heard`] tells it of SQL.
pub fn heard(cast: &Cast, name: &str, topic: TopicId) -> Vec<(u64, u64, u64, u64)> {
    let heard = cast.heard(name).of(topic);
    heard.iter().map(|entry| (entry.place.epoch, entry.place.seq, entry.sender.0, entry.client_seq)).collect()
}

/// (epoch, seq, sender, client_seq) of entries.
pub fn as_heard(entries: &[Entry]) -> Vec<(u64, u64, u64, u64)> {
    entries.iter().map(|entry| (entry.epoch, entry.seq, entry.sender, entry.client_seq)).collect()
}

fn words_of(user: UserId, entries: &[Entry]) -> Vec<u64> {
    entries.iter().filter(|entry| entry.sender == user.0).map(|entry| word(&entry.body)).collect()
}

/// Ends the traffic; everybody hears the last word of each speaker, also dave, who comes now and gets what there is. What each said.
async fn end(cast: &mut Cast, topic: TopicId, talkers: [Talker; 2]) -> BTreeMap<&'static str, u64> {
    let mut totals = BTreeMap::new();
    for (name, talker) in SPEAKERS.into_iter().zip(talkers) {
        totals.insert(name, talker.stop().await);
    }
    cast.on("dave", 0);
    for listener in ["alice", "bob", "carol", "dave"] {
        for (speaker, total) in &totals {
            cast.hears(listener, topic, speaker, *total).await;
        }
    }
    totals
}

impl Traffic {
    /// Traffic that is under way.
    pub async fn begin(fleet: &Fleet) -> Self {
        Self::begin_at(fleet, [0, 1, 1]).await
    }

    /// As [`Traffic::begin`], with alice, bob and carol first at the edges of these numbers.
    pub async fn begin_at(fleet: &Fleet, edges: [usize; 3]) -> Self {
        let mut cast = Cast::of(fleet).await;
        cast.join(["alice", "bob", "carol", "dave"]).await;
        let topic = cast.group("air", ["alice", "bob", "carol", "dave"]).await;
        for (name, edge) in ["alice", "bob", "carol"].into_iter().zip(edges) {
            cast.on(name, edge);
            cast.follows(name, topic).await;
        }
        let talkers = SPEAKERS.map(|name| cast.talk(name, topic));
        let traffic = Self { cast, topic, talkers };
        traffic.more(100).await;
        // What SQL has before a loss is what is judged by.
        let archived = async || (!traffic.cast.archived(topic).await.is_empty()).then_some(());
        eventually("the archive goes along", archived).await;
        traffic
    }

    /// Waits until each speaker has so many more receipts.
    pub async fn more(&self, receipts: u64) {
        for name in SPEAKERS {
            self.cast.more_receipts(name, self.topic, receipts).await;
        }
    }

    /// Ends the traffic, and panics unless everybody heard everything once and in order, and SQL holds it.
    pub async fn end(self, fleet: &Fleet) {
        let Self { mut cast, topic, talkers } = self;
        let totals = end(&mut cast, topic, talkers).await;
        quiet(fleet).await;
        let all = cast.archived(topic).await;
        assert_eq!(all.len() as u64, totals.values().sum::<u64>(), "more or less in SQL than was said");
        for name in ["alice", "bob", "carol", "dave"] {
            assert_eq!(heard(&cast, name, topic), as_heard(&all), "heard by {name}");
        }
        cast.check(topic);
        audit(fleet);
    }

    /// Goes on after the loss until a new epoch is archived, ends the traffic, and judges what became of it. `kept` is what SQL held
    /// before the loss. Returns how many words are lost.
    ///
    /// Lost may be only what SQL did not have and what was said before the loss: in one piece for each speaker, who is told. Whoever heard something
    /// live at a place that is lost may hear it once more at another one, where Redis comes back with an input of which it lost the order.
    pub async fn judge(self, fleet: &Fleet, kept: Vec<Entry>) -> usize {
        let Self { mut cast, topic, talkers } = self;
        let said = SPEAKERS.map(|name| cast.words(name, topic));
        let epoch = kept.last().unwrap().epoch;
        let begun = async || cast.archived(topic).await.last().filter(|last| last.epoch > epoch).map(drop);
        eventually("a new epoch is archived", begun).await;
        for name in SPEAKERS {
            cast.more_receipts(name, topic, 100).await;
        }
        let totals = end(&mut cast, topic, talkers).await;
        quiet(fleet).await;
        let all = cast.archived(topic).await;
        assert_eq!(all[..kept.len()], kept, "history changed");
        assert_eq!(heard(&cast, "dave", topic), as_heard(&all));
        let mut missing = 0;
        for (name, said) in SPEAKERS.into_iter().zip(said) {
            let (before, now) = (words_of(cast.user(name), &kept), words_of(cast.user(name), &all));
            let lost: Vec<u64> = (1..=totals[name]).filter(|word| !now.contains(word)).collect();
            assert!(lost.iter().all(|word| *word > before.last().copied().unwrap_or(0)), "{name}: what SQL had is lost: {lost:?}");
            assert!(lost.iter().all(|word| *word <= said), "{name}: said after the loss and lost: {lost:?}");
            assert_eq!(lost.last().map_or(0, |last| last + 1 - lost[0]), lost.len() as u64, "{name}: not in one piece: {lost:?}");
            let told = cast.heard(name).lost.clone();
            let is_told = |word: &u64| told.iter().any(|one| one.topic == topic && (one.first..=one.last).contains(word));
            assert!(lost.iter().all(is_told), "{name}: lost and not told: {lost:?}, {told:?}");
            missing += lost.len();
        }
        for name in SPEAKERS {
            let (user, stored) = (cast.user(name).0, as_heard(&all));
            let stored: BTreeSet<u64> =
                stored.into_iter().filter(|(_, _, sender, _)| *sender == user).map(|(.., client_seq)| client_seq).collect();
            let replicated = cast.replicated(name, topic);
            let lost: Vec<&u64> = replicated.difference(&stored).collect();
            assert!(lost.is_empty(), "{name}: a replica had these, said their receipts, and they are lost: {lost:?}");
        }
        let places: BTreeSet<Place> = all.iter().map(Entry::place).collect();
        cast.check_only(topic, |place| places.contains(&place));
        audit(fleet);
        missing
    }
}
