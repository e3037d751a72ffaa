//! From shards to sessions: reads what owners and replays write for this edge, and hands it to the sessions it is for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::hub::Edge;
use super::session::{Session, State};
use crate::broker::{Reader, StreamId, keys};
use crate::model::{Reason, SessionId, TopicId};
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

/// Reads until it is time to stop.
pub(super) async fn run(edge: &Arc<Edge>, shutdown: Shutdown) {
    let streams = [keys::out_urgent(&edge.boot), keys::out(&edge.boot), keys::out_replay(&edge.boot)];
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
                if read.iter().all(|(key, pages)| *key != streams[2] || pages.len() < FRAMES_A_READ) {
                    edge.pages_were_read(begun_ms);
                }
                // Alerts first, then live, then replays.
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
            for (key, id) in &after {
                // What stays a little longer does no harm.
                drop(edge.redis.trim(key, id.next()).await);
            }
        }
    }
}

fn take(edge: &Arc<Edge>, views: &mut [View], lane: usize, frame: OutFrame, touched: &mut Vec<Arc<Session>>) {
    if frame.counter > 0 {
        let Some(view) = views.get_mut(frame.shard as usize) else { return };
        let known = view.owner == frame.owner && view.heard.is_some();
        if known && frame.counter <= view.counters[lane]
            || !known && view.heard.is_some() && (frame.epoch, frame.token) < (view.epoch, view.token)
        {
            return;
        }
        // Another owner knows nobody here; a jump means that something was lost on the way.
        let again = !known || frame.counter != view.counters[lane] + 1;
        if !known {
            *view = View { epoch: frame.epoch, token: frame.token, owner: frame.owner, ..View::default() };
            edge.pusher.greet(frame.shard);
        }
        view.counters[lane] = frame.counter;
        view.heard = Some(Instant::now());
        view.patience = SILENCE;
        edge.pusher.saw(frame.shard, frame.epoch, frame.commit);
        // Before what the frame says is handed on: among what was lost may be that somebody left.
        if again {
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

/// Sessions of one edge that other sessions displaced, by edge.
pub(super) fn by_edge(displaced: Vec<crate::session::Presence>) -> HashMap<String, Vec<SessionId>> {
    let mut edges: HashMap<String, Vec<SessionId>> = HashMap::new();
    for presence in displaced {
        edges.entry(presence.edge).or_default().push(presence.session);
    }
    edges
}
