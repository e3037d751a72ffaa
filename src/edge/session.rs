//! One session: what its client sends, what it follows, what waits for it.
//!
//! Everything happens under the session's own lock, and what it makes of it goes to the pusher under that lock too, so that the order in
//! which a client sent is the order in which it is pushed. No lock of the hub is taken while a session's is held, except the index's,
//! which is a leaf.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::task::AtomicWaker;
use tonic::Status;

use super::emergency::Acts;
use super::follow::{Follow, Register};
use super::hub::Edge;
use super::queue::Queue;
use super::room::Wishes;
use super::send::Sending;
use super::voice::Seats;
use super::watch::Watching;
use crate::model::{Durability, Place, Reason, SessionId, TopicId};
use crate::proto::v1;
use crate::session::Presence;
use crate::token::Claims;
use crate::topic::frame::{Detach, Input};

/// A session on this edge.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) claims: Claims,
    pub(super) presence: Presence,
    pub(super) limiter: Option<governor::DefaultDirectRateLimiter>,
    /// Woken when there is something to write to the client.
    pub(super) waker: AtomicWaker,
    /// Cancelled when the session is over, for the task that reads the client.
    pub(super) over: tokio_util::sync::CancellationToken,
    state: Mutex<State>,
}

/// The part under the lock.
pub(super) struct State {
    pub(super) follows: HashMap<TopicId, Follow>,
    pub(super) sends: HashMap<TopicId, Sending>,
    /// Followed topics that lack something, alerts first.
    pub(super) behind: BTreeSet<(bool, TopicId)>,
    /// Marks of the hello for topics that are not followed yet.
    pub(super) marks_given: HashMap<TopicId, Place>,
    /// Which groups there are, as the inbox says.
    pub(super) register: Register,
    pub(super) queue: Queue,
    /// Entries written and not acknowledged.
    pub(super) unacked: usize,
    pub(super) waiters: Vec<Waiter>,
    /// To be in other rooms.
    pub(super) wishes: Wishes,
    /// What the client sent that could not be read; its stream ends with this.
    pub(super) unreadable: Option<Status>,
    pub(super) requests: u64,
    /// When the client was last heard, and when its presence was last moved.
    pub(super) heard_ms: u64,
    pub(super) beaten_ms: u64,
    /// What the client last said of its battery, in percent, and has not been noted.
    pub(super) battery: Option<u32>,
    /// What was done to alerts, and is not answered yet.
    pub(super) acts: Acts,
    /// Seats at the media server that were asked for.
    pub(super) seats: Seats,
    /// Presses of SOS that wait for their stream.
    pub(super) presses_open: usize,
    /// Reports that wait for the stream.
    pub(super) reports_open: usize,
    /// Where devices are, when the client asked for it.
    pub(super) watching: Option<Watching>,
    /// Set while the session is on a list of sessions to be woken.
    pub(super) touched: [bool; 2],
    pub(super) closed: bool,
}

/// A unary call that waits for the fate of its messages.
pub(super) struct Waiter {
    pub(super) open: Vec<(TopicId, u64)>,
    pub(super) answer: v1::ImMessagePublishResponse,
    pub(super) done: Option<tokio::sync::oneshot::Sender<v1::ImMessagePublishResponse>>,
}

