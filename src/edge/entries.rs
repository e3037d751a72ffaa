//! What a session gets of the topics it follows: live entries, pages of what it missed; and what its client acknowledged.

use std::sync::Arc;

use super::hub::Edge;
use super::session::{Session, State};
use crate::model::{Place, Reason, Span, TopicId};
use crate::proto::{convert, v1};
use crate::topic::Offer;
use crate::topic::frame::{Entry, Mark, Page, ReplayRequest};

/// How many entries and bytes a page of a replay has at most.
const PAGE_ENTRIES_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// How many requests for pages a session has under way at most.
const REQUESTS_MAX: usize = 4;
/// After this long an answer is asked for again, if it is not among the pages that wait to be read.
const REQUEST_PATIENCE_MS: u64 = 5_000;

impl Session {
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
                metrics::counter!("roger_holes_total").increment(1);
                self.attach(edge, topic, follow);
                false
            }
        }
    }

    /// A page of a replay.
    pub(super) fn page(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, page: Page) {
        let Some(follow) = state.follows.get_mut(&topic) else { return };
        let mut lost: Vec<Span> = page.lost.iter().map(|span| (*span).into()).collect();
        let before = follow.cursor.at();
        let entries = follow.cursor.page(page);
        if follow.cursor.at() == before {
            // Not the answer that was waited for.
            lost.clear();
        }
        // What is lost is told in its place: entries that were kept meanwhile come with the last page, and lie behind it.
        for entry in entries {
            for span in lost.extract_if(.., |span| span.upto < entry.place()) {
                state.queue.gap(convert::gap(topic, span, v1::GapReason::NotStored));
            }
            self.pass_on(edge, state, topic, entry);
        }
        for span in lost {
            state.queue.gap(convert::gap(topic, span, v1::GapReason::NotStored));
        }
        self.pump(edge, state);
    }

    fn pass_on(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, entry: Entry) {
        let own = entry.installation == self.claims.installation.0 && entry.sender == self.claims.user.0;
        if let Some(follow) = state.follows.get_mut(&topic) {
            follow.in_flight.push_back(entry.place());
            state.unacked += 1;
        }
        if topic == self.inbox() {
            self.read_notice(edge, state, &entry);
        }
        state.queue.entry(entry, own, topic.kind().urgent());
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
        let asking = state.behind.iter().filter_map(|(_, topic)| state.follows.get(topic)).filter(|follow| follow.cursor.asking());
        let (mut under_way, mut entries_asked) =
            asking.fold((0, 0), |(pages, entries), follow| (pages + 1, entries + follow.asked_entries));
        let behind: Vec<_> = state.behind.iter().copied().collect();
        for (order, topic) in behind {
            // Pages on their way take room too: all together stay below the bound.
            let room = if state.has_room(edge) { edge.config.unacked_entries_max.saturating_sub(state.unacked + entries_asked) } else { 0 };
            let Some(follow) = state.follows.get_mut(&topic) else {
                state.behind.remove(&(order, topic));
                continue;
            };
            while let Some(skipped) = follow.cursor.skip() {
                state.queue.gap(convert::gap(topic, skipped, v1::GapReason::NotMember));
            }
            if follow.cursor.asking() && follow.asked_ms + REQUEST_PATIENCE_MS < edge.pages_read_ms() {
                follow.cursor.forget_request();
                (under_way, entries_asked) = (under_way - 1, entries_asked - follow.asked_entries);
            }
            if follow.cursor.ended() {
                self.end(edge, state, topic);
                self.send_refused(edge, state, topic, Reason::NotMember);
                continue;
            }
            if follow.cursor.is_live() {
                state.behind.remove(&(order, topic));
                continue;
            }
            if room == 0 || under_way >= REQUESTS_MAX {
                continue;
            }
            state.requests += 1;
            if let Some(span) = follow.cursor.ask(state.requests) {
                let entries_max = room.min(PAGE_ENTRIES_MAX);
                (follow.asked_ms, follow.asked_entries) = (now_ms, entries_max);
                (under_way, entries_asked) = (under_way + 1, entries_asked + entries_max);
                edge.pusher.replay(ReplayRequest {
                    topic: topic.packed(),
                    session: self.id.0,
                    edge: edge.boot.clone(),
                    span: span.into(),
                    entries_max: entries_max as u32,
                    bytes_max: PAGE_BYTES_MAX as u32,
                    request: state.requests,
                });
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
