//! What waits becomes one transaction; while that one runs, the next one fills.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::location::frame::FixFrame;
use crate::retry::ErrorClass;
use crate::store::{self, Store};

/// From how many fixes on nothing more is put into a transaction.
const FIXES: usize = 10_000;
/// How many frames wait at most.
const WAITING: usize = 1_024;

type Outcome = Result<(), Arc<store::Error>>;

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
pub struct Batches(mpsc::Receiver<Waiting>);

pub(super) fn batches() -> (Door, Batches) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Door(sender), Batches(receiver))
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
    /// Commits until nobody can bring anything more.
    pub async fn run(mut self, store: Store) {
        while let Some(first) = self.0.recv().await {
            let mut fixes = first.frame.fixes.len();
            let mut batch = vec![first];
            while fixes < FIXES
                && let Ok(next) = self.0.try_recv()
            {
                fixes += next.frame.fixes.len();
                batch.push(next);
            }
            // Nobody waits any more for one whose attempt was given up.
            batch.retain(|waiting| !waiting.done.is_closed());
            if !batch.is_empty() {
                commit(&store, batch).await;
            }
        }
    }
}

async fn commit(store: &Store, batch: Vec<Waiting>) {
    let (frames, done): (Vec<FixFrame>, Vec<_>) = batch.into_iter().map(|Waiting { frame, done }| (frame, done)).unzip();
    let outcome = take(store, frames.clone()).await;
    let spoilt = outcome.as_ref().is_err_and(|error| error.class() == ErrorClass::Defect) && frames.len() > 1;
    for (frame, done) in frames.into_iter().zip(done) {
        // One that can never go in must not take the others along.
        let outcome = if spoilt { take(store, vec![frame]).await } else { outcome.clone() };
        // An attempt that was given up meanwhile finds the frame in when it tries again.
        let _ = done.send(outcome);
    }
}

async fn take(store: &Store, frames: Vec<FixFrame>) -> Outcome {
    let taken = store.take_fixes(frames).await.map_err(Arc::new)?;
    for (outcome, count) in [("stored", taken.stored), ("duplicate", taken.duplicate), ("refused", taken.refused)] {
        metrics::counter!("roger_fixes_total", "outcome" => outcome).increment(count);
    }
    metrics::counter!("roger_fence_notices_total").increment(taken.crossings);
    Ok(())
}
