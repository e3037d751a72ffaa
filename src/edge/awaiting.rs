//! Receipts that wait until SQL has what they are for.
//!
//! A frame is on Redis when its push is answered. The owner of its shard says with all it has for this edge which frame of the edge it took
//! in last, and at which commit; the archive says on Redis up to which commit SQL is. A receipt says `sql` once both are behind what it is
//! for, in the epoch that the edge knew of when it made the frame: within one, whoever took in a later frame took in all before it. Another
//! epoch may have begun without the end of the input, and have the later frame alone. So what it took in counts for nothing that was made
//! before it was heard of. There a receipt says what Redis made of it, and so it does after a while. Where SQL does not follow nobody
//! waits, until it does again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::session::Session;
use crate::broker::{Redis, StreamId};
use crate::model::{Durability, TopicId};
use crate::shutdown::Shutdown;
use crate::topic::frame::Lane;

/// How often it is looked how far SQL is, while somebody waits.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The same while nobody does, for it does not follow.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(1);

/// To whom receipts are due, and up to which number of a topic.
pub(super) type Senders = Vec<(Arc<Session>, TopicId, u64)>;

/// Whoever waits, by shard.
pub(super) struct AwaitingSql {
    shards: Vec<Mutex<Waiting<Senders>>>,
    /// How long a receipt waits.
    patience: Duration,
    begun: Notify,
    over: AtomicBool,
}

/// Who waits for one shard.
struct Waiting<T> {
    /// In the order of their frames, by lane.
    lanes: [VecDeque<Held<T>>; 2],
    /// The last frame that was taken in, by lane, and at which commit: that may be heard before the push of the frame is answered.
    taken: [(u64, StreamId); 2],
    /// How far SQL was when it was found not to follow.
    missing: Option<Option<StreamId>>,
}

struct Held<T> {
    /// Of the frame.
    number: u64,
    /// The shard's epoch as the edge knew it when the frame was made; 0 before it heard of one.
    epoch: u64,
    /// The commit by which the owner had taken it in.
    taken: Option<StreamId>,
    since: Instant,
    /// How safe Redis made it.
    reached: Durability,
    senders: T,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { lanes: Default::default(), taken: Default::default(), missing: None }
    }
}

impl<T> Waiting<T> {
    fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    fn hold(&mut self, lane: Lane, held: Held<T>) {
        let (number, at) = self.taken[lane as usize];
        let taken = (held.number <= number).then_some(at);
        self.lanes[lane as usize].push_back(Held { taken, ..held });
    }

    fn taken_in(&mut self, lane: Lane, number: u64, at: StreamId) {
        if number > self.taken[lane as usize].0 {
            self.taken[lane as usize] = (number, at);
        }
        for held in self.lanes[lane as usize].iter_mut().take_while(|held| held.number <= number) {
            held.taken.get_or_insert(at);
        }
    }

    /// Whose receipts are due, and what they say, when SQL is so far.
    fn due(&mut self, archived: Option<StreamId>, now: Instant, patience: Duration) -> Vec<(T, Durability)> {
        if self.missing.is_some_and(|before| before != archived) {
            self.missing = None;
        }
        let mut due = Vec::new();
        for lane in &mut self.lanes {
            while let Some(first) = lane.front() {
                let says = match (first.taken, archived) {
                    (Some(taken), _) if taken.0 != first.epoch => Some(first.reached),
                    (Some(taken), Some(archived)) if archived.0 == taken.0 && archived.1 >= taken.1 => Some(Durability::Sql),
                    // Another epoch began, and it is not known whether with it.
                    (Some(taken), Some(archived)) if archived.0 > taken.0 => Some(first.reached),
                    _ if self.missing.is_some() => Some(first.reached),
                    _ if now.saturating_duration_since(first.since) >= patience => {
                        self.missing = Some(archived);
                        Some(first.reached)
                    }
                    _ => None,
                };
                let Some((says, held)) = says.and_then(|says| Some((says, lane.pop_front()?))) else { break };
                due.push((held.senders, says));
            }
        }
        due
    }
}

