//! The checker: what every radio stored, against what SQL holds and what receipts promised.

use std::collections::{BTreeMap, BTreeSet};

use roger::client::Gap;
use roger::model::{Durability, Place, Reason, TopicId, UserId};
use roger::topic::frame::Entry;

use super::radio::{Log, Refused, read};

/// What is in SQL, by topic, in order.
pub type Archive = BTreeMap<TopicId, Vec<Entry>>;
/// The numbers that are stored, by topic and sender.
type Numbers = BTreeMap<(TopicId, u64), BTreeSet<u64>>;
/// The same of words, with their places.
type Words = BTreeMap<(TopicId, u64), BTreeMap<u64, Place>>;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Findings {
    /// Words said by radios.
    pub said: u64,
    /// Messages in SQL.
    pub stored: u64,
    /// Texts that apps stored.
    pub heard: u64,
    /// Messages whose receipts said that a replica has them.
    pub promised: u64,
    /// Words said of which nothing is in SQL, though less than a replica was promised: they may be lost where a fault can take them from
    /// Redis, and count as unknown.
    pub unpromised: u64,
    /// The topics of such words, and of texts that were heard at places that SQL does not have.
    pub unknown_in: BTreeSet<TopicId>,
    /// Messages that came again at another place, and were dropped by the client.
    pub echoes: u64,
    /// Words heard twice because what was said first was lost, unpromised, and was said again.
    pub again: u64,
    /// Sessions that another one of the same installation took over.
    pub taken_over: u64,
    /// Messages that were sent too early, and refused for that.
    pub too_early: u64,
    /// Further refusals of messages.
    pub refused: u64,
    /// Breaches, by what they breach.
    pub breaches: BTreeMap<&'static str, Vec<String>>,
}

impl Findings {
    /// Of a run that cannot be judged.
    pub fn unread(why: String) -> Self {
        Self { breaches: BTreeMap::from([(UNREAD, vec![why])]), ..Self::default() }
    }

    fn breach(&mut self, what: &'static str, text: String) {
        self.breaches.entry(what).or_default().push(text);
    }
}

/// What breaches are called.
pub const LOST: &str = "losses";
pub const REPEATED: &str = "repeats";
pub const DISORDERED: &str = "disorder";
pub const FOREIGN: &str = "foreign or invented";
pub const REFUSED: &str = "refused without cause";
pub const UNRECEIPTED: &str = "without a receipt in the end";
pub const UNREAD: &str = "not judged, because SQL does not answer";
/// All of them.
pub const BREACHES: [&str; 7] = [LOST, REPEATED, DISORDERED, FOREIGN, REFUSED, UNRECEIPTED, UNREAD];

/// Judges a run. `members` are the radios, who were members of their topics all the time. What is with no replica yet `may_be_lost` where
/// a fault can take it from Redis; otherwise nothing may.
pub fn judge(members: &[(UserId, Vec<TopicId>, Log)], archive: &Archive, may_be_lost: bool) -> Findings {
    let mut findings = Findings::default();
    let mut numbers = Numbers::new();
    let mut words = Words::new();
    for (topic, entries) in archive {
        let mut last = Place::START;
        let mut lasts: BTreeMap<u64, u64> = BTreeMap::new();
        for entry in entries {
            if entry.place() <= last {
                findings.breach(DISORDERED, format!("{topic}: SQL has {} behind {last}", entry.place()));
            }
            last = entry.place();
            let Some((sender, word)) = read(&entry.body) else { continue };
            findings.stored += 1;
            if sender.0 != entry.sender {
                findings.breach(FOREIGN, format!("{topic}: {} has the words of {sender} and is from {}", entry.place(), entry.sender));
            }
            numbers.entry((*topic, entry.sender)).or_default().insert(entry.client_seq);
            if let Some(before) = words.entry((*topic, entry.sender)).or_default().insert(word, entry.place()) {
                findings.breach(REPEATED, format!("{topic}: word {word} of {sender} is in SQL at {before} and at {}", entry.place()));
            }
            let behind = lasts.entry(entry.sender).or_default();
            if word <= *behind {
                findings.breach(DISORDERED, format!("{topic}: word {word} of {sender} stands behind {behind} in SQL"));
            }
            *behind = word;
        }
    }
    for (user, topics, log) in members {
        answered(&mut findings, *user, log);
        promised(&mut findings, *user, log, &numbers);
        said(&mut findings, *user, log, &words, may_be_lost);
        for topic in topics {
            heard(&mut findings, *user, *topic, log, &archive[topic], may_be_lost);
        }
        findings.echoes += log.counts.echoes;
        findings.taken_over += log.taken_over;
        findings.too_early += log.too_early;
        for (count, what) in [(log.counts.repeats, REPEATED), (log.counts.holes, LOST)] {
            if count > 0 {
                let where_from = if what == LOST { log.holes().join("; ") } else { String::new() };
                findings.breach(what, format!("{user}: its client saw {count} of them {where_from}"));
            }
        }
        for gap in &log.gaps {
            let lies = |entry: &&Entry| entry.place() > gap.from && entry.place() <= gap.to;
            if let Some(entry) = archive.get(&gap.topic).and_then(|entries| entries.iter().find(lies)) {
                let Gap { topic, from, to, .. } = gap;
                findings.breach(
                    LOST,
                    format!("{user}: told that nothing is left in {topic} from {from} to {to}, and SQL has {}", entry.place()),
                );
            }
        }
        for closed in &log.closed {
            findings.breach(LOST, format!("{user}: its session was ended for good: {closed}"));
        }
    }
    findings
}

