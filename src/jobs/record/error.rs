//! Why a recording is not announced just now.

use std::io;
use std::path::PathBuf;

use crate::audio::NotOggOpus;
use crate::objects::NotKept;
use crate::retry::ErrorClass;
use crate::worker::{Classed, deadletter};
use crate::{broker, store};

/// What holds a recording up. It stays in its folder, and is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder, or a file in it, cannot be used.
    #[error("cannot {operation} {}", path.display())]
    Folder {
        /// What was to be done.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another program works this folder off.
    #[error("another program works off {}: one of the two has to go, or get a janus.recordings_dir of its own", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// There is no room for what is made of recordings.
    #[error("no room in {} for a recording of {bytes} bytes: make some, or let it grow", path.display())]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// How many it would take, about.
        bytes: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What converts recordings is not there.
    #[error("cannot start janus-pp-rec: it is in the Debian package janus-tools")]
    Tool(#[source] io::Error),
    /// A recording could not be converted.
    #[error("janus-pp-rec ended with {ended}, and said: {said}")]
    Convert {
        /// How it ended.
        ended: String,
        /// Its last words.
        said: String,
    },
    /// A recording was converted, and what came out has not all of it.
    #[error("janus-pp-rec made {packets} packets of {frames} frames")]
    Short {
        /// What came out.
        packets: usize,
        /// What went in.
        frames: usize,
    },
    /// A recording was converted into something else.
    #[error("what janus-pp-rec made is of no use")]
    Output(#[source] NotOggOpus),
    /// Its file could not be stored.
    #[error("cannot store a recording")]
    Keep(#[source] NotKept),
    /// SQL did not do what it was asked.
    #[error("cannot find out whose a recording is")]
    Store(#[source] store::Error),
    /// Redis did not do what it was asked.
    #[error("cannot announce a recording")]
    Broker(#[source] broker::Error),
    /// A dead letter could not be filed.
    #[error("cannot file a dead letter about a recording")]
    Bury(#[source] deadletter::Error),
}

impl Error {
    pub(super) fn folder(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Folder { operation, path, source }
    }

    /// Whether it lies in the recording, so that others may go well; after some attempts it is given up.
    pub(super) fn is_of_one(&self) -> bool {
        match self {
            Self::Convert { .. } | Self::Short { .. } | Self::Output(_) => true,
            Self::Keep(NotKept::Store(source)) | Self::Store(source) => source.class() == ErrorClass::Defect,
            _ => false,
        }
    }

    /// What is waited for.
    pub(super) fn waits_for(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "the folder of recordings",
            Self::Taken { .. } => "the other program that works off the folder of recordings",
            Self::NoRoom { .. } => "room in the folder of recordings",
            Self::Tool(_) => "janus-pp-rec",
            Self::Convert { .. } | Self::Short { .. } | Self::Output(_) => "a recording that can be converted",
            Self::Keep(NotKept::Store(_)) | Self::Store(_) => "SQL",
            Self::Keep(_) => "the place for objects",
            Self::Broker(_) | Self::Bury(_) => "Redis",
        }
    }
}

impl Classed for Error {
    /// Nothing here ends the recorder: it waits, whatever it is.
    fn class(&self) -> ErrorClass {
        ErrorClass::Transient
    }
}
