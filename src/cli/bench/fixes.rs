//! Fixes through the whole path into SQL, beside what the same server takes by plain inserts; and what is held while SQL is too slow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::error::Error;
use super::super::fresh::Device;
use super::super::output::note;
use super::LOOK_EVERY;
use super::load::Bench;
use super::report::Findings;
use super::usage::Usage;
use crate::broker::keys;
use crate::client::Reporter;
use crate::proto::v1;
use crate::store::Fate;

/// Rows of a transaction of the ceiling: as many as gps puts into one.
const TRANSACTION_ROWS: u64 = 10_000;
const DAY_MS: u64 = 86_400_000;
/// How often memory is looked at while SQL is slow.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// While SQL is slow, of each second the part in which it does nothing.
const HELD: Duration = Duration::from_millis(900);

/// How much is reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct FixLoad {
    pub(super) devices: u32,
    pub(super) fixes: u64,
    /// Reports of a call.
    pub(super) batch: u32,
    /// How long SQL is kept slow afterwards; zero leaves that out.
    pub(super) slow: Duration,
}

/// Fixes that went into SQL.
#[derive(Debug, Default, Serialize)]
pub(super) struct Fixes {
    pub(super) sql: &'static str,
    pub(super) stored: u64,
    pub(super) duplicate: u64,
    pub(super) refused: u64,
    /// Whether the fates of all devices add up to what was reported.
    pub(super) adds_up: bool,
    /// From the first call until SQL had everything.
    pub(super) seconds: f64,
    pub(super) fixes_per_s: f64,
    /// CPU seconds of the database meanwhile: of mariadbd, or of the threads in which gps runs SQLite.
    pub(super) database_cpu_s: f64,
    /// The same rows by plain inserts, one transaction behind the other.
    pub(super) ceiling_per_s: f64,
    pub(super) ceiling_cpu_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slow: Option<Slow>,
}

/// While SQL was slower than what came.
#[derive(Debug, Default, Serialize)]
pub(super) struct Slow {
    pub(super) seconds: f64,
    /// Reports that were answered as accepted.
    pub(super) accepted: u64,
    /// Calls that were refused as a whole and made again, because too much waited.
    pub(super) repeated_calls: u64,
    /// Peak memory of each program in each minute, KiB.
    pub(super) rss_kib_by_minute: BTreeMap<String, Vec<u64>>,
    /// Until SQL had the rest, once it was as fast as before.
    pub(super) drained_s: f64,
    pub(super) stored: u64,
}

/// What the devices of a run report: an endless line of fixes each, a second apart, that has passed by the end of the run.
struct Fleet {
    devices: Vec<Device>,
    edges: Vec<String>,
    from_ms: u64,
    batch: u64,
}

impl Fleet {
    fn reports(&self, from: u64, count: u64) -> Vec<v1::Report> {
        let report = |number: u64| {
            let fix = v1::Fix {
                time_ms: self.from_ms + number * 1_000,
                latitude: 45.0 + number as f64 * 1e-5,
                longitude: 13.0,
                accuracy_m: Some(5.0),
                speed_mps: Some(1.5),
                course_deg: Some(90.0),
                ..v1::Fix::default()
            };
            v1::Report { fix: Some(fix), battery_percent: Some(80), ..v1::Report::default() }
        };
        (from..from + count).map(report).collect()
    }

