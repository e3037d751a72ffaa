//! The loads: direct, group, idle, catchup.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::args::{self, Load};
use super::super::context::Context;
use super::super::error::Error;
use super::super::fresh::{Device, Fresh};
use super::super::output::note;
use super::lane::{Lane, Progress};
use super::usage::{Watched, fleet_cpu_s};
use super::{Findings, Idle, Traffic};
use crate::client::{Event, Memory, Options, Session};
use crate::model::TopicId;

/// Sessions that may be connecting at once.
const CONNECTING_MAX: u64 = 128;
/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Sessions that write the backlog of a catch-up.
const CATCHUP_WRITERS: usize = 20;
/// For the last marks to come home after the last delivery.
const MARKS_WITHIN: Duration = Duration::from_secs(3);

/// What all loads need.
struct Bench<'a> {
    context: &'a Context,
    fresh: Fresh,
    edges: Vec<String>,
    within: Duration,
    text: Bytes,
    watched: &'a Watched,
    progress: Arc<Progress>,
}

pub(super) async fn run(context: &Context, args: &args::Bench, watched: &Watched) -> Result<Findings, Error> {
    let run = format!("bench-{:x}", context.clock.now_ms());
    let bench = Bench {
        context,
        fresh: Fresh::new(context.store()?, &context.config.auth.secret_key_file, context.clock.clone(), &run).await?,
        edges: context.live_edges(&args.doors).await?,
        within: args.within,
        text: Bytes::from(vec![b'r'; args.bytes as usize]),
        watched,
        progress: Arc::default(),
    };
    match args.load {
        Load::Direct { devices, window, messages } => bench.direct(devices, u64::from(window), messages).await,
        Load::Group { groups, members, window, messages } => bench.group(groups, members, u64::from(window), messages).await,
        Load::Idle { sessions } => bench.idle(sessions).await,
        Load::Catchup { devices, backlog } => bench.catchup(devices, backlog).await,
        Load::Floor { .. } => Ok(Findings::default()),
    }
}

