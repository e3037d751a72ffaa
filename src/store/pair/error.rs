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
        todo: &'static str,
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
            Self::Late { .. } => ErrorClass::Transient,
            Self::Refused { .. } | Self::Diverged { .. } => ErrorClass::Permanent,
        }
    }
}
