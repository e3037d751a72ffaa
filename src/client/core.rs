//! The rules of a session, without I/O or clock: what an app says becomes frames, what an edge says becomes events.

mod take;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::floor::Presses;
use super::heard::Heard;
use super::memory::{Memory, TopicMemory};
use super::outbox::Outbox;
use super::topics::Inbound;
use crate::model::{Durability, FRAME_MARKS_MAX, FRAME_MESSAGES_MAX, FloorRequestId, GroupId, InstallationId, Place, TopicId, UserId};
use crate::proto::v1;

/// Texts of one frame stop here, well below the 4 MiB that gRPC takes.
const FRAME_TEXT_BYTES_MAX: usize = 512 << 10;
/// As many entries are acknowledged at once,
const UNACKNOWLEDGED_MAX: usize = 64;
/// or after this time; both ride on any frame that leaves before.
const ACKNOWLEDGE_LINGER: Duration = Duration::from_millis(50);

/// When an entry counts as received and stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// When it is handed over. For an app that keeps nothing beyond the life of its process.
    #[default]
    Delivered,
    /// When the app says so.
    Explicit,
}

/// What a session saw, for tests, benchmarks and audits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Entries handed over.
    pub entries: u64,
    /// Entries the fleet sent again although they were acknowledged or had come on this connection; dropped.
    pub repeats: u64,
    /// Messages that came again at another place, from a fleet that lost its last moments; dropped.
    pub echoes: u64,
    /// Times places were missing without the fleet having said so.
    pub holes: u64,
    /// Messages that got their receipt.
    pub receipted: u64,
    /// Messages sent a second time or more.
    pub resent: u64,
    /// Messages refused for good.
    pub refused: u64,
    /// Messages the fleet refused for now.
    pub deferred: u64,
    /// Connections opened.
    pub connections: u64,
}

/// The rules of one installation's session.
#[derive(Debug)]
pub struct Core {
    installation: InstallationId,
    acknowledge: Acknowledge,
    inbound: HashMap<TopicId, Inbound>,
    heard: HashMap<TopicId, Heard>,
    outboxes: HashMap<TopicId, Outbox>,
    /// Outboxes that have something to send.
    ready: VecDeque<TopicId>,
    /// Topics whose mark moved since it was last sent.
    marked: Vec<TopicId>,
    unacknowledged: usize,
    linger_until: Option<Instant>,
    presses: Presses,
    unreceipted: usize,
    durability: Durability,
    user: UserId,
    counts: Counts,
}

impl Core {
    /// A session that continues from `memory`.
    pub fn new(memory: Memory, acknowledge: Acknowledge) -> Self {
        let mut core = Self {
            installation: memory.installation,
            acknowledge,
            inbound: HashMap::new(),
            heard: HashMap::new(),
            outboxes: HashMap::new(),
            ready: VecDeque::new(),
            marked: Vec::new(),
            unacknowledged: 0,
            linger_until: None,
            presses: Presses::default(),
            unreceipted: 0,
            durability: Durability::Memory,
            user: UserId(0),
            counts: Counts::default(),
        };
        for (topic, kept) in memory.topics {
            core.unreceipted += kept.unreceipted.len();
            if kept.mark.is_some() {
                core.inbound.insert(topic, Inbound::restore(kept.mark));
            }
            if !kept.heard.is_empty() {
                core.heard.insert(topic, Heard::restore(kept.heard));
            }
            core.outboxes.insert(topic, Outbox::restore(kept.client_seq, kept.predecessor, kept.unreceipted));
        }
        core
    }

