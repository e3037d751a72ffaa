//! What a worker measures of the streams it works on, for whoever scrapes its metrics: how much waits, since when, and what came and went.
//!
//! All workers of a job measure the same streams: a view of the fleet takes the highest of what they say.

use std::time::Duration;

use super::job::{Ordered, chain};
use crate::broker::{Error, Group, Redis};
use crate::telemetry;

/// How often.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// Measures the stream of a consumer group until it is dropped.
pub(super) async fn measure_group(redis: Redis, job: &'static str, group: Group) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if telemetry::is_measured()
            && let Err(error) = of_group(&redis, job, &group).await
        {
            tracing::debug!(job, error = chain(&error), "cannot measure a stream");
        }
    }
}

async fn of_group(redis: &Redis, job: &'static str, group: &Group) -> Result<(), Error> {
    let labels = [("job", job.to_owned()), ("stream", group.stream.clone())];
    let Some(measure) = of_stream(redis, &labels).await? else { return Ok(()) };
    let groups = redis.groups(&group.stream).await?;
    let Some(state) = groups.into_iter().find(|state| state.name == group.group) else { return Ok(()) };
    metrics::gauge!("roger_stream_pending", &labels).set(state.pending as f64);
    if let Some(read) = state.read {
        metrics::counter!("roger_stream_given_total", &labels).absolute(read);
    }
    // Nobody deletes what was not given out, except by hand.
    metrics::gauge!("roger_stream_trimmed_unread", &labels).set(if measure.deleted > state.given { 1.0 } else { 0.0 });
    Ok(())
}

/// Measures the streams of shards.
pub(super) async fn measure_shards<J: Ordered>(job: J, shards: Vec<u32>) {
    for shard in shards {
        if let Err(error) = job.measure(shard).await {
            tracing::debug!(job = J::JOB, shard, error = chain(&error), "cannot measure a shard");
        }
    }
}

/// Measures one stream that a job reads.
///
/// # Errors
/// When Redis does not answer.
pub async fn measure_stream(redis: &Redis, job: &'static str, stream: String) -> Result<(), Error> {
    of_stream(redis, &[("job", job.to_owned()), ("stream", stream)]).await.map(|_| ())
}

/// Notes how much waits of what is no stream, and for how long (ms) the first of it has.
pub fn note_waiting(job: &'static str, name: &str, length: u64, oldest_ms: Option<u64>) {
    let labels = [("job", job.to_owned()), ("stream", name.to_owned())];
    metrics::gauge!("roger_stream_length", &labels).set(length as f64);
    metrics::gauge!("roger_stream_oldest_seconds", &labels).set(oldest_ms.unwrap_or(0) as f64 / 1_000.0);
}

async fn of_stream(redis: &Redis, labels: &[(&'static str, String); 2]) -> Result<Option<crate::broker::StreamMeasure>, Error> {
    let measured = redis.measure_stream(&labels[1].1).await?;
    let measure = measured.unwrap_or_default();
    metrics::gauge!("roger_stream_length", labels).set(measure.length as f64);
    metrics::gauge!("roger_stream_oldest_seconds", labels).set(measure.oldest_ms().unwrap_or(0) as f64 / 1_000.0);
    metrics::counter!("roger_stream_added_total", labels).absolute(measure.added);
    Ok(measured)
}
