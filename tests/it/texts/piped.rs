//! A listener at the ends of two pipes, where the test is supervisord.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::gateway::{Gateway, Mode};
use super::{changes_in, configure, configure_paces};
use crate::support::{ports, wait_until};

pub struct Piped {
    child: Child,
    input: ChildStdin,
    output: Receiver<u8>,
}

impl Piped {
    pub fn start(folder: &Path, name: &str) -> Self {
        Self::start_by(&[], folder, name)
    }

    /// Starts it by another program, which becomes it: the words before its own.
    pub fn start_by(by: &[String], folder: &Path, name: &str) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(format!("{name}.log"))).unwrap();
        let words: Vec<&str> = by.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_sms-listener")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["--name", name, "--config"]).arg(folder.join("roger.toml"));
        command.env_remove("SUPERVISOR_SERVER_URL");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), bytes_of(child.stdout.take().unwrap()));
        let mut piped = Self { child, input, output };
        piped.expect("READY\n");
        piped
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).unwrap();
    }

    /// Says an event, and has it answered.
    pub fn say(&mut self, serial: usize, name: &str, payload: &str) {
        self.write(&wire(serial, name, payload));
        self.expect("RESULT 2\nOKREADY\n");
    }

    /// Exactly these bytes come next.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let mut got = Vec::new();
        while got.len() < text.len() {
            match self.output.recv_timeout(Duration::from_secs(20)) {
                Ok(byte) => got.push(byte),
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&got)),
            }
        }
        assert_eq!(String::from_utf8_lossy(&got), text);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Piped {
    /// Stops it, as one that hangs.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        wait_until("it is stopped", || self.is_stopped());
    }

    pub fn is_stopped(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap().contains(") T ")
    }

    pub fn says_nothing(&self) -> bool {
        self.output.try_recv().is_err()
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
        assert!(std::thread::panicking() || self.output.try_recv().is_err(), "more than answers on stdout");
    }
}

pub fn wire(serial: usize, name: &str, payload: &str) -> Vec<u8> {
    let len = payload.chars().count();
    format!("ver:3.0 server:supervisor serial:{serial} pool:sms-listener-a poolserial:{serial} eventname:{name} len:{len}\n{payload}")
        .into_bytes()
}

pub fn state(program: &str, more: &str) -> String {
    format!("processname:{program} groupname:roger from_state:RUNNING {more}")
}

fn bytes_of(stdout: ChildStdout) -> Receiver<u8> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        while let Ok(true) = reader.fill_buf().map(|bytes| !bytes.is_empty()) {
            let bytes = reader.buffer().to_vec();
            reader.consume(bytes.len());
            if bytes.iter().any(|byte| sender.send(*byte).is_err()) {
                break;
            }
        }
        let _end = reader.read(&mut []);
    });
    receiver
}

#[test]
fn events_in_any_pieces_are_answered_at_once_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Mode::Good);
    configure(folder.path(), &gateway, "");
    let mut listener = Piped::start(folder.path(), "a");
    let begun = Instant::now();
    for serial in 0..100 {
        listener.say(serial, "TICK_60", "when:1");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Multi-byte, byte by byte; a line over two events, of which both halves have their own header.
    for (serial, half) in [
        (100, "processname:gps groupname:roger pid:9 channel:stdout\nblåbær: No spa"),
        (101, "processname:gps groupname:roger pid:9 channel:stdout\nce left for æøå\nnext"),
    ] {
        for byte in wire(serial, "PROCESS_LOG_STDOUT", half) {
            listener.write(&[byte]);
        }
        listener.expect("RESULT 2\nOKREADY\n");
    }
    wait_until("the line is told", || gateway.texts().len() == 1);
    assert_eq!(gateway.texts()[0].split(" since ").next(), Some("Roger test-1: roger:gps said disk: blåbær: No space left for æøå"));
    // A length that lies holds nothing up for long.
    let mut long = wire(102, "PROCESS_STATE_FATAL", &state("edge-0", ""));
    let at = long.windows(4).position(|part| part == b"len:").unwrap();
    long.splice(at + 4..at + 6, *b"99");
    listener.write(&long);
    listener.expect("RESULT 2\nOKREADY\n");
    wait_until("it is told", || gateway.texts().len() == 2);
    assert!(gateway.texts()[1].starts_with("Roger test-1: roger:edge-0 FATAL since "), "{:?}", gateway.texts());
    assert_eq!(changes_in(&gateway.texts()[1]), Some(1));
    // What stands between tags is told without any pattern; a jump in the numbers of the pool too.
    listener.say(110, "PROCESS_COMMUNICATION_STDOUT", "processname:sos groupname:roger pid:9\nSOS_STUCK token=abcdef\n");
    let is_told = |part: &str| gateway.texts()[2..].iter().any(|text| text.contains(part));
    wait_until("both are told", || is_told("sms-listener lost events 7") && is_told("roger:sos said SOS_STUCK token=***"));
}

