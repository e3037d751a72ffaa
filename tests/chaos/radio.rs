//! A simulated radio: an app on the client library that stores what it hears, and dies and comes back as radios do.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use roger::client::{Acknowledge, Body, Counts, Disconnect, Event, Gap, Memory, Options, Session};
use roger::model::{Durability, Place, Reason, TopicId, UserId};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::minted::Minted;

/// How many messages of a radio may wait for their receipts; beyond that it holds its tongue.
pub const WINDOW: usize = 32;

/// What a radio is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Character {
    /// Stays where it is.
    Calm,
    /// Dies every few seconds, at any instant, and comes back at another edge with what it had stored.
    Flapping,
    /// Reads nothing for seconds, and then everything.
    Sleepy,
    /// Sends everything twice and in the wrong order: see `unruly.rs`.
    Unruly,
}

/// One text that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub topic: TopicId,
    pub place: Place,
    pub sender: UserId,
    /// The number of the word; 0 when the text did not come with the entry of one's own message.
    pub word: u64,
}

/// What moves a radio on in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A connection begins, from what is acknowledged.
    Connected,
    Entry(TopicId, Place),
    /// Nothing is left between the two.
    Gap(TopicId, Place, Place),
    /// It goes on behind the place.
    Follow(TopicId, Place),
}

/// What receipts said: everything behind one and up to another number is so safe.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    pub topic: TopicId,
    pub behind: u64,
    pub upto: u64,
    pub durability: Durability,
}

/// A message that was refused, when sent or afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    pub topic: TopicId,
    pub client_seq: u64,
    /// Why; `None` for a reason that this version does not know.
    pub reason: Option<Reason>,
}

/// What the app of a radio stored, and what it was told.
#[derive(Debug, Default)]
pub struct Log {
    pub heard: Vec<Text>,
    pub promises: Vec<Promise>,
    pub refused: Vec<Refused>,
    /// How many words were said, by topic.
    pub said: std::collections::BTreeMap<TopicId, u64>,
    pub gaps: Vec<Gap>,
    /// Everything that moved it on in a topic, in order.
    pub trail: Vec<Step>,
    pub closed: Vec<String>,
    pub counts: Counts,
    /// How often another session of the same installation took its place.
    pub taken_over: u64,
    /// How many messages it sent too early, and was refused for that.
    pub too_early: u64,
    /// How many messages had no receipt when it last looked.
    pub unreceipted: usize,
    /// When words were said and heard, of those who measure.
    pub times: Vec<(u64, Instant)>,
}

impl Step {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Connected { .. } => Some(Self::Connected),
            Event::Entry(entry) => Some(Self::Entry(entry.topic, entry.place)),
            Event::Gap(gap) => Some(Self::Gap(gap.topic, gap.from, gap.to)),
            Event::Follow { topic, mark, following: true, .. } => Some(Self::Follow(*topic, *mark)),
            _ => None,
        }
    }

    fn topic(&self) -> Option<TopicId> {
        match self {
            Self::Connected => None,
            Self::Entry(topic, _) | Self::Gap(topic, ..) | Self::Follow(topic, _) => Some(*topic),
        }
    }
}

impl Log {
    /// What led to each hole that nobody told it of: the steps in its topic before, and the one behind it.
    pub fn holes(&self) -> Vec<String> {
        const BEFORE: usize = 6;
        let mut holes = Vec::new();
        for topic in self.trail.iter().filter_map(Step::topic).collect::<BTreeSet<_>>() {
            let steps: Vec<&Step> = self.trail.iter().filter(|step| step.topic().is_none_or(|of| of == topic)).collect();
            let mut last = Place::START;
            for (at, step) in steps.iter().enumerate() {
                let (from, to) = match step {
                    Step::Connected => continue,
                    Step::Entry(_, place) => (Place::new(place.epoch, place.seq.saturating_sub(1)), *place),
                    Step::Gap(_, from, to) => (*from, *to),
                    Step::Follow(_, mark) => (last, *mark),
                };
                if from.seq > last.seq {
                    holes.push(format!("{:?}", &steps[at.saturating_sub(BEFORE)..=at]));
                }
                last = last.max(to);
            }
        }
        holes
    }

    /// Whether it was ever told that it follows a topic.
    pub fn follows(&self, topic: TopicId) -> bool {
        self.trail.iter().any(|step| matches!(step, Step::Follow(of, _) if *of == topic))
    }

    /// Adds what a life saw.
    pub fn counted(&mut self, counts: Counts) {
        self.counts.repeats += counts.repeats;
        self.counts.holes += counts.holes;
        self.counts.echoes += counts.echoes;
        self.counts.connections += counts.connections;
    }
}

/// What the whole of the run wants of radios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Talk.
    Talk,
    /// Say nothing more; be on the air and hear the rest.
    Listen,
    /// Go off the air.
    End,
}

/// A radio.
pub struct Radio {
    pub user: UserId,
    /// Where it talks and listens.
    pub topics: Vec<TopicId>,
    pub character: Character,
    pub log: Arc<Mutex<Log>>,
    pub edges: Vec<String>,
    pub tokens: Arc<Minted>,
    pub memory: Memory,
    /// How long it is silent between two words, about.
    pub pace: Duration,
    /// Whether it says and hears by the clock.
    pub measures: bool,
    pub seed: u64,
}

/// The text of a word: nobody else says the same.
pub fn text(user: UserId, word: u64) -> String {
    format!("{user}/{word}")
}

