//! Noting where devices are: on Redis, and for desks that watch.

use std::sync::Arc;

use super::live::Moved;
use crate::broker::{self, Redis};
use crate::location::frame::Fix;

/// Where it is noted.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    pub(super) redis: Redis,
    pub(super) shards: u32,
    pub(super) moved: Arc<Moved>,
}

impl Notes {
    /// What is newer than what is known becomes the last-known position of its device, and is told to who watches.
    pub(super) async fn note(&self, fixes: &[Fix]) -> Result<(), broker::Error> {
        self.moved.note(self.redis.note_fixes(fixes, self.shards).await?);
        Ok(())
    }
}