impl Bench<'_> {
    async fn devices(&self, count: u32) -> Result<Vec<Device>, Error> {
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

    fn open(
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
    async fn reached(&self, count: &AtomicU64, wanted: u64) -> bool {
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

    async fn connected(&self, sessions: u64, topics: u64) -> Result<(), Error> {
        let late = |what: &str| Error::Late { what: what.to_owned(), seconds: self.within.as_secs() };
        if !self.reached(&self.progress.connected, sessions).await {
            return Err(late(&format!("the connection of all {sessions} sessions")));
        }
        if !self.reached(&self.progress.followed, topics).await {
            return Err(late(&format!("the following of all {topics} topics")));
        }
        Ok(())
    }

    /// Lets not too many connect at once: a listen backlog is short.
    async fn throttle(&self, opened: u64) {
        while opened > self.progress.connected.load(Ordering::Relaxed) + CONNECTING_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
        }
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
        findings.settings.extend([("devices", (pairs * 2).into()), ("window", window.into()), ("messages", (quota * pairs).into())]);
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
        findings.settings.extend([("groups", groups.into()), ("members", members.into()), ("window", window.into())]);
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
        let seconds = begun.elapsed().as_secs_f64();
        let programs = self.watched.since(&before);
        bar.finish_and_clear();
        let Some((first, _)) = lanes.first() else { return Findings::default() };
        let sum = || {
            let mut sum = first.nothing();
            lanes.iter().for_each(|(lane, _)| lane.tally(&mut sum));
            sum
        };
        let until = Instant::now() + MARKS_WITHIN;
        while bench == "direct" && sum().told < messages && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY * 20).await;
        }
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
        Findings { bench, traffic: Some(traffic), programs, cpu_s_per_million, ..Findings::default() }
    }

    async fn idle(&self, sessions: u32) -> Result<Findings, Error> {
        let devices = self.devices(sessions).await?;
        self.fresh.relayed(self.within).await?;
        let before = self.watched.usage();
        let begun = Instant::now();
        let mut open = Vec::new();
        for (number, device) in devices.iter().enumerate() {
            let progress = self.progress.clone();
            open.push(self.open(number, device, 1, move |events| events.drain(..).for_each(|event| progress.note(&event)))?);
            self.throttle(number as u64).await;
        }
        let count = u64::from(sessions);
        self.connected(count, count).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let programs = self.watched.since(&before);
        let rss = |usage: Option<&super::Usage>| usage.map_or(0, |usage| usage.rss_kib);
        let (then, now) = (rss(before.get("edge")), rss(programs.get("edge")));
        drop(open);
        let idle = Idle {
            sessions: count,
            connects_per_s: count as f64 / seconds,
            edge_rss_kib_before: then,
            edge_rss_kib_after: now,
            edge_rss_kib_per_session: now.saturating_sub(then) as f64 / count.max(1) as f64,
        };
        Ok(Findings { bench: "idle", idle: Some(idle), programs, ..Findings::default() })
    }

    async fn catchup(&self, devices: u32, backlog: u64) -> Result<Findings, Error> {
        let devices = self.devices(devices.max(1) + CATCHUP_WRITERS as u32).await?;
        self.fresh.relayed(self.within).await?;
        let (writers, readers) = devices.split_at(CATCHUP_WRITERS);
        note(&format!("bench: writing {} messages to {} devices that are off the air", backlog * readers.len() as u64, readers.len()));
        let mut writing = tokio::task::JoinSet::new();
        for (number, writer) in writers.iter().enumerate() {
            let session = self.open(number, writer, 512, Vec::clear)?;
            let to: Vec<TopicId> = readers.iter().skip(number).step_by(CATCHUP_WRITERS).map(|device| TopicId::inbox(device.user)).collect();
            let text = self.text.clone();
            writing.spawn(async move {
                for _ in 0..backlog {
                    for topic in &to {
                        session.send(*topic, text.clone()).await?;
                    }
                }
                session.flush().await
            });
        }
        while let Some(done) = writing.join_next().await {
            if let Ok(written) = done {
                written?;
            }
        }
        let messages = backlog * readers.len() as u64;
        note("bench: all come on the air");
        let before = self.watched.usage();
        let begun = Instant::now();
        let mut open = Vec::new();
        let mut lanes = Vec::new();
        for (number, device) in readers.iter().enumerate() {
            let lane = Lane::new(TopicId::inbox(device.user), self.text.clone(), 0, 64, 1, self.progress.clone());
            let listening = lane.clone();
            let mut last = 0;
            open.push(self.open(number, device, 1, move |events| listening.listener_events(&mut last, events))?);
            lanes.push(lane);
            self.throttle(number as u64).await;
        }
        self.reached(&self.progress.delivered, messages).await;
        let seconds = begun.elapsed().as_secs_f64();
        let programs = self.watched.since(&before);
        drop(open);
        let deliveries = self.progress.delivered.load(Ordering::Relaxed);
        let Some(first) = lanes.first() else { return Ok(Findings::default()) };
        let mut sum = first.nothing();
        lanes.iter().for_each(|lane| lane.tally(&mut sum));
        let traffic = Traffic {
            messages,
            deliveries,
            seconds,
            messages_per_s: deliveries as f64 / seconds,
            deliveries_per_s: deliveries as f64 / seconds,
            lost: messages.saturating_sub(deliveries),
            duplicated: sum.duplicated,
            disordered: sum.disordered,
            ..Traffic::default()
        };
        let cpu_s_per_million = Some(fleet_cpu_s(&programs) * 1e6 / deliveries.max(1) as f64);
        let mut findings = Findings { bench: "catchup", traffic: Some(traffic), programs, cpu_s_per_million, ..Findings::default() };
        findings.settings.extend([("devices", readers.len().into()), ("backlog", backlog.into())]);
        Ok(findings)
    }
}
