//! From shards to sessions: reads what owners and replays write for this edge, and hands it to the sessions it is for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::hub::Edge;
use super::session::{Session, State};
use super::views::Heard;
use super::watch;
use crate::broker::{Reader, StreamEntry, StreamId, edge_streams};
use crate::model::{Place, Reason, SessionId, TopicId, UserId};
use crate::proto::{convert, v1};
use crate::retry::Delays;
use crate::shutdown::Shutdown;
use crate::topic::frame::{Entry, Lane, OutFrame, Output};

/// How many frames are read at a time.
const FRAMES_A_READ: usize = 256;
/// How long a read waits.
const BLOCK: Duration = Duration::from_millis(500);
/// How often what was read is trimmed.
const TRIM: Duration = Duration::from_millis(250);

/// Reads alerts until it is time to stop: by themselves, so that they stand behind nothing, neither in an answer of Redis nor here.
pub(super) async fn alerts(edge: &Arc<Edge>, shutdown: Shutdown) {
    let [alerts, ..] = edge_streams(&edge.boot);
    Ear::new(edge, vec![alerts], Lane::Urgent).listen(shutdown).await;
}

/// Reads everything else until it is time to stop: what is live, replays, and where devices are.
pub(super) async fn run(edge: &Arc<Edge>, shutdown: Shutdown) {
    let [_, live, replays, positions] = edge_streams(&edge.boot);
    Ear::new(edge, vec![live, replays, positions], Lane::Normal).listen(shutdown).await;
}

/// Reads some of the edge's streams.
struct Ear<'a> {
    edge: &'a Arc<Edge>,
    streams: Vec<String>,
    lane: Lane,
    after: BTreeMap<String, StreamId>,
    /// How often the streams had been made anew.
    made: u64,
    touched: Touched,
}

/// The sessions that one read brought something.
struct Touched {
    lane: Lane,
    sessions: Vec<Arc<Session>>,
}

impl<'a> Ear<'a> {
    fn new(edge: &'a Arc<Edge>, streams: Vec<String>, lane: Lane) -> Self {
        let after = streams.iter().map(|key| (key.clone(), StreamId::default())).collect();
        Self { edge, streams, lane, after, made: 0, touched: Touched { lane, sessions: Vec::new() } }
    }

    async fn listen(mut self, shutdown: Shutdown) {
        let edge = self.edge;
        let mut reader = Reader::new(&edge.redis, BLOCK);
        let (mut delays, mut trimmed, mut trimmed_to) = (Delays::reconnecting(), Instant::now(), self.after.clone());
        while !shutdown.is_cancelled() {
            let made = edge.streams_made.load(Ordering::Relaxed);
            if std::mem::replace(&mut self.made, made) != made {
                edge.views.forget();
                // By a Redis whose clock is behind with lower ids than those that were read.
                self.after.values_mut().for_each(|id| *id = StreamId::default());
            }
            let begun_ms = edge.clock.now_ms();
            let next = async {
                reader.rewind(&mut self.after).await?;
                reader.read(FRAMES_A_READ, &self.after).await
            };
            let read = tokio::select! {
                read = next => read,
                () = shutdown.cancelled() => return,
            };
            match read {
                Ok(read) => {
                    delays.reset();
                    self.was_read(&read, reader.asked(), begun_ms);
                    self.hear(read).await;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot read what is for this edge");
                    tokio::time::sleep(delays.next_delay()).await;
                }
            }
            if self.lane == Lane::Normal {
                ask_silent(edge);
            }
            if trimmed.elapsed() >= TRIM && trimmed_to != self.after {
                trimmed = Instant::now();
                trimmed_to.clone_from(&self.after);
                // What stays a little longer does no harm.
                drop(edge.redis.trim_all(self.after.iter().map(|(key, id)| (key, id.next()))).await);
            }
        }
    }

    fn was_read(&self, read: &[(String, Vec<StreamEntry>)], asked: usize, begun_ms: u64) {
        if self.lane == Lane::Urgent {
            return;
        }
        self.edge.was_read();
        // Replays to their end: what was asked for before that has come.
        if read.iter().all(|(key, pages)| *key != self.streams[1] || pages.len() < asked) {
            self.edge.pages_were_read(begun_ms);
        }
    }

    async fn hear(&mut self, mut read: Vec<(String, Vec<StreamEntry>)>) {
        read.sort_by_key(|(key, _)| self.streams.iter().position(|known| known == key));
        for (key, entries) in read {
            for entry in entries {
                match entry.decode::<OutFrame>(&key) {
                    Ok(frame) => take(self.edge, self.lane, frame, &mut self.touched),
                    // Only the marker that made the stream; it has no field of the format.
                    Err(_) if entry.payload.is_none() => {}
                    Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a frame for this edge does not decode"),
                }
                self.after.insert(key.clone(), entry.id);
                if self.lane == Lane::Normal {
                    // Between two of these there is always room for an alert.
                    tokio::task::yield_now().await;
                }
            }
        }
        self.touched.wake();
    }
}

