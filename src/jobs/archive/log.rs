//! Reading the log of a shard, where it is that of the newest epoch.
//!
//! A program hears of a failover within a second. Until then it may be connected to a primary of before that still takes writes, and an owner
//! that is, too, goes on there in an epoch that is over. What it commits is lost, so it must not get into SQL, where the present epoch would
//! be contradicted. So what is of an older epoch than the highest allocated counts only as read from a server on which that one began.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::{Error, Reader, Redis, StreamEntry, StreamId, keys};

/// How long a read waits for the log to grow.
const BLOCK: Duration = Duration::from_millis(500);

/// Reads the log of one shard.
pub(super) struct Log {
    shard: u32,
    key: String,
    reader: Reader,
    /// Since when there is only the log of an older epoch.
    older: Option<Instant>,
}

/// What a read came to.
#[derive(Debug)]
pub(super) enum Found {
    /// Frames, in order; none when none came in time.
    Frames(Vec<StreamEntry>),
    /// There are frames, of a server on which the highest epoch did not begin: for so long now.
    Older(Duration),
}

impl Log {
    pub(super) fn new(redis: &Redis, shard: u32) -> Self {
        Self { shard, key: keys::log(shard), reader: Reader::new(redis, BLOCK), older: None }
    }

    /// Its key on Redis.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// What lies behind a commit, at most `most` frames; waits a while for some. `allocated` is the highest epoch.
    pub(super) async fn wait(&mut self, after: StreamId, most: usize, allocated: u64) -> Result<Found, Error> {
        let read = self.reader.read(most, &BTreeMap::from([(self.key.clone(), after)])).await?;
        let entries = read.into_iter().next().map(|(_, entries)| entries).unwrap_or_default();
        match entries.first() {
            // Which server this is of, the next look says together with what it reads.
            Some(first) if first.id.0 < allocated => self.look(after, most, allocated).await,
            _ => Ok(self.found(entries)),
        }
    }

    /// As [`Log::wait`], of what is there now.
    pub(super) async fn look(&mut self, after: StreamId, most: usize, allocated: u64) -> Result<Found, Error> {
        if after.0 >= allocated {
            let entries = self.reader.behind(&self.key, after, most).await?;
            return Ok(self.found(entries));
        }
        let (epoch, entries) = self.reader.log_behind(self.shard, after, most).await?;
        if entries.is_empty() || epoch >= Some(allocated) {
            return Ok(self.found(entries));
        }
        Ok(Found::Older(self.older.get_or_insert_with(Instant::now).elapsed()))
    }

    fn found(&mut self, entries: Vec<StreamEntry>) -> Found {
        if !entries.is_empty() {
            self.older = None;
        }
        Found::Frames(entries)
    }
}
