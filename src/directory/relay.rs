//! The relay: what the directory decided, from the outbox in SQL into the shards' inputs.
//!
//! Whoever changes a group writes what the shards must hear of it into the outbox, in the same transaction. The relay reads the outbox in
//! order and pushes it, and only then, if the one who took it is the primary of Redis still, removes it: at least once. A repeat is harmless twice over: a shard drops a frame whose number it
//! has had, and what the frame holds is versioned. One relay of a fleet works at a time, by lease; that two work for a moment is harmless
//! for the same reasons.
//!
//! A user hears of a group only when the group's shard has been told: of each batch the memberships and profiles are pushed and answered
//! before the registers. The two are numbered apart, each frame with the id of its last row. So a frame of number n holds all rows of its
//! kind and shard up to n that were not yet done, and no number is ever taken with less behind it than was pushed before.
//!
//! An emptied Redis is not filled from here: a shard without state asks for the present memberships itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::sync::Notify;

use super::Error;
use super::health::Pulse;
use crate::broker::{Asked, Facts, Redis, keys};
use crate::retry::{Delays, ErrorClass};
use crate::shutdown::Shutdown;
use crate::store::{OutboxRow, Store};
use crate::topic::frame::{InFrame, Input, Lane};

/// The producer of frames with memberships, profiles, and notices to groups. Constant: the numbers rise over all relays there ever are.
pub const MEMBERSHIPS_PRODUCER: u64 = u64::from_be_bytes(*b"dir:memb");
/// The producer of frames with registers, and with notices to people.
pub const REGISTERS_PRODUCER: u64 = u64::from_be_bytes(*b"dir:regs");
/// The lease of the one relay: that of this job on shard 0.
pub const LEASE_JOB: &str = "outbox";

/// How long the lease outlives a relay that no longer renews it.
const LEASE_LIFETIME: Duration = Duration::from_secs(5);
/// The most rows of a batch: small enough that a shard takes a frame of it in within a millisecond, and messages behind it do not wait.
const BATCH_ROWS_MAX: u32 = 200;
/// How long it rests between two batches, for the same reason. An import of 10,000 devices is relayed within half a second.
const REST: Duration = Duration::from_millis(4);
/// How often the outbox is looked at when it is empty. Other programs write to it as well, so nobody can call.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a relay that stands by asks for the lease.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The relay of this program.
pub(super) struct Relay {
    store: Store,
    redis: Redis,
    shards: u32,
    holder: String,
    pulse: Arc<Pulse>,
    /// Woken when this program wrote something.
    nudge: Arc<Notify>,
    /// When the lease was renewed last; `None` when it is not held.
    renewed: Option<Instant>,
}

/// What a round found.
enum Round {
    /// A batch was pushed; there may be more.
    Pushed,
    /// The outbox is empty.
    Empty,
    /// Another relay works.
    StandingBy,
}

impl Relay {
    pub(super) fn new(store: Store, redis: Redis, shards: u32, pulse: Arc<Pulse>, nudge: Arc<Notify>) -> Self {
        let holder = format!("directory-{}-{:016x}", std::process::id(), rand::random::<u64>());
        Self { store, redis, shards, holder, pulse, nudge, renewed: None }
    }

