//! The arguments of `roger replay track`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Doors, Speed, duration, speed};

#[derive(Args, Debug)]
pub(in crate::cli) struct Track {
    /// A GPX file; the points of its tracks are sent in their order, its waypoints and routes are not.
    #[arg(value_name = "FILE.gpx")]
    pub(in crate::cli) file: PathBuf,
    /// As which device, by its IMEI or login name. A login on this machine is used; without one the fleet's own key signs for the device.
    #[arg(long = "as", value_name = "DEVICE")]
    pub(in crate::cli) device: String,
    /// The company in which the device is made when there is none of the name; its login on this machine is not used then.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) tenant: Option<String>,
    /// How much faster than recorded, or `max`. A point without a time goes with the one before it.
    #[arg(long, value_name = "TIMES", default_value = "max", value_parser = speed)]
    pub(in crate::cli) speed: Speed,
    /// The most reports of a call.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(in crate::cli) batch: u16,
    /// Send the points in an order that is drawn by this number.
    #[arg(long, value_name = "SEED")]
    pub(in crate::cli) shuffle: Option<u64>,
    /// Send every point twice.
    #[arg(long)]
    pub(in crate::cli) double: bool,
    /// Send each point up to so many hours later than it was made, drawn by --seed: later ones overtake it.
    #[arg(long, value_name = "HOURS", conflicts_with = "shuffle")]
    pub(in crate::cli) late: Option<u32>,
    /// Draws how late each point is.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(in crate::cli) seed: u64,
    /// How long a call may be tried again until it is answered.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub(in crate::cli) within: Duration,
    #[command(flatten)]
    pub(in crate::cli) doors: Doors,
}
