//! What of a log may go: what SQL holds, for long enough or because there is too much of it, and no new owner needs.

use std::collections::VecDeque;
use std::time::Duration;

use crate::broker::{Error, LogMarks, Redis, StreamId};
use crate::topic::frame::{LogFrame, Outcome};

/// How many frames are looked through at a time.
const FRAMES_A_CALL: usize = 256;
/// How far apart the points are that time and bytes are kept for.
const POINT_EVERY_MS: u64 = 1_000;

/// What is archived of one log, by time and by bytes.
#[derive(Debug)]
pub(super) struct Trimmer {
    retention_ms: u64,
    bytes_max: u64,
    /// Archived up to `upto` at a time; `bytes` counts all that was ever archived up to there.
    points: VecDeque<Point>,
    /// Bytes archived or found so far.
    bytes: u64,
    /// Bytes that went.
    trimmed: u64,
    /// The last commit that was said to be trimmable.
    gone: StreamId,
    /// Commits that forward, in order, for as long as that is not known to be pushed.
    forwarding: VecDeque<StreamId>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    upto: StreamId,
    time_ms: u64,
    bytes: u64,
}

impl Trimmer {
    pub(super) fn new(retention: Duration, bytes_max: u64) -> Self {
        let retention_ms = retention.as_millis() as u64;
        let gone = StreamId::default();
        Self { retention_ms, bytes_max, points: VecDeque::new(), bytes: 0, trimmed: 0, gone, forwarding: VecDeque::new() }
    }

    /// Takes in what is there at the beginning, up to `at`: when it was archived is not known, so its time begins now.
    pub(super) async fn begin(&mut self, redis: &Redis, log: &str, at: StreamId, marks: LogMarks, now_ms: u64) -> Result<(), Error> {
        let mut from = marks.forwarded.next();
        let mut known = Vec::new();
        while from <= at {
            let entries = redis.range(log, from, at, FRAMES_A_CALL).await?;
            let Some(last) = entries.last() else { break };
            from = last.id.next();
            for entry in &entries {
                let frame: LogFrame = entry.decode(log)?;
                if frame.outcomes.iter().any(|item| matches!(item.outcome, Some(Outcome::Forward(_)))) {
                    known.push(entry.id);
                }
            }
        }
        let bytes = redis.memory_bytes(log).await?;
        self.forwarding.clear();
        self.archived(at, bytes, known, now_ms);
        Ok(())
    }

    /// SQL holds the log up to `at`, which is `bytes` more than before; of the commits those in `forwarding` forward.
    pub(super) fn archived(&mut self, at: StreamId, bytes: u64, forwarding: Vec<StreamId>, now_ms: u64) {
        self.bytes += bytes;
        self.forwarding.extend(forwarding);
        let point = Point { upto: at, time_ms: now_ms, bytes: self.bytes };
        // The last point moves until it is far enough from the one before; its time is that of the latest commit in it.
        let before = self.points.len().checked_sub(2).and_then(|index| self.points.get(index));
        let near = before.is_some_and(|before| {
            now_ms.saturating_sub(before.time_ms) < POINT_EVERY_MS && self.bytes - before.bytes < self.bytes_max / 16
        });
        if near {
            self.points.pop_back();
        }
        self.points.push_back(point);
    }

    /// The last commit that may go, if any may that was not said before.
    pub(super) fn trimmable(&mut self, marks: LogMarks, now_ms: u64) -> Option<StreamId> {
        while self.forwarding.front().is_some_and(|first| *first <= marks.forwarded) {
            self.forwarding.pop_front();
        }
        // What a new owner reads first: the commits behind the checkpoint, and those whose forwards may not have been pushed.
        let owed = self.forwarding.front().map(|first| StreamId(first.0, first.1.saturating_sub(1)));
        let limit = owed.map_or(marks.checkpoint, |before| before.min(marks.checkpoint));
        let mut last = self.gone;
        while let Some(point) = self.points.front() {
            let old = point.time_ms + self.retention_ms <= now_ms;
            let large = self.bytes - self.trimmed > self.bytes_max;
            if !(old || large) {
                break;
            }
            if point.upto > limit {
                last = last.max(limit);
                break;
            }
            (last, self.trimmed) = (last.max(point.upto), point.bytes);
            self.points.pop_front();
        }
        let more = last > self.gone;
        self.gone = last;
        more.then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000;

    fn trimmer() -> Trimmer {
        let mut trimmer = Trimmer::new(Duration::from_secs(600), 10_000);
        for commit in 1..=10 {
            trimmer.archived(StreamId(1, commit), 900, vec![], commit * 2 * SECOND);
        }
        trimmer
    }

    fn marks(checkpoint: u64) -> LogMarks {
        LogMarks { last: StreamId(1, 10), checkpoint: StreamId(1, checkpoint), forwarded: StreamId(1, 0) }
    }

    #[test]
    fn what_is_archived_goes_after_its_time_and_behind_the_checkpoint() {
        let mut trimmer = trimmer();
        assert_eq!(trimmer.trimmable(marks(10), 601 * SECOND), None);
        assert_eq!(trimmer.trimmable(marks(10), 604 * SECOND), Some(StreamId(1, 2)));
        assert_eq!(trimmer.trimmable(marks(10), 604 * SECOND), None);
        assert_eq!(trimmer.trimmable(marks(5), 10_000 * SECOND), Some(StreamId(1, 5)));
        assert_eq!(trimmer.trimmable(marks(10), 10_000 * SECOND), Some(StreamId(1, 10)));
    }

    #[test]
    fn what_is_too_much_goes_before_its_time() {
        let mut trimmer = trimmer();
        trimmer.archived(StreamId(1, 11), 2_000, vec![], 24 * SECOND);
        // 11,000 bytes: two points go, until 10,000 are left or less.
        assert_eq!(trimmer.trimmable(marks(10), 24 * SECOND), Some(StreamId(1, 2)));
    }

    #[test]
    fn a_forward_that_is_owed_stays() {
        let mut trimmer = trimmer();
        trimmer.archived(StreamId(1, 11), 10, vec![StreamId(1, 11)], 24 * SECOND);
        trimmer.forwarding.push_front(StreamId(1, 4));
        let late = 10_000 * SECOND;
        assert_eq!(trimmer.trimmable(marks(11), late), Some(StreamId(1, 3)));
        let pushed = LogMarks { forwarded: StreamId(1, 4), ..marks(11) };
        assert_eq!(trimmer.trimmable(pushed, late), Some(StreamId(1, 10)));
    }
}