impl Session {
    pub(super) fn new(edge: &Edge, claims: Claims, presence: Presence, marks: HashMap<TopicId, Place>) -> Arc<Self> {
        let state = State::new(edge.clock.now_ms(), marks);
        Arc::new(Self {
            id: presence.session,
            claims,
            presence,
            limiter: edge.limiter(),
            waker: AtomicWaker::new(),
            over: tokio_util::sync::CancellationToken::new(),
            state: Mutex::new(state),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held is a defect that was logged; the session is no worse for others to look at.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user's inbox.
    pub(super) fn inbox(&self) -> TopicId {
        TopicId::inbox(self.claims.user)
    }

    /// The client showed that it is there.
    pub(super) fn heard(&self, now_ms: u64) {
        self.lock().heard_ms = now_ms;
    }

    /// Writes what waits, if the client's stream sleeps.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Ends the session: its client is told why, and nothing more comes to it.
    pub(super) fn close(self: &Arc<Self>, edge: &Edge, reason: Reason, retry_after_ms: u32) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        let topics: BTreeSet<_> = state.follows.keys().chain(state.sends.keys()).copied().collect();
        for topic in topics {
            edge.pusher.push(topic, Input::Detach(Detach { topic: topic.packed(), session: self.id.0 }), None);
            edge.index.remove(topic, self.id);
        }
        state.follows.clear();
        state.sends.clear();
        state.behind.clear();
        state.waiters.clear();
        state.wishes = Wishes::default();
        state.acts = Acts::default();
        state.seats = Seats::default();
        state.watching = None;
        let text = crate::proto::status::text_of(reason).to_owned();
        state.queue.close(v1::Close { reason: v1::Reason::from(reason).into(), retry_after_ms, text });
        drop(state);
        tracing::info!(session.id = self.id.for_logs(), user.id = self.claims.user.0, reason = reason.as_str(), "session closed");
        metrics::counter!("roger_sessions_closed_total", "reason" => reason.as_str()).increment(1);
        edge.watchers.remove(self.claims.user, self.id);
        edge.forget(self.id);
        self.over.cancel();
        self.wake();
    }

    /// Ends the session of a client that sent what cannot be read: there is no telling where its next frame begins.
    pub(super) fn break_off(self: &Arc<Self>, edge: &Edge, status: Status) {
        self.lock().unreadable = Some(status);
        self.close(edge, Reason::SignedOut, 0);
    }

    /// A frame with messages of this session is on Redis.
    pub(super) fn stored(&self, topic: TopicId, client_seq: u64, durability: Durability) {
        let mut state = self.lock();
        let Some(sending) = state.sends.get_mut(&topic) else { return };
        sending.stored = sending.stored.max(client_seq);
        // The owner may have accepted more from this installation before, in another session.
        // SQL may not have that yet.
        let known = sending.known.filter(|_| durability < Durability::Sql).unwrap_or(0);
        let client_seq = sending.stored.max(known);
        if sending.is_settled() {
            state.sends.remove(&topic);
        }
        state.receipt(topic, client_seq, durability);
        drop(state);
        self.wake();
    }
}

impl State {
    fn new(now_ms: u64, marks_given: HashMap<TopicId, Place>) -> Self {
        Self {
            follows: HashMap::new(),
            sends: HashMap::new(),
            behind: BTreeSet::new(),
            marks_given,
            register: Register::default(),
            queue: Queue::new(now_ms),
            unacked: 0,
            waiters: Vec::new(),
            wishes: Wishes::default(),
            unreadable: None,
            requests: 0,
            heard_ms: now_ms,
            beaten_ms: now_ms,
            battery: None,
            acts: Acts::default(),
            seats: Seats::default(),
            presses_open: 0,
            reports_open: 0,
            watching: None,
            touched: [false; 2],
            closed: false,
        }
    }

    /// Tells the client that everything up to `client_seq` is stored.
    pub(super) fn receipt(&mut self, topic: TopicId, client_seq: u64, durability: Durability) {
        metrics::counter!("roger_receipts_total", "durability" => durability.as_str()).increment(1);
        let receipt = v1::Receipt { topic: Some(topic.into()), client_seq, durability: v1::Durability::from(durability).into() };
        let mut waited = false;
        self.forget_callers_gone();
        for waiter in &mut self.waiters {
            let before = waiter.open.len();
            waiter.open.retain(|(known, seq)| *known != topic || *seq > client_seq);
            if waiter.open.len() < before {
                waited = true;
                waiter.answer.receipts.retain(|known| known.topic != receipt.topic);
                waiter.answer.receipts.push(receipt);
            }
        }
        self.settle();
        if !waited {
            self.queue.receipt(topic, receipt);
        }
    }

    /// Tells the client that something was refused.
    pub(super) fn refuse(&mut self, refusal: v1::Refusal) {
        let topic = refusal.topic.and_then(v1::Topic::to_model);
        self.forget_callers_gone();
        for waiter in &mut self.waiters {
            let at = waiter.open.iter().position(|(known, seq)| Some(*known) == topic && *seq == refusal.client_seq);
            if let Some(at) = at {
                waiter.open.remove(at);
                waiter.answer.refusals.push(refusal);
                return self.settle();
            }
        }
        self.queue.refusals.push(refusal);
    }

    /// What a heartbeat says beside that the client is there.
    ///
    /// # Errors
    /// When it is no percentage; it is not noted then.
    pub(super) fn beat(&mut self, beat: v1::Beat) -> Result<(), Reason> {
        match beat.battery_percent {
            Some(101..) => return Err(Reason::FieldInvalid),
            Some(percent) => self.battery = Some(percent),
            None => {}
        }
        Ok(())
    }

    /// Unary calls whose callers are gone take no answer from those who ask again, and are not kept while none comes.
    pub(super) fn forget_callers_gone(&mut self) {
        self.waiters.retain(|waiter| waiter.done.as_ref().is_some_and(|done| !done.is_closed()));
    }

    /// Answers the unary calls whose messages all have a receipt or a refusal.
    pub(super) fn settle(&mut self) {
        for waiter in &mut self.waiters {
            if waiter.open.is_empty()
                && let Some(done) = waiter.done.take()
            {
                // A caller that is gone needs no answer.
                drop(done.send(std::mem::take(&mut waiter.answer)));
            }
        }
        self.waiters.retain(|waiter| waiter.done.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_is_gone_takes_no_answer_from_one_that_asks_again() {
        let topic = TopicId::inbox(crate::model::UserId(7));
        let mut state = State::new(0, HashMap::new());
        let ask = |state: &mut State| {
            let (done, answer) = tokio::sync::oneshot::channel();
            state.waiters.push(Waiter { open: vec![(topic, 1), (topic, 2)], answer: Default::default(), done: Some(done) });
            answer
        };
        drop(ask(&mut state));
        let mut again = ask(&mut state);
        state.receipt(topic, 1, Durability::Fsync);
        state.refuse(v1::Refusal { topic: Some(topic.into()), client_seq: 2, ..v1::Refusal::default() });
        let answer = again.try_recv().unwrap();
        assert_eq!((answer.receipts.len(), answer.refusals.len()), (1, 1));
        assert!(state.queue.is_empty(), "the answer is not also a part of the stream");
        // Nobody waits: it is told in the stream.
        drop(ask(&mut state));
        state.receipt(topic, 2, Durability::Fsync);
        assert!(!state.queue.is_empty());
    }
}