    /// What must be kept, as of now.
    pub fn memory(&self) -> Memory {
        let mut topics: BTreeMap<TopicId, TopicMemory> = BTreeMap::new();
        for (topic, outbox) in &self.outboxes {
            let kept = topics.entry(*topic).or_default();
            (kept.client_seq, kept.predecessor) = (outbox.client_seq, outbox.predecessor);
            kept.unreceipted = outbox.pending().iter().cloned().collect();
        }
        for (topic, inbound) in &self.inbound {
            topics.entry(*topic).or_default().mark = inbound.mark();
        }
        for (topic, heard) in &self.heard {
            topics.entry(*topic).or_default().heard = heard.kept();
        }
        Memory { installation: self.installation, topics }
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Messages without a receipt.
    pub fn unreceipted(&self) -> usize {
        self.unreceipted
    }

    /// How far a topic was received on this connection.
    pub fn at(&self, topic: TopicId) -> Option<Place> {
        self.inbound.get(&topic)?.at()
    }

    /// The user of the last Welcome; 0 before the first.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// A message for `topic`; returns its client_seq.
    pub fn send(&mut self, topic: TopicId, text: Bytes) -> u64 {
        let outbox = self.outboxes.entry(topic).or_default();
        let client_seq = outbox.push(text);
        if outbox.next_bytes().is_some() && outbox.sent() + 1 == outbox.pending().len() {
            self.ready.push_back(topic);
        }
        self.unreceipted += 1;
        client_seq
    }

    /// The app stored everything of a topic up to `place`.
    pub fn acknowledge(&mut self, topic: TopicId, place: Place, now: Instant) {
        let Some(inbound) = self.inbound.get_mut(&topic) else { return };
        if !inbound.acknowledge(place) {
            return;
        }
        if let Some(heard) = self.heard.get_mut(&topic) {
            heard.stored(place);
        }
        if !inbound.dirty {
            inbound.dirty = true;
            self.marked.push(topic);
        }
        self.unacknowledged += 1;
        self.linger_until.get_or_insert(now + ACKNOWLEDGE_LINGER);
    }

    /// Asks for the floor of a group's room, instead of whatever was asked for there before.
    pub fn ask_floor(&mut self, group: GroupId, request: FloorRequestId, emergency: bool) {
        self.presses.ask(group, request, emergency);
    }

    /// Gives the floor of a group's room back, or asks no longer.
    pub fn release_floor(&mut self, group: GroupId) {
        self.presses.release(group);
    }

    /// The first frame of a connection. Forgets what the last connection had sent.
    pub fn hello(&mut self, token: String) -> v1::ClientFrame {
        self.marked.clear();
        (self.unacknowledged, self.linger_until) = (0, None);
        self.ready.clear();
        self.presses.rewind();
        for (topic, outbox) in &mut self.outboxes {
            self.counts.resent += outbox.sent() as u64;
            outbox.rewind();
            if outbox.next_bytes().is_some() {
                self.ready.push_back(*topic);
            }
        }
        let mut marks = Vec::new();
        for (topic, inbound) in &mut self.inbound {
            inbound.rewind();
            let Some(place) = inbound.mark() else { continue };
            if marks.len() < FRAME_MARKS_MAX {
                marks.push(v1::Mark { topic: Some((*topic).into()), place: Some(place.into()) });
            } else {
                // The fleet continues those from what it knows of this installation.
                inbound.dirty = false;
            }
        }
        let hello = v1::Hello { token, installation_id: self.installation.0, marks, current_group_id: 0 };
        v1::ClientFrame { hello: Some(hello), ..v1::ClientFrame::default() }
    }

    /// When a frame is due that nobody asked for: acknowledgements, messages the fleet wanted later, what the talk button says. `None` when nothing waits.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if self.unacknowledged >= UNACKNOWLEDGED_MAX {
            return Some(now);
        }
        let later = self.ready.iter().filter_map(|topic| {
            let outbox = self.outboxes.get(topic)?;
            outbox.next_bytes().map(|_| outbox.not_before.unwrap_or(now))
        });
        later.chain(self.linger_until).chain(self.presses.due(now)).min()
    }

    /// The next frame that is due; `None` when nothing is.
    pub fn next_frame(&mut self, now: Instant) -> Option<v1::ClientFrame> {
        if self.due(now).is_none_or(|due| due > now) {
            return None;
        }
        let mut frame = v1::ClientFrame::default();
        let mut bytes = 0;
        for _ in 0..self.ready.len() {
            let Some(topic) = self.ready.pop_front() else { break };
            let Some(outbox) = self.outboxes.get_mut(&topic) else { continue };
            if outbox.not_before.is_some_and(|at| at > now) {
                self.ready.push_back(topic);
                continue;
            }
            outbox.not_before = None;
            while let Some(next) = outbox.next_bytes() {
                if frame.messages.len() == FRAME_MESSAGES_MAX || bytes + next > FRAME_TEXT_BYTES_MAX.max(next) {
                    self.ready.push_front(topic);
                    break;
                }
                bytes += next;
                let Some(message) = outbox.next() else { break };
                frame.messages.push(v1::Message {
                    to: Some(topic.into()),
                    client_seq: message.client_seq,
                    predecessor: message.predecessor,
                    kind: v1::MessageKind::Text as i32,
                    text: message.text.clone(),
                });
            }
            if frame.messages.len() == FRAME_MESSAGES_MAX || bytes >= FRAME_TEXT_BYTES_MAX {
                break;
            }
        }
        frame.presses = self.presses.take(now);
        let marks = self.marked.len().min(FRAME_MARKS_MAX);
        for topic in self.marked.drain(..marks) {
            let Some(inbound) = self.inbound.get_mut(&topic) else { continue };
            inbound.dirty = false;
            let place = inbound.mark().map(v1::Place::from);
            frame.marks.push(v1::Mark { topic: Some(topic.into()), place });
        }
        if self.marked.is_empty() {
            (self.unacknowledged, self.linger_until) = (0, None);
        }
        Some(frame)
    }

    /// Everything that is left to acknowledge, for the last frame of a connection.
    pub fn last_frame(&mut self) -> v1::ClientFrame {
        let marks = self.marked.drain(..).take(FRAME_MARKS_MAX).filter_map(|topic| {
            let place = self.inbound.get(&topic)?.mark().map(v1::Place::from);
            Some(v1::Mark { topic: Some(topic.into()), place })
        });
        v1::ClientFrame { marks: marks.collect(), ..v1::ClientFrame::default() }
    }
}
