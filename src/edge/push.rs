//! From sessions to shards: everything that comes while one round trip is under way leaves with the next one.
//!
//! A round is one pipeline with at most one frame for each shard and lane. A round that failed is sent again as it was, for as long as it
//! takes: owners know a frame by its number. So what one session sends to one topic arrives in its order, and a receipt is due exactly
//! when a round is through.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::sync::Notify;

use super::awaiting::{self, AwaitingSql, Senders};
use super::session::Session;
use crate::broker::{Redis, StreamId, keys};
use crate::model::{Durability, InstallationId, Place, Reason, TopicId, UserId};
use crate::retry::Delays;
use crate::shutdown::Shutdown;
use crate::telemetry;
use crate::telemetry::trace::{Hop, Trace};
use crate::topic::frame::{InFrame, InItem, Input, Lane, Mark, ReplayRequest};

/// How many bytes may wait to be pushed; above that messages are refused.
const PENDING_BYTES_MAX: usize = 64 << 20;
/// How many items and bytes one frame has at most.
const FRAME_ITEMS_MAX: usize = 4_096;
const FRAME_BYTES_MAX: usize = 64 << 10;
/// About how many bytes one round has at most, alerts aside: they wait for no longer a round.
const ROUND_BYTES_MAX: usize = 512 << 10;
/// How often it is looked how much waits in front of each shard.
const BACKLOG_EVERY: Duration = Duration::from_millis(500);
/// What an item weighs beside the text of a message.
const ITEM_OVERHEAD: usize = 96;

/// Whose message it is, for the receipt.
type Sender = Option<(Arc<Session>, u64)>;

/// Collects what goes to shards.
pub(super) struct Pusher {
    producer: u64,
    boot: String,
    shards: u32,
    buffers: Vec<[Mutex<Buffer>; 2]>,
    replays: Mutex<Vec<ReplayRequest>>,
    pending_bytes: AtomicUsize,
    /// Shards whose input is at its bound.
    crowded: Vec<AtomicBool>,
    /// The latest commit of each shard this edge has seen the effect of.
    seen: Vec<Mutex<Place>>,
    /// When the round that is under way began.
    since: Mutex<Option<Instant>>,
    mark_linger: Duration,
    /// What a receipt waits for.
    wanted: Durability,
    /// Who waits for SQL, if that is wanted.
    awaiting: Option<AwaitingSql>,
    notify: Notify,
    /// The shard that comes first in the next round.
    first: AtomicU32,
}

/// An input that waits, with its weight.
struct Waiting {
    item: InItem,
    weight: usize,
    sender: Sender,
    /// A message that is traced, with when it came (UTC ms).
    traced: Option<Box<(Trace, TopicId, u64)>>,
}

#[derive(Default)]
struct Buffer {
    items: VecDeque<Waiting>,
    /// The latest mark of each installation of a user in a topic.
    marks: HashMap<(TopicId, UserId, InstallationId), Mark>,
    marks_since: Option<Instant>,
    /// The number of the last frame.
    number: u64,
    /// A frame is due even if it is empty.
    greet: bool,
    /// A frame with items is under way.
    pushing: bool,
}

