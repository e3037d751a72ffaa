//! `roger bench`: what a fleet does on this machine, and beside it what Redis alone does.
//!
//! One connection for each device, as radios have; everything a device does happens in its session's own task, so the bench costs little of
//! what it measures. CPU seconds are those of the processes from the first message to the last; peak memory is VmHWM at the end.

mod lane;
mod load;
mod spawn;
mod usage;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::args::{self, Appendfsync, Load};
use super::context::Context;
use super::error::Error;
use super::output::note;
use crate::broker::{FloorLoad, Redis};
use spawn::Fleet;
use usage::{Usage, Watched};

/// What one run found. Absent parts do not apply to it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    pub(super) bench: &'static str,
    pub(super) machine: usage::Machine,
    pub(super) settings: BTreeMap<&'static str, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traffic: Option<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle: Option<Idle>,
    /// By program; `redis` among them.
    pub(super) programs: BTreeMap<String, Usage>,
    /// CPU seconds of all programs and Redis per million deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_s_per_million: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) floors: Vec<Floor>,
    /// This run by the floor with the same appendfsync: messages a second, and CPU seconds per million.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<Ratio>,
}

/// Messages that went through.
#[derive(Debug, Default, Serialize)]
pub(super) struct Traffic {
    /// With a receipt.
    pub(super) messages: u64,
    /// To recipients other than the sender.
    pub(super) deliveries: u64,
    pub(super) seconds: f64,
    pub(super) messages_per_s: f64,
    pub(super) deliveries_per_s: f64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) disordered: u64,
    pub(super) refused: u64,
    /// From the call that sends to the recipient's app.
    pub(super) latency_ms: BTreeMap<&'static str, f64>,
    /// Messages of which the sender was told that the recipient acknowledged them; 0 in groups, which tell nobody.
    pub(super) delivered_told: u64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Idle {
    pub(super) sessions: u64,
    pub(super) connects_per_s: f64,
    pub(super) edge_rss_kib_before: u64,
    pub(super) edge_rss_kib_after: u64,
    pub(super) edge_rss_kib_per_session: f64,
}

/// Raw Redis.
#[derive(Debug, Serialize)]
pub(super) struct Floor {
    pub(super) appendfsync: &'static str,
    pub(super) messages: u64,
    pub(super) seconds: f64,
    pub(super) messages_per_s: f64,
    pub(super) redis_cpu_s_per_million: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) deliveries_per_s: f64,
    pub(super) cpu: f64,
}

pub(super) async fn bench(mut context: Context, args: args::Bench) -> Result<(), Error> {
    let mut fleet = None;
    let floor_only = matches!(args.load, Load::Floor { .. });
    if args.spawn && !floor_only {
        note("bench: starting a private Redis and fleet");
        let spawned = Fleet::start(args.appendfsync, args.within).await?;
        context.config = spawned.config.clone();
        fleet = Some(spawned);
    }
    let mut findings = match &args.load {
        Load::Floor { .. } => Findings { bench: "floor", ..Findings::default() },
        _ => {
            let watched = match &fleet {
                Some(fleet) => fleet.watched(),
                None => Watched::find(context.redis()?.look_at_server().await?.pid),
            };
            load::run(&context, &args, &watched).await?
        }
    };
    findings.machine = usage::Machine::this();
    // The floors say of themselves which they had.
    if !floor_only {
        findings.settings.insert("appendfsync", if fleet.is_some() { name(args.appendfsync).into() } else { "as configured".into() });
    }
    findings.settings.insert("text_bytes", args.bytes.into());
    if let Some(fleet) = fleet {
        fleet.stop().await;
    }
    let floor = match args.load {
        Load::Floor { messages, pairs, window } => Some((messages, pairs, window)),
        Load::Direct { devices, window, messages } => Some((messages, (devices / 2).max(1), window)),
        _ => None,
    };
    if let Some((messages, pairs, window)) = floor.filter(|_| args.spawn || floor_only) {
        let load = FloorLoad { messages, pairs: pairs.max(1), window: window.max(1), bytes: args.bytes as usize };
        measure_floors(&context, args.spawn, args.within, load, &mut findings).await?;
        findings.compare(name(args.appendfsync));
    }
    context.out.answer(&findings, |findings| serde_json::to_string_pretty(findings).unwrap_or_default());
    let sound =
        findings.traffic.as_ref().is_none_or(|traffic| traffic.lost + traffic.duplicated + traffic.disordered + traffic.refused == 0);
    if sound { Ok(()) } else { Err(Error::Findings) }
}

/// On private servers with either setting, or on the configured one as it is.
async fn measure_floors(context: &Context, spawn: bool, within: Duration, load: FloorLoad, findings: &mut Findings) -> Result<(), Error> {
    if !spawn {
        findings.floors.push(measure_floor(&context.redis()?, "as configured", load).await?);
        return Ok(());
    }
    for appendfsync in [Appendfsync::Everysec, Appendfsync::Always] {
        note(&format!("bench: the floor with appendfsync {}", name(appendfsync)));
        let server = spawn::Server::start(appendfsync, within).await?;
        findings.floors.push(measure_floor(&server.redis, name(appendfsync), load).await?);
        server.stop().await;
    }
    Ok(())
}

async fn measure_floor(redis: &Redis, appendfsync: &'static str, load: FloorLoad) -> Result<Floor, Error> {
    let watched = Watched::only("redis", redis.look_at_server().await?.pid);
    let before = watched.usage();
    let (messages, took) = redis.bench_floor(load).await?;
    // Without the bench itself, which is among what is watched.
    let used = usage::fleet_cpu_s(&watched.since(&before));
    let seconds = took.as_secs_f64();
    Ok(Floor {
        appendfsync,
        messages,
        seconds,
        messages_per_s: messages as f64 / seconds,
        redis_cpu_s_per_million: used * 1e6 / messages as f64,
    })
}

impl Findings {
    fn compare(&mut self, appendfsync: &str) {
        let floor = self.floors.iter().find(|floor| floor.appendfsync == appendfsync);
        if let (Some(floor), Some(traffic), Some(cpu)) = (floor, &self.traffic, self.cpu_s_per_million) {
            self.ratio =
                Some(Ratio { deliveries_per_s: traffic.deliveries_per_s / floor.messages_per_s, cpu: cpu / floor.redis_cpu_s_per_million });
        }
    }
}

pub(super) fn name(appendfsync: Appendfsync) -> &'static str {
    match appendfsync {
        Appendfsync::Always => "always",
        Appendfsync::Everysec => "everysec",
    }
}
