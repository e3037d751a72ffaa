//! Reports of positions, from the doors into Redis and SQL.
//!
//! Consumes the stream `fix` (FixFrames, consumer group `gps`). First what is newer becomes the last-known position of its device; that needs no
//! SQL, and desks that watch are told. Then the frame goes into SQL together with what else waits, and is done when it is committed; a report without a fix is placed before, by the
//! access points it heard. A frame that comes again changes nothing: SQL
//! knows it by producer and number. While SQL is away frames are tried for ever, and wait on the stream; what the group does not take then is read
//! past it, so that where devices are is known and told as before, and only traces and geofences come later.
//!
//! In the same transaction what the fixes show at geofences goes into the outbox, from which the directory's relay brings it to whom it is for. Frames
//! are worked on side by side: of two of one device the newer may be taken in first, and then what the older one shows at geofences is late, and
//! not told.

mod batch;
mod follow;
mod live;
mod notes;
mod program;

use std::sync::Arc;
use std::time::Duration;

pub use batch::Batches;
pub use program::{ProgramError, run};

use batch::{Door, batches};
use notes::Notes;

use crate::broker::{Redis, keys};
use crate::clock::Clock;
use crate::location::frame::FixFrame;
use crate::retry::ErrorClass;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::worker::{Competing, Verdict, Work, chain};

/// The most frames worked on at once, which are the most held: none waits within the program without having been noted.
const FRAMES: usize = 128;

/// The job.
#[derive(Clone, Debug)]
pub struct Locate {
    notes: Notes,
    door: Door,
}

impl Locate {
    /// The job, and what commits its frames: nothing is done before that runs.
    pub fn new(redis: Redis, shards: u32) -> (Self, Batches) {
        let notes = Notes { redis, shards, moved: Arc::default() };
        let (door, batches) = batches(notes.clone());
        (Self { notes, door }, batches)
    }

    /// Where devices are, beside the job.
    pub fn places(&self) -> Places {
        Places(self.notes.clone())
    }
}

/// Where devices are, beside the job: what needs no commit. It is no door, for what commits ends with the last of those.
#[derive(Clone, Debug)]
pub struct Places(Notes);

impl Places {
    /// Notes where devices are from what nobody works on yet, until it is time to stop.
    pub async fn follow(&self, shutdown: &Shutdown) {
        follow::run(&self.0, shutdown).await;
    }

    /// Tells desks that watch where devices are, until it is time to stop. SQL says whose devices they are.
    pub async fn tell_watchers(&self, store: &Store, clock: &Clock, shutdown: &Shutdown) {
        live::run(&self.0.moved, &self.0.redis, store, clock, shutdown).await;
    }
}

impl Competing for Locate {
    const JOB: &'static str = "locate";
    const GROUP: &'static str = "gps";
    const DEADLINE: Duration = Duration::from_secs(20);
    const ATTEMPTS_MAX: u64 = u64::MAX;
    const DEATHS_MAX: u64 = u64::MAX;

    fn stream(&self) -> String {
        keys::fix()
    }

    async fn run(&self, work: Work) -> Verdict {
        let frame: FixFrame = match work.entry.decode(&keys::fix()) {
            Ok(frame) => frame,
            Err(error) => return Verdict::of(&error),
        };
        if let Err(error) = self.notes.note(&frame.fixes).await {
            return Verdict::Retry { after: None, error: chain(&error) };
        }
        tokio::select! {
            () = work.stop.cancelled() => Verdict::Interrupted,
            committed = self.door.commit(frame) => match committed {
                Ok(()) => Verdict::Done,
                Err(error) if error.class() == ErrorClass::Defect => Verdict::Reject(chain(&*error)),
                Err(error) => Verdict::Retry { after: None, error: chain(&*error) },
            },
        }
    }
}
