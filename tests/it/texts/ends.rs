//! How supervisord ended, as the next one tells it.

use super::gateway::{Gateway, Mode};
use super::supervised::supervised;
use crate::support::process::Process;
use crate::support::wait_until;

#[test]
fn a_stop_of_supervisord_is_followed_by_a_beginning_and_a_kill_by_its_death() {
    let gateway = Gateway::start(Mode::Good);
    // Nothing but the listeners, which are stopped as soon as they heard of it.
    let mut supervised = supervised(&gateway, "peer_silent_s = 10\nrevive_first_s = 0\n", "");
    let having = |part: &str| gateway.texts().iter().filter(|text| text.contains(part)).count();
    let listener = supervised.folder.path().join("listener");
    for starts in 1..=3 {
        wait_until("its start is told", || having("supervisord began") >= starts);
        wait_until("both run", || supervised.control("status").matches(" RUNNING ").count() == 2);
        if starts == 3 {
            break;
        }
        assert!(supervised.process.terminate().success());
        // As if that had been long ago.
        for name in ["a", "b"] {
            std::fs::write(listener.join(name).join("beat"), format!("{:020}", 1)).unwrap();
        }
        supervised.process = Process::start(supervised.process.program().clone());
    }
    assert_eq!((having("was killed"), having("silent"), having("EXITED")), (0, 0, 0), "{:#?}", gateway.texts());
    supervised.process.kill();
    supervised.process = Process::start(supervised.process.program().clone());
    wait_until("its death is told", || having("supervisord was killed, and is back") >= 1);
    wait_until("both run", || supervised.control("status").matches(" RUNNING ").count() == 2);
    assert_eq!((having("supervisord began"), having("was killed")), (3, 1), "{:#?}", gateway.texts());
}
