//! What waits to be written to one client. Bounded: entries stop being taken before it is full; the rest is small and made by what the
//! client itself sends, and a client that reads no refusals is closed.

use std::collections::VecDeque;

use crate::model::TopicId;
use crate::proto::{convert, v1};
use crate::topic::frame::Entry;

/// How many bytes of entries go into one frame to the client.
const FRAME_BYTES: usize = 64 * 1024;
/// How many changes of presence wait for a client at most.
const PRESENCES_MAX: usize = 256;
/// How many events of floors wait for a client at most.
const FLOOR_EVENTS_MAX: usize = 64;
/// How much an entry weighs beside its body.
const ENTRY_OVERHEAD: usize = 64;

/// What waits for a client.
pub(super) struct Queue {
    entries: VecDeque<(Entry, bool)>,
    bytes: usize,
    pub(super) welcome: Option<v1::Welcome>,
    receipts: Vec<(TopicId, v1::Receipt)>,
    pub(super) refusals: Vec<v1::Refusal>,
    pub(super) dispositions: Vec<v1::Disposition>,
    pub(super) report_answers: Vec<v1::ReportAnswer>,
    pub(super) positions: Vec<v1::DevicePosition>,
    /// The latest one of each user and group. Bounded: what does not fit is not told, as to who is not connected.
    presences: VecDeque<v1::Presence>,
    /// Follows and gaps stand between entries: each with the number of entries that go before it.
    asides: VecDeque<(u64, Aside)>,
    /// Bounded: of too many the oldest is dropped. What a client has to know it hears again when it asks again.
    floor: VecDeque<v1::FloorEvent>,
    written: u64,
    pub(super) beat: bool,
    close: Option<v1::Close>,
    /// When the client last took something, or last had nothing to take. UTC ms.
    pub(super) drained_ms: u64,
}

enum Aside {
    Follow(v1::Follow),
    Gap(v1::Gap),
}

impl Queue {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            welcome: None,
            receipts: Vec::new(),
            refusals: Vec::new(),
            dispositions: Vec::new(),
            report_answers: Vec::new(),
            positions: Vec::new(),
            presences: VecDeque::new(),
            asides: VecDeque::new(),
            floor: VecDeque::new(),
            written: 0,
            beat: false,
            close: None,
            drained_ms: now_ms,
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.welcome.is_none()
            && self.receipts.is_empty()
            && self.refusals.is_empty()
            && self.dispositions.is_empty()
            && self.report_answers.is_empty()
            && self.positions.is_empty()
            && self.presences.is_empty()
            && self.asides.is_empty()
            && self.floor.is_empty()
            && !self.beat
            && self.close.is_none()
    }

    /// An entry; an alert goes before everything that is not one. `own` when the receiving installation wrote it.
    pub(super) fn entry(&mut self, entry: Entry, own: bool, urgent: bool) {
        self.bytes += entry.body.len() + ENTRY_OVERHEAD;
        if urgent {
            let at = self.entries.iter().take_while(|(entry, _)| is_urgent(entry)).count();
            self.entries.insert(at, (entry, own));
            // What stood behind a number of entries now stands behind one more.
            for (after, _) in &mut self.asides {
                *after += u64::from(*after >= self.written + at as u64);
            }
        } else {
            self.entries.push_back((entry, own));
        }
    }

    /// A receipt: one a topic waits at most, the highest.
    pub(super) fn receipt(&mut self, topic: TopicId, receipt: v1::Receipt) {
        match self.receipts.iter_mut().find(|(known, _)| *known == topic) {
            Some((_, known)) if known.client_seq <= receipt.client_seq => *known = receipt,
            Some(_) => {}
            None => self.receipts.push((topic, receipt)),
        }
    }

    /// Where somebody is. It takes the place of what waits of the same user and group; of too many the oldest is dropped.
    pub(super) fn presence(&mut self, presence: v1::Presence) {
        self.presences.retain(|known| (known.user_id, known.group_id) != (presence.user_id, presence.group_id));
        if self.presences.len() >= PRESENCES_MAX {
            self.presences.pop_front();
        }
        self.presences.push_back(presence);
    }

    /// Something of the floor of a room.
    pub(super) fn floor(&mut self, event: v1::FloorEvent) {
        if self.floor.len() >= FLOOR_EVENTS_MAX {
            self.floor.pop_front();
        }
        self.floor.push_back(event);
    }

    pub(super) fn follow(&mut self, follow: v1::Follow) {
        self.asides.push_back((self.written + self.entries.len() as u64, Aside::Follow(follow)));
    }

    pub(super) fn gap(&mut self, gap: v1::Gap) {
        self.asides.push_back((self.written + self.entries.len() as u64, Aside::Gap(gap)));
    }

    /// The last thing the client is told; entries that wait are not written any more.
    pub(super) fn close(&mut self, close: v1::Close) {
        self.entries.clear();
        self.asides.clear();
        self.bytes = 0;
        self.close = Some(close);
    }

    /// The next frame; `None` when nothing waits. True beside it when it is the last one.
    pub(super) fn next_frame(&mut self) -> Option<(v1::ServerFrame, bool)> {
        if self.is_empty() {
            return None;
        }
        let mut frame = v1::ServerFrame {
            welcome: self.welcome.take(),
            receipts: self.receipts.drain(..).map(|(_, receipt)| receipt).collect(),
            refusals: std::mem::take(&mut self.refusals),
            dispositions: std::mem::take(&mut self.dispositions),
            report_answers: std::mem::take(&mut self.report_answers),
            positions: std::mem::take(&mut self.positions),
            presences: self.presences.drain(..).collect(),
            floor: self.floor.drain(..).collect(),
            beat: std::mem::take(&mut self.beat),
            ..v1::ServerFrame::default()
        };
        // A client reads entries, then gaps, then follows: a frame ends where one of those stands between entries.
        let mut bytes = 0;
        loop {
            match self.asides.front() {
                Some((after, Aside::Gap(_))) if *after <= self.written && !frame.follows.is_empty() => break,
                Some((after, _)) if *after <= self.written => {
                    match self.asides.pop_front() {
                        Some((_, Aside::Follow(follow))) => frame.follows.push(follow),
                        Some((_, Aside::Gap(gap))) => frame.gaps.push(gap),
                        None => {}
                    }
                    continue;
                }
                _ if !frame.follows.is_empty() || !frame.gaps.is_empty() || bytes >= FRAME_BYTES => break,
                _ => {}
            }
            let Some((entry, own)) = self.entries.pop_front() else { break };
            let weight = entry.body.len() + ENTRY_OVERHEAD;
            (self.bytes, bytes) = (self.bytes - weight, bytes + weight);
            self.written += 1;
            frame.entries.push(convert::entry(entry, own));
        }
        let last = self.is_empty_but_close();
        if last {
            frame.close = self.close.take();
        }
        let closing = frame.close.is_some();
        Some((frame, closing))
    }

    fn is_empty_but_close(&self) -> bool {
        self.close.is_some() && self.entries.is_empty() && self.asides.is_empty()
    }
}

