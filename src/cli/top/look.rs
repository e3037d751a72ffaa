//! What `roger top` shows, gathered in one look: nothing that `roger queues` and `roger doctor` do not read too.

use serde::Serialize;

use crate::broker::{Error, LiveEdge, Redis, ShardLook, StreamLook, keys};
use crate::cli::context::Context;
use crate::cli::{pause, streams};
use crate::model::AlertId;
use crate::worker::chain;

/// How a fleet stands at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Look {
    /// When the look began. UTC milliseconds, by the time of the fleet.
    pub(super) at_ms: u64,
    /// The edges whose heartbeat has not lapsed, by name.
    pub(super) edges: Vec<LiveEdge>,
    /// The jobs, with the workers whose heartbeat has not lapsed.
    pub(super) jobs: Vec<Job>,
    /// The shards, by number.
    pub(super) shards: Vec<ShardLook>,
    /// The streams that workers take from, of the fleet and of alerts.
    pub(super) streams: Vec<StreamLook>,
    /// What operators paused, on whichever Redis.
    pub(super) paused: Vec<pause::Line>,
    /// Dead letters, on whichever Redis.
    pub(super) dead: u64,
    /// Emergency alerts that are open; `None` when the Redis of alerts does not answer.
    pub(super) alerts: Option<Vec<AlertId>>,
    /// Why the Redis of alerts does not answer.
    pub(super) sos_away: Option<String>,
}

/// A job and who does it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Job {
    /// As workers name it in their heartbeats.
    pub(super) job: String,
    /// Those that live.
    pub(super) workers: Vec<String>,
}

impl Look {
    /// Looks at the fleet of a configuration.
    ///
    /// # Errors
    /// When the Redis of the fleet does not answer; without that of alerts the look goes without it, and says so.
    pub(super) async fn take(context: &Context, redis: &Redis, sos: &Redis) -> Result<Self, Error> {
        let now_ms = redis.look_at_time().await?;
        let mut look = Self { at_ms: now_ms, shards: redis.look_at_shards(context.shards()).await?, ..Self::default() };
        look.edges = redis.describe_edges(now_ms).await?;
        look.edges.sort_by(|one, other| one.name.cmp(&other.name));
        for job in ["deliver", "archive"] {
            look.jobs.push(Job { job: job.to_owned(), workers: redis.live_workers(job, now_ms).await? });
        }
        for worked in streams::requests().into_iter().chain([streams::reports()]) {
            look.add(worked.job, worked.look(redis, now_ms).await?);
        }
        look.add("talk", streams::talk(redis, &context.config.janus.list, now_ms).await?);
        if context.config.janus.url.is_some() {
            look.add("media", streams::commands(redis, &context.config.janus.commands, now_ms).await?);
            look.add("bridge", streams::media(redis, context.shards(), now_ms).await?);
        }
        look.paused = pause::lines(redis, now_ms).await?;
        let dead = [keys::dead()];
        look.dead = redis.lengths(&dead).await?.into_iter().sum();
        match Self::of_alerts(sos, now_ms).await {
            Ok((found, alerts)) => {
                found.into_iter().for_each(|(job, stream)| look.add(job, stream));
                look.alerts = Some(alerts);
                if context.sos_apart() {
                    look.paused.extend(pause::lines(sos, now_ms).await.unwrap_or_default());
                    look.dead += sos.lengths(&dead).await.unwrap_or_default().into_iter().sum::<u64>();
                }
            }
            Err(error) => look.sos_away = Some(chain(&error)),
        }
        Ok(look)
    }

    async fn of_alerts(sos: &Redis, now_ms: u64) -> Result<(Vec<(&'static str, StreamLook)>, Vec<AlertId>), Error> {
        let mut found = Vec::new();
        for worked in streams::alerts() {
            found.push((worked.job, worked.look(sos, now_ms).await?));
        }
        Ok((found, sos.open_alerts().await?))
    }

    fn add(&mut self, job: &str, look: StreamLook) {
        self.jobs.push(Job { job: job.to_owned(), workers: look.workers.clone() });
        self.streams.push(look);
    }

    /// How many sessions the edges said they have.
    pub(super) fn sessions(&self) -> u64 {
        self.edges.iter().map(|edge| edge.sessions).sum()
    }
}