fn take(edge: &Arc<Edge>, lane: Lane, frame: OutFrame, touched: &mut Touched) {
    if frame.counter > 0 {
        let Some(heard) = edge.views.hear(lane, &frame) else { return };
        if heard == Heard::Stale {
            return;
        }
        if heard == Heard::Stranger {
            edge.pusher.greet(frame.shard);
        }
        edge.pusher.saw(frame.shard, lane, Place::new(frame.epoch, frame.commit), frame.taken);
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
fn ask_silent(edge: &Arc<Edge>) {
    for shard in edge.views.silent(|shard| edge.pusher.holds(shard)) {
        if edge.index.has_shard(shard, edge.shards) {
            tracing::warn!(shard, "the shard is silent; attaching its topics again");
            attach_again(edge, shard);
        }
    }
}

/// Hands successive entries of one topic to the sessions that follow it: each session is locked once for all of them, since in a large group
/// fetching a session's state costs more than giving it an entry.
fn hand_entries(edge: &Arc<Edge>, run: &mut Vec<Entry>, touched: &mut Touched) {
    let topic = run.first().and_then(|entry| TopicId::from_packed(entry.topic));
    if let Some((topic, followers)) = topic.and_then(|topic| Some((topic, edge.index.of(topic)?))) {
        for session in followers.iter() {
            let mut state = session.lock();
            let mut new = false;
            for entry in run.iter() {
                new |= session.offer(edge, &mut state, topic, entry.clone());
            }
            if new {
                touched.add(session, &mut state);
            }
        }
    }
    run.clear();
}

/// Hands one item to the sessions it is for.
fn hand(edge: &Arc<Edge>, output: Output, touched: &mut Touched) {
    let one = |session: u64, touched: &mut Touched, act: &mut dyn FnMut(&Arc<Session>, &mut State)| {
        if let Some(session) = edge.session(SessionId(session)) {
            let mut state = session.lock();
            act(&session, &mut state);
            touched.add(&session, &mut state);
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
                touched.add(session, &mut state);
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
                touched.add(session, &mut state);
            }
        }
        Output::Acted(acted) => {
            one(acted.session, touched, &mut |_, state| state.acts.answered(acted));
        }
        Output::FloorTold(told) => {
            // By the inbox, which each session of a user follows: the room may not be followed yet.
            let Some(room) = TopicId::from_packed(told.topic) else { return };
            let (inbox, installation) = (TopicId::inbox(UserId(told.user)), told.installation);
            let meant = |session: &Session| session.claims.installation.0 == installation;
            hand_floor(edge, inbox, meant, convert::floor_told(room, told), touched);
        }
        Output::FloorNow(now) => {
            let Some(room) = TopicId::from_packed(now.topic) else { return };
            let only = now.session;
            hand_floor(edge, room, |session| only == 0 || session.id.0 == only, convert::floor_now(room, now), touched);
        }
        Output::Seated(seated) => {
            let Some(room) = TopicId::from_packed(seated.topic) else { return };
            let session = seated.session;
            let mut seated = Some(seated);
            one(session, touched, &mut |_, state| seated.take().into_iter().for_each(|seated| state.seated(room, seated)));
        }
        // For the program sos alone.
        Output::Raised(_) => {}
        Output::Positions(positions) => watch::located(edge, positions),
        Output::Displace(displace) => {
            if let Some(session) = edge.session(SessionId(displace.session)) {
                session.close(edge, Reason::from_number(displace.reason).unwrap_or(Reason::Superseded), displace.retry_after_ms);
            }
        }
    }
}

/// Hands something of the floor of a room to those who follow a topic and are meant.
fn hand_floor(edge: &Arc<Edge>, topic: TopicId, meant: impl Fn(&Session) -> bool, event: v1::FloorEvent, touched: &mut Touched) {
    let followers = edge.index.of(topic);
    for session in followers.iter().flat_map(|followers| followers.iter()).filter(|session| meant(session)) {
        let mut state = session.lock();
        state.queue.floor(event.clone());
        touched.add(session, &mut state);
    }
}

impl Touched {
    /// Each lane for itself: what one brought is not to wait for the other.
    fn add(&mut self, session: &Arc<Session>, state: &mut State) {
        if !std::mem::replace(&mut state.touched[self.lane as usize], true) {
            self.sessions.push(session.clone());
        }
    }

    /// Wakes each session once for everything that one read brought.
    fn wake(&mut self) {
        for session in self.sessions.drain(..) {
            session.lock().touched[self.lane as usize] = false;
            session.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::hub::tests;

    #[test]
    fn a_silent_shard_is_not_asked_again_before_it_was_asked() {
        let (edge, _hand) = tests::edge();
        let edge = Arc::new(edge);
        let session = tests::session(&edge, UserId(1));
        let inbox = session.inbox();
        let shard = inbox.shard(edge.shards);
        session.follow(&edge, &mut session.lock(), inbox);
        for _ in 0..5 {
            edge.views.all_silent();
            ask_silent(&edge);
            assert_eq!(edge.pusher.waiting(shard), 1, "what was asked is not there yet");
        }
        // As if it were pushed.
        edge.pusher.all_is_through();
        edge.views.all_silent();
        ask_silent(&edge);
        assert_eq!(edge.pusher.waiting(shard), 1);
        assert!(!edge.views.silent(|_| false).contains(&shard), "it has to be patient now");
    }
}