fn is_urgent(entry: &Entry) -> bool {
    TopicId::from_packed(entry.topic).is_some_and(|topic| topic.kind().urgent())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupId, UserId};

    fn entry(topic: TopicId, seq: u64) -> Entry {
        Entry { topic: topic.packed(), epoch: 1, seq, kind: 1, body: "text".into(), ..Entry::default() }
    }

    /// Each frame as the numbers of its entries, its gaps (by their reason) and its follows.
    fn frames(queue: &mut Queue) -> Vec<(Vec<u64>, Vec<i32>, usize)> {
        std::iter::from_fn(|| queue.next_frame())
            .map(|(frame, _)| {
                let seqs = frame.entries.iter().map(|entry| entry.seq).collect();
                (seqs, frame.gaps.iter().map(|gap| gap.reason).collect(), frame.follows.len())
            })
            .collect()
    }

    #[test]
    fn what_stands_between_entries_ends_a_frame() {
        let (mut queue, group) = (Queue::new(0), TopicId::group(GroupId(7)));
        let gap = |reason| v1::Gap { reason, ..v1::Gap::default() };
        queue.entry(entry(group, 1), false, false);
        queue.gap(gap(1));
        queue.entry(entry(group, 2), false, false);
        queue.follow(v1::Follow::default());
        queue.gap(gap(2));
        queue.entry(entry(group, 3), false, false);
        // Read as entries, gaps, follows, each frame says everything in its order.
        assert_eq!(frames(&mut queue), [(vec![1], vec![1], 0), (vec![2], vec![], 1), (vec![], vec![2], 0), (vec![3], vec![], 0)]);
    }

    #[test]
    fn an_alert_goes_before_what_waits_and_everything_else_keeps_its_place() {
        let (mut queue, group) = (Queue::new(0), TopicId::group(GroupId(7)));
        let alerts = TopicId::checked(crate::model::TopicKind::AlertInbox, UserId(3).0).unwrap();
        queue.entry(entry(group, 1), false, false);
        queue.gap(v1::Gap { reason: 1, ..v1::Gap::default() });
        queue.entry(entry(group, 2), false, false);
        queue.entry(entry(alerts, 100), false, true);
        queue.entry(entry(alerts, 101), false, true);
        assert_eq!(frames(&mut queue), [(vec![100, 101, 1], vec![1], 0), (vec![2], vec![], 0)]);
    }
}
