//! `roger bench`: what a fleet does on this machine, and beside it what Redis alone does.
//!
//! One connection for each device, as radios have; everything a device does happens in its session's own task, so the bench costs little of
//! what it measures. CPU seconds are those of the processes from the first message until SQL holds the last one, so that nothing is left
//! over that nobody counted; peak memory is VmHWM at the end.

mod fixes;
mod flood;
mod items;
mod janus;
mod lane;
mod load;
mod mariadb;
mod people;
mod quiet;
mod recordings;
mod report;
mod rest;
mod server;
mod sos;
mod spawn;
mod talk;
mod trace;
mod usage;
mod verdict;
mod wifi;

use std::time::Duration;

use super::args::{self, Appendfsync, Load};
use super::context::Context;
use super::error::Error;
use super::output::note;
use crate::broker::{FloorLoad, Redis};
use report::{Findings, Floor, RedisServer, Report};
use server::Server;
use spawn::{Crew, Fleet};
use usage::Watched;

/// How often the end of something is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(super) async fn bench(mut context: Context, args: args::Bench) -> Result<(), Error> {
    usage::raise_open_files();
    if !args.spawn && matches!(args.load, Load::People { groups: 1.., .. }) {
        return Err(Error::Usage("people empties Redis: add --spawn, or --groups 0".to_owned()));
    }
    if !args.spawn && matches!(args.load, Load::Sos { kill: true, .. }) {
        return Err(Error::Usage("--kill kills the processes of a fleet of its own: add --spawn".to_owned()));
    }
    if !args.spawn && matches!(args.load, Load::Fixes { .. } | Load::Trace { .. } | Load::Recordings { .. } | Load::Rest { .. }) {
        return Err(Error::Usage("this load takes a fleet, or a database, of its own: add --spawn".to_owned()));
    }
    if !args.spawn && matches!(args.load, Load::Talk { .. }) {
        return Err(Error::Usage("talk needs a Janus of its own: add --spawn".to_owned()));
    }
    if args.primaries.is_some() && !takes_primaries(&args) {
        let loads = "direct, group, idle, rest, catchup, people, sos, fixes, talk or recordings";
        return Err(Error::Usage(format!("--primaries is for a fleet with a Redis of its own: add --spawn, to {loads}")));
    }
    let appendfsync = if args.spawn { name(args.appendfsync) } else { "as configured" };
    let mut report = Report { machine: usage::Machine::this(), appendfsync, text_bytes: args.bytes, ..Report::default() };
    match &args.load {
        Load::All => {
            for load in Load::reference() {
                report.benches.push(measure(&mut context, &args, &load).await?);
                // Right behind what it is compared with: the machine may be another one a minute later.
                if let Some(load) = floor_of(&load, args.bytes) {
                    measure_floors(&context, &args, load, &mut report).await?;
                }
            }
        }
        Load::Wifi { seed, points, lessons, held_out } => report.benches.push(wifi::measure(*seed, *points, *lessons, *held_out)),
        Load::Trace { rows, days } => {
            report.benches.push(trace::measure(&context, args.sql, args.within, rows, *days).await?);
        }
        load => {
            if !matches!(load, Load::Floor { .. }) {
                report.benches.push(measure(&mut context, &args, load).await?);
            }
            let alone = matches!(load, Load::Floor { .. });
            // One server is no measure for several.
            let beside = args.spawn && args.primaries.is_none();
            if let Some(load) = floor_of(load, args.bytes).filter(|_| beside || alone) {
                measure_floors(&context, &args, load, &mut report).await?;
            }
        }
    }
    report.judge();
    context.out.answer(&report, |report| serde_json::to_string_pretty(report).unwrap_or_default());
    if report.is_sound() { Ok(()) } else { Err(Error::Findings) }
}

/// One load, on the configured fleet or on one of its own.
async fn measure(context: &mut Context, args: &args::Bench, load: &Load) -> Result<Findings, Error> {
    if !args.spawn {
        let watched = Watched::find(context.redis()?.look_at_server().await?.pid);
        return load::run(context, args, load, &watched, None).await;
    }
    note("bench: starting a private Redis and fleet");
    let crew = match load {
        Load::Sos { .. } | Load::Fixes { .. } => Crew::WithAlerts,
        Load::Talk { .. } => Crew::WithTalk,
        Load::Recordings { .. } => Crew::WithList,
        Load::Rest { scrape, .. } => Crew::AtRest { measured: !scrape.is_zero() },
        _ => Crew::Messages,
    };
    let server = Server::start(args.appendfsync, args.primaries, args.within).await?;
    let mut fleet = Fleet::start(server, args.sql, crew, args.within).await?;
    context.config = fleet.config.clone();
    let watched = fleet.watched();
    let mut findings = load::run(context, args, load, &watched, Some(&mut fleet)).await;
    if let (Ok(findings), Some(_)) = (&mut findings, args.primaries) {
        findings.redis = RedisServer::of(&context.redis()?.bench_shares(context.shards()).await?);
    }
    fleet.stop().await;
    findings
}

/// Whether a load has a fleet for which a cluster can be made.
fn takes_primaries(args: &args::Bench) -> bool {
    args.spawn && !matches!(args.load, Load::All | Load::Floor { .. } | Load::Trace { .. } | Load::Wifi { .. })
}

/// What Redis alone is asked to do beside a load.
fn floor_of(load: &Load, bytes: u32) -> Option<FloorLoad> {
    let (messages, pairs, window) = match *load {
        Load::Floor { messages, pairs, window } => (messages, pairs, window),
        Load::Direct { devices, window, messages } => (messages, devices / 2, window),
        _ => return None,
    };
    Some(FloorLoad { messages, pairs: pairs.max(1), window: window.max(1), bytes: bytes as usize })
}

/// On private servers with either setting, or on the configured one as it is.
async fn measure_floors(context: &Context, args: &args::Bench, load: FloorLoad, report: &mut Report) -> Result<(), Error> {
    if !args.spawn {
        report.floors.push(measure_floor(&context.redis()?, "as configured", load).await?);
        return Ok(());
    }
    for appendfsync in [Appendfsync::Everysec, Appendfsync::Always] {
        note(&format!("bench: the floor with appendfsync {}", name(appendfsync)));
        let server = Server::start(appendfsync, None, args.within).await?;
        report.floors.push(measure_floor(&server.redis, name(appendfsync), load).await?);
        server.stop().await;
    }
    Ok(())
}

async fn measure_floor(redis: &Redis, appendfsync: &'static str, load: FloorLoad) -> Result<Floor, Error> {
    let watched = Watched::only("redis", redis.look_at_server().await?.pid);
    let before = watched.usage();
    let (messages, took) = redis.bench_floor(load).await?;
    let used = watched.since(&before);
    let seconds = took.as_secs_f64();
    let per_million = |name: &str| used.get(name).map_or(0.0, |used| used.cpu_s) * 1e6 / messages as f64;
    Ok(Floor {
        appendfsync,
        messages,
        seconds,
        messages_per_s: messages as f64 / seconds,
        redis_cpu_s_per_million: per_million("redis"),
        bench_cpu_s_per_million: per_million("bench"),
    })
}

fn name(appendfsync: Appendfsync) -> &'static str {
    match appendfsync {
        Appendfsync::Always => "always",
        Appendfsync::Everysec => "everysec",
    }
}
