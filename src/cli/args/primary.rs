//! Arguments of `roger redis`.

use clap::Subcommand;

/// The Redis of the fleet and its replicas.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RedisCommand {
    /// Show which server is the primary, and how far its replicas are behind.
    Status {
        /// The Redis of alerts, where they have one of their own.
        #[arg(long)]
        sos: bool,
    },
    /// Make another server the primary, as before maintenance: writes wait, the replicas catch up, the sentinels promote one. Nothing is lost.
    Switch {
        /// The Redis of alerts, where they have one of their own.
        #[arg(long)]
        sos: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}
