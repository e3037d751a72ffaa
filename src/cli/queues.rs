//! `roger queues`: what waits where, and who works on it.

use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::error::Error;
use super::output::{note, table};
use super::{pause, streams};
use crate::broker::{Redis, ShardLook, StreamLook, keys};
use crate::worker::chain;

/// What the two are called.
const FLEET: &str = "fleet";
const ALERTS: &str = "sos";

#[derive(Serialize)]
struct Answer {
    shards: Vec<ShardLook>,
    streams: Vec<Line>,
    paused: Vec<pause::Line>,
}

#[derive(Serialize)]
struct Line {
    /// On which Redis it stands: `fleet`, or `sos` when alerts have one of their own.
    redis: &'static str,
    #[serde(flatten)]
    look: StreamLook,
}

pub(super) async fn queues(context: &Context) -> Result<(), Error> {
    let redis = context.redis()?;
    let now_ms = redis.look_at_time().await?;
    let shards = redis.look_at_shards(context.shards()).await?;
    let mut lines = Vec::new();
    for stream in streams::requests().into_iter().chain([streams::reports()]) {
        lines.push(Line { redis: FLEET, look: stream.look(&redis, now_ms).await? });
    }
    lines.push(Line { redis: FLEET, look: streams::talk(&redis, &context.config.janus.list, now_ms).await? });
    if context.config.janus.url.is_some() {
        lines.push(Line { redis: FLEET, look: streams::commands(&redis, &context.config.janus.commands, now_ms).await? });
        lines.push(Line { redis: FLEET, look: streams::media(&redis, context.shards(), now_ms).await? });
    }
    lines.push(Line { redis: FLEET, look: redis.look_at_stream(&keys::dead(), None, now_ms).await? });
    match of_alerts(&context.sos_redis()?, context.sos_apart(), now_ms).await {
        Ok(found) => lines.extend(found),
        // What the fleet's own Redis holds is worth showing all the same.
        Err(error) => note(&format!("roger: the Redis of sos.redis_url does not answer ({}), so its streams are not shown", chain(&error))),
    }
    let paused = pause::lines(&redis, now_ms).await?;
    context.out.answer(&Answer { shards, streams: lines, paused }, |answer| {
        let head = ["SHARD", "IN", "URGENT", "LOG", "COMMIT", "NOT IN SQL", "DELIVERED BY", "ARCHIVED BY"];
        let shards = table(&head, answer.shards.iter().map(shard_row));
        let streams = table(&["STREAM", "LENGTH", "OLDEST", "PENDING", "WORKERS"], answer.streams.iter().map(stream_row));
        let paused: String = answer.paused.iter().map(|pause| format!("\npaused: {}", pause.text())).collect();
        format!("{shards}\n\n{streams}{paused}")
    });
    Ok(())
}

async fn of_alerts(sos: &Redis, apart: bool, now_ms: u64) -> Result<Vec<Line>, crate::broker::Error> {
    let redis = if apart { ALERTS } else { FLEET };
    let mut lines = Vec::new();
    for stream in streams::alerts() {
        lines.push(Line { redis, look: stream.look(sos, now_ms).await? });
    }
    if apart {
        lines.push(Line { redis, look: sos.look_at_stream(&keys::dead(), None, now_ms).await? });
    }
    Ok(lines)
}

fn shard_row(look: &ShardLook) -> [String; 8] {
    let holder = |name: &Option<String>| name.clone().unwrap_or_else(|| "nobody".to_owned());
    [
        look.shard.to_string(),
        look.input.to_string(),
        look.urgent.to_string(),
        look.log.to_string(),
        format!("{}-{}", look.epoch, look.commit),
        look.archive_lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string()),
        holder(&look.deliver),
        holder(&look.archive),
    ]
}

fn stream_row(Line { redis, look }: &Line) -> [String; 5] {
    let name = if *redis == FLEET { look.stream.clone() } else { format!("{} of {redis}", look.stream) };
    let oldest = look.oldest_ms.map_or_else(String::new, |oldest_ms| format!("{:?}", Duration::from_millis(oldest_ms)));
    let workers = match look.workers.is_empty() {
        // Dead letters are for people.
        true if look.stream == keys::dead() => String::new(),
        true => "nobody".to_owned(),
        false => look.workers.join(", "),
    };
    [name, look.length.to_string(), oldest, look.pending().to_string(), workers]
}
