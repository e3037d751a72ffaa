//! The disk of the spool is full: what is heard then is answered and told all the same.

use std::path::PathBuf;

use nix::unistd::Uid;

use super::gateway::{Gateway, Mode};
use super::piped::{Piped, state};
use super::{changes_in, configure};
use crate::support::wait_until;

#[test]
fn on_a_full_disk_events_are_answered_and_told_from_memory_and_two_listeners_stay_friends() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Mode::Good);
    configure(folder.path(), &gateway, "peer_silent_s = 6\n");
    let spool = folder.path().join("listener");
    std::fs::create_dir(&spool).unwrap();
    // A disk of 64 KiB, which only the two listeners see.
    let mount = format!("mount -t tmpfs -o size=64k tmpfs {} && exec \"$@\"", spool.display());
    let is_root = Uid::effective().is_root();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut first = words("setpriv --pdeathsig KILL -- unshare --mount");
    first.extend(words(if is_root { "--" } else { "--user --map-root-user --" }));
    first.extend(["sh".to_owned(), "-c".to_owned(), mount, "sh".to_owned()]);
    let mut a = Piped::start_by(&first, folder.path(), "a");
    let mut second = words(&format!("setpriv --pdeathsig KILL -- nsenter --target {} --mount", a.pid()));
    second.extend(words(if is_root { "--" } else { "--user --preserve-credentials --" }));
    let mut b = Piped::start_by(&second, folder.path(), "b");

    // As the listeners see it.
    let inside = PathBuf::from(format!("/proc/{}/root{}", a.pid(), spool.display()));
    let mut both = |serial: usize, name: &str, program: &str| {
        for listener in [&mut a, &mut b] {
            listener.say(serial, name, &state(program, "expected:0 pid:7"));
        }
    };
    let having = |part: &str| gateway.texts().iter().filter(|text| text.contains(part)).count();
    both(1, "PROCESS_STATE_EXITED", "gps");
    wait_until("it is told", || having("roger:gps EXITED") == 1);
    assert!(!spool.join("a").exists() && inside.join("a").exists());
    let filler = inside.join("filler");
    std::fs::write(&filler, vec![0; 60 * 1024]).unwrap_err();
    // Until nothing fits into the last page of any file.
    let log = || ["a", "b"].map(|name| std::fs::read_to_string(folder.path().join(format!("{name}.log"))).unwrap());
    let mut heard = 1;
    wait_until("both have said that the disk is full", || {
        heard += 1;
        both(heard, "PROCESS_STATE_EXITED", &format!("p{heard}"));
        log().iter().all(|log| log.contains("the spool cannot be written: told only as long as this program lives"))
    });
    both(heard + 1, "PROCESS_STATE_FATAL", "sos");
    wait_until("it is told", || having("roger:sos FATAL") == 1);
    let told = || gateway.texts().iter().filter_map(|text| changes_in(text)).sum::<usize>();
    wait_until("all is told", || told() > heard);

    // Longer than one may give no sign of life: neither takes the other for dead.
    let beat = || std::fs::read_to_string(inside.join("a/beat")).unwrap().parse::<u64>().unwrap();
    let begun = beat();
    wait_until("signs of life go on", || beat() > begun + 9_000);
    std::fs::remove_file(&filler).unwrap();
    both(heard + 2, "PROCESS_STATE_FATAL", "edge-0");
    wait_until("it is told", || having("roger:edge-0 FATAL") == 1);
    assert_eq!((told(), having("silent")), (heard + 2, 0), "{:#?}", gateway.texts());
}
