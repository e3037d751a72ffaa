//! What a session follows: live entries, what it missed, and what it acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use super::hub::Edge;
use super::session::{Session, State};
use crate::model::{MessageKind, Place, Reason, Span, TopicId};
use crate::proto::{convert, v1};
use crate::topic::frame::{Attached, Departed, Entry, Mark, Page, Refused, ReplayRequest};
use crate::topic::{Cursor, Offer};

/// How many entries and bytes a page of a replay has at most.
const PAGE_ENTRIES_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// How many requests for pages a session has under way at most.
const REQUESTS_MAX: usize = 4;
/// After this long an answer is asked for again.
const REQUEST_PATIENCE_MS: u64 = 5_000;

/// A topic a session follows.
pub(super) struct Follow {
    pub(super) cursor: Cursor,
    /// The owner has confirmed it at least once: the user is a member.
    pub(super) confirmed: bool,
    /// Places passed on and not acknowledged.
    pub(super) in_flight: VecDeque<Place>,
    asked_ms: u64,
}

impl Follow {
    pub(super) fn new(mark: Option<Place>) -> Self {
        Self { cursor: Cursor::new(mark), confirmed: false, in_flight: VecDeque::new(), asked_ms: 0 }
    }
}

impl Session {
    /// The owner's answer to an attach.
    pub(super) fn attached(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, attached: &Attached) {
        let Some(follow) = state.follows.get_mut(&topic) else { return };
        if !follow.cursor.attach(attached) {
            // The late answer to a question without a mark.
            return self.attach(edge, topic, follow.cursor.mark());
        }
        if !std::mem::replace(&mut follow.confirmed, true) {
            state.queue.follow(v1::Follow {
                topic: Some(topic.into()),
                head: Some(Place::from(attached.head).into()),
                mark: Some(Place::from(attached.mark).into()),
                client_seq_high: attached.client_seq_high,
                following: true,
            });
        }
        state.behind.insert((!topic.kind().urgent(), topic));
        if topic == self.inbox() {
            state.groups_known = true;
            for group in attached.groups.iter().chain(&attached.former) {
                self.follow(edge, state, TopicId::group(crate::model::GroupId(*group)));
            }
        }
        self.opened(edge, state, topic, Some(attached.client_seq_high));
        if topic == self.inbox() {
            self.judge_strangers(edge, state);
        }
        self.pump(edge, state);
    }

    /// The owner refused to let the session follow, or write to, a topic.
    pub(super) fn refused(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, refused: Refused) {
        let reason = Reason::from_number(refused.reason).unwrap_or(Reason::NotMember);
        if reason == Reason::WrongEpoch && state.follows.contains_key(&topic) {
            // The client's mark is none of this topic's. It is told, and continues from what the owner knows of it.
            state.refuse(v1::Refusal { topic: Some(topic.into()), ..edge.refusal(reason, "hello.marks") });
            state.follows.insert(topic, Follow::new(None));
            return self.attach(edge, topic, None);
        }
        self.unfollow(edge, state, topic);
        self.send_refused(edge, state, topic, reason);
    }

    /// A live entry. Returns whether there is something new to write.
    pub(super) fn offer(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, entry: Entry) -> bool {
        let room = state.has_room(edge);
        let Some(follow) = state.follows.get_mut(&topic) else { return false };
        match follow.cursor.offer(entry, room) {
            Offer::Deliver(entry) => {
                self.pass_on(edge, state, topic, entry);
                true
            }
            Offer::Repeat => false,
            Offer::Later => {
                state.behind.insert((!topic.kind().urgent(), topic));
                false
            }
            Offer::Hole => {
                let mark = follow.cursor.at();
                metrics::counter!("roger_holes_total").increment(1);
                self.attach(edge, topic, Some(mark));
                false
            }
        }
    }

    /// A page of a replay.
    pub(super) fn page(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, page: Page) {
        let Some(follow) = state.follows.get_mut(&topic) else { return };
        let lost: Vec<Span> = page.lost.iter().map(|span| (*span).into()).collect();
        let entries = follow.cursor.page(page);
        for span in lost {
            state.queue.gap(convert::gap(topic, span, v1::GapReason::NotStored));
        }
        for entry in entries {
            self.pass_on(edge, state, topic, entry);
        }
        self.pump(edge, state);
    }

    /// A user left a group: their sessions get its entries up to then.
    pub(super) fn departed(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, departed: Departed) {
        let Some(follow) = state.follows.get_mut(&topic) else { return };
        follow.cursor.depart(departed.place.into());
        state.behind.insert((!topic.kind().urgent(), topic));
        self.pump(edge, state);
    }

