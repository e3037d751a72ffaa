//! What can go wrong with Janus.

use std::time::Duration;

use super::bridge::Refusal;
use super::wire::{Failure, HandleNumber, SessionNumber};
use crate::retry::ErrorClass;

/// Not the secret of the API.
const UNAUTHORIZED: u32 = 403;
/// No such session.
const NO_SESSION: u32 = 458;
/// No such handle in the session.
const NO_HANDLE: u32 = 459;

/// A request to Janus that failed. Each names what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `janus.url` is no address of a WebSocket.
    #[error("janus.url = {url:?} is no WebSocket address: it must be as ws://127.0.0.1:8188 ({why})")]
    Url {
        /// What it is.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// There was no connection before the deadline: the request was not sent.
    #[error("{operation}: no connection to Janus at {url} within {waited:?}: {why}")]
    Unreachable {
        /// What was asked.
        operation: &'static str,
        /// Where.
        url: String,
        /// How long it was tried.
        waited: Duration,
        /// Why the last attempt failed.
        why: String,
    },
    /// Janus did not answer before the deadline. It may have done what it was asked, or do it yet.
    #[error("{operation}: Janus at {url} has the request and did not answer within {waited:?}: it hangs, or is too slow")]
    NoAnswer {
        /// What was asked.
        operation: &'static str,
        /// Whom.
        url: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The connection broke while the request was under way. Janus may have done what it was asked.
    #[error("{operation}: the connection to Janus broke before the answer came")]
    Broken {
        /// What was asked.
        operation: &'static str,
    },
    /// Janus asks for another secret.
    #[error("{operation}: Janus at {url} refuses the secret: what is in janus.api_secret_file must be the api_secret of its janus.jcfg")]
    Secret {
        /// What was asked.
        operation: &'static str,
        /// Whom.
        url: String,
    },
    /// Janus does not know the session: it was restarted, or heard nothing of it for too long. All handles and seats of it are gone.
    #[error("{operation}: Janus no longer has the session {}: begin a new one", session.0)]
    SessionGone {
        /// What was asked.
        operation: &'static str,
        /// The session.
        session: SessionNumber,
    },
    /// The session does not have the handle: its seat is gone.
    #[error("{operation}: the session has no handle {} any more: attach a new one", handle.0)]
    HandleGone {
        /// What was asked.
        operation: &'static str,
        /// The handle.
        handle: HandleNumber,
    },
    /// Janus itself refuses, for another reason.
    #[error("{operation}: Janus refuses: {reason} ({code})")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Its number, as in `apierror.h` of Janus.
        code: u32,
        /// Its words.
        reason: String,
    },
    /// The AudioBridge refuses.
    #[error("{operation}: the AudioBridge refuses: {reason} ({})", refusal.code())]
    Bridge {
        /// What was asked.
        operation: &'static str,
        /// Why.
        refusal: Refusal,
        /// Why, in its words.
        reason: String,
    },
    /// The answer is not of the form that Janus promises.
    #[error("{operation}: an answer of Janus that cannot be read: {answer}")]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        answer: String,
    },
}

impl Error {
    /// What trying again would change. A session or handle that is gone is transient: whoever begins a new one may succeed.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer { .. } | Self::Broken { .. } => ErrorClass::Transient,
            Self::SessionGone { .. } | Self::HandleGone { .. } => ErrorClass::Transient,
            Self::Url { .. } | Self::Secret { .. } | Self::Refused { .. } | Self::Bridge { .. } => ErrorClass::Permanent,
            Self::Answer { .. } => ErrorClass::Defect,
        }
    }

    /// The number that Janus or its AudioBridge gives it; 500 when it has none.
    pub fn code(&self) -> u32 {
        match self {
            Self::Secret { .. } => UNAUTHORIZED,
            Self::SessionGone { .. } => NO_SESSION,
            Self::HandleGone { .. } => NO_HANDLE,
            Self::Refused { code, .. } => *code,
            Self::Bridge { refusal, .. } => refusal.code(),
            Self::Url { .. } | Self::Unreachable { .. } | Self::NoAnswer { .. } | Self::Broken { .. } | Self::Answer { .. } => 500,
        }
    }

    /// Whether the session or the handle is gone, so that what stood on it has to be made again.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::SessionGone { .. } | Self::HandleGone { .. })
    }

    pub(super) fn of(
        operation: &'static str,
        url: &str,
        session: Option<SessionNumber>,
        handle: Option<HandleNumber>,
        failure: Failure,
    ) -> Self {
        match (failure.code, session, handle) {
            (UNAUTHORIZED, ..) => Self::Secret { operation, url: url.to_owned() },
            (NO_SESSION, Some(session), _) => Self::SessionGone { operation, session },
            (NO_HANDLE, _, Some(handle)) => Self::HandleGone { operation, handle },
            (code, ..) => Self::Refused { operation, code, reason: failure.reason },
        }
    }
}

/// Whether a failure says that there is no such session.
pub(super) fn says_gone(failure: &Failure) -> bool {
    failure.code == NO_SESSION
}
