//! Logs on stderr, panics in the log, counters for Prometheus, traces for a collector.

pub mod trace;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// The bounds of the buckets of durations, in seconds: fine around what a hop takes, coarse where somebody must look anyway.
const BUCKETS_S: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// Whether anybody can read what is measured.
static MEASURED: AtomicBool = AtomicBool::new(false);

/// Telemetry that cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}")]
pub struct Error {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    source: BuildError,
}

/// Writes the log to stderr from here on, and panics as errors into it. The first call of a process counts; later ones change nothing.
///
/// `RUST_LOG` overrides the level, by module (`info,roger::edge=debug`).
pub fn start(log: &Log, program: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&log.level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Stderr).with_ansi(false);
    let started = match log.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
        tracing::info!(program, version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "started");
    }
}

/// Serves what the program counts as Prometheus text over HTTP; `None` counts nothing. Must be called within a tokio runtime, once.
///
/// # Errors
///
/// When the port cannot be bound.
pub fn serve_metrics(address: Option<SocketAddr>) -> Result<(), Error> {
    let Some(address) = address else { return Ok(()) };
    let failed = |source| Error { address, source };
    // Histograms with the same buckets everywhere can be added up over programs; quantiles cannot.
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS_S).map_err(failed)?;
    builder.with_http_listener(address).install().map_err(failed)?;
    MEASURED.store(true, Ordering::Relaxed);
    tracing::info!(%address, "serving metrics");
    Ok(())
}

/// The time of this machine, UTC ms: for what is measured, and never for what is decided.
#[expect(clippy::disallowed_methods, reason = "a span is when it was, also for a program whose clock a test moves")]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Whether this program serves metrics: what costs calls to be measured is measured only then.
pub fn is_measured() -> bool {
    MEASURED.load(Ordering::Relaxed)
}

/// What happened at `since_ms` has come to the end of a hop: `push`, `commit`, `deliver`, `acknowledge`, `archive` or `sos`, as docs/metrics.md
/// tells them. By clocks of two machines: what seems to be over before it began took no time.
pub fn hop(name: &'static str, since_ms: u64, now_ms: u64) {
    metrics::histogram!("roger_hop_seconds", "hop" => name).record(now_ms.saturating_sub(since_ms) as f64 / 1_000.0);
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload_as_str().unwrap_or("not a text");
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(thread = thread.name().unwrap_or("unnamed"), place, %backtrace, "panic: {text}");
}

/// Stderr whose reader may be gone: a program outlives its supervisor, and a broken pipe must not end it.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One call a line: lines of several threads do not mix.
        let _lost = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
