//! What a session sends: checked, put in order, pushed; receipts when that is done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use super::follow::{Follow, Standing};
use super::hub::Edge;
use super::session::{Session, State};
use crate::model::{MessageKind, Reason, TopicId, TopicKind, check_text};
use crate::proto::{status, v1};
use crate::topic::frame::{Delivered, Input, Post, Watch, Watched};
use crate::topic::{Recent, fingerprint};

/// How many messages of a topic may wait for its owner's word that the session may write there; and of all groups that its inbox does not name.
const PARKED_MAX: usize = 256;
/// How long messages wait for a group that the user's inbox does not name: the user may have made it, or been put there, a moment ago.
const STRANGER_MS: u64 = 3_000;
/// How many pushed messages of a topic are remembered with their content.
const RECENT_MAX: usize = 256;
/// The highest client_seq: SQL keeps it as a signed number.
const CLIENT_SEQ_MAX: u64 = i64::MAX as u64;
/// An owner that is silent for so long is not waited for: it will judge when it comes.
const SILENCE_MS: u64 = 1_000;

/// What a session sent to a topic.
pub(super) struct Sending {
    /// The owner has said that the session may write, or was silent for too long.
    open: bool,
    /// The owner of somebody's inbox was asked.
    asked: bool,
    /// Since when messages wait.
    parked_ms: u64,
    /// The highest client_seq the owner had accepted, if it said so.
    pub(super) known: Option<u64>,
    /// The highest client_seq pushed in this session.
    pushed: u64,
    /// The same since the last doubt: repeats up to there are answered from memory.
    sure: u64,
    /// The lowest client_seq that was refused for now. Receipts are cumulative, so nothing behind it is pushed before it.
    refused: Option<u64>,
    /// The highest client_seq with a receipt in this session.
    pub(super) stored: u64,
    recent: Recent<RECENT_MAX>,
    /// Each with its index in its frame.
    parked: VecDeque<(v1::Message, usize)>,
}

impl Sending {
    fn new(now_ms: u64, known: Option<u64>) -> Self {
        let (recent, parked) = (Recent::default(), VecDeque::new());
        Self { open: false, asked: false, parked_ms: now_ms, known, pushed: 0, sure: 0, refused: None, stored: 0, recent, parked }
    }

    /// Refuses a message for now.
    fn hold_back(&mut self, client_seq: u64) {
        if client_seq > self.pushed {
            self.refused = Some(self.refused.map_or(client_seq, |refused| refused.min(client_seq)));
        }
    }

    /// Whether a message stands behind one that is missing here.
    fn lacks_predecessor(&mut self, message: &v1::Message) -> bool {
        self.refused = self.refused.filter(|refused| message.client_seq > *refused && message.predecessor >= *refused);
        let known = self.known.is_some() || self.pushed > 0;
        self.refused.is_some() || known && message.predecessor > self.high() || message.predecessor >= message.client_seq
    }

    /// Whether a message is a repeat that is answered from memory: that costs nothing, so nothing limits it.
    fn has(&self, client_seq: u64) -> bool {
        self.open && client_seq <= self.stored.min(self.sure)
    }

    /// Keeps a message until it is known whether the session may write there.
    fn park(&mut self, message: v1::Message, index: usize, now_ms: u64) {
        if self.parked.is_empty() {
            self.parked_ms = now_ms;
        }
        self.parked.push_back((message, index));
    }

    /// Whether messages have waited for longer.
    fn waits_longer_than(&self, patience_ms: u64, now_ms: u64) -> bool {
        !self.parked.is_empty() && now_ms.saturating_sub(self.parked_ms) > patience_ms
    }

    /// Whether nothing waits, for the owner's word or for a receipt, in a topic that is closed.
    pub(super) fn is_settled(&self) -> bool {
        !self.open && self.parked.is_empty() && self.stored >= self.pushed
    }

    /// Redis may have lost what was pushed: a repeat is not answered from memory but pushed again.
    pub(super) fn doubt(&mut self) {
        self.sure = 0;
        self.recent.clear();
    }

    fn high(&self) -> u64 {
        self.pushed.max(self.known.unwrap_or(0))
    }
}

