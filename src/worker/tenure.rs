//! Serving one shard again and again until it is given up.

use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};

use super::job::{Classed as _, Ordered, Tenure, chain};
use crate::retry::{Delays, ErrorClass};

/// A tenure that went on for so long before it failed starts its delays anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// Calls the job until the tenure's stop is cancelled. Failures are logged once each, with delays between; a panic is one of them.
pub(super) async fn keep_serving<J: Ordered>(job: J, tenure: Tenure) {
    let mut delays = Delays::reconnecting();
    let mut last_failure = String::new();
    loop {
        let begun = Instant::now();
        // A set, because dropping it stops what runs in it.
        let mut attempt = JoinSet::new();
        let (job, own) = (job.clone(), tenure.clone());
        attempt.spawn(async move { job.serve(own).await });
        let ended = attempt.join_next().await;
        if tenure.stop.is_cancelled() {
            if let Some(Ok(Err(error))) = &ended {
                tracing::warn!(job = J::JOB, shard = tenure.shard, error = chain(error), "shard given up with an error");
            }
            return;
        }
        if begun.elapsed() >= HEALTHY_AFTER {
            delays.reset();
            last_failure.clear();
        }
        let (failure, class) = judge::<J>(ended);
        tenure.progress.waits_for(waiting_for(class));
        metrics::counter!("roger_tenure_failures_total", "job" => J::JOB).increment(1);
        // A server that is away fails every attempt with the same words: once is enough.
        if failure == last_failure {
            tracing::debug!(job = J::JOB, shard = tenure.shard, error = failure, "serving a shard failed again");
        } else if class == ErrorClass::Transient {
            tracing::warn!(job = J::JOB, shard = tenure.shard, error = failure, "serving a shard failed, trying again");
        } else {
            tracing::error!(job = J::JOB, shard = tenure.shard, error = failure, class = ?class, "serving a shard failed, trying again");
        }
        last_failure = failure;
        tokio::select! {
            () = tenure.stop.cancelled() => return,
            () = tokio::time::sleep(delays.next_delay()) => {}
        }
    }
}

fn judge<J: Ordered>(ended: Option<Result<Result<(), J::Error>, JoinError>>) -> (String, ErrorClass) {
    match ended {
        Some(Ok(Ok(()))) | None => ("ended without being asked to".to_owned(), ErrorClass::Transient),
        Some(Ok(Err(error))) => (chain(&error), error.class()),
        Some(Err(died)) => (defect(J::JOB, died), ErrorClass::Defect),
    }
}

fn waiting_for(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "a server that is away",
        ErrorClass::Permanent => "an error to be mended, see the log",
        ErrorClass::Defect => "the end of a defect, see the log",
    }
}

/// Counts a task that died and says how: the text of its panic.
pub(super) fn defect(job: &'static str, died: JoinError) -> String {
    if !died.is_panic() {
        return "its task was stopped".to_owned();
    }
    metrics::counter!("roger_panics_total", "job" => job).increment(1);
    let payload = died.into_panic();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("not a text"))
}