/// One frame of a round, with those who wait for it.
struct Sent {
    shard: u32,
    lane: Lane,
    number: u64,
    /// The shard's epoch as this edge knew it.
    epoch: u64,
    senders: Senders,
    traced: Vec<(Trace, TopicId, u64)>,
    bytes: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pusher {
    pub(super) fn new(producer: u64, boot: &str, shards: u32, mark_linger: Duration, wanted: Durability, sql_wait: Duration) -> Self {
        Self {
            producer,
            boot: boot.to_owned(),
            shards,
            buffers: (0..shards).map(|_| Default::default()).collect(),
            replays: Mutex::default(),
            pending_bytes: AtomicUsize::new(0),
            crowded: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            seen: (0..shards).map(|_| Mutex::default()).collect(),
            since: Mutex::default(),
            mark_linger,
            wanted,
            awaiting: (wanted == Durability::Sql).then(|| AwaitingSql::new(shards, sql_wait)),
            notify: Notify::new(),
            first: AtomicU32::new(0),
        }
    }

    /// An input for a topic's shard. With a sender it is a message, and the sender is told when it is stored.
    pub(super) fn push(&self, topic: TopicId, input: Input, sender: Sender) {
        let weight = ITEM_OVERHEAD
            + match &input {
                Input::Post(post) => post.body.len(),
                _ => 0,
            };
        self.pending_bytes.fetch_add(weight, Ordering::Relaxed);
        let traced = match &input {
            Input::Post(post) => {
                Trace::of(topic, post.installation, post.client_seq).map(|trace| Box::new((trace, topic, telemetry::now_ms())))
            }
            _ => None,
        };
        let buffer = &self.buffers[topic.shard(self.shards) as usize][Lane::of(topic) as usize];
        lock(buffer).items.push_back(Waiting { item: input.into(), weight, sender, traced });
        self.notify.notify_one();
    }

    /// An input that waits behind no message.
    pub(super) fn push_first(&self, topic: TopicId, input: Input) {
        self.pending_bytes.fetch_add(ITEM_OVERHEAD, Ordering::Relaxed);
        let buffer = &self.buffers[topic.shard(self.shards) as usize][Lane::Urgent as usize];
        lock(buffer).items.push_back(Waiting { item: input.into(), weight: ITEM_OVERHEAD, sender: None, traced: None });
        self.notify.notify_one();
    }

    /// An acknowledgement: waits a little for others to share a frame with, and replaces an older one.
    pub(super) fn mark(&self, topic: TopicId, mark: Mark) {
        let buffer = &self.buffers[topic.shard(self.shards) as usize][Lane::of(topic) as usize];
        let mut buffer = lock(buffer);
        buffer.marks_since.get_or_insert_with(Instant::now);
        buffer.marks.insert((topic, UserId(mark.user), InstallationId(mark.installation)), mark);
    }

    /// A request for a page.
    pub(super) fn replay(&self, request: ReplayRequest) {
        lock(&self.replays).push(request);
        self.notify.notify_one();
    }

    /// Why nothing more can be taken for a topic now, if so. Alerts are never refused for a backlog.
    pub(super) fn crowded(&self, topic: TopicId) -> Option<Reason> {
        if self.pending_bytes.load(Ordering::Relaxed) > PENDING_BYTES_MAX {
            return Some(Reason::StoreUnavailable);
        }
        let shard = topic.shard(self.shards) as usize;
        (!topic.kind().urgent() && self.crowded[shard].load(Ordering::Relaxed)).then_some(Reason::Backlog)
    }

    /// A commit of a shard had an effect here; by then its owner had taken in this edge's frames of the lane up to `taken`.
    pub(super) fn saw(&self, shard: u32, lane: Lane, commit: Place, taken: u64) {
        if let Some(seen) = self.seen.get(shard as usize) {
            let mut seen = lock(seen);
            *seen = commit.max(*seen);
        }
        if let Some(awaiting) = &self.awaiting {
            awaiting.taken_in(shard, lane, taken, StreamId(commit.epoch, commit.seq));
        }
    }

    /// Sends the receipts that wait for SQL, until it is time to stop.
    pub(super) async fn await_sql(&self, redis: &Redis, shutdown: Shutdown) {
        if let Some(awaiting) = &self.awaiting {
            awaiting.run(redis, &shutdown).await;
        }
    }

    /// When the round that is under way began, if one is.
    pub(super) fn pushing_since(&self) -> Option<Instant> {
        *lock(&self.since)
    }

    /// Whether something for a shard has not reached Redis yet: its owner cannot have answered that.
    pub(super) fn holds(&self, shard: u32) -> bool {
        let waits = |buffer: &Mutex<Buffer>| {
            let buffer = lock(buffer);
            buffer.pushing || !buffer.items.is_empty()
        };
        self.buffers.get(shard as usize).is_some_and(|lanes| lanes.iter().any(waits))
    }

    /// A shard has another owner: it hears at once what this edge has seen of the shard.
    pub(super) fn greet(&self, shard: u32) {
        if let Some(lanes) = self.buffers.get(shard as usize) {
            lock(&lanes[Lane::Normal as usize]).greet = true;
            self.notify.notify_one();
        }
    }

    /// Pushes until it is time to stop and nothing is left, or the grace is over: a round to a Redis that is away takes for ever.
    pub(super) async fn run(&self, redis: &Redis, shutdown: Shutdown) {
        let push = async {
            while !shutdown.is_cancelled() {
                tokio::select! {
                    () = self.notify.notified() => {}
                    () = tokio::time::sleep(self.mark_linger.max(Duration::from_millis(1))) => {}
                    () = shutdown.cancelled() => {}
                }
                while self.round(redis, &shutdown).await {}
            }
        };
        let over = async {
            shutdown.cancelled().await;
            tokio::time::sleep(shutdown.grace()).await;
        };
        tokio::select! {
            () = push => {}
            () = over => tracing::warn!("stops with messages that never reached Redis; they had no receipt"),
        }
    }

    /// One round trip; false when there was nothing to send.
    async fn round(&self, redis: &Redis, shutdown: &Shutdown) -> bool {
        let (frames, sent) = self.take(shutdown.is_cancelled());
        if frames.is_empty() {
            return false;
        }
        let begun = Instant::now();
        *lock(&self.since) = Some(begun);
        let mut delays = Delays::reconnecting();
        // What is written is as safe as the Redis it went to makes it, whatever Redis is there by now; one that is there no more may have lost it.
        let durability = loop {
            let pushed = async { redis.secured(&redis.add_all(&frames).await?, self.wanted).await };
            let error = match pushed.await {
                Ok(durability) => break durability,
                Err(error) => error,
            };
            let delay = delays.next_delay();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                frames = frames.len(),
                delay_ms = delay.as_millis() as u64,
                "frames were not pushed; sending them again"
            );
            tokio::time::sleep(delay).await;
        };
        *lock(&self.since) = None;
        telemetry::hop("push", 0, begun.elapsed().as_millis() as u64);
        for frame in sent {
            self.pending_bytes.fetch_sub(frame.bytes, Ordering::Relaxed);
            lock(&self.buffers[frame.shard as usize][frame.lane as usize]).pushing = false;
            for (trace, topic, since_ms) in frame.traced {
                trace.over(Hop::Push, since_ms, telemetry::now_ms(), topic);
            }
            match &self.awaiting {
                Some(awaiting) => awaiting.hold(frame.shard, frame.lane, (frame.epoch, frame.number), frame.senders, durability),
                None => awaiting::send(frame.senders, durability),
            }
        }
        true
    }

