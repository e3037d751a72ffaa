//! What all loads need, and the busy ones: direct and group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::args::{self, Load};
use super::super::context::Context;
use super::super::error::Error;
use super::super::fresh::{Device, Fresh};
use super::super::output::note;
use super::LOOK_EVERY;
use super::fixes::FixLoad;
use super::lane::{Lane, Progress};
use super::people::Sizes;
use super::recordings::RecordingsLoad;
use super::report::{Findings, Traffic};
use super::rest;
use super::sos;
use super::spawn::Fleet;
use super::talk;
use super::usage::{Usage, Watched, fleet_cpu_s};
use crate::broker::Redis;
use crate::client::{Directory, Event, Memory, Options, Session};
use crate::directory::Registry;
use crate::model::{InstallationId, TopicId};
use crate::store::Store;

/// Sessions that may be connecting at once.
const CONNECTING_MAX: u64 = 512;

/// What all loads need.
pub(super) struct Bench<'a> {
    context: &'a Context,
    pub(super) fresh: Fresh,
    edges: Vec<String>,
    pub(super) directory: String,
    pub(super) within: Duration,
    pub(super) text: Bytes,
    pub(super) watched: &'a Watched,
    pub(super) progress: Arc<Progress>,
}

/// Runs a load; `fleet` is the one it runs on, when that was started for it.
pub(super) async fn run(
    context: &Context,
    args: &args::Bench,
    load: &Load,
    watched: &Watched,
    fleet: Option<&mut Fleet>,
) -> Result<Findings, Error> {
    let run = format!("bench-{:x}", context.clock.now_ms());
    let bench = Bench {
        context,
        fresh: Fresh::new(context.store()?, &context.config.auth.secret_key_file, context.clock.clone(), &run).await?,
        edges: context.live_edges(&args.doors).await?,
        directory: context.directory(&args.doors),
        within: args.within,
        text: Bytes::from(vec![b'r'; args.bytes as usize]),
        watched,
        progress: Arc::default(),
    };
    match *load {
        Load::Direct { devices, window, messages } => bench.direct(devices, u64::from(window), messages).await,
        Load::Group { groups, members, window, messages } => bench.group(groups, members, u64::from(window), messages).await,
        Load::Idle { sessions } => bench.idle(sessions).await,
        Load::Rest { sessions, length, scrape } => bench.rest(rest::Rest { sessions, length, scrape }, fleet).await,
        Load::Catchup { devices, backlog } => bench.catchup(devices, backlog).await,
        Load::People { devices, members, rounds, groups, pace } => bench.people(Sizes { devices, members, rounds, groups, pace }).await,
        Load::Sos { idle, overload, writers, reporters, kill } => {
            bench.sos(sos::Sizes { idle, overload, writers, reporters }, fleet.filter(|_| kill)).await
        }
        Load::Talk { members, bursts, presses } => bench.talk(talk::Sizes { members, bursts, presses }).await,
        Load::Recordings { items, kill_every } => bench.recordings(RecordingsLoad { items, kill_every }, fleet).await,
        Load::Fixes { devices, fixes, batch, slow } => bench.fixes(FixLoad { devices, fixes, batch, slow }).await,
        Load::All | Load::Floor { .. } | Load::Trace { .. } | Load::Wifi { .. } => Ok(Findings::default()),
    }
}

