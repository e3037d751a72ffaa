//! What waits becomes one transaction; while that one runs, the next one fills.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::FRAMES;
use super::notes::Notes;
use crate::broker;
use crate::location::frame::FixFrame;
use crate::model::PositionSource;
use crate::retry::ErrorClass;
use crate::store::{self, Store};

/// From how many fixes on nothing more is put into a transaction.
const FIXES: usize = 10_000;
/// How many frames wait at most: as many as are worked on at once. While SQL is away those whose attempts were given up stand among them, and at
/// the bound no attempt brings another copy.
const WAITING: usize = FRAMES;

type Outcome = Result<(), Arc<Failed>>;

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("fixes do not go into SQL")]
    Store(#[source] store::Error),
    #[error("where devices are, by access points, cannot be noted")]
    Broker(#[source] broker::Error),
}

impl Failed {
    pub(super) fn class(&self) -> ErrorClass {
        match self {
            Self::Store(source) => source.class(),
            Self::Broker(source) => source.class(),
        }
    }
}

#[derive(Debug)]
struct Waiting {
    frame: FixFrame,
    done: oneshot::Sender<Outcome>,
}

/// Where frames go in.
#[derive(Clone, Debug)]
pub(super) struct Door(mpsc::Sender<Waiting>);

/// Commits what came in.
#[derive(Debug)]
pub struct Batches {
    waiting: mpsc::Receiver<Waiting>,
    notes: Notes,
    /// Whether good fixes teach where access points are.
    teach: bool,
}

pub(super) fn batches(notes: Notes) -> (Door, Batches) {
    let (sender, waiting) = mpsc::channel(WAITING);
    (Door(sender), Batches { waiting, notes, teach: false })
}

impl Door {
    /// Until the frame is committed. For ever when nobody commits: the caller has a deadline.
    pub(super) async fn commit(&self, frame: FixFrame) -> Outcome {
        let (done, outcome) = oneshot::channel();
        if self.0.send(Waiting { frame, done }).await.is_ok()
            && let Ok(outcome) = outcome.await
        {
            return outcome;
        }
        std::future::pending().await
    }
}

impl Batches {
    /// The same, and when they are to teach, where access points are is learned from good fixes.
    #[must_use]
    pub fn teaching(self, teach: bool) -> Self {
        Self { teach, ..self }
    }

    /// Commits until nobody can bring anything more.
    pub async fn run(mut self, store: Store) {
        while let Some(first) = self.waiting.recv().await {
            let mut fixes = first.frame.fixes.len();
            let mut batch = vec![first];
            while fixes < FIXES
                && let Ok(next) = self.waiting.try_recv()
            {
                fixes += next.frame.fixes.len();
                batch.push(next);
            }
            // Nobody waits any more for one whose attempt was given up.
            batch.retain(|waiting| !waiting.done.is_closed());
            if !batch.is_empty() {
                self.commit(&store, batch).await;
            }
        }
    }

    async fn commit(&self, store: &Store, batch: Vec<Waiting>) {
        let (frames, done): (Vec<FixFrame>, Vec<_>) = batch.into_iter().map(|Waiting { frame, done }| (frame, done)).unzip();
        let outcome = self.take(store, frames.clone()).await;
        let spoilt = outcome.as_ref().is_err_and(|error| error.class() == ErrorClass::Defect) && frames.len() > 1;
        for (frame, done) in frames.into_iter().zip(done) {
            // One that can never go in must not take the others along.
            let outcome = if spoilt { self.take(store, vec![frame]).await } else { outcome.clone() };
            // An attempt that was given up meanwhile finds the frame in when it tries again.
            let _ = done.send(outcome);
        }
    }

    async fn take(&self, store: &Store, mut frames: Vec<FixFrame>) -> Outcome {
        let store_failed = |error| Arc::new(Failed::Store(error));
        if store.place_by_wifi(&mut frames).await.map_err(store_failed)? > 0 {
            let placed = frames.iter().flat_map(|frame| &frame.fixes).filter(|fix| fix.source == PositionSource::Wifi as u32);
            self.notes.note(&placed.cloned().collect::<Vec<_>>()).await.map_err(|error| Arc::new(Failed::Broker(error)))?;
        }
        let taken = store.take_fixes_and(frames, self.teach).await.map_err(store_failed)?;
        for (outcome, count) in [("stored", taken.stored), ("duplicate", taken.duplicate), ("refused", taken.refused)] {
            metrics::counter!("roger_fixes_total", "outcome" => outcome).increment(count);
        }
        metrics::counter!("roger_fence_notices_total").increment(taken.crossings);
        Ok(())
    }
}
