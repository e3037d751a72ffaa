//! From shards to sessions: reads what owners and replays write for this edge, and hands it to the sessions it is for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::hub::Edge;
use super::session::{Session, State};
use super::watch;
use crate::broker::{Reader, StreamId, edge_streams};
use crate::model::{Reason, SessionId, TopicId};
use crate::proto::convert;
use crate::retry::Delays;
use crate::shutdown::Shutdown;
use crate::topic::frame::{Entry, OutFrame, Output};

/// How many frames are read at a time.
const FRAMES_A_READ: usize = 256;
/// How long a read waits.
const BLOCK: Duration = Duration::from_millis(500);
/// After this long without a word a shard is asked again, and less often each time.
const SILENCE: Duration = Duration::from_secs(3);
const SILENCE_MAX: Duration = Duration::from_secs(24);
/// How often what was read is trimmed.
const TRIM: Duration = Duration::from_millis(250);

/// What this edge knows of a shard's owner.
#[derive(Clone, Copy, Default)]
struct View {
    epoch: u64,
    token: u64,
    owner: u64,
    /// The counters of the last frames, by lane.
    counters: [u64; 2],
    heard: Option<Instant>,
    patience: Duration,
}

/// What a counted frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// A repeat, or of an owner before the one that is known.
    Stale,
    /// The next one.
    Next,
    /// Not the next one: something was lost on the way.
    Jump,
    /// The first one of another owner, which knows nobody here.
    Stranger,
}

impl View {
    fn hear(&mut self, lane: usize, frame: &OutFrame) -> Heard {
        let known = self.owner == frame.owner && self.heard.is_some();
        if known && frame.counter <= self.counters[lane]
            || !known && self.heard.is_some() && (frame.epoch, frame.token) < (self.epoch, self.token)
        {
            return Heard::Stale;
        }
        let heard = match known {
            false => Heard::Stranger,
            true if frame.counter == self.counters[lane] + 1 => Heard::Next,
            true => Heard::Jump,
        };
        if !known {
            *self = Self { epoch: frame.epoch, token: frame.token, owner: frame.owner, ..Self::default() };
        }
        self.counters[lane] = frame.counter;
        self.heard = Some(Instant::now());
        self.patience = SILENCE;
        heard
    }
}

/// Reads until it is time to stop.
pub(super) async fn run(edge: &Arc<Edge>, shutdown: Shutdown) {
    let streams = edge_streams(&edge.boot);
    let mut after: BTreeMap<String, StreamId> = streams.iter().map(|key| (key.clone(), StreamId::default())).collect();
    let mut reader = Reader::new(&edge.redis, BLOCK);
    let mut views = vec![View { patience: SILENCE, ..View::default() }; edge.shards as usize];
    let (mut delays, mut trimmed, mut trimmed_to) = (Delays::reconnecting(), Instant::now(), after.clone());
    let mut touched = Vec::new();
    while !shutdown.is_cancelled() {
        if edge.views_void.swap(false, Ordering::Relaxed) {
            views.fill(View { patience: SILENCE, ..View::default() });
            // The streams were made anew: by a Redis whose clock is behind with lower ids than those that were read.
            after.values_mut().for_each(|id| *id = StreamId::default());
        }
        let begun_ms = edge.clock.now_ms();
        let read = tokio::select! {
            read = reader.read(FRAMES_A_READ, &after) => read,
            () = shutdown.cancelled() => return,
        };
        match read {
            Ok(mut read) => {
                delays.reset();
                edge.was_read();
                if read.iter().all(|(key, pages)| *key != streams[2] || pages.len() < FRAMES_A_READ) {
                    edge.pages_were_read(begun_ms);
                }
                // Alerts first, then live, then replays, and where devices are.
                read.sort_by_key(|(key, _)| streams.iter().position(|known| known == key));
                for (key, entries) in read {
                    let lane = usize::from(key != streams[0]);
                    for entry in entries {
                        match entry.decode::<OutFrame>(&key) {
                            Ok(frame) => take(edge, &mut views, lane, frame, &mut touched),
                            // Only the marker that made the stream; it has no field of the format.
                            Err(_) if entry.payload.is_none() => {}
                            Err(error) => {
                                tracing::error!(error = &error as &dyn std::error::Error, "a frame for this edge does not decode")
                            }
                        }
                        after.insert(key.clone(), entry.id);
                    }
                }
                wake(&mut touched);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot read what is for this edge");
                tokio::time::sleep(delays.next_delay()).await;
            }
        }
        ask_silent(edge, &mut views);
        if trimmed.elapsed() >= TRIM && trimmed_to != after {
            trimmed = Instant::now();
            trimmed_to.clone_from(&after);
            // What stays a little longer does no harm.
            drop(edge.redis.trim_all(after.iter().map(|(key, id)| (key, id.next()))).await);
        }
    }
}

