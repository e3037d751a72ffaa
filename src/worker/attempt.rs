//! One attempt at one entry, from the call of the job to what becomes of the entry.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::deadletter::{self, DeadLetter};
use super::job::{Competing, Verdict, Work, chain};
use super::tenure::defect;
use crate::broker::{Delivery, Group, Redis, StreamId};
use crate::clock::Clock;
use crate::retry::Delays;

/// What becomes of an entry.
#[derive(Debug)]
pub(super) enum Next {
    /// It is finished, or somebody else's.
    Gone,
    /// It is tried again after the delay.
    Again(Duration),
    /// It is given back: the program stops.
    GiveBack,
}

/// What all attempts of a worker share.
pub(super) struct Bench<J> {
    pub(super) job: J,
    pub(super) redis: Redis,
    pub(super) group: Group,
    pub(super) clock: Clock,
    /// The program stops.
    pub(super) stopping: CancellationToken,
}

impl<J: Competing> Bench<J> {
    pub(super) async fn attempt(&self, delivery: Delivery, stop: CancellationToken) -> Next {
        if delivery.entry.payload.is_none() {
            return self.reject(&delivery, 0, "nothing of a known format in it".to_owned()).await;
        }
        if delivery.count > J::DEATHS_MAX {
            let reason = format!("quarantined: {} workers died over it", delivery.count - 1);
            return self.reject(&delivery, 0, reason).await;
        }
        match self.call(&delivery, stop).await {
            Verdict::Done => {
                metrics::counter!("roger_entries_done_total", "job" => J::JOB).increment(1);
                self.finish(delivery.entry.id).await
            }
            Verdict::Interrupted => Next::GiveBack,
            Verdict::Reject(reason) => self.reject(&delivery, 1, reason).await,
            Verdict::Retry { after, error } => self.retry(&delivery, after, error).await,
        }
    }

    /// Calls the job in a task of its own, so that a panic ends there, and no longer than its deadline.
    async fn call(&self, delivery: &Delivery, stop: CancellationToken) -> Verdict {
        let (job, work) = (self.job.clone(), Work { entry: delivery.entry.clone(), stop });
        let mut attempt = JoinSet::new();
        attempt.spawn(async move { tokio::time::timeout(J::DEADLINE, job.run(work)).await });
        match attempt.join_next().await {
            Some(Ok(Ok(verdict))) => verdict,
            Some(Ok(Err(_))) => Verdict::Retry { after: None, error: format!("not done within {:?}", J::DEADLINE) },
            Some(Err(died)) => {
                let error = defect(J::JOB, died);
                tracing::error!(job = J::JOB, entry.id = %delivery.entry.id, error, "an attempt died");
                Verdict::Retry { after: None, error }
            }
            None => Verdict::Interrupted,
        }
    }

    async fn retry(&self, delivery: &Delivery, after: Option<Duration>, error: String) -> Next {
        let id = delivery.entry.id;
        metrics::counter!("roger_entries_failed_total", "job" => J::JOB).increment(1);
        match self.redis.count_failure(&self.group, id, &error).await {
            Ok(Some(failures)) if failures >= J::ATTEMPTS_MAX => self.reject(delivery, failures, error).await,
            Ok(Some(failures)) => {
                let delay = after.unwrap_or_else(|| delay(failures));
                if failures == 1 {
                    tracing::warn!(job = J::JOB, entry.id = %id, error, retry_in_ms = delay.as_millis() as u64, "an attempt failed");
                }
                Next::Again(delay)
            }
            Ok(None) => fenced::<J>(id),
            Err(failure) => {
                tracing::debug!(job = J::JOB, entry.id = %id, error = chain(&failure), "cannot count a failure");
                Next::Again(delay(1))
            }
        }
    }

    /// First the letter, then the end of the entry: a crash in between files it twice, never loses it.
    async fn reject(&self, delivery: &Delivery, attempts: u64, reason: String) -> Next {
        let Delivery { entry, count } = delivery;
        let letter = DeadLetter {
            job: J::JOB.to_owned(),
            reason,
            attempts,
            deliveries: *count,
            time_ms: self.clock.now_ms(),
            ..DeadLetter::about(&self.group.stream, entry.id, entry.payload.as_deref())
        };
        let mut delays = Delays::reconnecting();
        while let Err(error) = deadletter::add(&self.redis, &letter).await {
            tracing::debug!(job = J::JOB, entry.id = %entry.id, error = chain(&error), "cannot file a dead letter");
            if self.wait_or_stop(delays.next_delay()).await {
                return Next::GiveBack;
            }
        }
        self.finish(entry.id).await
    }

    async fn finish(&self, id: StreamId) -> Next {
        let mut delays = Delays::reconnecting();
        loop {
            match self.redis.finish(&self.group, id).await {
                Ok(true) => return Next::Gone,
                Ok(false) => return fenced::<J>(id),
                // Redis lost the group, and with it what was pending: it will come again, if it is still there.
                Err(error) if error.is_no_group() => return fenced::<J>(id),
                Err(error) => tracing::debug!(job = J::JOB, entry.id = %id, error = chain(&error), "cannot finish an entry"),
            }
            if self.wait_or_stop(delays.next_delay()).await {
                return Next::GiveBack;
            }
        }
    }

    async fn wait_or_stop(&self, delay: Duration) -> bool {
        tokio::select! {
            () = self.stopping.cancelled() => true,
            () = tokio::time::sleep(delay) => false,
        }
    }
}

fn fenced<J: Competing>(id: StreamId) -> Next {
    metrics::counter!("roger_entries_fenced_total", "job" => J::JOB).increment(1);
    tracing::warn!(job = J::JOB, entry.id = %id, "another worker took the entry over, or finished it");
    Next::Gone
}

/// 100 ms, doubling up to 30 s, with jitter.
fn delay(failures: u64) -> Duration {
    let Ok(mut delays) = Delays::new(Duration::from_millis(100), Duration::from_secs(30)) else { return Duration::from_secs(1) };
    for _ in 1..failures.min(12) {
        delays.next_delay();
    }
    delays.next_delay()
}
