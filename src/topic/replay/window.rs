//! The last part of a shard's log in memory, by topic: what a replay needs that SQL does not hold yet.
//!
//! Filled when somebody asks, from where it left off, so each frame is read once however many sessions ask. Bounded by bytes: the oldest
//! frames leave, and what only they had must come from SQL.
//!
//! To fill it: ask where the log ends ([`Window::ends_at`]), and read on behind [`Window::upto`]; first [leap](Window::leap) over what SQL has if that is
//! far ahead. If what comes next, the first frame or without one the end, [may lack something before it](Window::may_lack_before), look whether the
//! last frame of the window is still in the log; if not, [`Window::clear`] it and begin again. [`Window::take`] each frame, and at last say that there
//! are [no more](Window::is_read_to).

use std::collections::{HashMap, VecDeque};

use crate::model::{Span, TopicId};
use crate::topic::frame::{Entry, LogFrame, Outcome};

/// A commit of a shard: its epoch, and its number in that, from 1.
pub type CommitId = (u64, u64);

/// The window on one shard's log.
#[derive(Debug)]
pub struct Window {
    bytes_max: usize,
    /// Every commit of the shard behind this one, up to `upto`, is in. There may be others, from before an epoch that began elsewhere.
    whole_behind: CommitId,
    /// The last commit that left for want of room. What else is not in, and no longer in the log, was trimmed, and is archived; or is lost.
    evicted: CommitId,
    upto: CommitId,
    /// The newest epoch that the log was known to have when it was read.
    epoch: u64,
    bytes: usize,
    frames: VecDeque<(CommitId, usize, Vec<TopicId>)>,
    topics: HashMap<TopicId, VecDeque<(CommitId, Entry)>>,
}

impl Window {
    /// An empty one, for at most `bytes_max` of frames.
    pub fn new(bytes_max: usize) -> Self {
        let none = CommitId::default();
        Self {
            bytes_max,
            whole_behind: none,
            evicted: none,
            upto: none,
            epoch: 0,
            bytes: 0,
            frames: VecDeque::new(),
            topics: HashMap::new(),
        }
    }

    /// Every commit behind this one is in.
    pub fn whole_behind(&self) -> CommitId {
        self.whole_behind
    }

    /// Up to here the window had commits that it no longer has.
    pub fn evicted(&self) -> CommitId {
        self.evicted
    }

    /// The last commit that was taken; (0, 0) before the first of the log.
    pub fn upto(&self) -> CommitId {
        self.upto
    }

    /// The newest epoch of which it may have something: of later ones it knows nothing.
    pub fn epoch(&self) -> u64 {
        self.epoch.max(self.upto.0)
    }

    /// Where the log ends: one that ends before the window does was lost, and grows anew under the same numbers. To be said before a look at it.
    pub fn ends_at(&mut self, end: CommitId) {
        if end < self.upto {
            self.clear();
        }
    }

    /// Whether the log ends so far ahead that a [leap](Self::leap) may be due: more than `recent` commits, or in another epoch.
    pub fn is_far_from(&self, end: CommitId, recent: u64) -> bool {
        end.0 != self.upto.0 || end.1 > self.upto.1 + recent
    }

    /// Behind which commit to go on instead of behind [`Self::upto`], in a log that ends at `end` and of which SQL has everything up to `archived`:
    /// so that of the newest epoch at most the last `recent` commits are read, unless more are not archived. `None` when that is not ahead.
    pub fn leap(&self, end: CommitId, archived: CommitId, recent: u64) -> Option<CommitId> {
        let behind = archived.min((end.0, end.1.saturating_sub(recent)));
        (behind > self.upto).then_some(behind)
    }

    /// Goes on behind a commit ahead, as if everything up to it had been in and had left. `next` is the first commit of the log at or behind it: without
    /// the commit itself or the one behind it this is not done, for then there is little to leap over, or something may be missing.
    pub fn leap_to(&mut self, behind: CommitId, next: Option<CommitId>) {
        if next.is_some_and(|next| next == behind || next == (behind.0, behind.1 + 1)) {
            self.clear();
            (self.whole_behind, self.evicted, self.upto) = (behind, behind, behind);
        }
    }

    /// Whether commits may be missing before `next`, which is the next one behind the window: a new epoch began, or some were trimmed. Only while
    /// the last one of the window is still in the log, none are.
    pub fn may_lack_before(&self, next: CommitId) -> bool {
        self.upto != CommitId::default() && next != (self.upto.0, self.upto.1 + 1)
    }

    /// Forgets everything: the log is to be read anew. Of an epoch that lost its end it may have what is not archived yet.
    pub fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    /// There are no more frames in the log, which ended at `end` before they were read: what was not among them up to there is trimmed, and archived.
    pub fn is_read_to(&mut self, end: CommitId) {
        self.epoch = end.0;
        if end <= self.upto {
            return;
        }
        if end.1 > 0 {
            (self.whole_behind, self.upto) = (end, end);
        } else if self.skips_to(end) {
            self.whole_behind = end;
        }
    }

    /// Whether an epoch lies between the window and a commit. It began at another server, which had taken over and is gone: what it gave is in SQL,
    /// if anywhere.
    fn skips_to(&self, id: CommitId) -> bool {
        id.0 > self.upto.0 + 1
    }

    /// The next frame of the log, of `size` bytes.
    pub fn take(&mut self, id: CommitId, size: usize, frame: LogFrame) {
        // What was before the first one is trimmed.
        if self.upto == CommitId::default() || self.skips_to(id) {
            self.whole_behind = (id.0, id.1.saturating_sub(1));
        }
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
            (self.whole_behind, self.evicted) = (self.whole_behind.max(gone), gone);
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

    /// The entries of a topic in a span, in order, of commits behind one.
    pub fn entries(&self, topic: TopicId, span: Span, behind: CommitId) -> impl Iterator<Item = &Entry> {
        let entries = self.topics.get(&topic);
        let skip = entries.map_or(0, |entries| entries.partition_point(|(id, entry)| *id <= behind || entry.place() <= span.after));
        let rest = entries.into_iter().flat_map(move |entries| entries.iter().skip(skip));
        rest.map(|(_, entry)| entry).take_while(move |entry| entry.place() <= span.upto)
    }
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
        let mut window = Window::new(350);
        for commit in 1..=6 {
            let topic = if commit % 2 == 0 { two } else { one };
            window.take((1, commit), 100, frame(commit, topic, commit.div_ceil(2)));
        }
        assert_eq!((window.whole_behind(), window.upto), ((1, 3), (1, 6)));
        let seqs = |topic, after: u64, upto: u64| {
            let span = Span::new(Place::new(1, after), Place::new(1, upto));
            window.entries(topic, span, (0, 0)).map(|entry| entry.seq).collect::<Vec<_>>()
        };
        assert_eq!((seqs(one, 0, 9), seqs(two, 0, 9), seqs(two, 2, 9), seqs(two, 0, 2)), (vec![3], vec![2, 3], vec![3], vec![2]));
    }
}
