//! Chat and positions, as much as a fleet takes or far more.
//!
//! Chat goes through sessions of the client library, each with a window of messages without receipts; positions go in calls of many reports, of
//! which each device has a few under way. What has no room there waits at the device and is not offered again: it is counted as held back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{EnterGuard, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::super::error::Error;
use super::super::fresh::Device;
use super::super::output::note;
use super::load::Bench;
use super::report::{Flow, Offered};
use crate::client::{Event, Session};
use crate::model::TopicId;
use crate::proto::v1;
use crate::proto::v1::talk_cloud_location_client::TalkCloudLocationClient;

/// How often what is due is offered.
const TICK: Duration = Duration::from_millis(10);
/// Messages of a device without a receipt.
const WINDOW: u64 = 1_024;
/// Reports of a call, and calls of a device that may be under way.
const REPORTS_A_CALL: u64 = 100;
const CALLS_MAX: usize = 4;
/// How long a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// What was offered and what became of it, of all devices.
#[derive(Debug, Default)]
struct Counts {
    offered: AtomicU64,
    held_back: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    fn since(&self, begun: Instant, before: [u64; 4]) -> Flow {
        let seconds = begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let [offered, held_back, taken, refused] = self.now();
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Flow {
            offered_per_s: rate(offered, before[0]),
            held_back_per_s: rate(held_back, before[1]),
            taken_per_s: rate(taken, before[2]),
            refused_per_s: rate(refused, before[3]),
        }
    }