    /// Everything that waits, as frames: alerts first.
    fn take(&self, all_marks: bool) -> (Vec<(String, Vec<u8>)>, Vec<Sent>) {
        let (mut frames, mut sent) = (Vec::new(), Vec::new());
        // With another shard first each time: what is left over is never of the same ones.
        let first = self.first.fetch_add(1, Ordering::Relaxed) % self.shards.max(1);
        let mut bytes = 0;
        for lane in Lane::ALL {
            for shard in (first..self.shards).chain(0..first) {
                if lane == Lane::Normal && bytes > ROUND_BYTES_MAX {
                    break;
                }
                let mut buffer = lock(&self.buffers[shard as usize][lane as usize]);
                let due = |since: Instant| all_marks || since.elapsed() >= self.mark_linger;
                let marks_due = buffer.marks_since.is_some_and(due);
                let greet = std::mem::take(&mut buffer.greet);
                if buffer.items.is_empty() && !marks_due && !greet {
                    continue;
                }
                let mut items = Vec::with_capacity(buffer.items.len().min(FRAME_ITEMS_MAX));
                let mut frame = Sent { shard, lane, number: 0, epoch: 0, senders: Vec::new(), traced: Vec::new(), bytes: 0 };
                while items.len() < FRAME_ITEMS_MAX && frame.bytes < FRAME_BYTES_MAX {
                    let Some(Waiting { item, weight, sender, traced }) = buffer.items.pop_front() else { break };
                    frame.bytes += weight;
                    frame.traced.extend(traced.map(|traced| *traced));
                    if let (Some((session, client_seq)), Some(Input::Post(post))) = (sender, &item.input)
                        && let Some(topic) = TopicId::from_packed(post.topic)
                    {
                        note_sender(&mut frame.senders, session, topic, client_seq);
                    }
                    items.push(item);
                }
                if marks_due {
                    buffer.marks_since = None;
                    items.extend(buffer.marks.drain().map(|(_, mark)| Input::Mark(mark).into()));
                }
                buffer.number += 1;
                buffer.pushing = !items.is_empty();
                let (number, seen) = (buffer.number, *lock(&self.seen[shard as usize]));
                (frame.number, frame.epoch) = (number, seen.epoch);
                drop(buffer);
                let key = match lane {
                    Lane::Urgent => keys::urgent(shard),
                    Lane::Normal => keys::input(shard),
                };
                let seen = (seen > Place::START).then(|| seen.into());
                let frame_bytes = InFrame { producer: self.producer, number, edge: self.boot.clone(), seen, items }.encode_to_vec();
                bytes += frame_bytes.len();
                frames.push((key, frame_bytes));
                sent.push(frame);
            }
        }
        for request in std::mem::take(&mut *lock(&self.replays)) {
            frames.push((keys::replay(), request.encode_to_vec()));
        }
        (frames, sent)
    }

