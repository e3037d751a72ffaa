//! What a run of the bench found, as it is printed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fixes::Fixes;
use super::recordings::Recordings;
use super::talk::Talk;
use super::trace::Traces;
use super::usage::{Machine, Usage, Watched};
use super::wifi::Wifi;
use crate::broker::ServerShare;

/// One run: its benches, the floors beside them, and what is wanted of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) appendfsync: &'static str,
    pub(super) text_bytes: u32,
    pub(super) benches: Vec<Findings>,
    pub(super) floors: Vec<Floor>,
    pub(super) targets: Vec<Target>,
}

/// What one bench found. Absent parts do not apply to it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    pub(super) bench: &'static str,
    pub(super) settings: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traffic: Option<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle: Option<Idle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rest: Option<AtRest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) people: Option<People>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sos: Option<Sos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fixes: Option<Fixes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traces: Option<Traces>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) talk: Option<Talk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recordings: Option<Recordings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wifi: Option<Wifi>,
    /// The servers of a cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) redis: Vec<RedisServer>,
    /// By program; `redis` among them, all servers of it together.
    pub(super) programs: BTreeMap<String, Usage>,
    /// CPU seconds of all programs and Redis per million deliveries, without those of the bench.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_s_per_million: Option<f64>,
    /// From the first message until SQL had everything: the time in which the CPU seconds were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) archived_s: Option<f64>,
}

/// The part of one server of a cluster, from its start until all was archived; the making of accounts is in it.
#[derive(Debug, Serialize)]
pub(super) struct RedisServer {
    pub(super) address: String,
    /// Shards whose keys it has.
    pub(super) shards: u32,
    /// Entries that were appended to its streams.
    pub(super) entries: u64,
    /// Of those of all servers; all are 1.
    pub(super) entries_share: f64,
    /// Commands it was sent.
    pub(super) commands: u64,
    pub(super) commands_share: f64,
    pub(super) cpu_s: f64,
    pub(super) cpu_share: f64,
    pub(super) rss_peak_kib: u64,
}

impl RedisServer {
    pub(super) fn of(servers: &[ServerShare]) -> Vec<Self> {
        let used: Vec<Usage> = servers.iter().map(|server| Watched::only("redis", server.pid).usage()["redis"]).collect();
        let share = |part: f64, all: f64| part / all.max(f64::MIN_POSITIVE);
        let (entries, commands) =
            servers.iter().fold((0, 0), |(entries, commands), server| (entries + server.entries, commands + server.commands));
        let cpu_s: f64 = used.iter().map(|used| used.cpu_s).sum();
        let server = |(server, used): (&ServerShare, &Usage)| Self {
            address: server.address.clone(),
            shards: server.shards,
            entries: server.entries,
            entries_share: share(server.entries as f64, entries as f64),
            commands: server.commands,
            commands_share: share(server.commands as f64, commands as f64),
            cpu_s: used.cpu_s,
            cpu_share: share(used.cpu_s, cpu_s),
            rss_peak_kib: used.rss_peak_kib,
        };
        servers.iter().zip(&used).map(server).collect()
    }
}

