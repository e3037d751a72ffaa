//! What can go wrong between an app and a fleet.

use super::directory::Upgrade;
use crate::model::Reason;
use crate::retry::ErrorClass;

/// A call that failed, or a session that ended. None holds a token or a text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that is no address.
    #[error("`{address}` is not an address: write http://HOST:PORT")]
    Address {
        /// As given.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// No address was given.
    #[error("no edge to connect to: name at least one address")]
    NoAddress,
    /// Nobody listens there, or does not answer.
    #[error("{address} does not answer")]
    Unreachable {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// No answer within the bound.
    #[error("{address} did not answer within {after_ms} ms")]
    TimedOut {
        /// The address.
        address: String,
        /// The bound.
        after_ms: u64,
    },
    /// The fleet refused the call.
    #[error("{operation}: refused{}: {}", reason.map(|reason| format!(" as {reason}")).unwrap_or_default(), status.message())]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// The machine-readable reason, where the fleet gave one that this version knows.
        reason: Option<Reason>,
        /// When trying again makes sense; 0 when the fleet did not say.
        retry_after_ms: u64,
        /// The status, with the fleet's text for people.
        status: Box<tonic::Status>,
    },
    /// The app is too old to log in.
    #[error("version {} of {} has to be installed first, from {}", upgrade.version_code, upgrade.package, upgrade.url)]
    UpgradeRequired {
        /// What to install.
        upgrade: Box<Upgrade>,
    },
    /// The session has ended for good.
    #[error("the session has ended{}", reason.map(|reason| format!(": {reason}")).unwrap_or_default())]
    Closed {
        /// Why; `None` when the app closed it.
        reason: Option<Reason>,
    },
    /// A text that no fleet takes, or a topic that takes none.
    #[error("the message cannot be sent: {reason}")]
    Unsendable {
        /// Why.
        reason: Reason,
    },
    /// As many messages wait for their receipts as may.
    #[error("{window} messages wait for their receipts: wait for one")]
    WindowFull {
        /// The bound.
        window: usize,
    },
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::WindowFull { .. } => ErrorClass::Transient,
            Self::Refused { reason, status, .. } => match reason {
                Some(reason) => class_of(*reason),
                None if status.code() == tonic::Code::Internal => ErrorClass::Defect,
                None if matches!(
                    status.code(),
                    tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded
                ) =>
                {
                    ErrorClass::Transient
                }
                None => ErrorClass::Permanent,
            },
            Self::Address { .. } | Self::NoAddress | Self::UpgradeRequired { .. } | Self::Closed { .. } | Self::Unsendable { .. } => {
                ErrorClass::Permanent
            }
        }
    }

    /// The machine-readable reason, if the fleet gave one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { reason, .. } | Self::Closed { reason } => *reason,
            Self::Unsendable { reason } => Some(*reason),
            _ => None,
        }
    }

    pub(crate) fn refused(operation: &'static str, status: tonic::Status) -> Self {
        let text = |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let name = text("roger-reason");
        let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == name);
        let retry_after_ms = text("roger-retry-after-ms").parse().unwrap_or(0);
        Self::Refused { operation, reason, retry_after_ms, status: Box::new(status) }
    }
}

/// Whether a session, or a message, that met this reason may be tried again as it is.
pub(crate) fn class_of(reason: Reason) -> ErrorClass {
    match reason {
        Reason::RateLimited
        | Reason::Backlog
        | Reason::StoreUnavailable
        | Reason::HeartbeatMissed
        | Reason::SlowConsumer
        | Reason::ShuttingDown
        | Reason::UnknownSession
        | Reason::EdgeFull
        | Reason::TokenExpired
        // Another one may be had, with the resume token or the password.
        | Reason::TokenRevoked
        | Reason::PredecessorMissing => ErrorClass::Transient,
        Reason::TokenUnknown
        | Reason::BadCredentials
        | Reason::NotMember
        | Reason::UnknownRecipient
        | Reason::TextEmpty
        | Reason::TextTooLarge
        | Reason::TextNotUtf8
        | Reason::UnknownKind
        | Reason::SequenceReused
        | Reason::TooMany
        | Reason::WrongEpoch
        | Reason::HelloExpected
        | Reason::FieldMissing
        | Reason::Superseded
        | Reason::SignedOut
        | Reason::WrongDoor
        | Reason::Quarantined
        | Reason::TopicClosed
        | Reason::NotPermitted
        | Reason::NameTaken
        | Reason::FieldInvalid
        | Reason::InUse
        | Reason::FixConflict
        | Reason::AlertOver => ErrorClass::Permanent,
    }
}
