//! The window on one shard's log, and how it is filled from Redis.

use std::time::Instant;

use crate::broker::{Error, Redis, StreamId, keys};
use crate::topic::frame::LogFrame;
use crate::topic::replay::Window;

/// How many frames are read at a time.
const FRAMES_A_CALL: usize = 128;
/// How many frames of what SQL has are worth reading, so that what was said last is answered without it. A log keeps many minutes, and a program that
/// has just begun would read them all before its first answer.
const FRAMES_RECENT: u64 = 4_096;

/// The end of one shard's log, as of the last look at it.
#[derive(Debug)]
pub(super) struct Log {
    shard: u32,
    window: Window,
    /// When the last look began.
    looked: Option<Instant>,
}

impl Log {
    pub(super) fn new(shard: u32, bytes_max: usize) -> Self {
        Self { shard, window: Window::new(bytes_max), looked: None }
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// Takes in what the log has, as of `asked` at the earliest: of several who ask at once only one looks.
    pub(super) async fn refresh(&mut self, redis: &Redis, asked: Instant) -> Result<(), Error> {
        if self.looked.is_some_and(|looked| looked >= asked) {
            return Ok(());
        }
        let (begun, log, window) = (Instant::now(), keys::log(self.shard), &mut self.window);
        let end = redis.log_marks(self.shard).await?.map_or(StreamId::default(), |marks| marks.last);
        window.ends_at((end.0, end.1));
        let mut begins = true;
        loop {
            if std::mem::take(&mut begins) {
                leap(redis, self.shard, window, end).await?;
            }
            let upto = StreamId(window.upto().0, window.upto().1);
            let entries = redis.range(&log, upto.next(), StreamId(u64::MAX, u64::MAX), FRAMES_A_CALL).await?;
            let next = entries.first().map_or(end, |entry| entry.id);
            if next > upto && window.may_lack_before((next.0, next.1)) && redis.range(&log, upto, upto, 1).await?.is_empty() {
                window.clear();
                begins = true;
                continue;
            }
            let full = entries.len() == FRAMES_A_CALL;
            for entry in entries {
                let size = entry.payload.as_ref().map_or(0, bytes::Bytes::len);
                let frame: LogFrame = entry.decode(&log)?;
                window.take((entry.id.0, entry.id.1), size, frame);
            }
            if !full {
                break;
            }
        }
        window.is_read_to((end.0, end.1));
        self.looked = Some(begun);
        Ok(())
    }
}

/// Leaps over what SQL has, if the log ends far ahead.
async fn leap(redis: &Redis, shard: u32, window: &mut Window, end: StreamId) -> Result<(), Error> {
    let end = (end.0, end.1);
    if !window.is_far_from(end, FRAMES_RECENT) {
        return Ok(());
    }
    let archived = redis.archived(&[shard]).await?.into_iter().flatten().next().unwrap_or_default();
    let Some(behind) = window.leap(end, (archived.0, archived.1), FRAMES_RECENT) else { return Ok(()) };
    let next = redis.range(&keys::log(shard), StreamId(behind.0, behind.1), StreamId(u64::MAX, u64::MAX), 1).await?;
    window.leap_to(behind, next.first().map(|next| (next.id.0, next.id.1)));
    Ok(())
}