/// Messages that went through.
#[derive(Debug, Default, Serialize)]
pub(super) struct Traffic {
    /// With a receipt.
    pub(super) messages: u64,
    /// To recipients other than the sender.
    pub(super) deliveries: u64,
    /// From the first message until all had their receipts, were delivered and, in `direct`, were told to be acknowledged.
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

/// What a fleet uses while nobody says anything.
#[derive(Debug, Default, Serialize)]
pub(super) struct AtRest {
    pub(super) sessions: u64,
    pub(super) seconds: f64,
    /// How often the metrics of each program were scraped.
    pub(super) scrapes: u64,
    /// What one scrape of all programs brings.
    pub(super) scraped_bytes: u64,
    /// Hundredths of one processor, by program.
    pub(super) cpu_percent: BTreeMap<String, f64>,
    /// Commands that Redis did, a second.
    pub(super) redis_commands_per_s: f64,
}

/// How late messages came, from the call that sends to the recipient's app.
#[derive(Debug, Default, Serialize)]
pub(super) struct Latencies {
    pub(super) messages: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// What administering takes, and what messages suffer meanwhile.
#[derive(Debug, Default, Serialize)]
pub(super) struct People {
    /// With nothing else to do.
    pub(super) idle: Latencies,
    /// Until a call that imports devices answered: the median of all, which came one behind the other.
    pub(super) import_s: f64,
    pub(super) import_late: Latencies,
    /// Until a call answered that exchanges one half of a group's members for the other, all of them: as above.
    pub(super) group_s: f64,
    pub(super) group_late: Latencies,
    pub(super) list: GroupList,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mirror: Option<Mirror>,
}

/// All groups of somebody, page by page.
#[derive(Debug, Default, Serialize)]
pub(super) struct GroupList {
    pub(super) groups: u64,
    /// Members of all groups, each counted in every group it is in: so often would be asked who is there, were each asked for by itself.
    pub(super) memberships: u64,
    /// Different ones; each is asked for once a page.
    pub(super) members: u64,
    pub(super) seconds: f64,
}

/// An emptied Redis.
#[derive(Debug, Default, Serialize)]
pub(super) struct Mirror {
    pub(super) devices: u64,
    pub(super) groups: u64,
    /// From the moment at which it was emptied until every shard had begun a new epoch with all that SQL knows.
    pub(super) filled_s: f64,
    /// Messages that came from then until five seconds after it was filled, those said in between included.
    pub(super) messages: u64,
    pub(super) late: Latencies,
}

/// How late SOS comes, from the call that presses to the dispatcher's app.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sos {
    /// With nothing else to do.
    pub(super) idle: Latencies,
    /// While chat and positions are offered at many times what the fleet takes.
    pub(super) overload: Latencies,
    /// What the fleet takes of either, with nothing else to do.
    pub(super) messages_per_s: f64,
    pub(super) fixes_per_s: f64,
    /// What was offered during `overload`.
    pub(super) messages: Flow,
    pub(super) fixes: Flow,
    /// All presses, those that warm up and those during kills included.
    pub(super) presses: u64,
    /// Of these, without an alert that came.
    pub(super) lost: u64,
    /// Of these, heard with an alert that was open already.
    pub(super) joined: u64,
    /// A press while each process was killed, beside the flood.
    pub(super) killed: Vec<Killed>,
}

/// A press while a process dies.
#[derive(Debug, Serialize)]
pub(super) struct Killed {
    pub(super) program: String,
    /// `None` when it was lost.
    pub(super) took_ms: Option<f64>,
}

/// Both kinds of a flood.
#[derive(Debug, Default, Serialize)]
pub(super) struct Offered {
    pub(super) messages: Flow,
    pub(super) fixes: Flow,
}

/// What became of what was offered.
#[derive(Debug, Default, Serialize)]
pub(super) struct Flow {
    /// Held back ones included.
    pub(super) offered_per_s: f64,
    /// Devices had no room for so many behind what waits for its receipt.
    pub(super) held_back_per_s: f64,
    /// With a receipt.
    pub(super) taken_per_s: f64,
    pub(super) refused_per_s: f64,
}

/// Raw Redis.
#[derive(Debug, Serialize)]
pub(super) struct Floor {
    pub(super) appendfsync: &'static str,
    pub(super) messages: u64,
    pub(super) seconds: f64,
    pub(super) messages_per_s: f64,
    pub(super) redis_cpu_s_per_million: f64,
    pub(super) bench_cpu_s_per_million: f64,
}

/// A relation of two findings of this run, or one by itself, and what is wanted of it.
#[derive(Debug, Serialize)]
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) wanted: String,
    pub(super) found: f64,
    pub(super) met: bool,
}

impl Target {
    fn at_least(what: &'static str, least: f64, found: f64) -> Self {
        Self { what, wanted: format!("at least {least}"), found, met: found >= least }
    }

    fn at_most(what: &'static str, most: f64, found: f64) -> Self {
        Self { what, wanted: format!("at most {most}"), found, met: found <= most }
    }
}

impl Report {
    /// Whether everything arrived, once and in order, every fix is in SQL, and of a list of Janus became what had to.
    pub(super) fn is_sound(&self) -> bool {
        let sound = |traffic: &Traffic| traffic.lost + traffic.duplicated + traffic.disordered + traffic.refused == 0;
        let heard = self.benches.iter().filter_map(|findings| findings.sos.as_ref()).all(|sos| sos.lost == 0);
        let stored = |fixes: &Fixes| fixes.adds_up && fixes.slow.as_ref().is_none_or(|slow| slow.stored >= slow.accepted);
        let listed = self.benches.iter().filter_map(|findings| findings.recordings.as_ref()).all(|list| list.verdict.is_sound());
        heard
            && listed
            && self.benches.iter().filter_map(|findings| findings.traffic.as_ref()).all(sound)
            && self.benches.iter().filter_map(|findings| findings.fixes.as_ref()).all(stored)
    }

