//! `roger doctor`: everything the fleet needs, looked at from outside, each with what is wrong and what to do.

mod groups;
mod machine;
mod pair;
mod sentinels;
mod server;
mod shards;
mod sos;
mod store;
mod streams;

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::error::Error;
use super::output::table;
use super::{pause, streams as worked};
use crate::broker::{Redis, StreamLook, keys};
use crate::worker::chain;

/// Between two looks at the shards: who has work and does not move in this time stands still.
const LOOK_AGAIN: Duration = Duration::from_millis(1_500);
/// Commits the archive may be behind without a word.
const ARCHIVE_LAG_WARN: u64 = 10_000;
/// Frames a shard's input may hold without a word.
const INPUT_WARN: u64 = 1_000;
/// Clocks may differ by this much without a word; and without failing. The fleet goes by one time whatever they say, but logs, traces and what people
/// compare with their watches do not.
const SKEW_WARN_MS: u64 = 500;
const SKEW_FAIL_MS: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    /// What was seen.
    reason: String,
    /// What to do; empty when nothing.
    fix: Cow<'static, str>,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, check: &'static str, verdict: Verdict, reason: impl Into<String>, fix: impl Into<Cow<'static, str>>) {
        let fix = if verdict == Verdict::Ok { "".into() } else { fix.into() };
        self.0.push(Check { check, verdict, reason: reason.into(), fix });
    }
}

fn verdict(fail: bool, warn: bool) -> Verdict {
    match (fail, warn) {
        (true, _) => Verdict::Fail,
        (false, true) => Verdict::Warn,
        (false, false) => Verdict::Ok,
    }
}

/// With `fix`, what is safe to mend is mended first, and told.
pub(super) async fn doctor(context: &Context, fix: bool) -> Result<(), Error> {
    let mut checks = Checks::default();
    let redis = context.redis()?;
    if fix {
        mend(&mut checks, &redis).await;
    }
    let asked_ms = context.clock.now_ms();
    let servers = redis.look_at_servers().await;
    let answers = servers.is_ok();
    match servers {
        Err(error) => checks.add(server::check_of(&error), Verdict::Fail, chain(&error), server::fix_of(&error)),
        Ok(servers) => {
            server::judge_all(&mut checks, &servers, &context.config, asked_ms..=context.clock.now_ms());
            sentinels::judge(&mut checks, &redis.look_at_sentinels().await.unwrap_or_default());
            let run_ids: Vec<&str> = servers.iter().map(|server| server.run_id.as_str()).collect();
            if let Err(error) = judge_fleet(&mut checks, &redis, &run_ids, context).await {
                checks.add("redis", Verdict::Fail, chain(&error), "see its log; it stopped answering while it was looked at");
            }
        }
    }
    // The same trouble is not told twice.
    if answers || context.sos_apart() {
        let sos = context.sos_redis()?;
        judge_alerts(&mut checks, &sos, context).await;
        sos::judge(&mut checks, sos.probes().await, context.config.sos.probe_interval, context.clock.now_ms());
    }
    match context.store() {
        Err(Error::Store(error)) => checks.add("sql", Verdict::Fail, chain(&error), "set sql.url"),
        Err(error) => return Err(error),
        Ok(store) => store::judge(&mut checks, &store, context.shards()).await,
    }
    pair::judge(&mut checks, context).await;
    machine::judge(&mut checks, &context.config, context.clock.now_ms());
    let failed = checks.0.iter().any(|check| check.verdict == Verdict::Fail);
    context.out.answer(&checks.0, |checks| {
        let row = |check: &Check| {
            [format!("{:?}", check.verdict).to_uppercase(), check.check.to_owned(), check.reason.clone(), check.fix.clone().into_owned()]
        };
        table(&["", "CHECK", "SEEN", "WHAT TO DO"], checks.iter().map(row))
    });
    if failed { Err(Error::Findings) } else { Ok(()) }
}

async fn judge_fleet(checks: &mut Checks, redis: &Redis, run_ids: &[&str], context: &Context) -> Result<(), crate::broker::Error> {
    let now_ms = redis.look_at_time().await?;
    let edges = redis.describe_edges(now_ms).await?;
    let seen = edges.iter().map(|edge| format!("{} ({} sessions)", edge.name, edge.sessions)).collect::<Vec<_>>().join(", ");
    let seen = if seen.is_empty() { "none".to_owned() } else { seen };
    checks.add(
        "edges",
        verdict(edges.is_empty(), edges.len() == 1),
        seen,
        "start two edges or more: clients of one that dies need another",
    );
    let (left, all_seen) = redis.left_over_streams(now_ms).await?;
    let mut seen = if left.is_empty() { "none is left over".to_owned() } else { format!("of edges that are gone: {}", left.join(", ")) };
    if !all_seen {
        seen.push_str("; Redis has too many keys to look at all");
    }
    let fix = "delete them, or --fix: nobody reads them and they do not expire; what was in them is replayed to its sessions";
    checks.add("edges.streams", verdict(false, !left.is_empty()), seen, fix);
    for (job, check) in [("deliver", "workers.deliver"), ("archive", "workers.archive")] {
        let workers = redis.live_workers(job, now_ms).await?;
        let seen = format!("{} alive", workers.len());
        checks.add(check, verdict(workers.is_empty(), false), seen, "start the program; its log says what it waits for");
    }
    judge_silent_edges(checks, redis, now_ms).await?;
    let pauses = pause::lines(redis, now_ms).await?;
    judge_pauses(checks, "paused", &pauses);
    let before = redis.look_at_shards(context.shards()).await?;
    context.clock.sleep(LOOK_AGAIN).await;
    let after = redis.look_at_shards(context.shards()).await?;
    shards::judge(checks, run_ids, &before, &after, &redis.pauses(now_ms).await?);
    let letters = redis.lengths(&[keys::dead()]).await?.first().copied().unwrap_or(0);
    checks.add("dead-letters", verdict(false, letters > 0), format!("{letters}"), "`roger dead list`, then redrive or drop each");
    for (stream, name) in worked::requests().iter().zip(["replay", "floor"]) {
        let look = stream.look(redis, now_ms).await?;
        streams::judge_requests(checks, name, &look, pauses.iter().any(|pause| pause.work == name));
        groups::judge(checks, name, redis, stream, &look, now_ms).await?;
    }
    let reports = worked::reports();
    let fix = reports.look(redis, now_ms).await?;
    streams::judge_talk(checks, &worked::talk(redis, &context.config.janus.list, now_ms).await?);
    if context.config.janus.url.is_some() {
        let commands = worked::commands(redis, &context.config.janus.commands, now_ms).await?;
        streams::judge_media(checks, &commands, &worked::media(redis, context.shards(), now_ms).await?);
    }
    let paused = pauses.iter().any(|pause| pause.work == reports.job);
    streams::judge_reports(checks, &fix, redis.memory_bytes(&keys::fix()).await?, context.config.gps.backlog_bytes_max, paused);
    groups::judge(checks, "fix", redis, &reports, &fix, now_ms).await
}

