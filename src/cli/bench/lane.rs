//! One writer, one topic, and all who listen to it: keeps the writer's window full and checks what arrives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hdrhistogram::Histogram;

use crate::client::{Body, Event, Session};
use crate::model::TopicId;

/// Latencies are kept to this many digits, up to a minute, in microseconds.
const DIGITS: u8 = 2;
const LATENCY_US_MAX: u64 = 60_000_000;

/// Counts all lanes together, so that the end is seen without asking each.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) receipted: AtomicU64,
    pub(super) delivered: AtomicU64,
    /// Sessions that are open.
    pub(super) connected: AtomicU64,
    /// Topics that sessions follow.
    pub(super) followed: AtomicU64,
}

/// What a lane found.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) duplicated: u64,
    pub(super) disordered: u64,
    pub(super) refused: u64,
    /// The writer was told that the recipient acknowledged so many.
    pub(super) told: u64,
    pub(super) latency_us: Histogram<u32>,
}

/// One writer and its listeners.
pub(super) struct Lane {
    topic: TopicId,
    text: Bytes,
    quota: u64,
    window: u64,
    listeners: u64,
    writer: OnceLock<Session>,
    state: Mutex<State>,
    progress: Arc<Progress>,
}

struct State {
    started: bool,
    sent: u64,
    receipted: u64,
    delivered: u64,
    /// When the last ones were sent, by client_seq.
    times: Vec<Instant>,
    tally: Tally,
}

impl Lane {
    pub(super) fn new(topic: TopicId, text: Bytes, quota: u64, window: u64, listeners: u64, progress: Arc<Progress>) -> Arc<Self> {
        let latency_us =
            Histogram::new_with_max(LATENCY_US_MAX, DIGITS).unwrap_or_else(|_| unreachable!("2 digits to a minute are in its range"));
        let tally = Tally { duplicated: 0, disordered: 0, refused: 0, told: 0, latency_us };
        let ring = (window * 16).next_power_of_two() as usize;
        let state = State { started: false, sent: 0, receipted: 0, delivered: 0, times: vec![Instant::now(); ring], tally };
        Arc::new(Self { topic, text, quota, window, listeners, writer: OnceLock::new(), state: Mutex::new(state), progress })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(&self, writer: Session) {
        let _once = self.writer.set(writer);
        let mut state = self.state();
        state.started = true;
        self.pump(&mut state);
    }

    /// Fills the window: what is not both receipted and delivered. In a group the mean of the listeners counts.
    fn pump(&self, state: &mut State) {
        let Some(writer) = self.writer.get().filter(|_| state.started) else { return };
        let settled = state.receipted.min(state.delivered / self.listeners.max(1));
        while state.sent < self.quota && state.sent - settled.min(state.sent) < self.window {
            if writer.try_send(self.topic, self.text.clone()).is_err() {
                return;
            }
            state.sent += 1;
            let ring = state.times.len();
            let at = state.sent as usize % ring;
            state.times[at] = Instant::now();
        }
    }

    /// What the writer is told.
    pub(super) fn writer_events(&self, events: &mut Vec<Event>) {
        let mut state = self.state();
        for event in events.drain(..) {
            match event {
                Event::Receipt(receipt) if receipt.topic == self.topic => {
                    self.progress.receipted.fetch_add(receipt.messages as u64, Ordering::Relaxed);
                    state.receipted = state.receipted.max(receipt.client_seq);
                }
                Event::Refusal(_) => state.tally.refused += 1,
                Event::Disposition { topic, delivered_client_seq } if topic == self.topic => {
                    state.tally.told = state.tally.told.max(delivered_client_seq);
                }
                other => self.progress.note(&other),
            }
        }
        self.pump(&mut state);
    }

    /// What a listener is told; `last` is the client_seq it had last.
    pub(super) fn listener_events(&self, last: &mut u64, events: &mut Vec<Event>) {
        let mut state = self.state();
        let now = Instant::now();
        let mut delivered = 0;
        for event in events.drain(..) {
            let Event::Entry(entry) = event else {
                self.progress.note(&event);
                continue;
            };
            if entry.topic != self.topic || !matches!(&entry.body, Body::Text(text) if text.len() == self.text.len()) {
                continue;
            }
            if entry.client_seq <= *last {
                state.tally.duplicated += 1;
                continue;
            }
            if entry.client_seq != *last + 1 {
                state.tally.disordered += 1;
            }
            *last = entry.client_seq;
            delivered += 1;
            let ring = state.times.len();
            let sent_at = state.times[entry.client_seq as usize % ring];
            let took_us = now.saturating_duration_since(sent_at).as_micros() as u64;
            state.tally.latency_us.saturating_record(took_us.max(1));
        }
        state.delivered += delivered;
        self.progress.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.pump(&mut state);
    }

    /// Adds what was found to `sum`.
    pub(super) fn tally(&self, sum: &mut Tally) {
        let state = self.state();
        sum.duplicated += state.tally.duplicated;
        sum.disordered += state.tally.disordered;
        sum.refused += state.tally.refused;
        sum.told += state.tally.told;
        let _same_bounds = sum.latency_us.add(&state.tally.latency_us);
    }

    /// Nothing found yet.
    pub(super) fn nothing(&self) -> Tally {
        let mut latency_us = self.state().tally.latency_us.clone();
        latency_us.reset();
        Tally { duplicated: 0, disordered: 0, refused: 0, told: 0, latency_us }
    }
}

impl Progress {
    pub(super) fn note(&self, event: &Event) {
        match event {
            Event::Connected { .. } => self.connected.fetch_add(1, Ordering::Relaxed),
            Event::Follow { following: true, .. } => self.followed.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}
