//! What of a log may go: what SQL holds, for long enough or because there is too much of it, and no new owner needs.

use std::collections::VecDeque;
use std::time::Duration;

use crate::broker::StreamId;

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
        Self { retention_ms, bytes_max, points: VecDeque::new(), bytes: 0, trimmed: 0, gone }
    }

    /// SQL holds the log up to `at`, which is `bytes` more than before.
    pub(super) fn archived(&mut self, at: StreamId, bytes: u64, now_ms: u64) {
        self.bytes += bytes;
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

    /// The last commit that may go, if any may that was not said before. A new owner reads on from `checkpoint`.
    pub(super) fn trimmable(&mut self, checkpoint: StreamId, now_ms: u64) -> Option<StreamId> {
        let mut last = self.gone;
        while let Some(point) = self.points.front() {
            let old = point.time_ms + self.retention_ms <= now_ms;
            let large = self.bytes - self.trimmed > self.bytes_max;
            if !(old || large) {
                break;
            }
            if point.upto > checkpoint {
                last = last.max(checkpoint);
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
            trimmer.archived(StreamId(1, commit), 900, commit * 2 * SECOND);
        }
        trimmer
    }

    fn checkpoint(commit: u64) -> StreamId {
        StreamId(1, commit)
    }

    #[test]
    fn what_is_archived_goes_after_its_time_and_behind_the_checkpoint() {
        let mut trimmer = trimmer();
        assert_eq!(trimmer.trimmable(checkpoint(10), 601 * SECOND), None);
        assert_eq!(trimmer.trimmable(checkpoint(10), 604 * SECOND), Some(StreamId(1, 2)));
        assert_eq!(trimmer.trimmable(checkpoint(10), 604 * SECOND), None);
        assert_eq!(trimmer.trimmable(checkpoint(5), 10_000 * SECOND), Some(StreamId(1, 5)));
        assert_eq!(trimmer.trimmable(checkpoint(10), 10_000 * SECOND), Some(StreamId(1, 10)));
    }

    #[test]
    fn what_is_too_much_goes_before_its_time() {
        let mut trimmer = trimmer();
        trimmer.archived(StreamId(1, 11), 2_000, 24 * SECOND);
        // 11,000 bytes: two points go, until 10,000 are left or less.
        assert_eq!(trimmer.trimmable(checkpoint(10), 24 * SECOND), Some(StreamId(1, 2)));
    }
}
