//! The folder that the listeners of a machine share: signs of life, and who tells what. Each event has one claim, a hard link to the file with
//! the name of its listener: it is there as a whole or not at all, and the second one to make it is refused by the kernel.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The most claims of a start of supervisord that are kept, and how many of them stay.
const CLAIMS: (usize, u64) = (60_000, 40_000);
/// How long the claims of an earlier start are kept.
const EARLIER_MS: u64 = 2 * 86_400_000;

/// What the listeners share.
#[derive(Clone, Debug)]
pub(super) struct Share {
    dir: PathBuf,
    name: String,
}

/// The listeners that ever shared a folder (`listener.dir`), by name, with when each gave its last sign of life (UTC ms).
pub fn signs(dir: &Path) -> Vec<(String, u64)> {
    let mut signs = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if let Some(beat) = fs::read_to_string(entry.path().join("beat")).ok().and_then(|text| text.parse().ok()) {
            signs.push((name, beat));
        }
    }
    signs.sort();
    signs
}

impl Share {
    /// The folder, which is made when there is none, for the listener of a name.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub(super) fn open(dir: &Path, name: &str) -> io::Result<Self> {
        let share = Self { dir: dir.to_owned(), name: name.to_owned() };
        fs::create_dir_all(dir.join("claims"))?;
        fs::create_dir_all(share.own())?;
        if fs::read_to_string(share.me()).ok().as_deref() != Some(name) {
            replace(&share.me(), name)?;
        }
        Ok(share)
    }

    /// This listener's folder.
    pub(super) fn own(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// Another one's folder.
    pub(super) fn of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Gives a sign of life. Over the last one, which needs no room: on a full disk two who live must not take each other for dead.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn beat(&self, now_ms: u64) -> io::Result<()> {
        let path = self.own().join("beat");
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => file.write_all_at(beat_line(now_ms).as_bytes(), 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => replace(&path, &beat_line(now_ms)),
            Err(error) => Err(error),
        }
    }

    /// The other listeners that ever were, with when each gave its last sign of life, by name.
    pub(super) fn peers(&self) -> Vec<(String, u64)> {
        let mut signs = signs(&self.dir);
        signs.retain(|(name, _)| *name != self.name);
        signs
    }

    /// Claims an event, unless it is claimed. True when this listener tells it, from now on or since before.
    ///
    /// # Errors
    /// When no claim can be made.
    pub(super) fn claim(&self, id: &str) -> io::Result<bool> {
        let path = self.claim_path(id);
        let mut made = fs::hard_link(self.me(), &path);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            path.parent().map(fs::create_dir_all).transpose()?;
            made = fs::hard_link(self.me(), &path);
        }
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(self.owner(id).as_deref() == Some(self.name.as_str())),
            Err(error) => Err(error),
        }
    }

    /// Who tells an event; `None` when nobody has claimed it.
    pub(super) fn owner(&self, id: &str) -> Option<String> {
        fs::read_to_string(self.claim_path(id)).ok()
    }

    /// Whether this listener tells an event.
    pub(super) fn is_mine(&self, id: &str) -> bool {
        self.owner(id).as_deref() == Some(self.name.as_str())
    }

    /// Takes the claim of another listener over: one that gives no sign of life.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn seize(&self, id: &str) -> io::Result<()> {
        let path = self.claim_path(id);
        path.parent().map(fs::create_dir_all).transpose()?;
        let beside = self.own().join("claim.new");
        let _left_by_a_death = fs::remove_file(&beside);
        fs::hard_link(self.me(), &beside)?;
        fs::rename(&beside, &path)?;
        // Two names of one file are not renamed: then the claim was this listener's already.
        let _renamed = fs::remove_file(&beside);
        Ok(())
    }

    /// Removes claims that nothing waits for any more.
    ///
    /// # Errors
    /// When they cannot be removed: they only take room.
    pub(super) fn prune(&self, boot: &str, now_ms: u64) -> io::Result<()> {
        for entry in fs::read_dir(self.dir.join("claims"))? {
            let entry = entry?;
            let modified = entry.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            if entry.file_name() != *boot && modified + EARLIER_MS < now_ms {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let current = self.dir.join("claims").join(boot);
        let serials = fs::read_dir(&current).into_iter().flatten().flatten();
        let mut serials: Vec<u64> = serials.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        if serials.len() > CLAIMS.0 {
            serials.sort_unstable();
            let newest = serials.last().copied().unwrap_or(0);
            for serial in serials.iter().take_while(|serial| **serial + CLAIMS.1 < newest) {
                fs::remove_file(current.join(serial.to_string()))?;
            }
        }
        Ok(())
    }

    fn me(&self) -> PathBuf {
        self.own().join("me")
    }

    fn claim_path(&self, id: &str) -> PathBuf {
        self.dir.join("claims").join(id)
    }
}

/// As long whenever it is, so that nothing of an older one is left behind it.
fn beat_line(now_ms: u64) -> String {
    format!("{now_ms:020}")
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    File::create(&beside)?.write_all(text.as_bytes())?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_who_claim_an_event_one_has_it_until_it_is_seized() {
        let folder = tempfile::tempdir().unwrap();
        let shares: Vec<Share> = (0..8).map(|number| Share::open(folder.path(), &format!("l{number}")).unwrap()).collect();
        for event in 0..50 {
            let id = format!("7-9/{event}");
            let won = std::thread::scope(|scope| {
                let claims: Vec<_> = shares.iter().map(|share| scope.spawn(|| share.claim(&id).unwrap())).collect();
                claims.into_iter().filter(|_| true).map(|claim| claim.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(won.iter().filter(|won| **won).count(), 1);
            let owner = shares.iter().position(|share| share.is_mine(&id)).unwrap();
            assert!(won[owner] && shares[owner].claim(&id).unwrap(), "it stays one's own");
            let next = &shares[(owner + 1) % 8];
            next.seize(&id).unwrap();
            next.seize(&id).unwrap();
            assert!(next.is_mine(&id) && !shares[owner].claim(&id).unwrap());
        }
    }

    #[test]
    fn signs_of_life_are_those_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (Share::open(folder.path(), "a").unwrap(), Share::open(folder.path(), "b").unwrap());
        assert_eq!(b.peers(), []);
        a.beat(5).unwrap();
        a.beat(7).unwrap();
        b.beat(8).unwrap();
        assert_eq!((b.peers(), a.peers()), (vec![("a".to_owned(), 7)], vec![("b".to_owned(), 8)]));
    }
}
