//! A small disk that one test alone sees, to be filled.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;

/// Says to a test that it runs beside the disk, and where that is.
const INSIDE: &str = "ROGER_TEST_SMALL_DISK";

/// Has the test of that name run again by itself, where a disk of so many MiB is mounted that goes with it: the folder of the disk in that run, and
/// `None` outside once it has passed.
#[track_caller]
pub fn small_disk(test: &str, mib: u32) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return Some(folder.into());
    }
    let folder = tempfile::Builder::new().prefix("roger-disk-").tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={mib}m tmpfs {} && exec \"$@\"", folder.path().display());
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount"]);
    if !Uid::effective().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--", "sh", "-c", &mount, "sh"]).arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(INSIDE, folder.path()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{test} on a small disk: {}\n{out}\n{err}", output.status);
    None
}

/// Takes all the room that a disk has left; whoever removes the file gives it back.
pub fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    for size in [64 * 1024, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    drop(file);
    assert!(File::create(disk.join("more")).and_then(|mut more| more.write_all(b"x")).is_err(), "the disk is not full");
    path
}
