//! What can go wrong with a text.

use std::io;
use std::path::PathBuf;

use crate::retry::ErrorClass;

/// Why a text was not taken, or why nobody can carry any.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of texts cannot be written.
    #[error("text {key} to the file {path}")]
    File {
        /// The text.
        key: String,
        /// `sms.file`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The number is not among those that texts may go to.
    #[error("text {key}: its number is not among sms.allow")]
    NotAllowed {
        /// The text.
        key: String,
    },
    /// The provider did not answer, or not in time.
    #[error("text {key} to {host}: no answer")]
    Away {
        /// The text.
        key: String,
        /// Where the provider is.
        host: String,
        /// Why; without the address, in which secrets may stand.
        source: reqwest::Error,
    },
    /// The provider answered, and did not take it.
    #[error("text {key} to {host}: answer {status}, {answer:?}, does not say that it was taken")]
    Refused {
        /// The text.
        key: String,
        /// Where the provider is.
        host: String,
        /// The status of HTTP.
        status: u16,
        /// How the answer begins, without secrets.
        answer: String,
        /// Whether the same text will be refused again.
        class: ErrorClass,
    },
    /// There is no session with the short message centre, or it broke.
    #[error("text {key} to {host}: no session of SMPP")]
    NoCentre {
        /// The text.
        key: String,
        /// Where the centre is.
        host: String,
        /// Why.
        source: Box<rusmppc::error::Error>,
    },
    /// The short message centre did not take it in time; it may yet have.
    #[error("text {key} to {host}: not taken within {seconds} s")]
    Slow {
        /// The text.
        key: String,
        /// Where the centre is.
        host: String,
        /// `sms.timeout_ms`.
        seconds: u64,
    },
    /// The short message centre refused the session or the text.
    #[error("text {key} to {host}: refused with the command status {status:#04x} of SMPP")]
    Status {
        /// The text.
        key: String,
        /// Where the centre is.
        host: String,
        /// As SMPP 3.4 lists it (5.1.3).
        status: u32,
        /// Whether the same text will be refused again.
        class: ErrorClass,
    },
    /// SMPP has no room for it.
    #[error("text {key}: {what} does not fit into SMPP")]
    Unfit {
        /// The text.
        key: String,
        /// What of it.
        what: &'static str,
    },
    /// The call cannot be made up: a header is none once its places are filled.
    #[error("text {key}: {what} of sms.http_file does not hold what stands in it once its places are filled")]
    Call {
        /// The text.
        key: String,
        /// Which part of the call.
        what: &'static str,
    },
    /// The file of the call cannot be read.
    #[error("cannot read {}, which says how texts are sent", path.display())]
    CallFile {
        /// `sms.http_file`, or a secret or authorities it names.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of the call is not TOML, or has a key that is not known or lacks one.
    #[error("{} does not say how texts are sent", path.display())]
    CallSyntax {
        /// `sms.http_file`.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value in the file of the call cannot be used.
    #[error("{}: {key} must be {rule}", path.display())]
    CallValue {
        /// `sms.http_file`.
        path: PathBuf,
        /// Which key.
        key: String,
        /// What it must be.
        rule: String,
    },
    /// No client of HTTP can be made on this machine.
    #[error("no client of HTTP")]
    Client(#[source] reqwest::Error),
}

impl Error {
    /// Whether it is whoever carries texts that is away, and not a text that is refused.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::NoCentre { .. } | Self::Slow { .. })
    }

    /// What trying again would change: a disk may have room again, a provider may be back.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::File { .. } | Self::Away { .. } | Self::NoCentre { .. } | Self::Slow { .. } => ErrorClass::Transient,
            Self::Refused { class, .. } | Self::Status { class, .. } => *class,
            Self::NotAllowed { .. }
            | Self::Unfit { .. }
            | Self::Call { .. }
            | Self::CallFile { .. }
            | Self::CallSyntax { .. }
            | Self::CallValue { .. }
            | Self::Client(_) => ErrorClass::Permanent,
        }
    }
}