fn take(edge: &Arc<Edge>, views: &mut [View], lane: usize, frame: OutFrame, touched: &mut Vec<Arc<Session>>) {
    if frame.counter > 0 {
        let Some(view) = views.get_mut(frame.shard as usize) else { return };
        let heard = view.hear(lane, &frame);
        if heard == Heard::Stale {
            return;
        }
        if heard == Heard::Stranger {
            edge.pusher.greet(frame.shard);
        }
        edge.pusher.saw(frame.shard, frame.epoch, frame.commit);
        // Before what the frame says is handed on: among what was lost may be that somebody left.
        if heard != Heard::Next {
            attach_again(edge, frame.shard);
        }
    }
    let mut run = Vec::new();
    for output in frame.items.into_iter().filter_map(|item| item.output) {
        match output {
            Output::Entry(entry) => {
                if run.last().is_some_and(|last: &Entry| last.topic != entry.topic) {
                    hand_entries(edge, &mut run, touched);
                }
                run.push(entry);
            }
            other => {
                hand_entries(edge, &mut run, touched);
                hand(edge, other, touched);
            }
        }
    }
    hand_entries(edge, &mut run, touched);
}

fn attach_again(edge: &Arc<Edge>, shard: u32) {
    for session in edge.sessions() {
        session.attach_again(edge, shard);
    }
}

/// Everything of all shards: this edge's streams were lost.
pub(super) fn attach_everything(edge: &Arc<Edge>) {
    for shard in 0..edge.shards {
        attach_again(edge, shard);
    }
}

/// Asks shards again that say nothing although somebody here follows one of their topics.
fn ask_silent(edge: &Arc<Edge>, views: &mut [View]) {
    for (shard, view) in views.iter_mut().enumerate() {
        let heard = *view.heard.get_or_insert_with(Instant::now);
        if heard.elapsed() < view.patience {
            continue;
        }
        if edge.pusher.holds(shard as u32) {
            // What it was asked, or told, has not reached it: asked once more it would only have more to read, and this edge to keep.
            view.heard = Some(Instant::now());
            continue;
        }
        let patience = (view.patience * 2).clamp(SILENCE, SILENCE_MAX);
        // Whoever answers is the owner, whatever was known before.
        *view = View { heard: None, patience, ..View::default() };
        if edge.index.has_shard(shard as u32, edge.shards) {
            tracing::warn!(shard, "the shard is silent; attaching its topics again");
            attach_again(edge, shard as u32);
        }
    }
}

/// Hands successive entries of one topic to the sessions that follow it: each session is locked once for all of them, since in a large group
/// fetching a session's state costs more than giving it an entry.
fn hand_entries(edge: &Arc<Edge>, run: &mut Vec<Entry>, touched: &mut Vec<Arc<Session>>) {
    let topic = run.first().and_then(|entry| TopicId::from_packed(entry.topic));
    if let Some((topic, followers)) = topic.and_then(|topic| Some((topic, edge.index.of(topic)?))) {
        for session in followers.iter() {
            let mut state = session.lock();
            let mut new = false;
            for entry in run.iter() {
                new |= session.offer(edge, &mut state, topic, entry.clone());
            }
            if new {
                touch(session, &mut state, touched);
            }
        }
    }
    run.clear();
}