/// The sender and the number of a text.
pub fn read(text: &[u8]) -> Option<(UserId, u64)> {
    let (user, word) = std::str::from_utf8(text).ok()?.split_once('/')?;
    Some((user.parse().ok()?, word.parse().ok()?))
}

impl Radio {
    /// How it opens its next session.
    pub fn options(&self) -> Options {
        Options {
            acknowledge: Acknowledge::Explicit,
            window: WINDOW,
            events: 64,
            ..Options::new(self.edges.clone(), self.tokens.clone(), self.memory.clone())
        }
    }

    /// Lives until the end.
    pub async fn live(mut self, mut phase: watch::Receiver<Phase>) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut first = random.random_range(0..self.edges.len());
        while *phase.borrow() != Phase::End {
            let mut options = self.options();
            options.edges.rotate_left(first);
            let (session, events) = Session::open(options).unwrap();
            self.session(&session, events, &mut phase, &mut random).await;
            // At any instant, but never between storing and acknowledging: an app does both in one transaction.
            self.memory = session.memory();
            let counts = session.counts();
            drop(session);
            self.log.lock().unwrap().counted(counts);
            first = (first + 1) % self.edges.len();
            if *phase.borrow() != Phase::End {
                tokio::time::sleep(Duration::from_millis(random.random_range(10..1_500))).await;
            }
        }
    }

    /// One life of the app.
    async fn session(&mut self, session: &Session, mut events: Receiver<Event>, phase: &mut watch::Receiver<Phase>, random: &mut StdRng) {
        let lives = match self.character {
            Character::Flapping => Duration::from_millis(random.random_range(200..6_000)),
            Character::Calm | Character::Sleepy | Character::Unruly => Duration::MAX,
        };
        let begun = Instant::now();
        let mut next_word = begun + self.pace.mul_f64(random.random_range(0.1..2.0));
        let mut nap = begun + Duration::from_secs(random.random_range(5..30));
        loop {
            let now = *phase.borrow_and_update();
            let dies = now == Phase::Talk && begun.elapsed() >= lives;
            if now == Phase::End || dies {
                return;
            }
            self.log.lock().unwrap().unreceipted = session.unreceipted();
            tokio::select! {
                biased;
                changed = phase.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next_word), if now == Phase::Talk => {
                    // A full window is a radio that holds its tongue.
                    self.speak(random, |topic, text| session.try_send(topic, text).is_ok());
                    next_word = Instant::now() + self.pace.mul_f64(random.random_range(0.5..1.5));
                }
                event = events.recv() => match event {
                    Some(event) => if let Some((topic, place)) = self.hear(event) { session.acknowledge(topic, place) },
                    None => return,
                },
                // To look at the end of its life.
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            if self.character == Character::Sleepy && now == Phase::Talk && Instant::now() > nap {
                tokio::time::sleep(Duration::from_secs(random.random_range(1..8))).await;
                nap = Instant::now() + Duration::from_secs(random.random_range(5..30));
            }
        }
    }

    /// Says its next word, if `say` takes it. Until somebody looks, it has no receipt.
    pub fn speak(&self, random: &mut StdRng, say: impl FnOnce(TopicId, String) -> bool) {
        let topic = self.topics[random.random_range(0..self.topics.len())];
        let mut log = self.log.lock().unwrap();
        let word = log.said.get(&topic).copied().unwrap_or(0) + 1;
        if say(topic, text(self.user, word)) {
            log.said.insert(topic, word);
            log.unreceipted += 1;
            if self.measures {
                log.times.push((word, Instant::now()));
            }
        }
    }

    /// Stores what it is told; the place that is to be acknowledged.
    pub fn hear(&self, event: Event) -> Option<(TopicId, Place)> {
        let mut log = self.log.lock().unwrap();
        log.trail.extend(Step::of(&event));
        match event {
            Event::Entry(entry) => {
                match &entry.body {
                    Body::Text(text) => {
                        let word = read(text).map_or(0, |(_, word)| word);
                        let heard = Text { topic: entry.topic, place: entry.place, sender: entry.sender, word };
                        if self.measures && entry.sender != self.user {
                            log.times.push((word, Instant::now()));
                        }
                        log.heard.push(heard);
                    }
                    Body::Rejected { topic, installation, client_seq, reason, .. } if *installation == self.tokens.installation() => {
                        log.refused.push(Refused { topic: *topic, client_seq: *client_seq, reason: *reason });
                    }
                    _ => {}
                }
                return Some((entry.topic, entry.place));
            }
            Event::Receipt(receipt) => {
                let known = log.promises.iter().rev().find(|promise| promise.topic == receipt.topic).map_or(0, |promise| promise.upto);
                let behind = known.max(receipt.client_seq.saturating_sub(receipt.messages as u64));
                let promise = Promise { topic: receipt.topic, behind, upto: receipt.client_seq, durability: receipt.durability };
                log.promises.push(promise);
            }
            // Of a mark it has no message: one of a connection before, which this one does not follow yet.
            Event::Refusal(refusal) => {
                let reason = refusal.reason;
                log.refused.extend(refusal.message.map(|(topic, client_seq)| Refused { topic, client_seq, reason }));
            }
            Event::Gap(gap) => log.gaps.push(gap),
            Event::Disconnected { reason: Disconnect::Closed(Reason::Superseded), .. } => log.taken_over += 1,
            Event::Closed { reason, text } => log.closed.push(format!("{reason:?}: {text}")),
            _ => {}
        }
        None
    }
}
