//! The lines of `roger top`, a table a section. Pure.

use jiff::Timestamp;
use ratatui::text::Span;

use super::look::Look;
use super::view::Tone;
use crate::broker::{ShardLook, StreamLook};

const NOBODY: &str = "nobody";

/// All lines of a look; what there is of each second needs the look before.
pub(super) fn lines(look: &Look, before: Option<&Look>) -> Vec<(String, Tone)> {
    let mut lines = Vec::new();
    if let Some(why) = &look.sos_away {
        lines.push((format!("The Redis of sos.redis_url does not answer: {why}"), Tone::Bad));
    }
    if let Some(alerts) = look.alerts.as_ref().filter(|alerts| !alerts.is_empty()) {
        let ids: Vec<String> = alerts.iter().map(|alert| alert.0.to_string()).collect();
        lines.push((format!("SOS {}: `roger alerts` says whose", ids.join(", ")), Tone::Bad));
    }
    lines.extend(look.paused.iter().map(|pause| (format!("paused: {}", pause.text()), Tone::Odd)));
    if look.dead > 0 {
        lines.push((format!("{}: `roger dead list` says why", counted(look.dead, "dead letter")), Tone::Odd));
    }
    if !lines.is_empty() {
        lines.push((String::new(), Tone::Plain));
    }
    let edges = look.edges.iter().map(|edge| (vec![edge.name.clone(), edge.sessions.to_string(), edge.listen.clone()], Tone::Plain));
    let none = look.edges.is_empty().then(|| (vec![NOBODY.to_owned(), String::new(), String::new()], Tone::Bad));
    table(&mut lines, &["EDGE", "SESSIONS", "ADDRESS"], edges.chain(none));
    let jobs = look.jobs.iter().map(|job| {
        let tone = if job.workers.is_empty() && ["deliver", "archive"].contains(&job.job.as_str()) { Tone::Bad } else { Tone::Plain };
        (vec![job.job.clone(), job.workers.len().to_string(), or_nobody(&job.workers)], tone)
    });
    table(&mut lines, &["JOB", "WORKERS", "WHO"], jobs);
    let shards = look.shards.iter().map(|shard| shard_row(shard, rate_of(look, before, |look| commits(look, shard))));
    table(&mut lines, &["SHARD", "IN", "URGENT", "COMMIT", "COMMITS/S", "NOT IN SQL", "OWNER"], shards);
    let streams = look.streams.iter().map(|stream| stream_row(stream, rate_of(look, before, |look| length(look, stream))));
    table(&mut lines, &["STREAM", "LENGTH", "PENDING", "OLDEST", "GROWTH/S", "WORKERS"], streams);
    lines.pop();
    lines
}

/// A number of things, as `1 edge` and `2 edges`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A time as a clock shows it, UTC.
pub(super) fn time_of_day(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "?".to_owned(), |time| time.strftime("%H:%M:%S").to_string())
}

/// A span of time in its two largest units.
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// How much a figure grew in each second between two looks; `None` without two of them.
fn rate_of(look: &Look, before: Option<&Look>, figure: impl Fn(&Look) -> Option<u64>) -> Option<f64> {
    let before = before.filter(|before| before.at_ms < look.at_ms)?;
    Some((figure(look)? as f64 - figure(before)? as f64) * 1_000.0 / (look.at_ms - before.at_ms) as f64)
}

/// The commit of a shard, which counts anew in each epoch.
fn commits(look: &Look, shard: &ShardLook) -> Option<u64> {
    look.shards.iter().find(|other| other.shard == shard.shard && other.epoch == shard.epoch).map(|look| look.commit)
}

fn length(look: &Look, stream: &StreamLook) -> Option<u64> {
    look.streams.iter().find(|other| other.stream == stream.stream).map(|look| look.length)
}

fn shard_row(shard: &ShardLook, rate: Option<f64>) -> (Vec<String>, Tone) {
    let waits = shard.input + shard.urgent > 0;
    let tone = match &shard.deliver {
        None if waits => Tone::Bad,
        None => Tone::Odd,
        Some(_) if shard.lost.is_some() || shard.deaths > 0 => Tone::Odd,
        Some(_) => Tone::Plain,
    };
    let row = [
        shard.shard.to_string(),
        shard.input.to_string(),
        shard.urgent.to_string(),
        format!("{}-{}", shard.epoch, shard.commit),
        rate.map_or_else(String::new, |rate| format!("{rate:.1}")),
        shard.archive_lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string()),
        shard.deliver.clone().unwrap_or_else(|| NOBODY.to_owned()),
    ];
    (row.to_vec(), tone)
}

fn stream_row(stream: &StreamLook, rate: Option<f64>) -> (Vec<String>, Tone) {
    let tone = if stream.length > 0 && stream.workers.is_empty() { Tone::Bad } else { Tone::Plain };
    let row = [
        stream.stream.clone(),
        stream.length.to_string(),
        stream.pending().to_string(),
        stream.oldest_ms.map_or_else(String::new, age),
        rate.map_or_else(String::new, |rate| format!("{rate:+.1}")),
        or_nobody(&stream.workers),
    ];
    (row.to_vec(), tone)
}

fn or_nobody(workers: &[String]) -> String {
    if workers.is_empty() { NOBODY.to_owned() } else { workers.join(", ") }
}

/// Adds a table and an empty line: the first and the last column begin at their left, the figures between end at their right.
fn table(lines: &mut Vec<(String, Tone)>, head: &[&str], rows: impl Iterator<Item = (Vec<String>, Tone)>) {
    let mut all = vec![(head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>(), Tone::Head)];
    all.extend(rows);
    let width = |text: &str| Span::raw(text).width();
    let widest = |at: usize| all.iter().filter_map(|(row, _)| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(widest).collect();
    for (row, tone) in &all {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let room = " ".repeat(widths[at] - width(cell));
            match at {
                0 => line.push_str(&format!("{cell}{room}")),
                _ if at + 1 == head.len() => line.push_str(&format!("  {cell}")),
                _ => line.push_str(&format!("  {room}{cell}")),
            }
        }
        lines.push((line, *tone));
    }
    lines.push((String::new(), Tone::Plain));
}