impl Bench<'_> {
    pub(super) fn redis(&self) -> Result<Redis, Error> {
        self.context.redis()
    }

    pub(super) fn store(&self) -> Result<Store, Error> {
        self.context.store()
    }

    /// Accounts of another company.
    pub(super) async fn other_company(&self) -> Result<Fresh, Error> {
        let run = format!("bench-{:x}-other", self.now_ms());
        Fresh::new(self.store()?, &self.context.config.auth.secret_key_file, self.context.clock.clone(), &run).await
    }

    /// How far something is, as it is shown.
    pub(super) fn bar(&self, of: u64, what: &'static str) -> indicatif::ProgressBar {
        self.context.out.progress(of, what)
    }

    pub(super) fn edges(&self) -> &[String] {
        &self.edges
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.context.clock.now_ms()
    }

    /// Keeps SQL from working for a while, as somebody else's long transaction or a slow disk does.
    pub(super) async fn hold(&self, held: Duration) -> Result<(), Error> {
        self.watched.hold_database(&self.context.store()?, held).await
    }

    /// The list that Janus writes to.
    pub(super) fn talk_list(&self) -> String {
        self.context.config.janus.list.clone()
    }

    pub(super) fn shards(&self) -> u32 {
        self.context.shards()
    }

    pub(super) async fn registry(&self) -> Result<Registry, Error> {
        self.context.registry().await
    }

    /// The token of an account of this bench.
    pub(super) async fn log_in(&self, name: &str) -> Result<String, Error> {
        let installation = InstallationId(rand::random_range(1..=u64::MAX));
        Ok(Directory::new(&self.directory)?.login(name, super::people::PASSWORD, installation).await?.token)
    }

    pub(super) async fn devices(&self, count: u32) -> Result<Vec<Device>, Error> {
        note(&format!("bench: making {count} accounts"));
        let bar = self.context.out.progress(u64::from(count), "accounts");
        let mut devices = Vec::new();
        for number in 0..count {
            devices.push(self.fresh.device(&format!("d{number}")).await?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(devices)
    }

    pub(super) fn open(
        &self,
        number: usize,
        device: &Device,
        window: u64,
        handler: impl FnMut(&mut Vec<Event>) + Send + 'static,
    ) -> Result<Session, Error> {
        let first = number % self.edges.len();
        let edges = self.edges[first..].iter().chain(&self.edges[..first]).cloned();
        let mut options = Options::new(edges, device.tokens.clone(), Memory::of(device.installation));
        options.window = usize::try_from(window).unwrap_or(usize::MAX) + 1;
        Ok(Session::open_with(options, handler)?)
    }

    /// Waits until a count is reached; false when it stood still for too long.
    pub(super) async fn reached(&self, count: &AtomicU64, wanted: u64) -> bool {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let now = count.load(Ordering::Relaxed);
            if now >= wanted {
                return true;
            }
            if now != last {
                (last, moved) = (now, Instant::now());
            }
            if moved.elapsed() > self.within {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn connected(&self, sessions: u64, topics: u64) -> Result<(), Error> {
        let late = |what: &str| Error::Late { what: what.to_owned(), seconds: self.within.as_secs() };
        if !self.reached(&self.progress.connected, sessions).await {
            return Err(late(&format!("the connection of all {sessions} sessions")));
        }
        if !self.reached(&self.progress.followed, topics).await {
            return Err(late(&format!("the following of all {topics} topics")));
        }
        Ok(())
    }

    /// Lets not too many connect at once: the kernel's bound on a listen backlog may be short.
    pub(super) async fn throttle(&self, opened: u64) {
        while opened > self.progress.connected.load(Ordering::Relaxed) + CONNECTING_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What was used since `before`, as soon as SQL has everything, and how long after `begun` that was; `None` when it did not come so far.
    pub(super) async fn used_until_archived(
        &self,
        before: &BTreeMap<String, Usage>,
        begun: Instant,
    ) -> (BTreeMap<String, Usage>, Option<f64>) {
        let late = Instant::now() + self.within;
        while Instant::now() < late {
            let looks = match self.context.redis() {
                Ok(redis) => redis.look_at_shards(self.context.shards()).await.unwrap_or_default(),
                Err(_) => Vec::new(),
            };
            if !looks.is_empty() && looks.iter().all(|look| look.input == 0 && look.archive_lag == Some(0)) {
                return (self.watched.since(before), Some(begun.elapsed().as_secs_f64()));
            }
            tokio::time::sleep(LOOK_EVERY * 20).await;
        }
        (self.watched.since(before), None)
    }

    async fn direct(&self, devices: u32, window: u64, messages: u64) -> Result<Findings, Error> {
        let pairs = u64::from(devices / 2).max(1);
        let devices = self.devices(pairs as u32 * 2).await?;
        self.fresh.relayed(self.within).await?;
        let quota = messages.div_ceil(pairs);
        let (mut lanes, mut listeners) = (Vec::new(), Vec::new());
        for (number, pair) in devices.chunks_exact(2).enumerate() {
            let lane = Lane::new(TopicId::inbox(pair[1].user), self.text.clone(), quota, window, 1, self.progress.clone());
            let (writing, listening) = (lane.clone(), lane.clone());
            let writer = self.open(number, &pair[0], window, move |events| writing.writer_events(events))?;
            let mut last = 0;
            // Through the other edge, where there is one.
            listeners.push(self.open(number + 1, &pair[1], 1, move |events| listening.listener_events(&mut last, events))?);
            lanes.push((lane, writer));
            self.throttle(2 * (number as u64 + 1)).await;
        }
        self.connected(2 * pairs, 2 * pairs).await?;
        let mut findings = self.traffic("direct", lanes, quota * pairs, 1).await;
        drop(listeners);
        findings.settings.extend([("devices", pairs * 2), ("window", window), ("messages", quota * pairs)]);
        Ok(findings)
    }

    async fn group(&self, groups: u32, members: u32, window: u64, messages: u64) -> Result<Findings, Error> {
        let (groups, members) = (u64::from(groups.max(1)), u64::from(members.max(2)));
        let devices = self.devices((groups * members) as u32).await?;
        let quota = messages.div_ceil(groups);
        let (mut lanes, mut listeners) = (Vec::new(), Vec::new());
        let mut topics = Vec::new();
        for (number, team) in devices.chunks_exact(members as usize).enumerate() {
            let users: Vec<_> = team.iter().map(|device| device.user).collect();
            topics.push(TopicId::group(self.fresh.group(&format!("g{number}"), &users).await?));
        }
        self.fresh.relayed(self.within).await?;
        for (team, topic) in devices.chunks_exact(members as usize).zip(topics) {
            let lane = Lane::new(topic, self.text.clone(), quota, window, members - 1, self.progress.clone());
            let writing = lane.clone();
            let writer = self.open(0, &team[0], window, move |events| writing.writer_events(events))?;
            for (number, device) in team.iter().enumerate().skip(1) {
                let listening = lane.clone();
                let mut last = 0;
                listeners.push(self.open(number, device, 1, move |events| listening.listener_events(&mut last, events))?);
                self.throttle(listeners.len() as u64).await;
            }
            lanes.push((lane, writer));
        }
        // Each follows the inbox and the group.
        self.connected(groups * members, 2 * groups * members).await?;
        let mut findings = self.traffic("group", lanes, quota * groups, members - 1).await;
        drop(listeners);
        findings.settings.extend([("groups", groups), ("members", members), ("window", window), ("messages", quota * groups)]);
        Ok(findings)
    }

    /// Lets the lanes go, and waits until everything has arrived.
    async fn traffic(&self, bench: &'static str, lanes: Vec<(Arc<Lane>, Session)>, messages: u64, listeners: u64) -> Findings {
        note(&format!("bench: {messages} messages"));
        let before = self.watched.usage();
        let begun = Instant::now();
        for (lane, writer) in &lanes {
            lane.start(writer.clone());
        }
        let bar = self.context.out.progress(messages * listeners, "deliveries");
        let arrived = async {
            let all = self.reached(&self.progress.delivered, messages * listeners).await;
            self.reached(&self.progress.receipted, if all { messages } else { 0 }).await
        };
        let watching = async {
            loop {
                bar.set_position(self.progress.delivered.load(Ordering::Relaxed));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            _ = arrived => {}
            () = watching => {}
        }
        bar.finish_and_clear();
        let Some((first, _)) = lanes.first() else { return Findings::default() };
        let sum = || {
            let mut sum = first.nothing();
            lanes.iter().for_each(|(lane, _)| lane.tally(&mut sum));
            sum
        };
        let late = Instant::now() + self.within;
        while bench == "direct" && sum().told < messages && Instant::now() < late {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let (programs, archived_s) = self.used_until_archived(&before, begun).await;
        let sum = sum();
        let deliveries = self.progress.delivered.load(Ordering::Relaxed);
        let receipted = self.progress.receipted.load(Ordering::Relaxed);
        let percentile = |at: f64| sum.latency_us.value_at_quantile(at) as f64 / 1_000.0;
        let latency_ms = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)].map(|(name, at)| (name, percentile(at)));
        let traffic = Traffic {
            messages: receipted,
            deliveries,
            seconds,
            messages_per_s: receipted as f64 / seconds,
            deliveries_per_s: deliveries as f64 / seconds,
            lost: messages * listeners - deliveries.min(messages * listeners),
            duplicated: sum.duplicated,
            disordered: sum.disordered,
            refused: sum.refused,
            latency_ms: latency_ms.into_iter().chain([("max", sum.latency_us.max() as f64 / 1_000.0)]).collect(),
            delivered_told: sum.told,
        };
        let cpu_s_per_million = Some(fleet_cpu_s(&programs) * 1e6 / deliveries.max(1) as f64);
        Findings { bench, traffic: Some(traffic), programs, cpu_s_per_million, archived_s, ..Findings::default() }
    }
}