impl AwaitingSql {
    pub(super) fn new(shards: u32, patience: Duration) -> Self {
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Self { shards, patience, begun: Notify::new(), over: AtomicBool::new(false) }
    }

    fn lock(&self, shard: u32) -> Option<MutexGuard<'_, Waiting<Senders>>> {
        Some(self.shards.get(shard as usize)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds receipts for what a frame had that was made in an epoch, and is as safe on Redis as `reached`; where SQL does not follow they
    /// are sent at once.
    pub(super) fn hold(&self, shard: u32, lane: Lane, (epoch, number): (u64, u64), senders: Senders, reached: Durability) {
        if senders.is_empty() {
            return;
        }
        let Some(mut waiting) = self.lock(shard) else { return };
        if self.over.load(Ordering::Acquire) || waiting.missing.is_some() {
            drop(waiting);
            return send(senders, reached);
        }
        waiting.hold(lane, Held { number, epoch, taken: None, since: Instant::now(), reached, senders });
        drop(waiting);
        self.begun.notify_one();
    }

    /// The owner has taken in the edge's frames of a lane up to a number, by that commit.
    pub(super) fn taken_in(&self, shard: u32, lane: Lane, number: u64, at: StreamId) {
        if let Some(mut waiting) = self.lock(shard) {
            waiting.taken_in(lane, number, at);
        }
    }

    /// Sends what is due, until it is time to stop; then all that is left says what Redis made of it.
    pub(super) async fn run(&self, redis: &Redis, stop: &Shutdown) {
        while !stop.is_cancelled() {
            let (waited_for, missing) =
                (self.shards_where(|waiting| !waiting.is_empty()), self.shards_where(|waiting| waiting.missing.is_some()));
            let pause = if !waited_for.is_empty() {
                LOOK_EVERY
            } else if missing.is_empty() {
                Duration::MAX
            } else {
                LOOK_FOR_MISSING
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.begun.notified(), if waited_for.is_empty() => continue,
                () = stop.cancelled() => break,
            }
            let shards: Vec<u32> = if waited_for.is_empty() { missing } else { waited_for };
            // Without an answer patience decides.
            let archived = redis.archived(&shards).await.unwrap_or_else(|_| vec![None; shards.len()]);
            for (shard, archived) in shards.into_iter().zip(archived) {
                let due = self.lock(shard).map(|mut waiting| waiting.due(archived, Instant::now(), self.patience)).unwrap_or_default();
                due.into_iter().for_each(|(senders, durability)| send(senders, durability));
            }
        }
        self.over.store(true, Ordering::Release);
        for shard in 0..self.shards.len() as u32 {
            let left = self.lock(shard).map(|mut waiting| std::mem::take(&mut waiting.lanes)).unwrap_or_default();
            left.into_iter().flatten().for_each(|held| send(held.senders, held.reached));
        }
    }

    fn shards_where(&self, holds: impl Fn(&Waiting<Senders>) -> bool) -> Vec<u32> {
        (0..self.shards.len() as u32).filter(|shard| self.lock(*shard).is_some_and(|waiting| holds(&waiting))).collect()
    }
}

/// Sends receipts.
pub(super) fn send(senders: Senders, durability: Durability) {
    for (session, topic, client_seq) in senders {
        session.stored(topic, client_seq, durability);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn held(number: u64, since: Instant) -> Held<u64> {
        Held { number, epoch: 1, taken: None, since, reached: Durability::Replica, senders: number }
    }

    fn waiting(numbers: &[u64], since: Instant) -> Waiting<u64> {
        let lane = numbers.iter().map(|number| held(*number, since)).collect();
        Waiting { lanes: [VecDeque::new(), lane], ..Waiting::default() }
    }

    #[test]
    fn a_receipt_says_sql_once_its_frame_was_taken_in_and_that_commit_is_archived() {
        let now = Instant::now();
        let mut waiting = waiting(&[1, 2, 3], now);
        assert_eq!(waiting.due(Some(StreamId(1, 90)), now, PATIENCE), [], "nobody said that they were taken in");
        waiting.taken_in(Lane::Normal, 2, StreamId(1, 7));
        assert_eq!(waiting.due(Some(StreamId(1, 6)), now, PATIENCE), []);
        waiting.taken_in(Lane::Normal, 3, StreamId(1, 9));
        assert_eq!(waiting.due(Some(StreamId(1, 8)), now, PATIENCE), [(1, Durability::Sql), (2, Durability::Sql)]);
        assert_eq!(waiting.due(Some(StreamId(1, 9)), now, PATIENCE), [(3, Durability::Sql)]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn what_another_epoch_may_have_begun_without_says_what_redis_made_of_it() {
        let now = Instant::now();
        let mut waiting = waiting(&[1, 2], now);
        waiting.taken_in(Lane::Normal, 1, StreamId(1, 7));
        assert_eq!(waiting.due(Some(StreamId(2, 9)), now, PATIENCE), [(1, Durability::Replica)]);
        waiting.taken_in(Lane::Normal, 2, StreamId(2, 3));
        assert_eq!(waiting.due(Some(StreamId(2, 9)), now, PATIENCE), [(2, Durability::Replica)]);
    }

    #[test]
    fn what_was_lost_in_front_of_a_frame_that_the_next_epoch_took_in_never_says_sql() {
        let now = Instant::now();
        // Redis answered for 1, and came back without it. It was heard that another epoch began, and then 2 was made.
        let mut waiting = waiting(&[1], now);
        waiting.lanes[Lane::Normal as usize].push_back(Held { epoch: 2, ..held(2, now) });
        waiting.taken_in(Lane::Normal, 2, StreamId(2, 3));
        assert_eq!(waiting.due(Some(StreamId(2, 2)), now, PATIENCE), [(1, Durability::Replica)]);
        assert_eq!(waiting.due(Some(StreamId(2, 3)), now, PATIENCE), [(2, Durability::Sql)]);
        // Nor may what was made before any epoch was heard of.
        waiting.lanes[Lane::Normal as usize].push_back(Held { epoch: 0, ..held(3, now) });
        waiting.taken_in(Lane::Normal, 3, StreamId(2, 4));
        assert_eq!(waiting.due(Some(StreamId(2, 9)), now, PATIENCE), [(3, Durability::Replica)]);
    }

    #[test]
    fn what_was_taken_in_before_its_push_was_answered_waits_for_no_second_word() {
        let now = Instant::now();
        let mut waiting = waiting(&[], now);
        waiting.taken_in(Lane::Normal, 2, StreamId(1, 7));
        (1..=3).for_each(|number| waiting.hold(Lane::Normal, held(number, now)));
        assert_eq!(waiting.due(Some(StreamId(1, 6)), now, PATIENCE), []);
        assert_eq!(waiting.due(Some(StreamId(1, 7)), now, PATIENCE), [(1, Durability::Sql), (2, Durability::Sql)]);
        // Of another epoch it counts as little as what is heard later.
        waiting.taken_in(Lane::Normal, 4, StreamId(2, 1));
        waiting.hold(Lane::Normal, held(4, now));
        assert_eq!(waiting.due(Some(StreamId(2, 5)), now, PATIENCE), [(3, Durability::Replica), (4, Durability::Replica)]);
    }

    #[test]
    fn nobody_waits_longer_than_patience_and_then_nobody_at_all_until_sql_goes_on() {
        let begun = Instant::now();
        let mut waiting = waiting(&[1, 2], begun);
        waiting.taken_in(Lane::Normal, 2, StreamId(1, 7));
        waiting.lanes[Lane::Normal as usize].push_back(held(3, begun + PATIENCE / 2));
        assert_eq!(waiting.due(Some(StreamId(1, 6)), begun + PATIENCE / 2, PATIENCE), []);
        let all = [1, 2, 3].map(|number| (number, Durability::Replica));
        assert_eq!(waiting.due(Some(StreamId(1, 6)), begun + PATIENCE, PATIENCE), all);
        assert!(waiting.missing.is_some());
        waiting.due(Some(StreamId(1, 6)), begun + PATIENCE, PATIENCE);
        assert!(waiting.missing.is_some(), "it did not go on");
        waiting.due(Some(StreamId(1, 8)), begun + PATIENCE, PATIENCE);
        assert!(waiting.missing.is_none());
    }
}
