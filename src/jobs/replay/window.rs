//! The last part of a shard's log in memory, by topic: what a replay needs that SQL does not hold yet.
//!
//! Filled when somebody asks, from where it left off, so each frame is read once however many sessions ask. Bounded by bytes: the oldest
//! frames leave, and what only they had must come from SQL.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::broker::{Error, Redis, StreamId, keys};
use crate::model::{Span, TopicId};
use crate::topic::frame::{Entry, LogFrame, Outcome};

/// How many frames are read at a time.
const FRAMES_A_CALL: usize = 128;

/// The window on one shard's log.
#[derive(Debug)]
pub(super) struct Window {
    shard: u32,
    bytes_max: usize,
    /// Every commit of the shard behind this one, up to `upto`, is in.
    after: StreamId,
    /// The last commit that left for want of room. What is below `after` otherwise was trimmed, and is archived.
    evicted: StreamId,
    upto: StreamId,
    bytes: usize,
    frames: VecDeque<(StreamId, usize, Vec<TopicId>)>,
    topics: HashMap<TopicId, VecDeque<(StreamId, Entry)>>,
    /// When the last look at the log began.
    looked: Option<Instant>,
}

impl Window {
    pub(super) fn new(shard: u32, bytes_max: usize) -> Self {
        let none = StreamId::default();
        Self {
            shard,
            bytes_max,
            after: none,
            evicted: none,
            upto: none,
            bytes: 0,
            frames: VecDeque::new(),
            topics: HashMap::new(),
            looked: None,
        }
    }

    /// Every commit behind this one is in.
    pub(super) fn after(&self) -> StreamId {
        self.after
    }

    /// Up to here the window had commits that it no longer has.
    pub(super) fn evicted(&self) -> StreamId {
        self.evicted
    }

    /// Takes in what the log has, as of `asked` at the earliest: of several who ask at once only one looks.
    pub(super) async fn refresh(&mut self, redis: &Redis, asked: Instant) -> Result<(), Error> {
        if self.looked.is_some_and(|looked| looked >= asked) {
            return Ok(());
        }
        let begun = Instant::now();
        let log = keys::log(self.shard);
        // The end first: a log that ends before the window does was lost, and grows anew under the same numbers.
        let end = redis.log_marks(self.shard).await?.map(|marks| marks.last);
        if end.is_some_and(|end| end < self.upto) {
            self.clear(StreamId::default());
        }
        loop {
            let entries = redis.range(&log, self.upto.next(), StreamId(u64::MAX, u64::MAX), FRAMES_A_CALL).await?;
            let Some(first) = entries.first().map(|entry| entry.id) else { break };
            // Not the next commit: a new epoch, or commits were trimmed. Only while the one before is there, nothing in between went.
            if first != self.upto.next() && redis.range(&log, self.upto, self.upto, 1).await?.is_empty() {
                self.clear(before(first));
            }
            let full = entries.len() == FRAMES_A_CALL;
            for entry in entries {
                // An epoch in between began at another server, which had taken over and is gone: what it gave is in SQL, if anywhere.
                if entry.id.0 > self.upto.0 + 1 {
                    self.clear(before(entry.id));
                }
                let size = entry.payload.as_ref().map_or(0, bytes::Bytes::len);
                let frame: LogFrame = entry.decode(&log)?;
                self.take(entry.id, size, frame);
            }
            if !full {
                break;
            }
        }
        self.looked = Some(begun);
        Ok(())
    }

    fn clear(&mut self, after: StreamId) {
        self.frames.clear();
        self.topics.clear();
        (self.after, self.evicted, self.upto, self.bytes) = (after, StreamId::default(), after, 0);
    }

    fn take(&mut self, id: StreamId, size: usize, frame: LogFrame) {
        let mut topics = Vec::new();
        for item in frame.outcomes {
            let Some(Outcome::Entry(mut entry)) = item.outcome else { continue };
            let Some(topic) = TopicId::from_packed(entry.topic) else { continue };
            // A body is a slice of its frame: kept alone, it would keep all of the frame.
            entry.body = bytes::Bytes::copy_from_slice(&entry.body);
            self.topics.entry(topic).or_default().push_back((id, entry));
            if topics.last() != Some(&topic) {
                topics.push(topic);
            }
        }
        self.frames.push_back((id, size, topics));
        self.bytes += size;
        self.upto = id;
        while self.bytes > self.bytes_max {
            let Some((gone, size, topics)) = self.frames.pop_front() else { break };
            self.bytes -= size;
            (self.after, self.evicted) = (gone, gone);
            for topic in topics {
                let Some(entries) = self.topics.get_mut(&topic) else { continue };
                while entries.front().is_some_and(|(id, _)| *id <= gone) {
                    entries.pop_front();
                }
                if entries.is_empty() {
                    self.topics.remove(&topic);
                }
            }
        }
    }

    /// The entries of a topic in a span, in order.
    pub(super) fn entries(&self, topic: TopicId, span: Span) -> impl Iterator<Item = &Entry> {
        let entries = self.topics.get(&topic);
        let skip = entries.map_or(0, |entries| entries.partition_point(|(_, entry)| entry.place() <= span.after));
        let behind = entries.into_iter().flat_map(move |entries| entries.iter().skip(skip));
        behind.map(|(_, entry)| entry).take_while(move |entry| entry.place() <= span.upto)
    }
}

/// The highest id below; commits of an epoch begin with 1.
fn before(id: StreamId) -> StreamId {
    StreamId(id.0, id.1.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupId, Place};

    fn frame(commit: u64, topic: TopicId, seq: u64) -> LogFrame {
        let entry = Entry { topic: topic.packed(), epoch: 1, seq, body: vec![b'x'; 100].into(), ..Entry::default() };
        LogFrame { epoch: 1, commit, outcomes: vec![Outcome::Entry(entry).into()], ..LogFrame::default() }
    }

    #[test]
    fn the_oldest_leave_and_what_is_left_is_known_to_be_all_behind_them() {
        let (one, two) = (TopicId::group(GroupId(1)), TopicId::group(GroupId(2)));
        let mut window = Window::new(0, 350);
        for commit in 1..=6 {
            let topic = if commit % 2 == 0 { two } else { one };
            window.take(StreamId(1, commit), 100, frame(commit, topic, commit.div_ceil(2)));
        }
        assert_eq!((window.after(), window.upto), (StreamId(1, 3), StreamId(1, 6)));
        let seqs = |topic, after: u64, upto: u64| {
            let span = Span::new(Place::new(1, after), Place::new(1, upto));
            window.entries(topic, span).map(|entry| entry.seq).collect::<Vec<_>>()
        };
        assert_eq!((seqs(one, 0, 9), seqs(two, 0, 9), seqs(two, 2, 9), seqs(two, 0, 2)), (vec![3], vec![2, 3], vec![3], vec![2]));
    }
}
