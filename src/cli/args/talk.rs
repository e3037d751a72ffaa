//! The arguments of `roger talk` and `roger floor`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{As, GatewayDoor, duration};

#[derive(Args, Debug)]
pub(in crate::cli) struct Talk {
    /// What is said: WAV files of 16 bits, mono or stereo, each in a burst of its own.
    #[arg(value_name = "FILE.wav", required_unless_present = "tone")]
    pub(in crate::cli) files: Vec<PathBuf>,
    /// Say a tone of 440 Hz instead, for so many seconds, 1 to 60.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", conflicts_with = "files",
          value_parser = clap::value_parser!(u16).range(1..=60))]
    pub(in crate::cli) tone: Option<u16>,
    /// Go into the room of the group with this name or id, and stay there; without it, talk in the room the account is in.
    #[arg(long, value_name = "NAME|ID")]
    pub(in crate::cli) group: Option<String>,
    /// Ask for the floor as an emergency, before everybody else.
    #[arg(long)]
    pub(in crate::cli) emergency: bool,
    /// How long to rest between two bursts, as `500ms`.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(in crate::cli) pause: Duration,
    /// How long the way to a seat may take, as `30s`; how long to wait for the floor is up to the fleet.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(in crate::cli) within: Duration,
    /// The address of this machine that the media server can reach; without it the one from which the edge is reached.
    #[arg(long, value_name = "IP")]
    pub(in crate::cli) rtp_ip: Option<IpAddr>,
    /// Do not talk live: hand what is said to the gateway, which has it told as a recording. For while the media server is away.
    #[arg(long, conflicts_with_all = ["emergency", "rtp_ip"])]
    pub(in crate::cli) upload: bool,
    #[command(flatten)]
    pub(in crate::cli) door: GatewayDoor,
    #[command(flatten)]
    pub(in crate::cli) who: As,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Floor {
    /// The group, by its id as `7` or `g:7`, or by its name with --tenant.
    #[arg(value_name = "GROUP")]
    pub(in crate::cli) group: String,
    /// The company it belongs to.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) tenant: Option<String>,
}