    fn pass_on(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, entry: Entry) {
        let own = entry.installation == self.claims.installation.0 && entry.sender == self.claims.user.0;
        if let Some(follow) = state.follows.get_mut(&topic) {
            follow.in_flight.push_back(entry.place());
            state.unacked += 1;
        }
        let joined = (entry.kind == MessageKind::Joined as u32).then(|| entry.notice()).flatten();
        state.queue.entry(entry, own, topic.kind().urgent());
        if let Some(notice) = joined.filter(|_| topic == self.inbox()) {
            self.follow(edge, state, TopicId::group(crate::model::GroupId(notice.group)));
        }
    }

    /// The client holds everything up to `place`.
    pub(super) fn acknowledge(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, place: Place) -> Result<(), Reason> {
        let Some(follow) = state.follows.get_mut(&topic) else { return Err(Reason::NotMember) };
        if place > follow.cursor.at() {
            return Err(Reason::WrongEpoch);
        }
        let before = follow.in_flight.len();
        while follow.in_flight.front().is_some_and(|first| *first <= place) {
            follow.in_flight.pop_front();
        }
        state.unacked -= before - follow.in_flight.len();
        let (user, installation) = (self.claims.user.0, self.claims.installation.0);
        edge.pusher.mark(topic, Mark { topic: topic.packed(), user, installation, place: place.into() });
        Ok(())
    }

    /// Asks for what followed topics lack, as far as the session has room; ends what is ended.
    pub(super) fn pump(self: &Arc<Self>, edge: &Edge, state: &mut State) {
        let now_ms = edge.clock.now_ms();
        let mut under_way =
            state.behind.iter().filter(|(_, topic)| state.follows.get(topic).is_some_and(|follow| follow.cursor.asking())).count();
        let behind: Vec<_> = state.behind.iter().copied().collect();
        for (order, topic) in behind {
            let room = state.has_room(edge);
            let Some(follow) = state.follows.get_mut(&topic) else {
                state.behind.remove(&(order, topic));
                continue;
            };
            if let Some(skipped) = follow.cursor.skip() {
                state.queue.gap(convert::gap(topic, skipped, v1::GapReason::NotMember));
            }
            if follow.cursor.asking() && now_ms.saturating_sub(follow.asked_ms) > REQUEST_PATIENCE_MS {
                follow.cursor.forget_request();
                under_way -= 1;
            }
            if follow.cursor.ended() {
                let head = Some(follow.cursor.at().into());
                state.queue.follow(v1::Follow { topic: Some(topic.into()), head, following: false, ..v1::Follow::default() });
                self.unfollow(edge, state, topic);
                self.send_refused(edge, state, topic, Reason::NotMember);
                continue;
            }
            if follow.cursor.is_live() {
                state.behind.remove(&(order, topic));
                continue;
            }
            if !room || under_way >= REQUESTS_MAX {
                continue;
            }
            state.requests += 1;
            if let Some(span) = follow.cursor.ask(state.requests) {
                under_way += 1;
                follow.asked_ms = now_ms;
                edge.pusher.replay(ReplayRequest {
                    topic: topic.packed(),
                    session: self.id.0,
                    edge: edge.boot.clone(),
                    span: span.into(),
                    entries_max: PAGE_ENTRIES_MAX as u32,
                    bytes_max: PAGE_BYTES_MAX as u32,
                    request: state.requests,
                });
            }
        }
    }

    /// The owner of a shard is another one, or something was lost on the way: everything of the shard is attached again.
    pub(super) fn attach_again(self: &Arc<Self>, edge: &Edge, shard: u32) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let shards = edge.shards;
        for (topic, follow) in state.follows.iter_mut().filter(|(topic, _)| topic.shard(shards) == shard) {
            follow.cursor.detach();
            self.attach(edge, *topic, follow.cursor.mark());
        }
        for (topic, sending) in state.sends.iter_mut().filter(|(topic, _)| topic.shard(shards) == shard) {
            sending.doubt();
            if topic.inbox_of().is_some() && *topic != self.inbox() {
                self.watch(edge, *topic);
            }
        }
    }
}

impl State {
    /// Whether one more entry may wait for the client.
    pub(super) fn has_room(&self, edge: &Edge) -> bool {
        let limits = &edge.config;
        self.queue.entries() < limits.queue_entries_max
            && self.queue.bytes() < limits.queue_bytes_max
            && self.unacked < limits.unacked_entries_max
    }
}
