//! The arguments of `roger pause` and `roger resume`.

use clap::Args;

use super::super::pause::{Work, work};
use super::super::when::{Since, since};

#[derive(Args, Debug)]
pub(in crate::cli) struct Pause {
    /// A job, as dead letters and metrics name it: deliver, archive, replay, floor, locate, talk, media, bridge, sos, tell, text, alerts; one shard of
    /// deliver or archive as deliver/3. Without it, what is paused is listed.
    #[arg(value_name = "JOB[/SHARD]", value_parser = work)]
    pub(in crate::cli) work: Option<Work>,
    /// For so long, as 90s, 15m or 2h, or up to a time in UTC, as 2026-11-24T03:35; at most a day. Then the work goes on by itself.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = since)]
    pub(in crate::cli) until: Since,
    /// Why, for whoever sees it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(in crate::cli) why: String,
    /// Do it where people hear nothing meanwhile: deliver, sos, tell, text.
    #[arg(long)]
    pub(in crate::cli) yes: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Resume {
    /// What was paused.
    #[arg(value_name = "JOB[/SHARD]", value_parser = work)]
    pub(in crate::cli) work: Work,
}