/// Edges that died or hang, unless one of the same name lives.
async fn judge_silent_edges(checks: &mut Checks, redis: &Redis, now_ms: u64) -> Result<(), crate::broker::Error> {
    let name = |boot: &str| boot.rsplit_once('-').map_or(boot, |(name, _)| name).to_owned();
    let live: Vec<String> = redis.live_edges(now_ms).await?.iter().map(|boot| name(boot)).collect();
    let silent = redis.silent_edges(now_ms).await?;
    let silent: Vec<String> = silent
        .into_iter()
        .filter(|(boot, _)| !live.contains(&name(boot)))
        .map(|(boot, since_ms)| format!("{} for {} s", name(&boot), now_ms.saturating_sub(since_ms) / 1_000))
        .collect();
    if !silent.is_empty() {
        let fix = "it died or hangs: see its log and `supervisorctl status`; start it again, or wait ten minutes if it is gone for good";
        checks.add("edges.silent", Verdict::Warn, format!("no heartbeat of {}", silent.join(", ")), fix);
    }
    Ok(())
}

fn judge_pauses(checks: &mut Checks, check: &'static str, pauses: &[pause::Line]) {
    if !pauses.is_empty() {
        let seen = pauses.iter().map(pause::Line::text).collect::<Vec<_>>().join("; ");
        checks.add(check, Verdict::Warn, seen, "`roger resume JOB` when it may go on; it does by itself at that time");
    }
}

/// Mends what can do no harm.
async fn mend(checks: &mut Checks, redis: &Redis) {
    let mended = async {
        let mut mended = Vec::new();
        for server in redis.each().await? {
            let look = server.look_at_server().await?;
            if look.maxmemory_policy != "noeviction" {
                server.evict_nothing().await?;
                mended.push(format!(
                    "{} evicts nothing any more, until it is started again: set maxmemory-policy noeviction in its file",
                    look.address
                ));
            }
        }
        let (left, _) = redis.left_over_streams(redis.look_at_time().await?).await?;
        if !left.is_empty() {
            redis.drop_streams(&left).await?;
            mended.push(format!("deleted {} streams of edges that are gone", left.len()));
        }
        Ok::<_, crate::broker::Error>(mended)
    };
    match mended.await {
        Ok(mended) if mended.is_empty() => checks.add("mended", Verdict::Ok, "there was nothing to mend that is safe to mend", ""),
        Ok(mended) => checks.add("mended", Verdict::Ok, mended.join("; "), ""),
        Err(error) => checks.add("mended", Verdict::Fail, chain(&error), "see what is wrong with Redis first"),
    }
}

/// The streams of alerts, and the dead letters and pauses beside them unless they were told with those of the fleet.
async fn judge_alerts(checks: &mut Checks, sos: &Redis, context: &Context) {
    let now_ms = context.clock.now_ms();
    let looked = async {
        let mut looks = Vec::new();
        for stream in worked::alerts() {
            looks.push(stream.look(sos, now_ms).await?);
        }
        let letters = if context.sos_apart() { sos.lengths(&[keys::dead()]).await?.first().copied() } else { None };
        Ok::<(Vec<StreamLook>, Option<u64>), crate::broker::Error>((looks, letters))
    };
    let (looks, letters) = match looked.await {
        Ok(looked) => looked,
        Err(error) => return checks.add("sos", Verdict::Fail, chain(&error), "start the Redis of sos.redis_url"),
    };
    let pauses = pause::lines(sos, now_ms).await.unwrap_or_default();
    let paused: Vec<bool> = worked::alerts().iter().map(|stream| pauses.iter().any(|pause| pause.work == stream.job)).collect();
    streams::judge_alerts(checks, &looks, letters, &paused);
    if context.sos_apart() {
        judge_pauses(checks, "sos.paused", &pauses);
    }
    for ((name, look), stream) in streams::ALERT_NAMES.into_iter().zip(&looks).zip(&worked::alerts()) {
        if let Err(error) = groups::judge(checks, name, sos, stream, look, now_ms).await {
            checks.add("sos", Verdict::Fail, chain(&error), "see the log of the Redis of sos.redis_url");
        }
    }
}
