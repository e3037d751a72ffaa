//! Why the work on a pair stopped.

use super::super::error::class_of_driver;
use crate::retry::ErrorClass;

/// Why a pair could not be looked at or switched. What was done until then stays, and the command can be run again.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A server does not answer, or refuses a statement.
    #[error("{server}: {what} failed")]
    Server {
        /// Which, as `host:port`.
        server: String,
        /// What it was to do.
        what: &'static str,
        /// The driver's complaint.
        source: sqlx::Error,
    },
    /// Something did not happen in time.
    #[error("{server}: {what} did not happen within {seconds} s")]
    Late {
        /// Which, as `host:port`.
        server: String,
        /// What was waited for.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The pair stands in a way in which it would do harm.
    #[error("{why}: {todo}")]
    Refused {
        /// What was seen.
        why: String,
        /// What to do instead.
        todo: String,
    },
    /// Another command works on the pair, and holds the lock of this server.
    #[error(
        "another `roger sql` is at work on {server}, by connection {connection}: wait for its end; when its machine is gone, MariaDB ends it within \
         two minutes"
    )]
    Busy {
        /// Which, as `host:port`.
        server: String,
        /// The connection that holds the lock, as in its process list.
        connection: String,
    },
    /// It failed before anything was decided, and what it had done was undone.
    #[error("nothing was switched, {primary} works on as the primary")]
    Undone {
        /// Which is the primary, as `host:port`.
        primary: String,
        /// Why it failed.
        source: Box<PairError>,
    },
    /// It failed before anything was decided, and the primary could not be told to take writes again.
    #[error("nothing was switched, and {primary} may be read-only ({undo}): `roger sql switch --to {primary}` makes it take writes")]
    LeftReadOnly {
        /// Which is the primary, as `host:port`.
        primary: String,
        /// Why it could not be told.
        undo: Box<PairError>,
        /// Why it failed.
        source: Box<PairError>,
    },
    /// The epoch was to be raised, and nobody knows whether it is.
    #[error("{server} may have epoch {epoch} or not, and neither server takes writes until this is run again")]
    Undecided {
        /// Which, as `host:port`.
        server: String,
        /// The new epoch.
        epoch: u64,
        /// Why nobody knows.
        source: Box<PairError>,
    },
    /// A server cannot follow the other: it has what the other lacks, or the other no longer has what it needs.
    #[error(
        "{server} cannot follow {primary}, it has to be built anew from a copy of {primary} (docs/sql.md says how); the primary is not touched by that: {reason}"
    )]
    Diverged {
        /// Which cannot follow.
        server: String,
        /// Whom.
        primary: String,
        /// MariaDB's own words.
        reason: String,
    },
}

impl PairError {
    /// What it means for whoever might try again.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Server { source, .. } => class_of_driver(source),
            Self::Late { .. } | Self::Busy { .. } => ErrorClass::Transient,
            Self::Refused { .. } | Self::Diverged { .. } => ErrorClass::Permanent,
            Self::Undone { source, .. } | Self::LeftReadOnly { source, .. } | Self::Undecided { source, .. } => source.class(),
        }
    }
}
