//! A radio that speaks the protocol by hand, and badly: each new message goes up twice, and first in the wrong order.
//!
//! Otherwise it does what a client must, by the rules of the client library: it sends nothing out of order before it is told how far the topic knows
//! it, takes the refusal of a message that came too early for what it is, and says again, in order, what has no receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use roger::client::{Acknowledge, Core, Disconnect, Event, Tokens as _};
use roger::model::{Reason, TopicId};
use roger::proto::v1;
use roger::proto::v1::talk_cloud_client::TalkCloudClient;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::radio::{Phase, Radio, WINDOW};

/// How many frames may wait for the network; at more it is taken for broken.
const FRAMES_MAX: usize = 256;
/// How long an edge may take to open a session.
const OPENED_WITHIN: Duration = Duration::from_secs(5);
/// How often it says that it is there, and after how long without a word an edge counts as gone.
const BEAT_EVERY: Duration = Duration::from_secs(1);
const SILENT_AFTER: Duration = Duration::from_secs(6);
/// How often it looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many words it says at once: one alone cannot come in the wrong order.
const WORDS: u32 = 3;

/// The radio, and what it remembers of what it sent.
pub struct Unruly {
    radio: Radio,
    core: Core,
    /// The highest number that was sent, by topic: what is above is new.
    sent: BTreeMap<TopicId, u64>,
    /// Messages that were sent too early on this connection, and have no receipt.
    early: BTreeSet<(TopicId, u64)>,
    /// Topics of which this connection knows how far the fleet knows the radio.
    follows: BTreeSet<TopicId>,
}

impl Unruly {
    pub fn of(radio: Radio) -> Self {
        let core = Core::new(radio.memory.clone(), Acknowledge::Explicit);
        Self { radio, core, sent: BTreeMap::new(), early: BTreeSet::new(), follows: BTreeSet::new() }
    }

    /// Lives until the end: some seconds at an edge, dies there, and comes back at the next one.
    pub async fn live(mut self, mut phase: watch::Receiver<Phase>) {
        let mut random = StdRng::seed_from_u64(self.radio.seed);
        let mut edge = random.random_range(0..self.radio.edges.len());
        while *phase.borrow() != Phase::End {
            if let Some((frames, inbound)) = self.open(edge).await {
                self.converse(&frames, inbound, &mut phase, &mut random).await;
            }
            self.radio.memory = self.core.memory();
            self.radio.log.lock().unwrap().counted(self.core.counts());
            self.core = Core::new(self.radio.memory.clone(), Acknowledge::Explicit);
            edge = (edge + 1) % self.radio.edges.len();
            sleep(Duration::from_millis(random.random_range(10..1_500))).await;
        }
    }

    async fn open(&mut self, edge: usize) -> Option<(mpsc::Sender<v1::ClientFrame>, Streaming<v1::ServerFrame>)> {
        let token = self.radio.tokens.token(None).await.unwrap();
        let (frames, outbound) = mpsc::channel(FRAMES_MAX);
        frames.try_send(self.core.hello(token)).unwrap();
        (self.early, self.follows) = (BTreeSet::new(), BTreeSet::new());
        let address = self.radio.edges[edge].clone();
        let opening = async {
            let mut client = TalkCloudClient::connect(address).await.ok()?;
            Some(client.data_publish(ReceiverStream::new(outbound)).await.ok()?.into_inner())
        };
        timeout(OPENED_WITHIN, opening).await.ok()?.map(|inbound| (frames, inbound))
    }

