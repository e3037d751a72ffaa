//! What the client commands keep in `$XDG_STATE_HOME/roger` (or `~/.local/state/roger`): by account `NAME.json` with the tokens and
//! `NAME.memory.json` with the session's memory, both readable by their owner alone, and a lock that lets one session at a time use them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::client::{self, Memory};
use crate::model::InstallationId;

/// The login of an account on this machine.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) directory: String,
    pub(super) installation: InstallationId,
    pub(super) login: client::Login,
}

/// The files of one account.
#[derive(Clone)]
pub(super) struct State {
    folder: PathBuf,
    name: String,
}

impl State {
    /// Of an account, which need not be logged in.
    pub(super) fn of(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') || name.contains('\0') {
            return Err(Error::Usage(format!("{name:?} cannot be the name of a file, so its login cannot be kept")));
        }
        Ok(Self { folder: folder()?, name: name.to_owned() })
    }

    /// Of the account that is named, or of the only one that is logged in.
    pub(super) fn chosen(name: Option<&str>) -> Result<Self, Error> {
        if let Some(name) = name {
            return Self::of(name);
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(folder()?).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = file.strip_suffix(".json").filter(|name| !name.ends_with(".memory")) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        match names.as_slice() {
            [] => Err(Error::Usage("nobody is logged in here: `roger login NAME`".to_owned())),
            [name] => Self::of(name),
            names => Err(Error::Usage(format!("several are logged in here: choose with --as {}", names.join(", --as ")))),
        }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}{suffix}", self.name))
    }

    pub(super) fn load(&self) -> Result<Kept, Error> {
        read(&self.path(".json"))?.ok_or_else(|| Error::NotLoggedIn { name: self.name.clone() })
    }

    pub(super) fn save(&self, kept: &Kept) -> Result<(), Error> {
        write(&self.path(".json"), kept)
    }

    /// The session's memory; a new one of the installation when there is none.
    pub(super) fn memory(&self, installation: InstallationId) -> Result<Memory, Error> {
        let memory = read::<Memory>(&self.path(".memory.json"))?.filter(|memory| memory.installation == installation);
        Ok(memory.unwrap_or_else(|| Memory::of(installation)))
    }

    pub(super) fn save_memory(&self, memory: &Memory) -> Result<(), Error> {
        write(&self.path(".memory.json"), memory)
    }

    /// Forgets the tokens. The memory stays: the installation is the same when it logs in again.
    pub(super) fn forget(&self) -> Result<(), Error> {
        let path = self.path(".json");
        fs::remove_file(&path).map_err(|source| Error::File { path, source })
    }

    /// The installation that was used before, or a new one.
    pub(super) fn installation(&self) -> Result<InstallationId, Error> {
        Ok(read::<Memory>(&self.path(".memory.json"))?.map_or_else(|| Memory::new().installation, |memory| memory.installation))
    }

    /// Keeps other sessions of this account on this machine out, as long as the answer lives: two would give out the same numbers.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.path(".lock");
        make_folder(&self.folder)?;
        let failed = |source| Error::File { path: path.clone(), source };
        let file = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                Err(Error::Usage(format!("another `roger` has a session of {} open on this machine: end it first", self.name)))
            }
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

fn folder() -> Result<PathBuf, Error> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").filter(|path| !path.is_empty()).map(|home| PathBuf::from(home).join(".local/state"));
    let base =
        state.or_else(home).ok_or_else(|| Error::Usage("neither XDG_STATE_HOME nor HOME is set: logins have no place".to_owned()))?;
    Ok(base.join("roger"))
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| Error::File { path: folder.to_owned(), source })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|source| Error::State { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// Replaces a file as a whole: whoever reads it finds the old one or the new one.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let text = serde_json::to_vec(value).map_err(|source| Error::State { path: path.to_owned(), source })?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let replace = || {
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&new, path)
    };
    replace().map_err(|source| Error::File { path: path.to_owned(), source })
}
