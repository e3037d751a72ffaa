//! Clocks of running programs that a test moves, as an operator with a wrong watch would.

use std::fs;
use std::path::{Path, PathBuf};

/// The library that tells a program another time than the machine's.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// What names the file of a clock to the library.
const FILE: &str = "FAKETIME_TIMESTAMP_FILE";

/// The environment of a program whose clock goes by a file, `<name>.clock` in `folder`; true to the machine's until [`set`]. Only its time of day
/// does: what counts how long something takes goes on evenly, as it does when a clock is set.
pub fn environment(folder: &Path, name: &str) -> Vec<(String, String)> {
    set(folder, name, 0);
    let file = file(folder, name).display().to_string();
    let pairs = [
        // The allocator of Redis asks for the time before the library is ready to tell it; with that of libc it does not come to that.
        ("LD_PRELOAD", format!("{} libc.so.6", library().display())),
        (FILE, file),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Sets a clock so many seconds ahead of the machine's, or behind it.
pub fn set(folder: &Path, name: &str, ahead_s: i64) {
    // Never half a file.
    let written = folder.join(format!("{name}.clock.new"));
    fs::write(&written, format!("{ahead_s:+}\n")).unwrap();
    fs::rename(written, file(folder, name)).unwrap();
}

/// Removes what the library leaves of a process of that environment that was killed.
pub fn clear(env: &[(String, String)], pid: u32) {
    if env.iter().any(|(name, _)| name == FILE) {
        for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
            // One that ended by itself left nothing.
            let _gone = fs::remove_file(Path::new("/dev/shm").join(name));
        }
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.clock"))
}

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path().join("faketime"));
    let mut found = folders.map(|folder| folder.join(LIBRARY)).filter(|path| path.is_file());
    found.next().unwrap_or_else(|| panic!("there is no {LIBRARY}; it is in the Debian package faketime: scripts/setup installs it"))
}