    /// Compares what is there with what is wanted.
    pub(super) fn judge(&mut self) {
        let bench = |name: &str| self.benches.iter().find(|findings| findings.bench == name);
        let rate = |name: &str| bench(name)?.traffic.as_ref().map(|traffic| traffic.deliveries_per_s);
        // Redis as the fleet had it; `as configured` there is only one.
        let floor = self.floors.iter().find(|floor| floor.appendfsync == self.appendfsync);
        let mut targets = Vec::new();
        if let (Some(direct), Some(floor)) = (rate("direct"), floor) {
            targets.push(Target::at_least("messages/s of direct by those of the floor", 0.6, direct / floor.messages_per_s));
        }
        if let (Some(cpu), Some(floor)) = (bench("direct").and_then(|direct| direct.cpu_s_per_million), floor) {
            targets.push(Target::at_most("CPU of direct by that of the floor", 2.2, cpu / floor.redis_cpu_s_per_million));
        }
        if let (Some(direct), Some(group)) = (rate("direct"), rate("group")) {
            targets.push(Target::at_least("deliveries/s of group by messages/s of direct", 3.0, group / direct));
        }
        if let Some(idle) = bench("idle").and_then(|findings| findings.idle.as_ref()) {
            targets.push(Target::at_most("KiB of edge memory for an idle session", 20.0, idle.edge_rss_kib_per_session));
        }
        if let Some(people) = bench("people").and_then(|findings| findings.people.as_ref()) {
            let idle = people.idle.p99_ms.max(f64::MIN_POSITIVE);
            targets.push(Target::at_most("p99 of messages during an import by the idle one", 2.0, people.import_late.p99_ms / idle));
            targets.push(Target::at_most(
                "p99 of messages during a change of a group by the idle one",
                2.0,
                people.group_late.p99_ms / idle,
            ));
        }
        if let Some(sos) = bench("sos").and_then(|findings| findings.sos.as_ref()) {
            let idle = sos.idle.p99_ms.max(f64::MIN_POSITIVE);
            targets.push(Target::at_most("p99 of SOS beside an overload by the idle one", 2.0, sos.overload.p99_ms / idle));
            targets.push(Target::at_most("SOS lost", 0.0, sos.lost as f64));
        }
        if let Some(fixes) = bench("fixes").and_then(|findings| findings.fixes.as_ref()) {
            let per_core = fixes.ceiling_cpu_s / fixes.database_cpu_s.max(f64::MIN_POSITIVE);
            targets.push(Target::at_least("fixes for each CPU second of the database by those of plain inserts", 0.7, per_core));
        }
        if let Some(traces) = bench("trace").and_then(|findings| findings.traces.as_ref())
            && let (Some(few), Some(many)) = (traces.tables.first(), traces.tables.last())
        {
            let times = many.again_p50_ms / few.again_p50_ms.max(f64::MIN_POSITIVE);
            targets.push(Target::at_most("a day out of the largest table by one out of the smallest", 1.5, times));
        }
        if let Some(talk) = bench("talk").and_then(|findings| findings.talk.as_ref()) {
            targets.push(Target::at_most("p99 of recorded talk at the last one of the room, ms", 20.0, talk.announced.p99_ms));
            targets.push(Target::at_most("p99 of the floor from the button to the grant, ms", 20.0, talk.granted.p99_ms));
            targets.push(Target::at_most("presses without a grant", 0.0, talk.refused as f64));
        }
        if let Some(recordings) = bench("recordings").and_then(|findings| findings.recordings.as_ref()) {
            targets.push(Target::at_least("items/s of a list of Janus by those of its bare move", 0.5, recordings.by_bare));
        }
        if let (Some(direct), Some(catchup)) = (rate("direct"), rate("catchup")) {
            targets.push(Target::at_least("messages/s of catchup by those of direct", 1.0, catchup / direct));
        }
        self.targets = targets;
    }
}
