//! Hundreds of changes while the gateway is bad and the listener is killed, stopped and fed garbage.

use nix::sys::signal::Signal;

use super::gateway::{Gateway, Mode};
use super::piped::{Piped, state, wire};
use super::{changes_in, configure};
use crate::support::wait_until;

#[test]
fn five_hundred_changes_are_told_once_in_few_texts_after_a_bad_gateway_and_a_hurt_listener() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Mode::Down);
    configure(folder.path(), &gateway, "text_parts_max = 3\n");
    let mut listener = Piped::start(folder.path(), "a");
    let modes = [Mode::Down, Mode::Fails, Mode::Slow, Mode::Garbage, Mode::BreaksOff];
    let events = [
        ("PROCESS_STATE_EXITED", "expected:0 pid:7"),
        ("PROCESS_STATE_RUNNING", "pid:8"),
        ("PROCESS_STATE_BACKOFF", "tries:1"),
        ("PROCESS_STATE_FATAL", ""),
    ];
    let mut unreadable = 0;
    for serial in 0..500 {
        if serial % 50 == 0 {
            gateway.set(modes[serial / 50 % modes.len()]);
            let calls = gateway.calls();
            if serial == 100 {
                // Something is on its way by then, and is tried.
                wait_until("the gateway is called", || gateway.calls() > calls);
            }
        }
        match serial {
            120 | 260 | 390 => {
                listener.signal(Signal::SIGKILL);
                listener = Piped::start(folder.path(), "a");
            }
            200 => {
                // It hangs, says nothing to an event, and has it all the same.
                listener.stop();
                let (name, more) = events[serial / 25 % 4];
                listener.write(&wire(serial, name, &state(&format!("p{}", serial % 25), more)));
                assert!(listener.is_stopped() && listener.says_nothing());
                listener.signal(Signal::SIGCONT);
                listener.expect("RESULT 2\nOKREADY\n");
                continue;
            }
            70 | 330 => {
                listener.write(b"ver:3.0 server:supervisor serial:minus pool:\xff\xfe len:many\n");
                listener.expect("RESULT 2\nOKREADY\n");
                unreadable += 1;
            }
            _ => {}
        }
        let (name, more) = events[serial / 25 % 4];
        let program = format!("p{}", serial % 25);
        if serial == 120 {
            // Its hearer died over it, so supervisord says it again: twice heard, once told.
            listener.say(serial, name, &state(&program, more));
        }
        listener.say(serial, name, &state(&program, more));
    }
    let before = gateway.texts().len();
    assert!(before <= 3, "{before} texts while it was bad");
    gateway.set(Mode::Good);
    let told = || gateway.texts().iter().filter_map(|text| changes_in(text)).sum::<usize>();
    wait_until("all is told", || told() >= 500 + unreadable);
    // Whatever comes beyond would be told with this one, which it cannot be told before.
    listener.say(1_000, "SUPERVISOR_STATE_CHANGE_RUNNING", "");
    wait_until("the last one is told", || gateway.texts().iter().any(|text| text.contains("supervisord began")));
    let texts = gateway.texts();
    // The jump to the last number is told as lost.
    assert_eq!(told(), 500 + unreadable + 2, "{texts:#?}");
    assert!(texts.len() <= 5 + 1, "{texts:#?}");
    let parts: Vec<usize> = texts.iter().map(|text| roger::sms::gsm::parts(text)).collect();
    assert!(parts.iter().all(|parts| *parts <= 3), "{parts:?}");
}