    /// Relays until `shutdown`. Waits for Redis and SQL when they are away.
    ///
    /// # Errors
    /// When Redis or the store can never be used as they are.
    pub(super) async fn run(mut self, shutdown: Shutdown) -> Result<(), Error> {
        let mut delays = Delays::reconnecting();
        let mut waiting = false;
        while !shutdown.is_cancelled() {
            let pause = match self.round().await {
                Ok(round) => {
                    if std::mem::take(&mut waiting) {
                        tracing::info!("the relay goes on");
                    }
                    delays.reset();
                    self.pulse.beat();
                    match round {
                        Round::Pushed => REST,
                        Round::Empty => LOOK_EVERY,
                        Round::StandingBy => ASK_EVERY,
                    }
                }
                Err(error) => {
                    self.renewed = None;
                    match (error.class(), std::mem::replace(&mut waiting, true)) {
                        (ErrorClass::Permanent, _) => return Err(error),
                        (_, true) => {}
                        (ErrorClass::Transient, false) => {
                            tracing::warn!(error = &error as &dyn std::error::Error, "the relay waits, and changes of groups with it");
                        }
                        // Logins need no relay: the program stays.
                        (ErrorClass::Defect, false) => {
                            tracing::error!(error = &error as &dyn std::error::Error, "the relay is stuck, and changes of groups with it");
                        }
                    }
                    delays.next_delay()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Others write as well: what one who stands by wrote, the other one brings.
                () = self.nudge.notified(), if pause == LOOK_EVERY => {}
                () = shutdown.cancelled() => {}
            }
        }
        if self.renewed.is_some() {
            // If this fails the lease lapses by itself.
            let _late = self.redis.release_lease(0, LEASE_JOB, &self.holder, None).await;
        }
        Ok(())
    }

    async fn round(&mut self) -> Result<Round, Error> {
        if !self.keep_lease().await? {
            return Ok(Round::StandingBy);
        }
        let store_failed = |source| Error::Store { source };
        let rows = self.store.outbox(0, BATCH_ROWS_MAX).await.map_err(store_failed)?;
        let Some(last) = rows.last().map(|row| row.id) else { return Ok(Round::Empty) };
        let (registers, memberships): (Vec<OutboxRow>, Vec<OutboxRow>) = rows.into_iter().partition(is_for_people);
        let count = (memberships.len() + registers.len()) as u64;
        let mut takers = self.push(MEMBERSHIPS_PRODUCER, memberships).await?;
        takers.extend(self.push(REGISTERS_PRODUCER, registers).await?);
        // What a primary of before took is lost, and with the rows gone nobody would say it again.
        self.redis.confirm(&takers, Asked::Most).await.map_err(|source| Error::Redis { source })?;
        self.store.outbox_done(last).await.map_err(store_failed)?;
        metrics::counter!("roger_outbox_rows_total").increment(count);
        tracing::debug!(outbox.rows = count, outbox.last = last, "relayed");
        Ok(Round::Pushed)
    }

    /// Whether this relay may work.
    async fn keep_lease(&mut self) -> Result<bool, Error> {
        let redis_failed = |source| Error::Redis { source };
        if self.renewed.is_some_and(|renewed| renewed.elapsed() < LEASE_LIFETIME / 3) {
            return Ok(true);
        }
        let begun = Instant::now();
        let lifetime_ms = LEASE_LIFETIME.as_millis() as u64;
        let held = self.redis.renew_lease(0, LEASE_JOB, &self.holder, lifetime_ms).await.map_err(redis_failed)?;
        if held && self.renewed.is_none() {
            let pinned = self.redis.pin_shards(self.shards).await.map_err(redis_failed)?;
            if pinned != self.shards {
                return Err(Error::Shards { configured: self.shards, pinned });
            }
            tracing::info!("this program relays what changes in groups");
        }
        self.renewed = held.then_some(begun);
        Ok(held)
    }

    /// Who took it.
    async fn push(&self, producer: u64, rows: Vec<OutboxRow>) -> Result<Vec<Arc<Facts>>, Error> {
        let frames = frames(producer, rows, self.shards);
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        let encoded: Vec<(String, Vec<u8>)> = frames.into_iter().map(|(key, frame)| (key, frame.encode_to_vec())).collect();
        self.redis.hand_over(&encoded).await.map_err(|source| Error::Redis { source })
    }
}

/// Whether a row comes to the user's knowledge: it waits until the groups' topics were told.
fn is_for_people(row: &OutboxRow) -> bool {
    match row.item.input {
        Some(Input::Register(_)) => true,
        Some(Input::Notice(_)) => row.topic.inbox_of().is_some(),
        _ => false,
    }
}

/// One frame for each stream that rows, in order, are for.
fn frames(producer: u64, rows: Vec<OutboxRow>, shards: u32) -> BTreeMap<String, InFrame> {
    let mut frames: BTreeMap<String, InFrame> = BTreeMap::new();
    for row in rows {
        let shard = row.topic.shard(shards);
        let key = match Lane::of(row.topic) {
            Lane::Urgent => keys::urgent(shard),
            Lane::Normal => keys::input(shard),
        };
        let frame = frames.entry(key).or_insert_with(|| InFrame { producer, ..InFrame::default() });
        frame.number = row.id;
        frame.items.push(row.item);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupId, TopicId};
    use crate::topic::frame::Membership;

    #[test]
    fn a_frame_bears_the_number_of_its_last_row() {
        let row = |id, group| {
            let topic = TopicId::group(GroupId(group));
            let membership = Membership { topic: topic.packed(), user: 1, version: id, joined: true };
            OutboxRow { id, topic, kind: "membership".to_owned(), item: Input::Membership(membership).into(), created_ms: 0 }
        };
        let frames = frames(MEMBERSHIPS_PRODUCER, (1..=100).map(|id| row(id, id % 7 + 1)).collect(), 4);
        assert!(frames.len() > 1 && frames.len() <= 4);
        assert_eq!(frames.values().map(|frame| frame.items.len()).sum::<usize>(), 100);
        for frame in frames.values() {
            let versions: Vec<u64> = frame.items.iter().map(version).collect();
            assert!(versions.is_sorted(), "out of order: {versions:?}");
            assert_eq!(versions.last(), Some(&frame.number));
        }
    }

    fn version(item: &crate::topic::frame::InItem) -> u64 {
        match &item.input {
            Some(Input::Membership(membership)) => membership.version,
            other => panic!("{other:?}"),
        }
    }
}
