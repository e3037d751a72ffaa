//! What a session gets of the topics it follows: live entries, pages of what it missed; and what its client acknowledged.

use std::sync::Arc;

use super::follow::{Follow, InFlight};
use super::hub::Edge;
use super::session::{Session, State};
use crate::model::{Place, Reason, Span, TopicId};
use crate::proto::{convert, v1};
use crate::telemetry;
use crate::telemetry::trace::{Hop, Trace};
use crate::topic::Offer;
use crate::topic::frame::{Entry, Mark, Page, ReplayRequest};

/// How many entries and bytes a page of a replay has at most.
const PAGE_ENTRIES_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// How many requests for pages a session has under way at most.
const REQUESTS_MAX: usize = 4;
/// After this long an answer is asked for again, if it is not among the pages that wait to be read; and less often each time that none
/// comes, for those who answer, or their SQL, are away.
pub(super) const PATIENCE_MS: u64 = 5_000;
const PATIENCE_MS_MAX: u64 = 60_000;

impl Session {
    /// A live entry. Returns whether there is something new to write.
    pub(super) fn offer(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, entry: Entry) -> bool {
        let room = state.has_room(edge);
        let Some(follow) = state.follows.get_mut(&topic) else { return false };
        match follow.cursor.offer(entry, room) {
            Offer::Deliver(entry) => {
                telemetry::hop("deliver", entry.time_ms, edge.clock.now_ms());
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
        } else {
            follow.patience_ms = PATIENCE_MS;
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
            let traced = if entry.sender == 0 { None } else { Trace::of(topic, entry.installation, entry.client_seq) };
            let traced = traced.map(|trace| Box::new((trace, entry.time_ms)));
            follow.in_flight.push_back(InFlight { place: entry.place(), passed_ms: edge.clock.now_ms(), traced });
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
        let now_ms = edge.clock.now_ms();
        while let Some(InFlight { passed_ms, traced, .. }) = follow.in_flight.pop_front_if(|first| first.place <= place) {
            telemetry::hop("acknowledge", passed_ms, now_ms);
            if let Some(traced) = traced {
                let (trace, placed_ms) = *traced;
                trace.over(Hop::Deliver { session: self.id.0 }, placed_ms, telemetry::now_ms(), topic);
            }
        }
        state.unacked -= before - follow.in_flight.len();
        let (user, installation) = (self.claims.user.0, self.claims.installation.0);
        edge.pusher.mark(topic, Mark { topic: topic.packed(), user, installation, place: place.into() });
        Ok(())
    }

    /// Ends what is ended, and asks for what followed topics lack, as far as the session has room.
    pub(super) fn pump(self: &Arc<Self>, edge: &Edge, state: &mut State) {
        let behind: Vec<_> = state.behind.iter().copied().collect();
        for (order, topic) in behind {
            let Some(follow) = state.follows.get_mut(&topic) else {
                state.behind.remove(&(order, topic));
                continue;
            };
            while let Some(skipped) = follow.cursor.skip() {
                state.queue.gap(convert::gap(topic, skipped, v1::GapReason::NotMember));
            }
            follow.give_up_waiting(edge.pages_read_ms());
            if follow.cursor.ended() {
                self.end(edge, state, topic);
                self.send_refused(edge, state, topic, Reason::NotMember);
            } else if follow.cursor.is_live() {
                state.behind.remove(&(order, topic));
            }
        }
        self.ask(edge, state);
    }

    /// Asks for pages: alerts first, then whoever was asked for least recently, so that topics without an answer hold up no others.
    fn ask(&self, edge: &Edge, state: &mut State) {
        let now_ms = edge.clock.now_ms();
        let asking = state.behind.iter().filter_map(|(_, topic)| state.follows.get(topic)).filter(|follow| follow.cursor.asking());
        let (mut under_way, mut entries_asked) =
            asking.fold((0, 0), |(pages, entries), follow| (pages + 1, entries + follow.asked_entries));
        let asked_ms = |topic: &TopicId| state.follows.get(topic).map_or(0, |follow| follow.asked_ms);
        let mut behind: Vec<_> = state.behind.iter().map(|(order, topic)| (*order, asked_ms(topic), *topic)).collect();
        behind.sort_unstable();
        for (_, _, topic) in behind {
            // Pages on their way take room too: all together stay below the bound.
            let room = if state.has_room(edge) { edge.config.unacked_entries_max.saturating_sub(state.unacked + entries_asked) } else { 0 };
            if room == 0 || under_way >= REQUESTS_MAX {
                return;
            }
            let Some(follow) = state.follows.get_mut(&topic) else { continue };
            state.requests += 1;
            let Some(span) = follow.cursor.ask(state.requests) else { continue };
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
                asked_ms: now_ms,
                patience_ms: follow.patience_ms as u32,
            });
        }
    }
}

impl Follow {
    /// Forgets a request whose answer did not come although pages were read up to `pages_read_ms`.
    fn give_up_waiting(&mut self, pages_read_ms: u64) {
        if self.cursor.asking() && self.asked_ms + self.patience_ms < pages_read_ms {
            self.cursor.forget_request();
            self.patience_ms = (self.patience_ms * 2).min(PATIENCE_MS_MAX);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;
    use crate::topic::frame::Attached;

    const GROUPS: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    /// A session that lacks something in each of its groups.
    fn session(edge: &Edge) -> Arc<Session> {
        let session = crate::edge::hub::tests::session(edge, UserId(1));
        let mut state = session.lock();
        for group in GROUPS {
            let topic = TopicId::group(crate::model::GroupId(group));
            session.follow(edge, &mut state, topic);
            let (head, mark) = (Place::new(1, 5).into(), Place::START.into());
            let gaps = vec![Span::new(Place::START, Place::new(1, 5)).into()];
            let (topic_packed, session_id) = (topic.packed(), session.id.0);
            let attached = Attached {
                topic: topic_packed,
                session: session_id,
                head,
                mark,
                gaps,
                client_seq_high: 0,
                groups: Vec::new(),
                live: true,
                former: Vec::new(),
                room: 0,
                former_rooms: Vec::new(),
            };
            session.attached(edge, &mut state, topic, &attached);
        }
        drop(state);
        session
    }

    #[test]
    fn topics_without_an_answer_hold_up_no_others_and_are_asked_for_less_and_less() {
        let (edge, hand) = crate::edge::hub::tests::edge();
        let session = session(&edge);
        let mut asked: Vec<(u64, u64)> = Vec::new();
        let begun_ms = edge.clock.now_ms();
        for _ in 0..300 {
            hand.advance(std::time::Duration::from_secs(1));
            edge.pages_were_read(edge.clock.now_ms());
            session.pump(&edge, &mut session.lock());
            for request in edge.pusher.take_replays() {
                assert!(request.patience_ms >= 5_000);
                asked.push((request.topic, (request.asked_ms - begun_ms) / 1_000));
            }
        }
        let topics: std::collections::BTreeSet<_> = asked.iter().take(GROUPS.len()).map(|(topic, _)| *topic).collect();
        assert_eq!(topics.len(), GROUPS.len(), "everybody once before anybody twice: {asked:?}");
        let late = asked.iter().filter(|(_, second)| *second >= 180).count();
        assert!(late <= 16, "{late} requests in two minutes: {asked:?}");
    }
}