#[test]
fn an_end_of_supervisord_ends_it_and_what_was_heard_is_told_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Mode::Down);
    // What it hears is told together.
    configure_paces(folder.path(), &gateway, [3_000, 400], "");
    let mut listener = Piped::start(folder.path(), "a");
    listener.say(1, "SUPERVISOR_STATE_CHANGE_RUNNING", "");
    listener.say(2, "PROCESS_STATE_EXITED", &state("gps", "expected:0 pid:7"));
    listener.say(3, "PROCESS_STATE_EXITED", &state("gps", "expected:1 pid:7"));
    wait_until("it is tried", || gateway.calls() >= 2);
    let Piped { child, .. } = &mut listener;
    let pid = child.id();
    drop(std::mem::replace(&mut listener.input, Command::new("true").stdin(Stdio::piped()).spawn().unwrap().stdin.take().unwrap()));
    wait_until("it ends", || listener.child.try_wait().unwrap().is_some_and(|status| status.success()));
    assert!(pid > 0);
    gateway.set(Mode::Good);
    let mut next = Piped::start(folder.path(), "a");
    wait_until("it is told", || gateway.texts().len() == 1);
    // The event that killed its hearer comes again: it is known. And supervisord had not been stopped.
    next.say(2, "PROCESS_STATE_EXITED", &state("gps", "expected:0 pid:7"));
    next.say(4, "SUPERVISOR_STATE_CHANGE_RUNNING", "");
    wait_until("it is told", || gateway.texts().len() == 2);
    let texts = gateway.texts();
    assert!(
        texts[0].starts_with("Roger test-1, 2 changes: roger:gps EXITED since ") && texts[0].contains("supervisord began"),
        "{texts:?}"
    );
    assert!(texts[1].starts_with("Roger test-1: supervisord was killed, and is back"), "{texts:?}");
}

#[test]
fn a_text_that_is_refused_for_good_does_not_hold_up_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Mode::Refuses);
    // A late answer would be none, and no refusal.
    configure_paces(folder.path(), &gateway, [300, 10_000], "");
    let mut listener = Piped::start(folder.path(), "a");
    listener.say(1, "PROCESS_STATE_FATAL", &state("gps", ""));
    wait_until("it is given up", || gateway.calls() == 3);
    listener.say(2, "PROCESS_STATE_FATAL", &state("sos", ""));
    wait_until("the next one is tried", || gateway.calls() > 3);
    gateway.set(Mode::Good);
    wait_until("the next one is told", || gateway.texts().len() == 1);
    assert!(gateway.texts()[0].starts_with("Roger test-1: roger:sos FATAL since "), "{:?}", gateway.texts());
}

#[test]
fn whoever_watches_from_elsewhere_is_called_while_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Mode::Good);
    let watch = TcpListener::bind(("127.0.0.1", ports::free())).unwrap();
    let url = format!("heartbeat_url = \"http://{}/alive\"\nheartbeat_interval_s = 1\npeer_silent_s = 2\n", watch.local_addr().unwrap());
    configure(folder.path(), &gateway, &url);
    let _listener = Piped::start(folder.path(), "a");
    let call = || {
        let mut line = String::new();
        BufReader::new(watch.accept().unwrap().0).read_line(&mut line).unwrap();
        line
    };
    // The second one comes although nobody answers the first.
    assert_eq!((call(), call()), ("GET /alive HTTP/1.1\r\n".to_owned(), "GET /alive HTTP/1.1\r\n".to_owned()));
}
