//! What an edge says becomes events.

use std::time::{Duration, Instant};

use super::super::error::class_of;
use super::super::event::{Body, Event, Gap, Lost, Receipt, Refusal, durability_of, entry_of, place_of, presence_of, reason_of};
use super::super::floor::floor_of;
use super::super::outbox::Predecessor;
use super::super::topics::Arrival;
use super::{Acknowledge, Core};
use crate::model::{Durability, Reason, TopicId, UserId};
use crate::proto::v1;
use crate::retry::ErrorClass;

/// How long to wait when the fleet says "later" without saying when.
const RETRY_AFTER: Duration = Duration::from_millis(200);

impl Core {
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
        let complete = inbound.is_complete();
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
        if entry.client_seq > 0 && !self.heard.entry(entry.topic).or_default().is_new(entry.place, entry.installation, entry.client_seq) {
            self.counts.echoes += 1;
            // The app has nothing to store; what stands before it, it may not have stored yet.
            if complete {
                self.acknowledge(entry.topic, entry.place, now);
            }
            return;
        }
        self.counts.entries += 1;
        if self.acknowledge == Acknowledge::Delivered {
            self.acknowledge(entry.topic, entry.place, now);
        }
        if let Body::Rejected { topic, installation, client_seq, client_seq_high, reason } = entry.body
            && installation == self.installation
        {
            let again = match reason {
                Some(Reason::PredecessorMissing) => self.renumber(topic, client_seq, client_seq_high, events),
                // It was refused before, and the notice of that was lost.
                Some(Reason::SequenceReused) if client_seq > client_seq_high => self.renumber(topic, client_seq, client_seq_high, events),
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
                if self.predecessor_missing(topic, client_seq, refusal.client_seq_high, now, events) {
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

    fn predecessor_missing(&mut self, topic: TopicId, client_seq: u64, high: u64, now: Instant, events: &mut Vec<Event>) -> bool {
        let Some(outbox) = self.outboxes.get_mut(&topic) else { return false };
        let Some(predecessor) = outbox.predecessor_missing(client_seq, high, now) else { return false };
        self.counts.resent += 1;
        if predecessor == Predecessor::GivenUp {
            self.tell_lost(topic, high, events);
        }
        self.wake(topic);
        true
    }

    fn renumber(&mut self, topic: TopicId, client_seq: u64, high: u64, events: &mut Vec<Event>) -> bool {
        let Some(outbox) = self.outboxes.get_mut(&topic) else { return false };
        let before = outbox.pending().len();
        let again = outbox.renumber(client_seq, high);
        self.unreceipted += outbox.pending().len() - before;
        self.counts.resent += u64::from(again);
        self.tell_lost(topic, high, events);
        self.wake(topic);
        again
    }

    fn tell_lost(&mut self, topic: TopicId, high: u64, events: &mut Vec<Event>) {
        if let Some((first, last)) = self.outboxes.get_mut(&topic).and_then(|outbox| outbox.lost(high)) {
            events.push(Event::Lost(Lost { topic, first, last }));
        }
    }

    fn wake(&mut self, topic: TopicId) {
        let has_more = self.outboxes.get(&topic).is_some_and(|outbox| outbox.next_bytes().is_some());
        if has_more && !self.ready.contains(&topic) {
            self.ready.push_back(topic);
        }
    }
}