    fn now(&self) -> [u64; 4] {
        [&self.offered, &self.held_back, &self.taken, &self.refused].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Where the flood runs: it stands for many devices, which take no processor from the fleet, so it yields to everybody.
struct Outside(Option<Runtime>);

impl Outside {
    fn new() -> Result<Self, Error> {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        threads.enable_all().on_thread_start(|| {
            // Without it the fleet only seems slower than it is.
            let _kept = rustix::process::nice(19);
        });
        let failed = |source| Error::Program { program: "the threads of the flood".to_owned(), source };
        threads.build().map(|runtime| Self(Some(runtime))).map_err(failed)
    }

    /// What is spawned while this lives runs there.
    fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Devices that can flood a fleet.
pub(super) struct Flood {
    outside: Outside,
    writers: Vec<(Session, TopicId)>,
    reporters: Vec<Reporter>,
    text: bytes::Bytes,
    chat: Arc<Counts>,
    fixes: Arc<Counts>,
    _listeners: Vec<Session>,
}

/// A device that reports where it is.
#[derive(Clone)]
struct Reporter {
    device: Device,
    channels: Vec<Channel>,
    /// Of the next fix: each is at a time of its own, else it would be a repeat.
    time_ms: Arc<AtomicU64>,
    under_way: Arc<Semaphore>,
}

/// A flood that goes on until it is dropped.
pub(super) struct Flowing {
    chat: (Arc<Counts>, [u64; 4]),
    fixes: (Arc<Counts>, [u64; 4]),
    begun: Instant,
    _tasks: JoinSet<()>,
}

impl Flowing {
    /// What was offered since it began.
    pub(super) fn offered(&self) -> Offered {
        let of = |(counts, before): &(Arc<Counts>, [u64; 4])| counts.since(self.begun, *before);
        Offered { messages: of(&self.chat), fixes: of(&self.fixes) }
    }
}

impl Flood {
    pub(super) async fn new(bench: &Bench<'_>, edges: &[String], pairs: u32, reporters: u32) -> Result<Self, Error> {
        let devices = bench.devices(pairs * 2 + reporters).await?;
        bench.fresh.relayed(bench.within).await?;
        let outside = Outside::new()?;
        let entered = outside.enter();
        let (chatting, reporting) = devices.split_at(pairs as usize * 2);
        let (chat, fixes) = (Arc::<Counts>::default(), Arc::<Counts>::default());
        let (mut writers, mut listeners) = (Vec::new(), Vec::new());
        for (number, pair) in chatting.chunks_exact(2).enumerate() {
            let (progress, counts) = (bench.progress.clone(), chat.clone());
            let writer = bench.open(number, &pair[0], WINDOW, move |events| {
                for event in events.drain(..) {
                    match &event {
                        Event::Receipt(receipt) => Counts::add(&counts.taken, receipt.messages as u64),
                        Event::Refusal(_) => Counts::add(&counts.refused, 1),
                        _ => progress.note(&event),
                    }
                }
            })?;
            let progress = bench.progress.clone();
            listeners.push(bench.open(number + 1, &pair[1], 1, move |events| events.drain(..).for_each(|event| progress.note(&event)))?);
            writers.push((writer, TopicId::inbox(pair[1].user)));
        }
        let channels: Result<Vec<Channel>, Error> = edges.iter().map(|edge| channel(edge)).collect();
        let channels = channels?;
        let reporter = |(number, device): (usize, &Device)| {
            let mut channels = channels.clone();
            let edges = channels.len().max(1);
            channels.rotate_left(number % edges);
            let time_ms = Arc::new(AtomicU64::new(bench.now_ms() - 24 * 3_600_000));
            Reporter { device: device.clone(), channels, time_ms, under_way: Arc::new(Semaphore::new(CALLS_MAX)) }
        };
        let reporters = reporting.iter().enumerate().map(reporter).collect();
        drop(entered);
        Ok(Self { outside, writers, reporters, text: bench.text.clone(), chat, fixes, _listeners: listeners })
    }

    /// What the fleet takes of messages alone, and then of fixes alone, each for a while: both a second.
    pub(super) async fn capacity(&self, each: Duration) -> (f64, f64) {
        note("bench: what the fleet takes of chat");
        let flowing = self.start(f64::INFINITY, 0.0);
        tokio::time::sleep(each).await;
        let messages = flowing.offered().messages.taken_per_s;
        drop(flowing);
        note("bench: what the fleet takes of fixes");
        let flowing = self.start(0.0, f64::INFINITY);
        tokio::time::sleep(each).await;
        (messages, flowing.offered().fixes.taken_per_s)
    }

    /// Offers so many messages and fixes a second; infinitely many are as many as have room.
    pub(super) fn start(&self, messages_per_s: f64, fixes_per_s: f64) -> Flowing {
        let _entered = self.outside.enter();
        let mut tasks = JoinSet::new();
        let (writers, text, counts) = (self.writers.clone(), self.text.clone(), self.chat.clone());
        if messages_per_s > 0.0 {
            tasks.spawn(async move {
                let mut pace = Pace::new(messages_per_s / writers.len().max(1) as f64);
                loop {
                    let due = pace.due().await;
                    for (writer, topic) in &writers {
                        offer_messages(writer, *topic, &text, due, &counts);
                        // Others have their turn between two.
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        let reporters = if fixes_per_s > 0.0 { self.reporters.clone() } else { Vec::new() };
        let each = fixes_per_s / self.reporters.len().max(1) as f64 / REPORTS_A_CALL as f64;
        for reporter in reporters {
            let counts = self.fixes.clone();
            tasks.spawn(async move {
                let (mut pace, mut calls) = (Pace::new(each), JoinSet::new());
                loop {
                    let due = pace.due().await;
                    while calls.try_join_next().is_some() {}
                    reporter.offer(due, &counts, &mut calls);
                }
            });
        }
        let (chat, fixes) = ((self.chat.clone(), self.chat.now()), (self.fixes.clone(), self.fixes.now()));
        Flowing { chat, fixes, begun: Instant::now(), _tasks: tasks }
    }
}

/// So many a second, in ticks.
struct Pace {
    rate: f64,
    begun: Instant,
    done: u64,
    ticks: tokio::time::Interval,
}

impl Pace {
    fn new(rate: f64) -> Self {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        Self { rate, begun: Instant::now(), done: 0, ticks }
    }

    /// How many are due at the next tick; `None` for as many as have room.
    async fn due(&mut self) -> Option<u64> {
        self.ticks.tick().await;
        if self.rate.is_infinite() {
            return None;
        }
        let all = (self.begun.elapsed().as_secs_f64() * self.rate) as u64;
        Some(all - std::mem::replace(&mut self.done, all))
    }
}

fn offer_messages(writer: &Session, topic: TopicId, text: &bytes::Bytes, due: Option<u64>, counts: &Counts) {
    let mut sent = 0;
    while due.is_none_or(|due| sent < due) && writer.try_send(topic, text.clone()).is_ok() {
        sent += 1;
    }
    Counts::add(&counts.offered, due.unwrap_or(sent));
    Counts::add(&counts.held_back, due.unwrap_or(sent) - sent);
}

impl Reporter {
    fn offer(&self, due: Option<u64>, counts: &Arc<Counts>, calls: &mut JoinSet<()>) {
        let mut sent = 0;
        while due.is_none_or(|due| sent < due) {
            let Ok(permit) = self.under_way.clone().try_acquire_owned() else { break };
            let (reporter, counts) = (self.clone(), counts.clone());
            calls.spawn(async move {
                reporter.call(&counts).await;
                drop(permit);
            });
            sent += 1;
        }
        Counts::add(&counts.offered, due.unwrap_or(sent) * REPORTS_A_CALL);
        Counts::add(&counts.held_back, (due.unwrap_or(sent) - sent) * REPORTS_A_CALL);
    }

    /// One call; one that fails is made again at the next edge until it is answered, as devices do.
    async fn call(&self, counts: &Counts) {
        let Ok(token) = self.device.tokens.token(None).await else { return };
        let first = self.time_ms.fetch_add(REPORTS_A_CALL, Ordering::Relaxed);
        let report = |number: u64| {
            let longitude = 13.0 + number as f64 / 1e5;
            let fix = v1::Fix { time_ms: first + number, latitude: 45.0, longitude, ..v1::Fix::default() };
            v1::Report { fix: Some(fix), ..v1::Report::default() }
        };
        let reports = (0..REPORTS_A_CALL).map(report).collect();
        let request = v1::ReportGpsDataRequest { token, reports, ..v1::ReportGpsDataRequest::default() };
        for channel in self.channels.iter().cycle() {
            let mut edge = TalkCloudLocationClient::new(channel.clone());
            if let Ok(Ok(answer)) = tokio::time::timeout(CALL_WITHIN, edge.report_gps_data(request.clone())).await {
                let answers = answer.into_inner().answers;
                let taken = answers.iter().filter(|answer| answer.reason() == v1::Reason::Unspecified).count() as u64;
                Counts::add(&counts.taken, taken);
                Counts::add(&counts.refused, answers.len() as u64 - taken);
                return;
            }
            tokio::time::sleep(TICK * 10).await;
        }
    }
}

/// A connection to an edge, made when it is needed, and again when it broke.
pub(super) fn channel(edge: &str) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(edge.to_owned()).map_err(|_| Error::Usage(format!("{edge:?} is no address")))?;
    Ok(endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy())
}
