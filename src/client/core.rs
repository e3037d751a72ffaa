//! The rules of a session, without I/O or clock: what an app says becomes frames, what an edge says becomes events.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::class_of;
use super::event::{Body, Event, Gap, Receipt, Refusal, durability_of, entry_of, place_of, presence_of, reason_of};
use super::floor::{Presses, floor_of};
use super::memory::{Memory, TopicMemory};
use super::outbox::Outbox;
use super::topics::{Arrival, Inbound};
use crate::model::{
    Durability, FRAME_MARKS_MAX, FRAME_MESSAGES_MAX, FloorRequestId, GroupId, InstallationId, Place, Reason, TopicId, UserId,
};
use crate::proto::v1;
use crate::retry::ErrorClass;

/// Texts of one frame stop here, well below the 4 MiB that gRPC takes.
const FRAME_TEXT_BYTES_MAX: usize = 512 << 10;
/// As many entries are acknowledged at once,
const UNACKNOWLEDGED_MAX: usize = 64;
/// or after this time; both ride on any frame that leaves before.
const ACKNOWLEDGE_LINGER: Duration = Duration::from_millis(50);
/// How long to wait when the fleet says "later" without saying when.
const RETRY_AFTER: Duration = Duration::from_millis(200);

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

    /// Takes a frame of the edge apart. `close` and `welcome` are the caller's; everything else becomes events.
    pub fn take(&mut self, frame: v1::ServerFrame, now: Instant, events: &mut Vec<Event>) {
        if let Some(welcome) = frame.welcome {
            self.durability = durability_of(welcome.durability);
            self.user = UserId(welcome.user_id);
            self.counts.connections += 1;
        }
        // In the order of the field numbers, as the edge means it: what stands behind entries in a frame is about what follows them.
        for entry in frame.entries {
            self.take_entry(entry, now, events);
        }
        for receipt in frame.receipts {
            let Some(topic) = receipt.topic.and_then(v1::Topic::to_model) else { continue };
            self.receipted(topic, receipt.client_seq, durability_of(receipt.durability), events);
        }
        for refusal in frame.refusals {
            self.take_refusal(refusal, now, events);
        }
        for gap in frame.gaps {
            self.take_gap(&gap, events);
        }
        for disposition in frame.dispositions {
            if let Some(topic) = disposition.topic.and_then(v1::Topic::to_model) {
                events.push(Event::Disposition { topic, delivered_client_seq: disposition.delivered_client_seq });
            }
        }
        for follow in frame.follows {
            self.take_follow(&follow, events);
        }
        for event in frame.floor.into_iter().filter_map(floor_of) {
            self.presses.heard(&event);
            events.push(Event::Floor(event));
        }
        events.extend(frame.presences.into_iter().filter_map(presence_of).map(Event::Presence));
    }

    fn take_follow(&mut self, follow: &v1::Follow, events: &mut Vec<Event>) {
        let Some(topic) = follow.topic.and_then(v1::Topic::to_model) else { return };
        let (head, mark) = (place_of(follow.head), place_of(follow.mark));
        if follow.following {
            self.inbound.entry(topic).or_default().skip(None, mark);
        }
        let outbox = self.outboxes.entry(topic).or_default();
        if follow.client_seq_high > outbox.client_seq {
            // The fleet knows more of this installation than its memory does, so its number says nothing of what waits here.
            outbox.outrun(follow.client_seq_high);
        } else {
            self.receipted(topic, follow.client_seq_high, self.durability, events);
        }
        events.push(Event::Follow { topic, head, mark, following: follow.following });
    }

    fn take_gap(&mut self, gap: &v1::Gap, events: &mut Vec<Event>) {
        let Some(topic) = gap.topic.and_then(v1::Topic::to_model) else { return };
        let (from, to) = (place_of(gap.from), place_of(gap.to));
        if self.inbound.entry(topic).or_default().skip(Some(from), to) {
            self.counts.holes += 1;
        }
        events.push(Event::Gap(Gap { topic, from, to, not_member: gap.reason == v1::GapReason::NotMember as i32 }));
    }

    fn take_entry(&mut self, entry: v1::Entry, now: Instant, events: &mut Vec<Event>) {
        let Some(mut entry) = entry_of(entry) else { return };
        let inbound = self.inbound.entry(entry.topic).or_default();
        match inbound.arrive(entry.place) {
            Arrival::Repeat => {
                self.counts.repeats += 1;
                return;
            }
            Arrival::Known => return,
            Arrival::BehindHole => self.counts.holes += 1,
            Arrival::Next => {}
        }
        if entry.installation == self.installation && entry.sender == self.user && entry.client_seq > 0 {
            self.receipted(entry.topic, entry.client_seq, self.durability, events);
            let text = self.outboxes.get_mut(&entry.topic).and_then(|outbox| outbox.seen(entry.client_seq));
            if let (Body::Text(empty), Some(text)) = (&mut entry.body, text)
                && empty.is_empty()
            {
                *empty = text;
            }
        }
        self.counts.entries += 1;
        if self.acknowledge == Acknowledge::Delivered {
            self.acknowledge(entry.topic, entry.place, now);
        }
        if let Body::Rejected { topic, installation, client_seq, client_seq_high, reason } = entry.body
            && installation == self.installation
        {
            let again = match reason {
                Some(Reason::PredecessorMissing) => self.renumber(topic, client_seq, client_seq_high),
                // It was refused before, and the notice of that was lost.
                Some(Reason::SequenceReused) if client_seq > client_seq_high => self.renumber(topic, client_seq, client_seq_high),
                _ => {
                    self.unreceipted -= self.outboxes.get_mut(&topic).map_or(0, |outbox| outbox.forget(client_seq));
                    false
                }
            };
            self.counts.refused += u64::from(!again);
        }
        events.push(Event::Entry(entry));
    }

    fn receipted(&mut self, topic: TopicId, client_seq: u64, durability: Durability, events: &mut Vec<Event>) {
        if client_seq == 0 {
            return;
        }
        let outbox = self.outboxes.entry(topic).or_default();
        let messages = outbox.receipt(client_seq);
        if messages > 0 {
            self.unreceipted -= messages;
            self.counts.receipted += messages as u64;
            events.push(Event::Receipt(Receipt { topic, client_seq, durability, messages }));
        }
    }

    fn take_refusal(&mut self, refusal: v1::Refusal, now: Instant, events: &mut Vec<Event>) {
        let reason = reason_of(refusal.reason);
        let message = refusal.topic.and_then(v1::Topic::to_model).zip(Some(refusal.client_seq).filter(|seq| *seq > 0));
        if let (Some((topic, client_seq)), Some(reason)) = (message, reason) {
            if reason == Reason::PredecessorMissing {
                if self.predecessor_missing(topic, client_seq, refusal.client_seq_high, now) {
                    return;
                }
            } else if class_of(reason) == ErrorClass::Transient {
                let wait = Duration::from_millis(u64::from(refusal.retry_after_ms)).max(RETRY_AFTER);
                self.counts.deferred += 1;
                if let Some(outbox) = self.outboxes.get_mut(&topic) {
                    outbox.defer(client_seq, now + wait);
                    self.wake(topic);
                }
                return;
            }
        }
        if let Some((topic, client_seq)) = message
            && let Some(outbox) = self.outboxes.get_mut(&topic)
            && outbox.refuse(client_seq)
        {
            self.counts.refused += 1;
            self.unreceipted -= 1;
            if reason == Some(Reason::SequenceReused) {
                outbox.outrun(refusal.client_seq_high);
            }
        }
        events.push(Event::Refusal(Refusal { reason, field: refusal.field, message, text: refusal.text }));
    }

    fn predecessor_missing(&mut self, topic: TopicId, client_seq: u64, high: u64, now: Instant) -> bool {
        let Some(outbox) = self.outboxes.get_mut(&topic) else { return false };
        let again = outbox.predecessor_missing(client_seq, high, now);
        self.counts.resent += u64::from(again);
        self.wake(topic);
        again
    }

    fn renumber(&mut self, topic: TopicId, client_seq: u64, high: u64) -> bool {
        let Some(outbox) = self.outboxes.get_mut(&topic) else { return false };
        let before = outbox.pending().len();
        let again = outbox.renumber(client_seq, high);
        self.unreceipted += outbox.pending().len() - before;
        self.counts.resent += u64::from(again);
        self.wake(topic);
        again
    }

    fn wake(&mut self, topic: TopicId) {
        let has_more = self.outboxes.get(&topic).is_some_and(|outbox| outbox.next_bytes().is_some());
        if has_more && !self.ready.contains(&topic) {
            self.ready.push_back(topic);
        }
    }
}

#[cfg(test)]
mod tests;
