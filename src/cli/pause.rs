//! `roger pause` and `roger resume`: jobs that stand still because an operator wants them to, with an end of their own.

use serde::Serialize;

use super::args;
use super::context::{Context, os_user};
use super::error::Error;
use super::operate::confirmed;
use super::output::table;
use super::when::{Since, utc};
use crate::broker::{self, Pause, Redis};
use crate::jobs::alert::{Keep, TakeSos, Tell, Texts};
use crate::jobs::archive::Archive;
use crate::jobs::bridge::Bridge;
use crate::jobs::deliver::Deliver;
use crate::jobs::floor::Floor;
use crate::jobs::locate::Locate;
use crate::jobs::media::Media;
use crate::jobs::replay::Replay;
use crate::jobs::talk::Talk;
use crate::worker::{Competing, Ordered};

/// The longest pause: who forgets one must not find the fleet dead.
const LONGEST_MS: u64 = 86_400_000;

/// The jobs of the fleet's Redis; those of the Redis of alerts; those that have shards; and those without which somebody in need is not heard.
const FLEET: [&str; 8] = [
    Deliver::JOB,
    Archive::JOB,
    <Replay as Competing>::JOB,
    <Floor as Competing>::JOB,
    <Locate as Competing>::JOB,
    Talk::JOB,
    Media::JOB,
    Bridge::JOB,
];
const ALERTS: [&str; 4] = [<TakeSos as Competing>::JOB, <Tell as Competing>::JOB, <Texts as Competing>::JOB, <Keep as Competing>::JOB];
const SHARDED: [&str; 2] = [Deliver::JOB, Archive::JOB];
const GRAVE: [&str; 4] = [Deliver::JOB, <TakeSos as Competing>::JOB, <Tell as Competing>::JOB, <Texts as Competing>::JOB];

/// What can be paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    job: String,
    shard: Option<u32>,
}

/// `deliver`, or `deliver/3`.
pub(super) fn work(text: &str) -> Result<Work, String> {
    let (job, shard) = text.split_once('/').map_or((text, None), |(job, shard)| (job, Some(shard)));
    if !FLEET.contains(&job) && !ALERTS.contains(&job) {
        return Err(format!("there is no job {job:?}: {}", [FLEET.as_slice(), ALERTS.as_slice()].concat().join(", ")));
    }
    let shard = match shard {
        None => None,
        Some(_) if !SHARDED.contains(&job) => return Err(format!("{job} has no shards")),
        Some(shard) => Some(shard.parse().map_err(|_| "a shard is a number from 0".to_owned())?),
    };
    Ok(Work { job: job.to_owned(), shard })
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.shard {
            None => f.write_str(&self.job),
            Some(shard) => write!(f, "{}/{shard}", self.job),
        }
    }
}

/// A pause, as commands show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) work: String,
    #[serde(flatten)]
    pub(super) pause: Pause,
}

impl Line {
    pub(super) fn text(&self) -> String {
        let Pause { by, until_ms, why, .. } = &self.pause;
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        format!("{} by {by} until {}{why}", self.work, utc(*until_ms))
    }
}

/// What is paused on one Redis.
pub(super) async fn lines(redis: &Redis, now_ms: u64) -> Result<Vec<Line>, broker::Error> {
    Ok(redis.pauses(now_ms).await?.0.into_iter().map(|(work, pause)| Line { work, pause }).collect())
}

pub(super) async fn pause(context: &Context, args: &args::Pause) -> Result<(), Error> {
    let now_ms = context.redis()?.look_at_time().await?;
    let Some(work) = &args.work else { return list(context, now_ms).await };
    let until_ms = match args.until {
        Since::Ago(duration) => now_ms.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        Since::At(time_ms) => time_ms,
    };
    if until_ms <= now_ms || until_ms > now_ms + LONGEST_MS {
        return Err(Error::Usage(format!("--until must lie between now and a day from now, and {} does not", utc(until_ms))));
    }
    if let Some(shard) = work.shard.filter(|shard| *shard >= context.shards()) {
        return Err(Error::Usage(format!("there is no shard {shard}: fleet.shards is {}", context.shards())));
    }
    if GRAVE.contains(&work.job.as_str()) {
        confirmed(args.yes, &format!("while {work} is paused, people hear nothing of what others send or press, until {}", utc(until_ms)))?;
    }
    let line = Line { work: work.to_string(), pause: Pause { by: os_user(), since_ms: now_ms, until_ms, why: args.why.clone() } };
    redis_of(context, work)?.pause(&line.work, &line.pause).await?;
    context.out.answer(&line, |line| format!("Paused within seconds: {}. What waits for it is kept.", line.text()));
    Ok(())
}

pub(super) async fn resume(context: &Context, args: &args::Resume) -> Result<(), Error> {
    let was_paused = redis_of(context, &args.work)?.resume(&args.work.to_string()).await?;
    context.out.answer(&serde_json::json!({ "work": args.work.to_string(), "was_paused": was_paused }), |_| {
        if was_paused { format!("{} goes on within seconds.", args.work) } else { format!("{} was not paused.", args.work) }
    });
    Ok(())
}

async fn list(context: &Context, now_ms: u64) -> Result<(), Error> {
    let mut all = lines(&context.redis()?, now_ms).await?;
    if context.sos_apart() {
        all.extend(lines(&context.sos_redis()?, now_ms).await?);
    }
    context.out.answer(&all, |all| {
        let row =
            |Line { work, pause }: &Line| [work.clone(), pause.by.clone(), utc(pause.since_ms), utc(pause.until_ms), pause.why.clone()];
        table(&["PAUSED", "BY", "SINCE", "UNTIL", "WHY"], all.iter().map(row))
    });
    Ok(())
}

fn redis_of(context: &Context, work: &Work) -> Result<Redis, Error> {
    if ALERTS.contains(&work.job.as_str()) { context.sos_redis() } else { context.redis() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_named_as_jobs_and_shards() {
        let shown = |text| work(text).map(|work| work.to_string());
        assert_eq!((shown("sos"), shown("archive/7")), (Ok("sos".to_owned()), Ok("archive/7".to_owned())));
        assert_eq!(shown("locate/1"), Err("locate has no shards".to_owned()));
        assert!(shown("gps").unwrap_err().contains("no job \"gps\": deliver, archive"), "{:?}", shown("gps"));
        assert!(shown("deliver/x").is_err() && shown("deliver/-1").is_err());
    }
}
