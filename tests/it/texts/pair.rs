//! Two listeners, which hear the same and tell it once.

use nix::sys::signal::Signal;

use super::gateway::{Gateway, Mode};
use super::piped::{Piped, state};
use super::{changes_in, configure};
use crate::support::wait_until;

#[test]
fn two_listeners_tell_each_change_once_and_one_does_the_work_of_a_silent_one() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Mode::Good);
    configure(folder.path(), &gateway, "peer_silent_s = 6\n");
    let (mut a, mut b) = (Piped::start(folder.path(), "a"), Piped::start(folder.path(), "b"));
    let told = || gateway.texts().iter().filter_map(|text| changes_in(text)).sum::<usize>();
    for serial in 0..40 {
        let payload = state(&format!("p{}", serial % 7), "expected:0 pid:7");
        // Who hears it first changes.
        let order = if serial % 2 == 0 { [&mut a, &mut b] } else { [&mut b, &mut a] };
        order.into_iter().for_each(|listener| listener.say(serial, "PROCESS_STATE_EXITED", &payload));
    }
    wait_until("all is told", || told() >= 40);

    // The first one falls silent over a message that it cannot send.
    gateway.set(Mode::Fails);
    let calls = gateway.calls();
    for serial in 40..45 {
        let payload = state("gps", "expected:0 pid:7");
        a.say(serial, "PROCESS_STATE_EXITED", &payload);
        b.say(serial, "PROCESS_STATE_EXITED", &payload);
    }
    wait_until("it is tried", || gateway.calls() > calls);
    a.signal(Signal::SIGSTOP);
    gateway.set(Mode::Good);
    wait_until("the other one tells it, and that it is silent", || told() >= 46);
    b.say(45, "PROCESS_STATE_FATAL", &state("gps", ""));
    wait_until("it tells what comes", || told() >= 47);

    a.signal(Signal::SIGCONT);
    a.say(45, "PROCESS_STATE_FATAL", &state("gps", ""));
    wait_until("it is back", || told() >= 48);
    a.say(46, "PROCESS_STATE_FATAL", &state("sos", ""));
    b.say(46, "PROCESS_STATE_FATAL", &state("sos", ""));
    wait_until("the last one is told", || gateway.texts().iter().any(|text| text.contains("roger:sos FATAL")));
    let texts = gateway.texts();
    assert_eq!(told(), 49, "{texts:#?}");
    let having = |part: &str| texts.iter().filter(|text| text.contains(part)).count();
    assert_eq!((having("sms-listener-a is silent"), having("sms-listener-a is back")), (1, 1), "{texts:#?}");
}
