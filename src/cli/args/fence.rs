//! The arguments of commands about geofences.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use super::alert::spot;
use super::duration;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Fence {
    /// Add a geofence, or change one: a circle, or a polygon by its corners.
    Add(NewFence),
    /// List the geofences of an account: where they are, and what is told.
    List {
        /// The account's login name.
        account: String,
    },
    /// Remove a geofence: nothing more is told of it.
    Remove {
        /// The login name of the account whose it is.
        account: String,
        /// As listed.
        id: u64,
    },
}

#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("shape").required(true).args(["circle", "corners"])),
    group(ArgGroup::new("tell").required(true).multiple(true).args(["enter", "leave", "stay"])),
)]
pub(in crate::cli) struct NewFence {
    /// The login name of the account whose it is, and who is told of the devices below it.
    pub(in crate::cli) account: String,
    /// What it is called, with at most 100 characters.
    pub(in crate::cli) name: String,
    /// Change the one of this number, instead of adding one.
    #[arg(long, value_name = "ID", default_value_t = 0, hide_default_value = true)]
    pub(in crate::cli) id: u64,
    /// The middle in degrees north and east, and the radius in metres, 10 to 500,000: 45.27,13.71,200.
    #[arg(long, value_name = "LAT,LON,METRES", value_parser = circle, allow_hyphen_values = true)]
    pub(in crate::cli) circle: Option<(f64, f64, f64)>,
    /// A corner in degrees north and east. As often as there are corners, in their order.
    #[arg(long = "corner", value_name = "LAT,LON", value_parser = spot, allow_hyphen_values = true)]
    pub(in crate::cli) corners: Vec<(f64, f64)>,
    /// Tell that a device came in.
    #[arg(long)]
    pub(in crate::cli) enter: bool,
    /// Tell that a device went out.
    #[arg(long)]
    pub(in crate::cli) leave: bool,
    /// Tell that a device was inside for so long, as `10m`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(in crate::cli) stay: Option<Duration>,
}

fn circle(text: &str) -> Result<(f64, f64, f64), String> {
    let wrong = || "write degrees north and east, and metres, as 45.27,13.71,200".to_owned();
    let (middle, radius) = text.rsplit_once(',').ok_or_else(wrong)?;
    let (north, east) = spot(middle).map_err(|_| wrong())?;
    Ok((north, east, radius.trim().parse().map_err(|_| wrong())?))
}