/// Whether every message had its receipt, and none was refused for what a radio never does: it says texts, where it may say them.
fn answered(findings: &mut Findings, user: UserId, log: &Log) {
    if log.unreceipted > 0 {
        let topics: Vec<String> = log.said.keys().map(TopicId::to_string).collect();
        findings.breach(UNRECEIPTED, format!("{user}: {} messages to {}", log.unreceipted, topics.join(", ")));
    }
    for Refused { topic, client_seq, reason } in &log.refused {
        findings.refused += 1;
        if !matches!(reason, Some(Reason::PredecessorMissing | Reason::SequenceReused)) {
            let reason = reason.map_or("for a reason that this version does not know", Reason::as_str);
            findings.breach(REFUSED, format!("{user}: message {client_seq} to {topic}: {reason}"));
        }
    }
}

/// Whether what receipts called replicated is stored.
fn promised(findings: &mut Findings, user: UserId, log: &Log, numbers: &Numbers) {
    let refused: BTreeSet<_> = log.refused.iter().map(|refused| (refused.topic, refused.client_seq)).collect();
    for promise in log.promises.iter().filter(|promise| promise.durability >= Durability::Replica) {
        let stored = numbers.get(&(promise.topic, user.0));
        for number in promise.behind + 1..=promise.upto {
            if refused.contains(&(promise.topic, number)) {
                continue;
            }
            findings.promised += 1;
            if !stored.is_some_and(|stored| stored.contains(&number)) {
                findings.breach(LOST, format!("{user}: message {number} to {} was called replicated and is not in SQL", promise.topic));
            }
        }
    }
}

/// Which of the words said are stored.
fn said(findings: &mut Findings, user: UserId, log: &Log, words: &Words, may_be_lost: bool) {
    for (topic, said) in &log.said {
        findings.said += said;
        // Receipts come in order, so those without one are the last.
        let receipted = said.saturating_sub(log.unreceipted as u64);
        let stored = words.get(&(*topic, user.0));
        for word in (1..=*said).filter(|word| !stored.is_some_and(|stored| stored.contains_key(word))) {
            findings.unpromised += 1;
            findings.unknown_in.insert(*topic);
            if !may_be_lost && word <= receipted {
                let text =
                    format!("{user}: word {word} to {topic} had its receipt and is not in SQL, and nothing can have taken it from Redis");
                findings.breach(LOST, text);
            }
        }
    }
}

/// Whether a member heard exactly what is stored of a topic, in order.
fn heard(findings: &mut Findings, user: UserId, topic: TopicId, log: &Log, stored: &[Entry], may_be_lost: bool) {
    let texts: BTreeMap<Place, (u64, u64)> =
        stored.iter().filter_map(|entry| read(&entry.body).map(|(sender, word)| (entry.place(), (sender.0, word)))).collect();
    let mut missing: BTreeMap<Place, (u64, u64)> = texts.clone();
    let mut last = Place::START;
    // Own words that came without their text, at places that are lost.
    let mut wordless = 0;
    // Where each word was heard.
    let mut known: BTreeMap<(u64, u64), Place> = BTreeMap::new();
    let mut lasts: BTreeMap<u64, u64> = BTreeMap::new();
    for text in log.heard.iter().filter(|text| text.topic == topic) {
        findings.heard += 1;
        if text.place <= last {
            findings.breach(DISORDERED, format!("{user}: heard {} of {topic} behind {last}", text.place));
        }
        last = text.place;
        if !texts.contains_key(&text.place) {
            findings.unknown_in.insert(topic);
            if !may_be_lost {
                findings.breach(LOST, format!("{user}: heard {} of {topic}, where SQL has nothing", text.place));
            }
        }
        // One's own words come without their text when the app no longer has it.
        let own = text.sender == user && text.word == 0;
        let word = match texts.get(&text.place) {
            Some((sender, word)) if own && *sender == user.0 => *word,
            Some((sender, word)) if (*sender, *word) != (text.sender.0, text.word) => {
                let heard = text.word;
                findings.breach(
                    FOREIGN,
                    format!("{user}: heard {heard} of {} at {} of {topic}, SQL has {word} of {sender}", text.sender, text.place),
                );
                continue;
            }
            _ => text.word,
        };
        missing.remove(&text.place);
        if own && word == 0 {
            wordless += 1;
            continue;
        }
        match known.insert((text.sender.0, word), text.place) {
            // What was lost with its place, unpromised, and said again under another number.
            Some(before) if !texts.contains_key(&before) => findings.again += 1,
            Some(before) => {
                findings.breach(REPEATED, format!("{user}: heard word {word} of {} at {before} and {} of {topic}", text.sender, text.place))
            }
            None => {}
        }
        if texts.contains_key(&text.place) {
            let behind = lasts.entry(text.sender.0).or_default();
            if word <= *behind {
                findings.breach(DISORDERED, format!("{user}: heard word {word} of {} behind {behind} in {topic}", text.sender));
            }
            *behind = word;
        }
    }
    // What is missing because it was known by its number: heard before, at a place that is lost.
    let echoed = |(sender, word): &(u64, u64)| known.contains_key(&(*sender, *word));
    let own: Vec<Place> = missing.iter().filter(|(_, text)| text.0 == user.0 && !echoed(text)).map(|(place, _)| *place).collect();
    for place in own.iter().take(wordless) {
        missing.remove(place);
    }
    for (place, text) in missing.iter().filter(|(_, text)| !echoed(text)) {
        findings.breach(LOST, format!("{user}: never heard word {} of {} at {place} of {topic}", text.1, text.0));
    }
}
