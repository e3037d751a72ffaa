//! Why the gateway cannot run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::retry::ErrorClass;
use crate::{broker, objects, store, token};

/// What ends the gateway, or keeps it from starting. A server that is away does neither: the gateway waits for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key cannot be used.
    #[error("cannot use {key}")]
    Key {
        /// The key of the configuration that names it.
        key: &'static str,
        /// Why.
        source: token::Error,
    },
    /// The store cannot be used.
    #[error("cannot use the store")]
    Store {
        /// Why.
        source: store::Error,
    },
    /// Redis cannot be used.
    #[error("cannot use Redis")]
    Broker {
        /// Why.
        source: broker::Error,
    },
    /// Where objects should lie cannot be used.
    #[error("cannot use the objects")]
    Objects {
        /// Why.
        source: objects::Error,
    },
    /// A folder cannot be made.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of the nodes cannot be used.
    #[error("gateway.nodes_file cannot be used")]
    Nodes {
        /// Why.
        source: super::NodesError,
    },
    /// The address for clients cannot be had.
    #[error("gateway.listen = {address}: cannot listen there")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A part of the program panicked.
    #[error("a part of the gateway ended by a panic")]
    Panic {
        /// Its end.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Key { source, .. } => source.class(),
            Self::Store { source } => source.class(),
            Self::Broker { source } => source.class(),
            Self::Objects { source } => source.class(),
            Self::Folder { .. } | Self::Nodes { .. } => ErrorClass::Permanent,
            // Often a predecessor that has not gone yet.
            Self::Listen { .. } => ErrorClass::Transient,
            Self::Panic { .. } => ErrorClass::Defect,
        }
    }
}
