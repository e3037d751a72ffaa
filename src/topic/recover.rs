//! How a shard comes back: from its checkpoint and log, and after a loss from what SQL knows.

use super::follow::Followers;
use super::frame::{Entry, Input, LogFrame, Notice, Outcome, Post, Refusal, RowKind};
use super::state::Shard;
use super::step::{Batch, Step};
use crate::model::{InstallationId, MessageKind, Reason, TopicId, UserId};

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

    /// Forgets everything when SQL goes on in the epoch `archived`, which began at another server: what else the own log ends with is not in SQL and
    /// never will be, for the archive is past it. Returns whether that is so; then the log goes through [`Shard::rescue`] in the new epoch.
    pub fn yield_to(&mut self, archived: u64) -> bool {
        let outrun = archived > self.epoch;
        if outrun {
            *self = Self::new(self.epoch);
        }
        outrun
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

    /// Decides anew what a log that was outrun had decided on messages and SQL knows nothing of: it was promised, and may have been heard. A place
    /// is another one now; who has heard the message knows it by its number. What SQL has as refused stays so, and its sender is told again.
    pub fn rescue(&mut self, batch: &mut Batch, log: &[LogFrame], now_ms: u64) {
        let mut followers = Followers::default();
        for outcome in log.iter().flat_map(|frame| &frame.outcomes).filter_map(|item| item.outcome.as_ref()) {
            match outcome {
                Outcome::Entry(entry) => {
                    let Some(topic) = TopicId::from_packed(entry.topic) else { continue };
                    let sender = (UserId(entry.sender), InstallationId(entry.installation));
                    let (high, refused) = self.known_of(topic, sender);
                    let mut step = Step::of_owner(self, batch, &mut followers, now_ms);
                    if entry.client_seq > high.max(refused) {
                        step.append(topic, sender, entry.client_seq, entry.kind, entry.body.clone());
                    } else if entry.client_seq > high {
                        let Entry { topic, sender, installation, client_seq, .. } = *entry;
                        let post = Post { topic, sender, installation, client_seq, ..Post::default() };
                        step.reject(&post, Reason::SequenceReused, high);
                    } else if entry.kind == MessageKind::Rejected as u32 {
                        step.notice(topic, Notice { topic: entry.topic, kind: entry.kind, body: entry.body.clone() });
                    }
                }
                Outcome::Forward(forward) => {
                    let Some(Refusal { topic, sender, installation, client_seq }) = forward.refusal() else { continue };
                    // Also when SQL knows of it: its sender's inbox may have lost the notice of it, and hears of it twice at worst.
                    if client_seq > self.known_of(topic, (sender, installation)).0 {
                        Step::of_owner(self, batch, &mut followers, now_ms).decide(outcome.clone());
                    }
                }
                _ => {}
            }
        }
    }

    /// The highest numbers of a sender's messages that were accepted, and refused.
    fn known_of(&self, topic: TopicId, sender: (UserId, InstallationId)) -> (u64, u64) {
        let producer = self.topics.get(&topic).and_then(|topic| topic.producers.get(&sender));
        producer.map_or((0, 0), |producer| (producer.high, producer.refused))
    }
}
