//! How a shard comes back: from its checkpoint and log, and after a loss from what SQL knows.

use super::frame::{Input, LogFrame, RowKind};
use super::state::Shard;
use super::step::Batch;

impl Shard {
    /// The state of a checkpoint. `epoch` and `commit` are those the checkpoint was written at.
    pub fn from_checkpoint(epoch: u64, commit: u64, rows: impl IntoIterator<Item = RowKind>) -> Self {
        let mut shard = Self::new(epoch);
        shard.commit = commit;
        for row in rows {
            shard.merge(row);
        }
        // What was just read needs no writing.
        shard.take_dirty();
        shard
    }

    /// Takes in the commits behind the checkpoint, in order.
    pub fn fold_all(&mut self, log: impl IntoIterator<Item = LogFrame>) {
        for frame in log {
            self.fold(&frame);
        }
    }

    /// After a loss: merges what SQL knows into what is left, begins `epoch`, and applies the directory's current truth, which must name
    /// former members too: whoever it does not name stays what they were.
    ///
    /// Comes back with the rows to be written before the epoch begins, and the batch that is its first commit. What the batch decides is
    /// not in the rows: were it, a crash between the two would leave it in the state but in no log, and the archive would never hear of it.
    pub fn restart(
        &mut self,
        epoch: u64,
        rows: impl IntoIterator<Item = RowKind>,
        current: impl IntoIterator<Item = Input>,
        now_ms: u64,
    ) -> (Vec<RowKind>, Batch) {
        for row in rows {
            self.merge(row);
        }
        self.begin_epoch(epoch);
        let rows = self.take_dirty();
        let mut batch = Batch::default();
        for input in current {
            self.adopt(&mut batch, input, now_ms);
        }
        self.repeat_rooms(&mut batch, now_ms);
        self.renew_floors(&mut batch, now_ms);
        (rows, batch)
    }
}