impl Session {
    /// Takes a message in; `index` is its place in its frame.
    pub(super) fn accept(self: &Arc<Self>, edge: &Edge, state: &mut State, message: v1::Message, index: usize) {
        let refuse = |state: &mut State, reason: Reason, part: &str| {
            state.refuse(refusal_of(edge, &message, reason, field(index, part), 0));
        };
        let Some(topic) = message.to.and_then(v1::Topic::to_model) else { return refuse(state, Reason::FieldMissing, ".to") };
        if !matches!(topic.kind(), TopicKind::Inbox | TopicKind::Group) {
            return refuse(state, Reason::TopicClosed, ".to");
        }
        if !(1..=CLIENT_SEQ_MAX).contains(&message.client_seq) {
            return refuse(state, Reason::FieldMissing, ".client_seq");
        }
        if message.kind != v1::MessageKind::Text as i32 {
            return refuse(state, Reason::UnknownKind, ".kind");
        }
        if let Err(reason) = check_text(&message.text) {
            return refuse(state, reason, ".text");
        }
        let is_stranger = state.is_strange(topic);
        if is_stranger && state.strangers().map(|(_, sending)| sending.parked.len()).sum::<usize>() >= PARKED_MAX {
            return refuse(state, Reason::NotMember, ".to");
        }
        let follow = state.follows.get(&topic);
        let is_member = follow.is_some_and(Follow::is_member);
        let is_asked = follow.is_some_and(|follow| follow.standing == Standing::Asked);
        let known = follow.filter(|_| is_member).map(|follow| follow.client_seq_high);
        let now_ms = edge.clock.now_ms();
        let sending = state.sends.entry(topic).or_insert_with(|| Sending::new(now_ms, known));
        sending.open = is_member || sending.open && !is_stranger;
        if sending.has(message.client_seq) {
            return self.post(edge, state, topic, message, index);
        }
        let limited = self.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err());
        let for_now = limited.then_some(Reason::RateLimited).or_else(|| edge.pusher.crowded(topic));
        let full = !sending.open && sending.parked.len() >= PARKED_MAX;
        if let Some(reason) = for_now.or_else(|| full.then_some(Reason::StoreUnavailable)) {
            sending.hold_back(message.client_seq);
            return refuse(state, reason, "");
        }
        if sending.open {
            return self.post(edge, state, topic, message, index);
        }
        sending.park(message, index, now_ms);
        if topic.inbox_of().is_some() && !is_asked && !std::mem::replace(&mut sending.asked, true) {
            self.watch(edge, topic);
        }
    }

    /// Asks the owner of somebody's inbox whether the session may write there.
    pub(super) fn watch(&self, edge: &Edge, topic: TopicId) {
        let claims = &self.claims;
        let (user, installation, tenant) = (claims.user.0, claims.installation.0, claims.tenant.0);
        edge.pusher.push(topic, Input::Watch(Watch { topic: topic.packed(), user, installation, session: self.id.0, tenant }), None);
    }

    /// The owner's answer to a watch.
    pub(super) fn watched(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, watched: Watched) {
        self.opened(edge, state, topic, Some(watched.client_seq_high));
        if watched.delivered > 0 {
            let Watched { topic: packed, session, delivered, .. } = watched;
            self.delivered(state, topic, Delivered { topic: packed, session, client_seq: delivered });
        }
    }

    /// The recipient has acknowledged messages of this session's installation.
    pub(super) fn delivered(&self, state: &mut State, topic: TopicId, delivered: Delivered) {
        let disposition = v1::Disposition { topic: Some(topic.into()), delivered_client_seq: delivered.client_seq };
        match state.queue.dispositions.iter_mut().find(|known| known.topic == disposition.topic) {
            Some(known) => known.delivered_client_seq = known.delivered_client_seq.max(delivered.client_seq),
            None => state.queue.dispositions.push(disposition),
        }
    }

    /// The session may write to a topic: what waited for that is pushed. `known` is the highest client_seq the owner accepted.
    pub(super) fn opened(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, known: Option<u64>) {
        let Some(sending) = state.sends.get_mut(&topic) else { return };
        sending.open = true;
        sending.known = known.or(sending.known);
        for (message, index) in std::mem::take(&mut sending.parked) {
            self.post(edge, state, topic, message, index);
        }
    }

    /// The session may not write to a topic: what waited is refused. What was pushed before still gets its receipt.
    pub(super) fn send_refused(&self, edge: &Edge, state: &mut State, topic: TopicId, reason: Reason) {
        let Some(sending) = state.sends.get_mut(&topic) else { return };
        let parked = std::mem::take(&mut sending.parked);
        (sending.open, sending.asked) = (false, false);
        if sending.is_settled() {
            state.sends.remove(&topic);
        }
        for (message, index) in parked {
            state.refuse(refusal_of(edge, &message, reason, field(index, ".to"), 0));
        }
    }

    /// Refuses what waited too long for groups that the inbox does not name, and pushes what waited too long for an owner: it will judge when it comes.
    pub(super) fn give_up_waiting(self: &Arc<Self>, edge: &Edge, state: &mut State, now_ms: u64) {
        let over = |sending: &Sending| sending.parked.is_empty() || sending.waits_longer_than(STRANGER_MS, now_ms);
        let strange: Vec<_> = state.strangers().filter(|(_, sending)| over(sending)).map(|(topic, _)| topic).collect();
        for topic in strange {
            self.send_refused(edge, state, topic, Reason::NotMember);
        }
        let late = |(topic, sending): &(TopicId, &Sending)| sending.waits_longer_than(SILENCE_MS, now_ms) && !state.is_strange(*topic);
        let late: Vec<_> = state.sends.iter().map(|(topic, sending)| (*topic, sending)).filter(late).map(|(topic, _)| topic).collect();
        for topic in late {
            self.opened(edge, state, topic, None);
        }
    }

    fn post(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, message: v1::Message, index: usize) {
        let Some(sending) = state.sends.get_mut(&topic) else { return };
        let print = fingerprint(message.kind as u32, &message.text);
        if message.client_seq <= sending.sure {
            if sending.recent.is_reused(message.client_seq, print, sending.sure) {
                let high = sending.high();
                state.refuse(refusal_of(edge, &message, Reason::SequenceReused, field(index, ".client_seq"), high));
            } else if message.client_seq <= sending.stored {
                let client_seq = sending.stored.max(sending.known.unwrap_or(0));
                state.receipt(topic, client_seq, edge.durability());
            }
            // Else it is in flight: its receipt is on the way.
            return;
        }
        if sending.lacks_predecessor(&message) {
            let high = sending.high();
            return state.refuse(refusal_of(edge, &message, Reason::PredecessorMissing, field(index, ".predecessor"), high));
        }
        sending.sure = message.client_seq;
        sending.pushed = sending.pushed.max(message.client_seq);
        sending.recent.note(message.client_seq, print);
        let client_seq = message.client_seq;
        let post = Post {
            topic: topic.packed(),
            sender: self.claims.user.0,
            installation: self.claims.installation.0,
            client_seq,
            predecessor: message.predecessor,
            kind: MessageKind::Text as u32,
            body: message.text,
            tenant: self.claims.tenant.0,
        };
        edge.pusher.push(topic, Input::Post(post), Some((self.clone(), client_seq)));
    }
}

