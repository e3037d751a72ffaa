//! What can go wrong with a text.

use std::io;
use std::path::PathBuf;

use crate::retry::ErrorClass;

/// Why a text was not taken.
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
}

impl Error {
    /// What trying again would change: a disk may have room again.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::File { .. } => ErrorClass::Transient,
        }
    }
}
