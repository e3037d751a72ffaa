//! Why the directory cannot run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::retry::ErrorClass;
use crate::{broker, store, token};

/// What ends the directory, or keeps it from starting. A server that is away does neither: the directory waits for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key cannot be used.
    #[error("cannot use the keys of access tokens, auth.public_key_file and auth.secret_key_file")]
    Key {
        /// Why.
        source: token::Error,
    },
    /// What the directory would sign, no edge would accept.
    #[error("{} is not the public half of {}", public.display(), secret.display())]
    KeysDiffer {
        /// The public key.
        public: PathBuf,
        /// The secret key.
        secret: PathBuf,
    },
    /// The store cannot be used.
    #[error("cannot use the store")]
    Store {
        /// Why.
        source: store::Error,
    },
    /// Redis cannot be used.
    #[error("cannot use Redis")]
    Redis {
        /// Why.
        source: broker::Error,
    },
    /// Redis belongs to a deployment with another number of shards.
    #[error("fleet.shards = {configured}, but Redis belongs to a fleet of {pinned} shards")]
    Shards {
        /// In the configuration.
        configured: u32,
        /// In Redis.
        pinned: u32,
    },
    /// Passwords cannot be hashed.
    #[error("cannot hash passwords")]
    Password {
        /// Why.
        source: super::password::Error,
    },
    /// The address for clients cannot be had.
    #[error("directory.listen = {address}: cannot listen there")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server for clients could not be set up.
    #[error("cannot serve on {address}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The reflection service could not be set up.
    #[error("cannot describe the protocol")]
    Reflection {
        /// Why.
        source: tonic_reflection::server::Error,
    },
    /// A part of the program panicked.
    #[error("a part of the directory ended by a panic")]
    Panic {
        /// Its end.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Key { source } => source.class(),
            Self::Store { source } => source.class(),
            Self::Redis { source } => source.class(),
            Self::Password { source } => source.class(),
            Self::KeysDiffer { .. } | Self::Shards { .. } => ErrorClass::Permanent,
            // Often a predecessor that has not gone yet.
            Self::Listen { .. } | Self::Serve { .. } => ErrorClass::Transient,
            Self::Reflection { .. } | Self::Panic { .. } => ErrorClass::Defect,
        }
    }
}
