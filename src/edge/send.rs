//! What a session sends: checked, put in order, pushed; receipts when that is done.

use std::collections::VecDeque;
use std::sync::Arc;

use super::hub::Edge;
use super::session::{Session, State};
use crate::model::{MessageKind, Reason, TopicId, TopicKind, check_text};
use crate::proto::{status, v1};
use crate::topic::frame::{Delivered, Input, Post, Watch, Watched};

/// How many messages of a topic may wait for its owner's word that the session may write there.
const PARKED_MAX: usize = 256;
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
    asked_ms: u64,
    /// The highest client_seq the owner had accepted, if it said so.
    pub(super) known: Option<u64>,
    /// The highest client_seq pushed in this session, and whether since the last doubt.
    pushed: u64,
    /// The highest client_seq with a receipt in this session.
    pub(super) stored: u64,
    recent: VecDeque<(u64, u64)>,
    /// Each with its index in its frame.
    parked: VecDeque<(v1::Message, usize)>,
}

impl Sending {
    fn new(now_ms: u64) -> Self {
        Self { open: false, asked_ms: now_ms, known: None, pushed: 0, stored: 0, recent: VecDeque::new(), parked: VecDeque::new() }
    }

    /// Redis may have lost what was pushed: a repeat is not answered from memory but pushed again.
    pub(super) fn doubt(&mut self) {
        self.known = Some(self.known.unwrap_or(0).max(self.pushed)).filter(|known| *known > 0);
        self.pushed = 0;
        self.recent.clear();
    }

    fn high(&self) -> u64 {
        self.pushed.max(self.known.unwrap_or(0))
    }
}

fn fingerprint(message: &v1::Message) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&message.text, message.kind as u64)
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
        if self.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err()) {
            return refuse(state, Reason::RateLimited, "");
        }
        if let Some(reason) = edge.pusher.crowded(topic) {
            return refuse(state, reason, "");
        }
        let followed = state.follows.get(&topic).map(|follow| follow.confirmed);
        let is_group = topic.group_of().is_some();
        if is_group && followed.is_none() && state.groups_known {
            return refuse(state, Reason::NotMember, ".to");
        }
        let now_ms = edge.clock.now_ms();
        let fresh = !state.sends.contains_key(&topic);
        let sending = state.sends.entry(topic).or_insert_with(|| Sending::new(now_ms));
        sending.open |= followed == Some(true);
        if sending.open {
            return self.post(edge, state, topic, message, index);
        }
        if sending.parked.len() >= PARKED_MAX {
            return refuse(state, Reason::StoreUnavailable, "");
        }
        sending.parked.push_back((message, index));
        if fresh && !is_group && followed.is_none() {
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
            state.queue.dispositions.push(v1::Disposition { topic: Some(topic.into()), delivered_client_seq: watched.delivered });
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

    /// The session may not write to a topic: what waited is refused.
    pub(super) fn send_refused(&self, edge: &Edge, state: &mut State, topic: TopicId, reason: Reason) {
        let Some(sending) = state.sends.remove(&topic) else { return };
        for (message, index) in sending.parked {
            state.refuse(refusal_of(edge, &message, reason, field(index, ".to"), 0));
        }
    }

    /// The inbox said which groups there are: what waits for others is refused.
    pub(super) fn judge_strangers(&self, edge: &Edge, state: &mut State) {
        let stranger = |topic: &TopicId| topic.group_of().is_some() && !state.follows.contains_key(topic);
        let strangers: Vec<_> = state.sends.keys().copied().filter(stranger).collect();
        for topic in strangers {
            self.send_refused(edge, state, topic, Reason::NotMember);
        }
    }

    /// Pushes what waited too long for an owner: it will judge when it comes.
    pub(super) fn give_up_waiting(self: &Arc<Self>, edge: &Edge, state: &mut State, now_ms: u64) {
        let late = |sending: &Sending| !sending.parked.is_empty() && now_ms.saturating_sub(sending.asked_ms) > SILENCE_MS;
        let late: Vec<_> = state.sends.iter().filter(|(_, sending)| late(sending)).map(|(topic, _)| *topic).collect();
        for topic in late {
            self.opened(edge, state, topic, None);
        }
    }

    fn post(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, message: v1::Message, index: usize) {
        let Some(sending) = state.sends.get_mut(&topic) else { return };
        let print = fingerprint(&message);
        if message.client_seq <= sending.pushed {
            let known = sending.recent.iter().find(|(seq, _)| *seq == message.client_seq).map(|(_, known)| *known);
            match known {
                // In flight: its receipt is on the way.
                Some(known) if known == print && message.client_seq > sending.stored => {}
                Some(known) if known == print => {
                    let client_seq = sending.stored.max(sending.known.unwrap_or(0));
                    state.receipt(topic, client_seq, edge.durability());
                }
                _ => {
                    let high = sending.high();
                    state.refuse(refusal_of(edge, &message, Reason::SequenceReused, field(index, ".client_seq"), high));
                }
            }
            return;
        }
        let high = sending.high();
        if message.predecessor > high && sending.known.is_some() || message.predecessor >= message.client_seq {
            return state.refuse(refusal_of(edge, &message, Reason::PredecessorMissing, field(index, ".predecessor"), high));
        }
        sending.pushed = message.client_seq;
        if sending.recent.len() == RECENT_MAX {
            sending.recent.pop_front();
        }
        sending.recent.push_back((message.client_seq, print));
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
}
