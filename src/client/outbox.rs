//! What an installation has to say in one topic: messages without a receipt, in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::memory::Unreceipted;

/// How many messages with a receipt are kept in case the owner of the topic refuses one before them: then those behind it are refused
/// too, and are sent again behind what was accepted. More can only be on their way between receipt and order when a shard stands still.
const RECEIPTED_MAX: usize = 4_096;
/// As above, in bytes.
const RECEIPTED_BYTES_MAX: usize = 4 << 20;

/// How long a message whose predecessor is missing waits for what the owner of the topic says of those before it. After a loss it says
/// nothing of what was lost.
const VERDICT_PATIENCE: Duration = Duration::from_secs(3);

/// What became of the predecessor of a message, which the fleet does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predecessor {
    /// It comes first again, or something may still be said of it.
    Awaited,
    /// Nothing more is said of it: it is lost, or was refused for a reason of its own.
    GivenUp,
}

/// The messages of this installation to one topic.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The highest client_seq given.
    pub(super) client_seq: u64,
    /// The predecessor of the next new message.
    pub(super) predecessor: u64,
    /// Without a receipt, by rising client_seq.
    pending: VecDeque<Unreceipted>,
    /// How many of `pending` were sent on this connection.
    sent: usize,
    /// With a receipt, not yet seen in the topic; by rising client_seq.
    receipted: VecDeque<Unreceipted>,
    receipted_bytes: usize,
    /// The highest client_seq with a receipt that is not in `receipted` any more.
    gone: u64,
    /// Everything up to here that the owner of the topic had refused has another number by now.
    renumbered: u64,
    /// The message that waits for the verdict on those before it.
    waiting: Option<u64>,
    /// Nothing is sent before: the fleet asked to wait.
    pub(super) not_before: Option<Instant>,
}

impl Outbox {
    pub(super) fn restore(client_seq: u64, predecessor: u64, unreceipted: Vec<Unreceipted>) -> Self {
        Self { client_seq, predecessor, pending: unreceipted.into(), ..Self::default() }
    }

    /// Numbers a new message and puts it last.
    pub(super) fn push(&mut self, text: Bytes) -> u64 {
        self.client_seq += 1;
        self.pending.push_back(Unreceipted { client_seq: self.client_seq, predecessor: self.predecessor, text });
        self.predecessor = self.client_seq;
        self.client_seq
    }

    /// The next message to send, which counts as sent from now on.
    pub(super) fn next(&mut self) -> Option<&Unreceipted> {
        let message = self.pending.get(self.sent)?;
        self.sent += 1;
        Some(message)
    }

    /// How long the text of the next message is; `None` when everything was sent.
    pub(super) fn next_bytes(&self) -> Option<usize> {
        self.pending.get(self.sent).map(|message| message.text.len())
    }

