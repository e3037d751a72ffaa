//! Where devices are while SQL is behind: frames that stand on the stream and that nobody was given yet are noted from where they stand.
//!
//! The group takes no more frames than gps may hold, and while SQL is away it takes none. This reads past it, by what stands behind the last one
//! that it was given: nothing is taken, so each fix meets its one fate later, when the group comes to it; and then it is noted once more, which
//! changes nothing. A page of frames is held at a time, and how much may stand on the stream the doors bound (`gps.backlog_bytes_max`).
//!
//! While the group keeps up nothing stands there from one look to the next, and two short questions to Redis are all that a look costs. Every gps
//! follows for itself: whoever notes a fix second finds that it is not newer. What has no place yet, for it only heard access points, waits for SQL.

use std::time::Duration;

use super::Locate;
use super::notes::Notes;
use crate::broker::{Error, StreamId, keys};
use crate::location::frame::FixFrame;
use crate::shutdown::Shutdown;
use crate::worker::{Competing as _, chain};

/// Between two looks, once all there is was noted.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The most frames noted at once: with the longest that the doors make, some ten megabytes.
const PAGE: usize = 32;

/// Follows until it is time to stop. Failures of Redis are sat out.
pub(super) async fn run(notes: &Notes, shutdown: &Shutdown) {
    let mut follower = Follower::default();
    let mut failing = false;
    while !shutdown.is_cancelled() {
        let looked = follower.look(notes).await;
        if let (Err(error), false) = (&looked, failing) {
            tracing::warn!(error = chain(error), "cannot look for frames that nobody works on, trying again");
        }
        failing = looked.is_err();
        if matches!(looked, Ok(Seen::More)) {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// What a look saw.
enum Seen {
    /// There may be more to note now.
    More,
    /// That is all for now.
    All,
}

/// How far it is.
#[derive(Debug, Default)]
struct Follower {
    /// Up to where the group was given frames.
    given: StreamId,
    /// Up to where frames are noted, here or by whoever was given them.
    noted: StreamId,
    /// Up to where frames were seen that nobody had been given.
    seen: StreamId,
}

impl Follower {
    async fn look(&mut self, notes: &Notes) -> Result<Seen, Error> {
        let (redis, stream) = (&notes.redis, keys::fix());
        let groups = redis.groups(&stream).await?;
        let given = groups.iter().find(|group| group.name == Locate::GROUP).map_or_else(StreamId::default, |group| group.given);
        if given < self.given {
            // Another group: Redis was emptied or replaced, and ids may begin anew.
            *self = Self::default();
        }
        (self.given, self.noted) = (given, self.noted.max(given));
        let frames = redis.range(&stream, self.noted.next(), StreamId(u64::MAX, u64::MAX), PAGE).await?;
        let Some(last) = frames.last().map(|frame| frame.id) else { return Ok(Seen::All) };
        // What was not there a look ago may be on its way to a worker, which notes it.
        let behind = self.seen > given;
        self.seen = last;
        if !behind {
            return Ok(Seen::All);
        }
        // What does not decode is for the group to reject.
        let fixes = frames.iter().filter_map(|entry| entry.decode::<FixFrame>(&stream).ok()).flat_map(|frame| frame.fixes);
        notes.note(&fixes.collect::<Vec<_>>()).await?;
        metrics::counter!("roger_fix_frames_followed_total").increment(frames.len() as u64);
        self.noted = last;
        Ok(if frames.len() == PAGE { Seen::More } else { Seen::All })
    }
}
