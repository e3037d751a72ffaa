//! What a client waits for and which sessions it keeps, over all its connections.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::wire::{Expect, Message, SessionNumber};

#[derive(Debug, Default)]
pub(super) struct State {
    inner: Mutex<Inner>,
    suspicion: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    transactions: u64,
    pending: HashMap<String, Pending>,
    sessions: BTreeSet<SessionNumber>,
    trouble: String,
}

#[derive(Debug)]
struct Pending {
    expect: Expect,
    sent: bool,
    reply: oneshot::Sender<Message>,
}

/// A request under way. Dropping it takes the request back, or its answer is no longer of interest.
#[derive(Debug)]
pub(super) struct Expected {
    transaction: String,
    state: Arc<State>,
}

impl Expected {
    pub(super) fn transaction(&self) -> &str {
        &self.transaction
    }

    pub(super) fn was_sent(&self) -> bool {
        self.state.lock().pending.get(&self.transaction).is_some_and(|pending| pending.sent)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.state.lock().pending.remove(&self.transaction);
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is whole within one lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another transaction than all before; Janus knows it only within this connection.
    pub(super) fn transaction(&self) -> String {
        let mut inner = self.lock();
        inner.transactions += 1;
        format!("t{}", inner.transactions)
    }

    pub(super) fn expect(self: &Arc<Self>, expect: Expect, reply: oneshot::Sender<Message>) -> Expected {
        let transaction = self.transaction();
        self.lock().pending.insert(transaction.clone(), Pending { expect, sent: false, reply });
        Expected { transaction, state: self.clone() }
    }

    /// Whether the request is still wanted; from now on it may have been carried out.
    pub(super) fn sending(&self, transaction: &str) -> bool {
        let mut inner = self.lock();
        let pending = inner.pending.get_mut(transaction);
        pending.map(|pending| pending.sent = true).is_some()
    }

    /// Gives an answer to whoever waits for it; gives it back when nobody does. A mere `ack` of what comes later is kept from them.
    pub(super) fn answer(&self, message: Message) -> Option<Message> {
        let mut inner = self.lock();
        let Some(transaction) = &message.transaction else { return Some(message) };
        let Some(pending) = inner.pending.get(transaction) else { return Some(message) };
        if message.ends(pending.expect)
            && let Some(pending) = inner.pending.remove(transaction)
        {
            // Whoever asked may have gone just now.
            drop(pending.reply.send(message));
        }
        None
    }

    /// The connection is over: what was sent on it gets no answer any more. What was not waits for the next one.
    pub(super) fn break_off(&self, why: String) {
        let mut inner = self.lock();
        inner.pending.retain(|_, pending| !pending.sent);
        inner.trouble = why;
    }

    pub(super) fn trouble(&self) -> String {
        let trouble = self.lock().trouble.clone();
        if trouble.is_empty() { "it is being made".to_owned() } else { trouble }
    }

    pub(super) fn keep(&self, session: SessionNumber) {
        self.lock().sessions.insert(session);
    }

    /// False when it was not kept.
    pub(super) fn forget(&self, session: SessionNumber) -> bool {
        self.lock().sessions.remove(&session)
    }

    pub(super) fn sessions(&self) -> Vec<SessionNumber> {
        self.lock().sessions.iter().copied().collect()
    }

    /// A request was not answered: the connection should be looked at.
    pub(super) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    pub(super) async fn suspected(&self) {
        self.suspicion.notified().await;
    }
}