    pub(super) fn pending(&self) -> &VecDeque<Unreceipted> {
        &self.pending
    }

    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// A new connection: everything without a receipt is sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        self.not_before = None;
    }

    /// Everything up to `high` was accepted. Returns how many messages got their receipt by it.
    pub(super) fn receipt(&mut self, high: u64) -> usize {
        let mut messages = 0;
        while self.pending.front().is_some_and(|message| message.client_seq <= high) {
            let Some(message) = self.pending.pop_front() else { break };
            self.sent = self.sent.saturating_sub(1);
            self.receipted_bytes += message.text.len();
            self.receipted.push_back(message);
            messages += 1;
        }
        while self.receipted.len() > RECEIPTED_MAX || self.receipted_bytes > RECEIPTED_BYTES_MAX {
            self.drop_receipted();
        }
        self.outrun(high);
        messages
    }

    /// Numbers up to `high` are taken. When the fleet knows more messages of this installation than the memory does, an older memory was
    /// given back, and new messages go on behind what is known.
    pub(super) fn outrun(&mut self, high: u64) {
        if high > self.client_seq {
            self.client_seq = high;
            self.predecessor = high;
        }
    }

    fn drop_receipted(&mut self) -> Option<Unreceipted> {
        let message = self.receipted.pop_front()?;
        self.receipted_bytes -= message.text.len();
        self.gone = self.gone.max(message.client_seq);
        Some(message)
    }

    /// Of which numbers, from the first to the last, messages had a receipt and are lost or refused, now that the fleet has nothing above `high`. Told
    /// once.
    pub(super) fn lost(&mut self, high: u64) -> Option<(u64, u64)> {
        let last = self.gone;
        self.gone = last.min(high);
        (last > high).then_some((high + 1, last))
    }

    /// A message was seen in the topic: it and those before it cannot be refused any more. Returns its text, if it is still here.
    pub(super) fn seen(&mut self, client_seq: u64) -> Option<Bytes> {
        while self.receipted.front().is_some_and(|message| message.client_seq < client_seq) {
            self.drop_receipted();
        }
        if self.receipted.front().is_some_and(|message| message.client_seq == client_seq) {
            return self.drop_receipted().map(|message| message.text);
        }
        None
    }

    /// A message is refused for now: it and those behind it are sent again after `not_before`.
    pub(super) fn defer(&mut self, client_seq: u64, not_before: Instant) {
        if let Some(at) = self.position(client_seq) {
            self.sent = self.sent.min(at);
            self.not_before = Some(self.not_before.map_or(not_before, |known| known.max(not_before)));
        }
    }

    /// A message is refused for good. Those behind it continue from the one before it. False when it is not here.
    pub(super) fn refuse(&mut self, client_seq: u64) -> bool {
        let Some(at) = self.position(client_seq) else { return false };
        let Some(refused) = self.pending.remove(at) else { return false };
        if at < self.sent {
            self.sent -= 1;
        }
        for later in self.pending.iter_mut().skip(at) {
            if later.predecessor == client_seq {
                later.predecessor = refused.predecessor;
            }
        }
        if self.predecessor == client_seq {
            self.predecessor = refused.predecessor;
        }
        true
    }

    /// The edge refused a message because its predecessor was not accepted, and `high` is the highest that was: it is sent again behind
    /// that one, and everything behind it follows. `None` when it is not here any more.
    pub(super) fn predecessor_missing(&mut self, client_seq: u64, high: u64, now: Instant) -> Option<Predecessor> {
        let at = self.position(client_seq)?;
        self.sent = self.sent.min(at);
        let unjudged = self.receipted.back().is_some_and(|last| last.client_seq > high);
        match self.pending.get_mut(at) {
            // It was mended since it was sent: what was before it is refused or accepted by now.
            Some(message) if message.predecessor <= high => {}
            // What is before it had its receipt. If the owner refused it, its notices are on the way, and all is said again in order.
            Some(_) if at == 0 && unjudged && self.waiting != Some(client_seq) => {
                self.waiting = Some(client_seq);
                self.not_before = Some(now + VERDICT_PATIENCE);
            }
            // Lost, or put aside by somebody: saying it again by itself could do the same harm again.
            Some(message) if at == 0 => {
                message.predecessor = high;
                while self.drop_receipted().is_some() {}
                return Some(Predecessor::GivenUp);
            }
            // What waits before it is its predecessor, and comes first again.
            _ => self.sent = 0,
        }
        Some(Predecessor::Awaited)
    }

    /// The owner of the topic did not take a message whose receipt may be here already, for what was before it; `high` is the highest it
    /// took. Its refusal is final for the number, and those behind it meet the same end: all are said again under new numbers. What was
    /// between the two had a receipt and is lost, or was refused for a reason of its own. False when the message is not here any more.
    pub(super) fn renumber(&mut self, client_seq: u64, high: u64) -> bool {
        if client_seq <= self.renumbered {
            return true;
        }
        let receipted = self.receipted.partition_point(|message| message.client_seq < client_seq);
        let pending = self.pending.partition_point(|message| message.client_seq < client_seq);
        let first = self.receipted.get(receipted).or(self.pending.get(pending));
        if first.is_none_or(|first| first.client_seq != client_seq) {
            return false;
        }
        let mut again: VecDeque<_> = self.receipted.drain(receipted..).collect();
        self.receipted_bytes -= again.iter().map(|message| message.text.len()).sum::<usize>();
        while self.drop_receipted().is_some() {}
        again.extend(self.pending.drain(pending..));
        self.sent = self.sent.min(pending);
        self.not_before = None;
        self.renumbered = self.client_seq;
        self.predecessor = self.pending.back().map_or(high, |message| message.client_seq);
        for Unreceipted { text, .. } in again {
            self.push(text);
        }
        true
    }

    /// A message whose receipt may be here already was refused for a reason of its own: it is not said again. Returns how many messages
    /// without a receipt that were.
    pub(super) fn forget(&mut self, client_seq: u64) -> usize {
        if let Some(at) = self.receipted.iter().position(|message| message.client_seq == client_seq) {
            self.receipted_bytes -= self.receipted.remove(at).map_or(0, |message| message.text.len());
        }
        usize::from(self.refuse(client_seq))
    }

    fn position(&self, client_seq: u64) -> Option<usize> {
        self.pending.iter().position(|message| message.client_seq == client_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(messages: u64) -> Outbox {
        let mut outbox = Outbox::default();
        for number in 1..=messages {
            assert_eq!(outbox.push(Bytes::from(format!("m{number}"))), number);
        }
        outbox
    }

    fn send(outbox: &mut Outbox) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| outbox.next().map(|message| (message.client_seq, message.predecessor))).collect()
    }

    #[test]
    fn everything_without_a_receipt_is_sent_again_in_order() {
        let mut outbox = outbox(3);
        assert_eq!(send(&mut outbox), [(1, 0), (2, 1), (3, 2)]);
        assert_eq!(outbox.receipt(1), 1);
        assert_eq!(send(&mut outbox), []);
        outbox.rewind();
        assert_eq!(send(&mut outbox), [(2, 1), (3, 2)]);
        assert_eq!((outbox.receipt(3), outbox.receipt(3)), (2, 0));
        assert_eq!(outbox.push(Bytes::from_static(b"m4")), 4);
        assert_eq!(send(&mut outbox), [(4, 3)]);
    }

    #[test]
    fn a_refused_message_is_stepped_over() {
        let mut outbox = outbox(3);
        send(&mut outbox);
        assert!(outbox.refuse(2) && !outbox.refuse(2));
        assert_eq!(outbox.predecessor_missing(3, 1, Instant::now()), Some(Predecessor::Awaited));
        assert_eq!(send(&mut outbox), [(3, 1)]);
        assert!(outbox.refuse(3));
        assert_eq!((outbox.push(Bytes::from_static(b"m4")), send(&mut outbox)), (4, vec![(4, 1)]));
    }

    #[test]
    fn a_deferred_message_holds_back_those_behind_it() {
        let mut outbox = outbox(3);
        send(&mut outbox);
        outbox.receipt(1);
        outbox.defer(2, Instant::now());
        // Sent behind the deferred one before that was known: refused, and no reason to step over it.
        assert_eq!(outbox.predecessor_missing(3, 1, Instant::now()), Some(Predecessor::Awaited));
        assert_eq!(send(&mut outbox), [(2, 1), (3, 2)]);
    }

    #[test]
    fn a_message_refused_after_its_receipt_takes_those_behind_it_back() {
        let mut outbox = outbox(4);
        send(&mut outbox);
        outbox.receipt(4);
        assert_eq!(outbox.seen(1), Some(Bytes::from_static(b"m1")));
        assert_eq!(outbox.push(Bytes::from_static(b"m5")), 5);
        // The owner refused 2 for good, and therefore 3 and 4 for their predecessor: those numbers are spent.
        assert_eq!(outbox.forget(2), 0);
        assert!(outbox.renumber(3, 1));
        assert_eq!(send(&mut outbox), [(6, 1), (7, 6), (8, 7)]);
        assert!(outbox.renumber(4, 1));
        assert_eq!(send(&mut outbox), []);
        outbox.receipt(5);
        outbox.receipt(8);
        assert_eq!((outbox.seen(7), outbox.seen(7)), (Some(Bytes::from_static(b"m4")), None));
        assert_eq!((outbox.seen(8), outbox.receipted_bytes), (Some(Bytes::from_static(b"m5")), 0));
        assert!(!outbox.renumber(9, 8), "9 was never here");
        assert_eq!((outbox.push(Bytes::from_static(b"m6")), send(&mut outbox)), (9, vec![(9, 8)]));
    }

    #[test]
    fn a_message_waits_for_the_verdict_on_those_before_it_and_gives_them_up() {
        let mut outbox = outbox(4);
        send(&mut outbox);
        outbox.receipt(3);
        let now = Instant::now();
        assert_eq!(outbox.predecessor_missing(4, 1, now), Some(Predecessor::Awaited));
        assert_eq!((outbox.not_before, outbox.lost(1)), (Some(now + VERDICT_PATIENCE), None));
        let mut lost = outbox;
        // No verdict came.
        assert_eq!(send(&mut lost), [(4, 3)]);
        assert_eq!(lost.predecessor_missing(4, 1, now), Some(Predecessor::GivenUp));
        assert_eq!((send(&mut lost), lost.lost(1), lost.lost(1)), (vec![(4, 1)], Some((2, 3)), None));
        assert!(!lost.renumber(3, 1), "too late: 4 may be accepted");
        assert_eq!(lost.receipted_bytes, 0);
    }

    #[test]
    fn what_had_a_receipt_and_is_lost_is_told() {
        let mut outbox = outbox(5);
        send(&mut outbox);
        outbox.receipt(4);
        // The owner had given 2, and lost that; of 3 it lost the input.
        outbox.seen(2);
        assert!(outbox.renumber(4, 1));
        assert_eq!((send(&mut outbox), outbox.lost(1), outbox.lost(1)), (vec![(6, 1), (7, 6)], Some((2, 3)), None));
    }

    #[test]
    fn a_verdict_ends_the_wait_for_it() {
        let mut outbox = outbox(4);
        send(&mut outbox);
        outbox.receipt(3);
        assert_eq!(outbox.predecessor_missing(4, 1, Instant::now()), Some(Predecessor::Awaited));
        // The owner refused 3 for a reason of its own, and 2 because its first refusal was not heard of.
        assert_eq!(outbox.forget(3), 0);
        assert!(outbox.renumber(2, 1));
        assert_eq!((outbox.not_before, send(&mut outbox)), (None, vec![(5, 1), (6, 5)]));
        assert_eq!(outbox.forget(6), 1);
        assert_eq!((outbox.push(Bytes::from_static(b"m")), send(&mut outbox)), (7, vec![(7, 5)]));
    }

    #[test]
    fn numbers_the_fleet_has_seen_are_not_given_again() {
        let mut outbox = Outbox::default();
        outbox.receipt(9);
        assert_eq!((outbox.push(Bytes::from_static(b"m")), send(&mut outbox)), (10, vec![(10, 9)]));
    }
}