impl State {
    /// Whether the inbox has said which groups there are and this is none of them, nor does its owner say, or was asked, that the user is a member.
    fn is_strange(&self, topic: TopicId) -> bool {
        let hopeful = |follow: &Follow| follow.is_member() || follow.standing == Standing::Asked;
        let is_group = topic.group_of().is_some();
        is_group && self.register.known && !self.register.has(topic) && !self.follows.get(&topic).is_some_and(hopeful)
    }

    /// What was sent to such groups.
    fn strangers(&self) -> impl Iterator<Item = (TopicId, &Sending)> {
        self.sends.iter().map(|(topic, sending)| (*topic, sending)).filter(|(topic, _)| self.is_strange(*topic))
    }
}

/// A message in its frame, for a refusal.
fn field(index: usize, part: &str) -> String {
    format!("messages[{index}]{part}")
}

fn refusal_of(edge: &Edge, message: &v1::Message, reason: Reason, field: String, client_seq_high: u64) -> v1::Refusal {
    v1::Refusal { topic: message.to, client_seq: message.client_seq, client_seq_high, field, ..edge.refusal(reason, "") }
}

impl Edge {
    /// A refusal for `reason`, counted.
    pub(super) fn refusal(&self, reason: Reason, field: &str) -> v1::Refusal {
        metrics::counter!("roger_refusals_total", "reason" => reason.as_str()).increment(1);
        let retry_after_ms = match reason {
            Reason::RateLimited => 1_000 / self.config.rate_messages_per_s.max(1) + 10,
            Reason::Backlog | Reason::StoreUnavailable => 1_000,
            _ => 0,
        };
        let text = status::text_of(reason).to_owned();
        v1::Refusal { reason: v1::Reason::from(reason).into(), field: field.to_owned(), retry_after_ms, text, ..v1::Refusal::default() }
    }

