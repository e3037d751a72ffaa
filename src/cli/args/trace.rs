//! The arguments of `roger trace`.

use clap::{Args, ValueEnum};

use super::super::when::{Since, since};

#[derive(Args, Debug)]
pub(in crate::cli) struct Trace {
    /// The device, by its IMEI or login name.
    pub(in crate::cli) device: String,
    /// From then on: how long ago, as `90s`, `30m`, `12h`, `7d`, or when in UTC, as `2026-11-24` or `2026-11-24T03:35`.
    #[arg(long, value_name = "WHEN", value_parser = since, default_value = "1d")]
    pub(in crate::cli) from: Since,
    /// Up to, and without, then; without it up to now.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub(in crate::cli) to: Option<Since>,
    /// Also where access points place the device.
    #[arg(long)]
    pub(in crate::cli) wifi: bool,
    /// How to print it; --json is the same as json.
    #[arg(long, value_enum, default_value = "table")]
    pub(in crate::cli) format: TraceFormat,
}

/// How a trace is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum TraceFormat {
    /// A table for people.
    Table,
    /// An array with all that is known of each fix.
    Json,
    /// A track, GPX 1.1.
    Gpx,
    /// A collection of points, RFC 7946.
    Geojson,
}
