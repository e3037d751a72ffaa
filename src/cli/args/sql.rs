//! The arguments of `roger sql`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SqlCommand {
    /// Show both servers of the pair: which is the primary, what the other one follows, how far it is behind.
    Status,
    /// Make the standby the primary, and the primary its standby. What was left half-way is finished; run it again when it was killed.
    Switch {
        /// To this server, as HOST:PORT in the configuration; nothing happens when it is the primary. For scripts: without it a second switch goes back.
        #[arg(long, value_name = "HOST:PORT", conflicts_with = "primary_is_dead")]
        to: Option<String>,
        /// The primary is dead: go on without it. Refused while it answers.
        #[arg(long)]
        primary_is_dead: bool,
        /// End with SIGKILL after this step, 1 to 9, to see that running it again finishes it.
        #[arg(long, hide = true, value_name = "STEP")]
        killed_after: Option<u8>,
    },
    /// Copy the SQLite file while the fleet works, to a file that does not exist yet.
    Backup {
        /// Where to.
        file: PathBuf,
    },
    /// Make the other server a standby of the primary again, after it was away.
    Rejoin,
}
