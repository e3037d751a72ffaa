//! The folder that Janus records into. It is the queue, and where a file lies is how far it is: in the folder not yet announced, in `done`
//! announced, in `bad` given up; `work` has what is made of them on the way.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::Error;
use super::name::{Found, Name, found};

/// Has the lock of the recorder that works the folder off.
const LOCK: &str = ".recorder.lock";

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// What waits in the folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Finished recordings, the oldest first.
    pub(super) finished: Vec<Name>,
    /// What looks like recordings and has other names.
    pub(super) strange: Vec<String>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn at(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Where a converted recording lies until it is announced.
    pub(super) fn work(&self, name: &Name) -> PathBuf {
        self.path.join("work").join(format!("{}.opus", name.id))
    }

    /// Makes what is missing of the folder, and locks it for as long as the file lives.
    pub(super) fn open(&self) -> Result<File, Error> {
        for folder in ["done", "bad", "work"] {
            let path = self.path.join(folder);
            fs::create_dir_all(&path).map_err(Error::folder("make the folder", path))?;
        }
        let path = self.path.join(LOCK);
        let lock = File::create(&path).map_err(Error::folder("write", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(Error::Taken { path: self.path.clone() }),
            Err(TryLockError::Error(source)) => Err(Error::Folder { operation: "lock", path, source }),
        }
    }

    /// What waits.
    pub(super) fn list(&self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for file in self.files(&self.path)? {
            match found(&file) {
                Found::Finished(name) => listing.finished.push(name),
                Found::Strange => listing.strange.push(file),
                Found::Written(_) | Found::Other => {}
            }
        }
        listing.finished.sort();
        Ok(listing)
    }

    /// Takes from Janus what it does not write any more: what nobody touched since `before_ms`. Returns how many.
    pub(super) fn salvage(&self, before_ms: u64) -> Result<u64, Error> {
        let mut salvaged = 0;
        for file in self.files(&self.path)? {
            let Found::Written(name) = found(&file) else { continue };
            let from = self.at(&file);
            if touched_ms(&from).is_none_or(|touched_ms| touched_ms >= before_ms) {
                continue;
            }
            let to = self.at(&Name { cut: true, ..name }.file());
            fs::rename(&from, &to).map_err(Error::folder("rename", from))?;
            salvaged += 1;
        }
        Ok(salvaged)
    }

    /// Moves a file into `done` or `bad`; one that is not there any more was moved before.
    pub(super) fn put_away(&self, file: &str, into: &'static str) -> Result<(), Error> {
        let from = self.at(file);
        match fs::rename(&from, self.path.join(into).join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(()),
            moved => moved.map_err(Error::folder("move away", from)),
        }
    }

    /// Removes a file.
    pub(super) fn drop(&self, path: PathBuf) -> Result<(), Error> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(Error::folder("remove", path)),
        }
    }

    /// Removes what lies in `done` since before `before_ms`, and what was made of recordings that are gone.
    pub(super) fn sweep(&self, before_ms: u64) -> Result<(), Error> {
        let done = self.path.join("done");
        for file in self.files(&done)? {
            let path = done.join(file);
            if touched_ms(&path).is_some_and(|touched_ms| touched_ms < before_ms) {
                self.drop(path)?;
            }
        }
        let waiting = self.list()?.finished;
        let work = self.path.join("work");
        for file in self.files(&work)? {
            if !waiting.iter().any(|name| file.starts_with(&name.id)) {
                self.drop(work.join(file))?;
            }
        }
        Ok(())
    }

    fn files(&self, folder: &Path) -> Result<Vec<String>, Error> {
        let listed = || fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
        let names = listed().map_err(Error::folder("read the folder", folder))?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }
}

/// When a file was written last, UTC milliseconds; `None` when it is gone, or was never as far as the system knows.
fn touched_ms(path: &Path) -> Option<u64> {
    let age = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(age.as_millis()).ok()
}