    async fn converse(
        &mut self,
        frames: &mpsc::Sender<v1::ClientFrame>,
        mut inbound: Streaming<v1::ServerFrame>,
        phase: &mut watch::Receiver<Phase>,
        random: &mut StdRng,
    ) {
        let until = Instant::now() + Duration::from_millis(random.random_range(3_000..20_000));
        let pause = self.radio.pace * WORDS;
        let mut next_words = Instant::now() + pause.mul_f64(random.random_range(0.1..1.0));
        let (mut heard, mut sent) = (Instant::now(), Instant::now());
        let mut looks = interval(LOOK_EVERY);
        loop {
            let now = *phase.borrow_and_update();
            let dies = now == Phase::Talk && Instant::now() > until;
            if now == Phase::End || dies || heard.elapsed() > SILENT_AFTER {
                return;
            }
            tokio::select! {
                changed = phase.changed() => if changed.is_err() { return },
                frame = inbound.message() => {
                    let Ok(Some(frame)) = frame else { return };
                    heard = Instant::now();
                    if self.take(frame) {
                        return;
                    }
                }
                _ = looks.tick() => {}
            }
            if now == Phase::Talk && Instant::now() > next_words {
                self.speak(random);
                next_words = Instant::now() + pause.mul_f64(random.random_range(0.5..1.5));
            }
            let mut due = self.due();
            if due.is_empty() && sent.elapsed() > BEAT_EVERY {
                due.push(v1::ClientFrame { beat: Some(v1::Beat::default()), ..v1::ClientFrame::default() });
            }
            for frame in due {
                sent = Instant::now();
                if frames.try_send(frame).is_err() {
                    return;
                }
            }
            self.radio.log.lock().unwrap().unreceipted = self.core.unreceipted();
        }
    }

    fn speak(&mut self, random: &mut StdRng) {
        for _ in 0..WORDS {
            let core = &mut self.core;
            self.radio.speak(random, |topic, text| {
                let has_room = core.unreceipted() < WINDOW;
                if has_room {
                    core.send(topic, text.into());
                }
                has_room
            });
        }
    }

    /// What is to be sent now: new messages each by itself and the last one first, and then all in order.
    fn due(&mut self) -> Vec<v1::ClientFrame> {
        // What would come too early for the edge to judge goes on to the owner, whose refusal is for good.
        if self.core.unreceipted() > 0 && !self.radio.topics.iter().all(|topic| self.follows.contains(topic)) {
            return Vec::new();
        }
        let Some(frame) = self.core.next_frame(std::time::Instant::now()) else { return Vec::new() };
        let mut frames = Vec::new();
        for message in &frame.messages {
            let Some(topic) = message.to.and_then(v1::Topic::to_model) else { continue };
            let sent = self.sent.entry(topic).or_default();
            if message.client_seq > *sent {
                *sent = message.client_seq;
                self.early.insert((topic, message.client_seq));
                frames.push(v1::ClientFrame { messages: vec![message.clone()], ..v1::ClientFrame::default() });
            }
        }
        frames.reverse();
        frames.push(frame);
        frames
    }

    /// Takes a frame of the edge in; true when it was the last.
    fn take(&mut self, mut frame: v1::ServerFrame) -> bool {
        let now = std::time::Instant::now();
        let close = frame.close.take();
        if let Some(close) = close.as_ref().filter(|close| close.reason() == v1::Reason::Superseded) {
            let reason = Reason::Superseded;
            self.radio.hear(match close.retry_after_ms {
                0 => Event::Closed { reason: Some(reason), text: close.text.clone() },
                _ => Event::Disconnected { edge: String::new(), reason: Disconnect::Closed(reason) },
            });
        }
        // The other copy comes behind it, in order.
        frame.refusals.retain(|refusal| !self.was_early(refusal));
        let mut events = Vec::new();
        self.core.take(frame, now, &mut events);
        for event in events {
            match &event {
                Event::Receipt(receipt) => self.early.retain(|(topic, number)| *topic != receipt.topic || *number > receipt.client_seq),
                Event::Follow { topic, following: true, .. } => drop(self.follows.insert(*topic)),
                Event::Follow { topic, .. } => drop(self.follows.remove(topic)),
                _ => {}
            }
            if let Some((topic, place)) = self.radio.hear(event) {
                self.core.acknowledge(topic, place, now);
            }
        }
        close.is_some()
    }

    /// Whether a refusal is that of a message which was sent too early; each is refused so once.
    fn was_early(&mut self, refusal: &v1::Refusal) -> bool {
        let topic = refusal.topic.and_then(v1::Topic::to_model);
        let early = refusal.reason() == v1::Reason::PredecessorMissing
            && topic.is_some_and(|topic| self.early.remove(&(topic, refusal.client_seq)));
        self.radio.log.lock().unwrap().too_early += u64::from(early);
        early
    }
}
