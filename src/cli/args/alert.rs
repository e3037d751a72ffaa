//! The arguments of commands about emergency alerts.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{As, duration};

#[derive(Args, Debug)]
pub(in crate::cli) struct Sos {
    #[command(flatten)]
    pub(in crate::cli) who: As,
    /// Where it is, in degrees north and east: 45.27,13.71. Without it the last known position counts.
    #[arg(long, value_name = "LAT,LON", value_parser = spot, allow_hyphen_values = true)]
    pub(in crate::cli) at: Option<(f64, f64)>,
    /// Take back what was pressed before.
    #[arg(long)]
    pub(in crate::cli) cancel: bool,
    /// How long to try until an edge has it, as `30s`.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(in crate::cli) within: Duration,
    /// What to say with it.
    #[arg(default_value = "")]
    pub(in crate::cli) text: String,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Alerts {
    /// List alerts, the latest first: who pressed, how it stands, and who has it.
    List {
        /// Only those that are not over.
        #[arg(long)]
        open: bool,
        /// The most to list.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u32,
    },
    /// Show what happened to an alert, in order.
    Show {
        /// As listed.
        id: u64,
    },
    /// Say that you have an alert: escalation ends, and the device is told.
    Acknowledge {
        /// As listed.
        id: u64,
    },
    /// End an alert, and say what it was.
    Close {
        /// As listed.
        id: u64,
        /// It was no emergency.
        #[arg(long)]
        false_alarm: bool,
        /// What it was.
        #[arg(long, value_name = "TEXT")]
        remark: String,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Escalation {
    /// Show who is told of the alerts of an account's devices when nobody acknowledges.
    Show {
        /// The account's login name.
        account: String,
    },
    /// Say who is told, and how soon; it holds for the accounts below that have none of their own.
    Set {
        /// The account's login name.
        account: String,
        /// How long whoever is told at once has, as `60s`.
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
        first: Duration,
        /// Then this account, for so long: NAME:60s. As often as there are steps, in their order.
        #[arg(long = "step", value_name = "NAME:DURATION", value_parser = step)]
        steps: Vec<(String, Duration)>,
        /// Then this telephone, as +4712345678. As often as there are telephones.
        #[arg(long = "number", value_name = "NUMBER")]
        numbers: Vec<String>,
        /// How long lies between two texts to a telephone.
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
        text_every: Duration,
    },
    /// Take an account's own away: that of the nearest account above holds again.
    Remove {
        /// The account's login name.
        account: String,
    },
}

pub(super) fn spot(text: &str) -> Result<(f64, f64), String> {
    let wrong = || "write degrees north and east, as 45.27,13.71".to_owned();
    let (north, east) = text.split_once(',').ok_or_else(wrong)?;
    Ok((north.trim().parse().map_err(|_| wrong())?, east.trim().parse().map_err(|_| wrong())?))
}

fn step(text: &str) -> Result<(String, Duration), String> {
    let (name, wait) = text.rsplit_once(':').ok_or_else(|| "write an account and how long it has, as second:60s".to_owned())?;
    Ok((name.to_owned(), duration(wait)?))
}