    /// Lets every device report, one call behind the other, from the fix of number `from` on until `until` of them or until it is to stop. Returns how
    /// many were accepted, and how many calls were made again.
    async fn report(self: &Arc<Self>, from: u64, until: u64, stop: &Arc<AtomicBool>) -> Result<(u64, u64), Error> {
        let (accepted, repeated) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for device in &self.devices {
            let mut reporter = Reporter::new(&self.edges, device.tokens.clone())?;
            let (fleet, stop, accepted, repeated) = (self.clone(), stop.clone(), accepted.clone(), repeated.clone());
            tasks.spawn(async move {
                let mut at = from;
                while at < until && !stop.load(Ordering::Relaxed) {
                    let reports = fleet.reports(at, fleet.batch.min(until - at));
                    let answers = reporter.report(&reports).await?;
                    let good = answers.iter().filter(|answer| answer.reason == 0).count();
                    accepted.fetch_add(good as u64, Ordering::Relaxed);
                    at += reports.len() as u64;
                }
                repeated.fetch_add(reporter.repeated(), Ordering::Relaxed);
                Ok::<(), crate::client::Error>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok(outcome) = done {
                outcome?;
            }
        }
        Ok((accepted.load(Ordering::Relaxed), repeated.load(Ordering::Relaxed)))
    }
}

impl Bench<'_> {
    pub(super) async fn fixes(&self, load: FixLoad) -> Result<Findings, Error> {
        let FixLoad { devices, fixes, batch, slow } = load;
        let each = fixes.div_ceil(u64::from(devices));
        let store = self.store()?;
        note(&format!("bench: {fixes} fixes by plain inserts"));
        let before = self.watched.database_cpu_s("bench");
        let ceiling = store.bench_insert_fixes(u64::from(devices), each * u64::from(devices), TRANSACTION_ROWS).await?;
        let ceiling_cpu_s = self.watched.database_cpu_s("bench") - before;

        let from_ms = self.now_ms().saturating_sub(each * 1_000 + 2 * DAY_MS);
        let devices = self.devices(devices).await?;
        self.fresh.relayed(self.within).await?;
        let fleet = Arc::new(Fleet { devices, edges: self.edges().to_vec(), from_ms, batch: batch.into() });
        let wanted = each * fleet.devices.len() as u64;
        note(&format!("bench: {wanted} fixes through the fleet"));
        let (usage, database) = (self.watched.usage(), self.watched.database_cpu_s("gps"));
        let begun = Instant::now();
        fleet.report(0, each, &Arc::default()).await?;
        self.all_in().await?;
        let seconds = begun.elapsed().as_secs_f64();
        let database_cpu_s = self.watched.database_cpu_s("gps") - database;
        let programs = self.watched.since(&usage);
        let fate = self.fates(&fleet.devices).await?;
        let mut found = Fixes {
            sql: self.watched.database(),
            stored: fate.stored,
            duplicate: fate.duplicate,
            refused: fate.refused,
            adds_up: fate.adds_up() && fate.stored == wanted,
            seconds,
            fixes_per_s: wanted as f64 / seconds,
            database_cpu_s,
            ceiling_per_s: wanted as f64 / ceiling.as_secs_f64(),
            ceiling_cpu_s,
            slow: None,
        };
        if !slow.is_zero() {
            found.slow = Some(self.slow(&fleet, each, slow, fate.stored).await?);
        }
        let settings = [("devices", fleet.devices.len() as u64), ("fixes", wanted), ("batch", batch.into())];
        Ok(Findings { bench: "fixes", settings: settings.into(), fixes: Some(found), programs, ..Findings::default() })
    }

    /// Reports as fast as they are taken while SQL works a tenth of the time.
    async fn slow(&self, fleet: &Arc<Fleet>, from: u64, slow: Duration, stored_before: u64) -> Result<Slow, Error> {
        note(&format!("bench: SQL is slow for {} s", slow.as_secs()));
        let stop = Arc::new(AtomicBool::new(false));
        let reporting = {
            let (fleet, stop) = (fleet.clone(), stop.clone());
            tokio::spawn(async move { fleet.report(from, u64::MAX, &stop).await })
        };
        let begun = Instant::now();
        let mut by_minute: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let holding = async {
            while begun.elapsed() < slow {
                self.hold(HELD).await?;
                tokio::time::sleep(SAMPLE_EVERY - HELD).await;
            }
            Ok::<(), Error>(())
        };
        let sampling = async {
            loop {
                let minute = (begun.elapsed().as_secs() / 60) as usize;
                for (name, Usage { rss_kib, .. }) in self.watched.usage() {
                    let minutes = by_minute.entry(name).or_default();
                    minutes.resize(minutes.len().max(minute + 1), 0);
                    minutes[minute] = minutes[minute].max(rss_kib);
                }
                tokio::time::sleep(SAMPLE_EVERY).await;
            }
        };
        tokio::select! {
            held = holding => held?,
            () = sampling => {}
        }
        let seconds = begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let drained = Instant::now();
        let (accepted, repeated_calls) =
            reporting.await.map_err(|_| Error::Late { what: "the reporting devices".into(), seconds: 0 })??;
        self.all_in().await?;
        let stored = self.fates(&fleet.devices).await?.stored - stored_before;
        let drained_s = drained.elapsed().as_secs_f64();
        Ok(Slow { seconds, accepted, repeated_calls, rss_kib_by_minute: by_minute, drained_s, stored })
    }

    /// Until nothing waits for SQL any more.
    async fn all_in(&self) -> Result<(), Error> {
        let redis = self.redis()?;
        let (mut last, mut moved) = (u64::MAX, Instant::now());
        loop {
            let waiting: u64 = redis.lengths(&[keys::fix()]).await?.into_iter().sum();
            if waiting == 0 {
                return Ok(());
            }
            if waiting != last {
                (last, moved) = (waiting, Instant::now());
            }
            if moved.elapsed() > self.within {
                return Err(Error::Late { what: format!("SQL to take in {waiting} frames of fixes"), seconds: self.within.as_secs() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The fates of all devices together, of today and of the day before if the run began then.
    async fn fates(&self, devices: &[Device]) -> Result<Fate, Error> {
        let (store, today) = (self.store()?, self.now_ms() / DAY_MS);
        let mut sum = Fate::default();
        for device in devices {
            for day in [today - 1, today] {
                let fate = store.fate(device.user, day).await?.unwrap_or_default();
                sum.received += fate.received;
                sum.stored += fate.stored;
                sum.duplicate += fate.duplicate;
                sum.refused += fate.refused;
                sum.refusals.extend(fate.refusals);
            }
        }
        Ok(sum)
    }
}
