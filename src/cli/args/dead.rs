//! The arguments of `roger dead`.

use std::num::NonZeroU32;

use clap::{Args, Subcommand};

use super::super::when::{Since, since};

#[derive(Args, Debug)]
pub(in crate::cli) struct Dead {
    /// Those of alerts, when sos.redis_url gives alerts a Redis of their own.
    #[arg(long, global = true)]
    pub(in crate::cli) sos: bool,
    #[command(subcommand)]
    pub(in crate::cli) command: DeadCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DeadCommand {
    /// List dead letters with their reasons, the oldest first.
    List {
        #[command(flatten)]
        which: Which,
        /// The most to list.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
        /// Go on behind the one with this id.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// With the payloads in hexadecimal, texts and positions included.
        #[arg(long)]
        raw: bool,
    },
    /// Show a dead letter with its reason, its history and what is in it, without texts and positions.
    Show {
        /// As listed.
        id: String,
        /// With the payload in hexadecimal, texts and positions included.
        #[arg(long)]
        raw: bool,
    },
    /// Put dead letters back on their streams: the fleet tries them again.
    Redrive(Many),
    /// Delete dead letters for good: their work is never done.
    Drop(Many),
}

/// One letter, or those that fit.
#[derive(Args, Debug)]
pub(in crate::cli) struct Many {
    /// One, as listed.
    #[arg(conflicts_with_all = ["stream", "job", "sender", "text", "older_than", "since", "all"])]
    pub(in crate::cli) id: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) which: Which,
    /// All of them.
    #[arg(long, conflicts_with_all = ["stream", "job", "sender", "text", "older_than", "since"])]
    pub(in crate::cli) all: bool,
    /// At most so many in a second.
    #[arg(long, value_name = "COUNT", default_value = "50")]
    pub(in crate::cli) rate: NonZeroU32,
    /// Do it; without this the command only says what it would do.
    #[arg(long)]
    pub(in crate::cli) yes: bool,
}

/// Which letters: those that fit all that is said.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Which {
    /// From streams whose key begins so, as `{s7}` or `fix`.
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) stream: Option<String>,
    /// Given up by this job, as `deliver` or `talk`.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) job: Option<String>,
    /// With words, presses or reports of the user with this id.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) sender: Option<u64>,
    /// With this in the reason or in what is in it, in whatever case.
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) text: Option<String>,
    /// Given up before that: so long ago, as `2h`, or a time.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(in crate::cli) older_than: Option<Since>,
    /// Given up then or later: so long ago, as `2h`, or a time.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(in crate::cli) since: Option<Since>,
}