/// Hands one item to the sessions it is for.
fn hand(edge: &Arc<Edge>, output: Output, touched: &mut Vec<Arc<Session>>) {
    let one = |session: u64, touched: &mut Vec<Arc<Session>>, act: &mut dyn FnMut(&Arc<Session>, &mut State)| {
        if let Some(session) = edge.session(SessionId(session)) {
            let mut state = session.lock();
            act(&session, &mut state);
            touch(&session, &mut state, touched);
        }
    };
    match output {
        Output::Entry(entry) => hand_entries(edge, &mut vec![entry], touched),
        Output::Departed(departed) => {
            let Some(topic) = TopicId::from_packed(departed.topic) else { return };
            let followers = edge.index.of(topic);
            for session in followers.iter().flat_map(|followers| followers.iter()).filter(|session| session.claims.user.0 == departed.user)
            {
                let mut state = session.lock();
                session.departed(edge, &mut state, topic, departed);
                touch(session, &mut state, touched);
            }
        }
        Output::Attached(attached) => {
            let Some(topic) = TopicId::from_packed(attached.topic) else { return };
            one(attached.session, touched, &mut |session, state| session.attached(edge, state, topic, &attached));
        }
        Output::Refused(refused) => {
            let Some(topic) = TopicId::from_packed(refused.topic) else { return };
            one(refused.session, touched, &mut |session, state| session.refused(edge, state, topic, refused));
        }
        Output::Watched(watched) => {
            let Some(topic) = TopicId::from_packed(watched.topic) else { return };
            one(watched.session, touched, &mut |session, state| session.watched(edge, state, topic, watched));
        }
        Output::Delivered(delivered) => {
            let Some(topic) = TopicId::from_packed(delivered.topic) else { return };
            one(delivered.session, touched, &mut |session, state| session.delivered(state, topic, delivered));
        }
        Output::Page(page) => {
            let Some(topic) = TopicId::from_packed(page.topic) else { return };
            let mut page = Some(page);
            let session = page.as_ref().map_or(0, |page| page.session);
            one(session, touched, &mut |session, state| {
                if let Some(page) = page.take() {
                    session.page(edge, state, topic, page);
                }
            });
        }
        Output::Entered(entered) => {
            one(entered.session, touched, &mut |_, state| state.entered(entered));
        }
        Output::Presence(presence) => {
            let Some(topic) = TopicId::from_packed(presence.topic) else { return };
            let followers = edge.index.of(topic);
            for session in followers.iter().flat_map(|followers| followers.iter()) {
                let mut state = session.lock();
                state.queue.presence(convert::presence(topic, presence.clone()));
                touch(session, &mut state, touched);
            }
        }
        Output::Acted(acted) => {
            one(acted.session, touched, &mut |_, state| state.acts.answered(acted));
        }
        // For the program sos alone.
        Output::Raised(_) => {}
        Output::Positions(positions) => watch::located(edge, positions),
        Output::Displace(displace) => {
            if let Some(session) = edge.session(SessionId(displace.session)) {
                session.close(edge, Reason::from_number(displace.reason).unwrap_or(Reason::Superseded), 0);
            }
        }
    }
}

fn touch(session: &Arc<Session>, state: &mut State, touched: &mut Vec<Arc<Session>>) {
    if !std::mem::replace(&mut state.touched, true) {
        touched.push(session.clone());
    }
}

/// Wakes each session once for everything that one read brought.
fn wake(touched: &mut Vec<Arc<Session>>) {
    for session in touched.drain(..) {
        session.lock().touched = false;
        session.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::hub::tests;
    use crate::model::UserId;

    #[test]
    fn frames_of_an_owner_are_told_apart_by_their_counters_and_owners_by_their_tokens() {
        let mut view = View::default();
        let mut check = |lane, (epoch, token, owner, counter), expected| {
            let frame = OutFrame { epoch, token, owner, counter, ..OutFrame::default() };
            assert_eq!(view.hear(lane, &frame), expected, "{frame:?}");
        };
        check(1, (1, 5, 10, 4), Heard::Stranger);
        check(1, (1, 5, 10, 5), Heard::Next);
        check(1, (1, 5, 10, 5), Heard::Stale);
        check(1, (1, 5, 10, 3), Heard::Stale);
        // Each lane counts for itself.
        check(0, (1, 5, 10, 1), Heard::Next);
        check(1, (1, 5, 10, 8), Heard::Jump);
        check(1, (1, 5, 10, 9), Heard::Next);
        // An owner from before, whatever it counts; and the ones behind.
        check(1, (1, 4, 9, 50), Heard::Stale);
        check(1, (1, 6, 11, 1), Heard::Stranger);
        check(0, (1, 6, 11, 1), Heard::Next);
        check(1, (1, 5, 10, 10), Heard::Stale);
        check(1, (2, 1, 12, 1), Heard::Stranger);
        check(1, (1, 7, 13, 1), Heard::Stale);
    }

    #[test]
    fn a_silent_shard_is_not_asked_again_before_it_was_asked() {
        let (edge, _hand) = tests::edge();
        let edge = Arc::new(edge);
        let session = tests::session(&edge, UserId(1));
        let inbox = session.inbox();
        let shard = inbox.shard(edge.shards);
        session.follow(&edge, &mut session.lock(), inbox);
        let silent = || View { heard: Instant::now().checked_sub(SILENCE_MAX), patience: SILENCE, ..View::default() };
        for _ in 0..5 {
            let mut views = vec![silent(); edge.shards as usize];
            ask_silent(&edge, &mut views);
            assert_eq!(edge.pusher.waiting(shard), 1, "what was asked is not there yet");
        }
        // As if it were pushed.
        edge.pusher.all_is_through();
        let mut views = vec![silent(); edge.shards as usize];
        ask_silent(&edge, &mut views);
        assert_eq!(edge.pusher.waiting(shard), 1);
        assert!(views[shard as usize].patience > SILENCE);
    }
}