    /// The status that refuses a call for `reason`, counted.
    pub(super) fn refused(&self, reason: Reason, field: &'static str) -> Status {
        let retry_after_ms = self.refusal(reason, field).retry_after_ms;
        let refused = status::Refused::new(reason).field(field);
        if retry_after_ms == 0 { refused.into() } else { refused.retry_after(Duration::from_millis(retry_after_ms.into())).into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::hub::tests;
    use crate::model::{Durability, GroupId, UserId};

    fn message(topic: TopicId, client_seq: u64) -> v1::Message {
        v1::Message {
            to: Some(topic.into()),
            client_seq,
            predecessor: client_seq - 1,
            kind: v1::MessageKind::Text as i32,
            text: "on its way".into(),
        }
    }

    #[test]
    fn a_group_that_the_inbox_does_not_name_is_waited_for_and_then_refused() {
        let (mut edge, _hand) = tests::edge();
        (edge.config.rate_messages_per_s, edge.config.rate_burst) = (0, 0);
        let session = tests::session(&edge, UserId(1));
        let mut state = session.lock();
        state.register.known = true;
        let (begun_ms, strange) = (edge.clock.now_ms(), TopicId::group(GroupId(7)));
        session.accept(&edge, &mut state, message(strange, 1), 0);
        // Not pushed either, as what waits for a silent owner is.
        session.give_up_waiting(&edge, &mut state, begun_ms + STRANGER_MS);
        assert!(state.queue.is_empty() && !state.sends[&strange].open);
        // No more wait for groups than may for one, however many groups they name.
        for number in 1..PARKED_MAX as u64 {
            session.accept(&edge, &mut state, message(TopicId::group(GroupId(100 + number)), 1), 0);
        }
        assert!(state.queue.is_empty());
        session.accept(&edge, &mut state, message(TopicId::group(GroupId(8)), 1), 0);
        let refused = |state: &mut State| {
            let (frame, _) = state.queue.next_frame().unwrap();
            frame.refusals.into_iter().map(|refusal| (refusal.reason(), refusal.topic)).collect::<Vec<_>>()
        };
        let not_member = |group| (v1::Reason::NotMember, Some(TopicId::group(GroupId(group)).into()));
        assert_eq!(refused(&mut state), [not_member(8)]);
        session.give_up_waiting(&edge, &mut state, begun_ms + STRANGER_MS + 1);
        assert_eq!(refused(&mut state).len(), PARKED_MAX);
        assert!(state.sends.is_empty(), "nothing is left of them");
    }

    #[test]
    fn what_was_pushed_before_a_refusal_still_gets_its_receipt() {
        let (edge, _hand) = tests::edge();
        let session = tests::session(&edge, UserId(1));
        let topic = TopicId::group(GroupId(7));
        let mut state = session.lock();
        session.accept(&edge, &mut state, message(topic, 1), 0);
        session.opened(&edge, &mut state, topic, Some(0));
        session.send_refused(&edge, &mut state, topic, Reason::NotMember);
        assert!(state.queue.is_empty(), "it is under way");
        drop(state);
        session.stored(topic, 1, Durability::Fsync);
        let mut state = session.lock();
        let (frame, _) = state.queue.next_frame().unwrap();
        assert_eq!((frame.receipts[0].client_seq, frame.refusals.len()), (1, 0));
        assert!(state.sends.is_empty(), "nothing is left of it");
    }

    #[test]
    fn of_what_was_delivered_only_the_highest_is_told() {
        let (edge, _hand) = tests::edge();
        let session = tests::session(&edge, UserId(1));
        let topic = TopicId::inbox(UserId(2));
        let mut state = session.lock();
        for delivered in [4, 6, 5] {
            let watched = Watched { topic: topic.packed(), session: session.id.0, client_seq_high: 9, delivered };
            session.watched(&edge, &mut state, topic, watched);
        }
        let (frame, _) = state.queue.next_frame().unwrap();
        assert_eq!(frame.dispositions.iter().map(|told| told.delivered_client_seq).collect::<Vec<_>>(), [6]);
    }
}
