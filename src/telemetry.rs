//! Logs on stderr, panics in the log, counters for Prometheus.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::panic::PanicHookInfo;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

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
    PrometheusBuilder::new().with_http_listener(address).install().map_err(|source| Error { address, source })?;
    tracing::info!(%address, "serving metrics");
    Ok(())
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
