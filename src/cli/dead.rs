//! `roger dead`: what the fleet has given up.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::args::{self, DeadCommand};
use super::context::Context;
use super::error::Error;
use super::operate::confirmed;
use super::output::{note, table};
use super::when::utc;
use crate::broker::Redis;
use crate::worker::deadletter::{self, Filed};
use crate::worker::find::{Wanted, find};

/// How many letters are looked for at a time.
const PAGE: usize = 1_000;

/// What was done with many.
#[derive(Serialize)]
struct Done {
    done: usize,
    /// What could not be put back, with the reason.
    failed: Vec<String>,
}

pub(super) async fn dead(context: &Context, args: args::Dead) -> Result<(), Error> {
    let redis = if args.sos { context.sos_redis()? } else { context.redis()? };
    match args.command {
        DeadCommand::List { which, limit, after, raw } => {
            let mut letters = find(&redis, &wanted(which, context), after.as_deref(), limit).await?;
            letters.iter_mut().filter(|_| !raw).for_each(|filed| filed.letter.payload = None);
            context.out.answer(&letters, |letters| {
                let row = |filed: &Filed| {
                    let letter = &filed.letter;
                    let (stream, job, time) = (letter.stream.clone(), letter.job.clone(), utc(letter.time_ms));
                    [filed.id.clone(), time, stream, job, letter.reason.clone(), letter.summary.clone()]
                };
                if letters.is_empty() {
                    return "No dead letters.".to_owned();
                }
                table(&["ID", "GIVEN UP", "STREAM", "JOB", "REASON", "WHAT"], letters.iter().map(row))
            });
        }
        DeadCommand::Show { id, raw } => show(context, &redis, &id, raw).await?,
        DeadCommand::Redrive(many) => {
            let what = "putting it back makes the fleet try it again";
            let done = each(context, &redis, many, what, "put back", async |id| {
                deadletter::redrive(&redis, id, context.clock.now_ms()).await.map(|entry| json!({ "id": id, "entry": entry.to_string() }))
            });
            done.await?;
        }
        DeadCommand::Drop(many) => {
            let done = each(context, &redis, many, "its work is lost for good", "dropped", async |id| {
                deadletter::drop(&redis, id).await.map(|()| json!({ "id": id }))
            });
            done.await?;
        }
    }
    Ok(())
}

fn wanted(which: args::Which, context: &Context) -> Wanted {
    let now_ms = context.clock.now_ms();
    let args::Which { stream, job, sender, text, older_than, since } = which;
    let at = |time: Option<super::when::Since>| time.map(|time| time.time_ms(now_ms));
    Wanted { stream, job, sender, text, before_ms: at(older_than), since_ms: at(since) }
}

async fn show(context: &Context, redis: &Redis, id: &str, raw: bool) -> Result<(), Error> {
    let mut filed = deadletter::show(redis, id).await?;
    let readable = filed.letter.readable();
    if !raw {
        filed.letter.payload = None;
    }
    let mut answer = serde_json::to_value(&filed).unwrap_or_default();
    answer["readable"] = json!(readable);
    context.out.answer(&answer, |_| {
        let Filed { id, letter } = &filed;
        let mut lines = vec![
            format!("{id}, given up {} by {} after {} attempts", utc(letter.time_ms), letter.job, letter.attempts),
            format!("from {} {}", letter.stream, letter.entry),
            format!("because {}", letter.reason),
        ];
        for past in &letter.history {
            lines.push(format!(
                "redriven {}, given up before that {} as {}: {}",
                utc(past.redriven_ms),
                utc(past.time_ms),
                past.letter,
                past.reason
            ));
        }
        lines.push(letter.summary.clone());
        lines.extend(readable.clone());
        lines.extend(letter.payload.clone());
        lines.join("\n")
    });
    Ok(())
}

/// Does something with one letter, or with all that fit, no faster than was asked for.
async fn each(
    context: &Context,
    redis: &Redis,
    many: args::Many,
    what: &str,
    done_how: &str,
    act: impl AsyncFn(&str) -> Result<serde_json::Value, deadletter::Error>,
) -> Result<(), Error> {
    let args::Many { id, which, all, rate, yes } = many;
    if let Some(id) = id {
        confirmed(yes, what)?;
        let done = act(&id).await?;
        context.out.answer(&done, |done| match done["entry"].as_str() {
            Some(entry) => format!("{id} is {done_how} on its stream as {entry}."),
            None => format!("{id} is {done_how}."),
        });
        return Ok(());
    }
    let wanted = wanted(which, context);
    if wanted.is_all() && !all {
        return Err(Error::Usage(
            "which? Give an id, say which by --job, --stream, --sender, --text, --older-than or --since, or --all".to_owned(),
        ));
    }
    // Those that are there now: what fails again meanwhile is a new letter.
    let mut ids = Vec::new();
    loop {
        let page = find(redis, &wanted, ids.last().map(String::as_str), PAGE).await?;
        if page.is_empty() {
            break;
        }
        ids.extend(page.into_iter().map(|filed| filed.id));
    }
    if !yes {
        return Err(Error::Usage(format!("not done: {} would be {done_how}. Add --yes to do it", ids.len())));
    }
    let bar = context.out.progress(ids.len() as u64, done_how);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.get());
    let mut done = Done { done: 0, failed: Vec::new() };
    for id in &ids {
        pace.tick().await;
        match act(id).await {
            Ok(_) => done.done += 1,
            // Somebody else was there first, or it holds nothing that could be put back: the others are not to wait for it.
            Err(error @ (deadletter::Error::NotFound(_) | deadletter::Error::NoPayload(_))) => done.failed.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for failed in &done.failed {
        note(&format!("roger: {failed}"));
    }
    context.out.answer(&done, |done| format!("{} are {done_how}, {} are not.", done.done, done.failed.len()));
    Ok(())
}
