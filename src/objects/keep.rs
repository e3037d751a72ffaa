//! Storing a file: its content as an object unless it is there already, then its row.

use std::fs::File;
use std::io::Seek as _;

use super::{Error, Objects};
use crate::clock::Clock;
use crate::store::{self, FileAdded, NewFile, Store, StoredFile};

/// How often the content is stored again when a sweep took it away meanwhile.
const ATTEMPTS_MAX: u32 = 3;

/// Why a file is not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// SQL did not do what it was asked.
    #[error("cannot store the row of a file")]
    Store(#[source] store::Error),
    /// Its content could not be stored.
    #[error("cannot store the content of a file")]
    Objects(#[source] Error),
    /// The files of the company use all they may.
    #[error("the files of the company use {used} bytes, and have no room for more")]
    QuotaExceeded {
        /// Bytes in use.
        used: u64,
    },
    /// Each time it was stored it was swept away.
    #[error("the content was stored {ATTEMPTS_MAX} times, and each time it was swept away")]
    Swept,
}

impl Objects {
    /// Stores a file with its content; `quota` bytes for all files of the tenant, 0 for no bound. A death before its end leaves an object
    /// that is swept.
    ///
    /// # Errors
    /// [`NotKept`]; then the file is not there.
    pub async fn keep(&self, store: &Store, clock: &Clock, file: NewFile, content: &File, quota: u64) -> Result<StoredFile, NotKept> {
        for _ in 0..ATTEMPTS_MAX {
            let mut object = None;
            if !store.has_content(file.sha256).await.map_err(NotKept::Store)? {
                let key = format!("files/{}/{:016x}", file.sha256, rand::random::<u64>());
                store.note_object(&key, clock.now_ms()).await.map_err(NotKept::Store)?;
                let copy = content.try_clone().and_then(|mut copy| {
                    copy.rewind()?;
                    Ok(copy)
                });
                let copy = copy.map_err(|source| NotKept::Objects(Error::Source { key: key.clone(), source }))?;
                self.put(&key, copy).await.map_err(NotKept::Objects)?;
                object = Some(key);
            }
            match store.add_file(file.clone(), object.as_deref(), quota, clock.now_ms()).await.map_err(NotKept::Store)? {
                FileAdded::Added(stored) => return Ok(stored),
                FileAdded::QuotaExceeded { used } => return Err(NotKept::QuotaExceeded { used }),
                FileAdded::NoContent => {}
            }
        }
        Err(NotKept::Swept)
    }
}