    /// Watches how much waits in front of each shard.
    pub(super) async fn watch_backlog(&self, redis: &Redis, frames_max: usize, shutdown: Shutdown) {
        let inputs: Vec<_> = (0..self.shards).map(keys::input).collect();
        while !shutdown.is_cancelled() {
            if let Ok(lengths) = redis.lengths(&inputs).await {
                for (shard, length) in lengths.into_iter().enumerate() {
                    let crowded = length > frames_max as u64;
                    if self.crowded[shard].swap(crowded, Ordering::Relaxed) != crowded {
                        tracing::warn!(shard, backlog_frames = length, crowded, "the backlog of a shard crossed its bound");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(BACKLOG_EVERY) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
}

/// Receipts are cumulative: of the messages of one session to one topic in one frame the last one counts.
fn note_sender(senders: &mut Senders, session: Arc<Session>, topic: TopicId, client_seq: u64) {
    match senders.last_mut() {
        Some((last, known, seq)) if Arc::ptr_eq(last, &session) && *known == topic => *seq = client_seq,
        _ => senders.push((session, topic, client_seq)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupId;
    use crate::topic::frame::Detach;

    impl Pusher {
        /// The requests for pages that wait.
        pub(in crate::edge) fn take_replays(&self) -> Vec<ReplayRequest> {
            std::mem::take(&mut *lock(&self.replays))
        }

        /// Takes everything as if Redis had it.
        pub(in crate::edge) fn all_is_through(&self) {
            drop(self.take(true));
            self.buffers.iter().flatten().for_each(|buffer| lock(buffer).pushing = false);
        }

        /// How many items wait for a shard.
        pub(in crate::edge) fn waiting(&self, shard: u32) -> usize {
            self.buffers[shard as usize].iter().map(|buffer| lock(buffer).items.len()).sum()
        }
    }

    fn frames(pusher: &Pusher) -> Vec<InFrame> {
        let (frames, _) = pusher.take(true);
        frames.iter().map(|(_, bytes)| InFrame::decode(bytes.as_slice()).unwrap()).collect()
    }

    #[test]
    fn marks_of_two_users_of_one_installation_both_leave_and_of_each_the_latest() {
        let (pusher, topic) = (Pusher::new(1, "edge-1", 4, Duration::ZERO, Durability::Fsync, Duration::ZERO), TopicId::group(GroupId(7)));
        for (user, seq) in [(1, 3), (2, 2), (1, 4)] {
            pusher.mark(topic, Mark { topic: topic.packed(), user, installation: 9, place: Place::new(1, seq).into() });
        }
        let mut marks: Vec<_> = frames(&pusher)
            .remove(0)
            .items
            .into_iter()
            .filter_map(|item| match item.input {
                Some(Input::Mark(mark)) => Some((mark.user, mark.place.seq)),
                _ => None,
            })
            .collect();
        marks.sort_unstable();
        assert_eq!(marks, [(1, 4), (2, 2)]);
    }

    #[test]
    fn a_frame_is_of_the_epoch_that_was_heard_of_when_it_was_made() {
        let (pusher, topic) = (Pusher::new(1, "edge-1", 4, Duration::ZERO, Durability::Sql, Duration::ZERO), TopicId::group(GroupId(7)));
        let shard = topic.shard(4);
        let made = || {
            pusher.push(topic, Input::Detach(Detach { topic: topic.packed(), session: 1 }), None);
            let (_, sent) = pusher.take(true);
            (sent[0].epoch, sent[0].number)
        };
        assert_eq!(made(), (0, 1));
        pusher.saw(shard, Lane::Normal, Place::new(5, 9), 1);
        assert_eq!(made(), (5, 2));
        pusher.saw(shard, Lane::Urgent, Place::new(6, 1), 0);
        assert_eq!(made(), (6, 3));
        pusher.saw((shard + 1) % 4, Lane::Normal, Place::new(7, 1), 0);
        assert_eq!(made(), (6, 4));
    }

    #[test]
    fn a_shard_is_held_from_the_push_until_its_frame_is_through() {
        let (pusher, topic) = (Pusher::new(1, "edge-1", 4, Duration::ZERO, Durability::Fsync, Duration::ZERO), TopicId::group(GroupId(7)));
        let shard = topic.shard(4);
        assert!(!pusher.holds(shard));
        pusher.push(topic, Input::Detach(Detach { topic: topic.packed(), session: 1 }), None);
        assert!(pusher.holds(shard) && !pusher.holds((shard + 1) % 4));
        assert_eq!(frames(&pusher).len(), 1);
        assert!(pusher.holds(shard), "its frame is under way");
    }
}
