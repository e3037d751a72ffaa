//! A gateway of texts that is a real server of HTTP, and as bad as it is told to be.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::ports;

/// What it does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Good,
    /// Closes the connection at once.
    Down,
    /// Takes the text, and says so when nobody waits any more.
    Slow,
    Fails,
    Garbage,
    /// Takes the text, and breaks off in its answer.
    BreaksOff,
    /// Says that it would never take the text.
    Refuses,
}

#[derive(Debug, Default)]
struct State {
    mode: Option<Mode>,
    /// Texts that were taken, by their keys, in order of arrival.
    taken: Vec<(String, String)>,
    calls: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Gateway {
    pub fn start(mode: Mode) -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let state = Arc::new(Mutex::new(State { mode: Some(mode), ..State::default() }));
        let gateway = Self { port, state };
        let serving = gateway.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let gateway = serving.clone();
                std::thread::spawn(move || gateway.serve(stream));
            }
        });
        gateway
    }

    pub fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = Some(mode);
    }

    /// The texts that were taken, each once, whoever sent it how often.
    pub fn texts(&self) -> Vec<String> {
        self.state.lock().unwrap().taken.iter().map(|(_, text)| text.clone()).collect()
    }

    /// How many calls came in.
    pub fn calls(&self) -> usize {
        self.state.lock().unwrap().calls.values().sum()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mode = self.state.lock().unwrap().mode.unwrap();
        *self.state.lock().unwrap().calls.entry(format!("{mode:?}")).or_insert(0) += 1;
        if mode == Mode::Down {
            return;
        }
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let Some(body) = body(&mut stream) else { return };
        let call: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let of = |key: &str| call[key].as_str().unwrap().to_owned();
        assert_eq!(of("to"), "+4740000001");
        if matches!(mode, Mode::Good | Mode::Slow | Mode::BreaksOff) {
            let mut state = self.state.lock().unwrap();
            match state.taken.iter().find(|(key, _)| *key == of("id")) {
                // As a provider that knows keys does.
                Some((_, text)) => assert_eq!(*text, of("text"), "another text under the same key"),
                None => state.taken.push((of("id"), of("text"))),
            }
        }
        let answer: &[u8] = match mode {
            Mode::Good | Mode::Slow => b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{\"taken\": true}",
            Mode::Fails => b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsick",
            Mode::Refuses => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 6\r\nConnection: close\r\n\r\nnumber",
            Mode::Garbage => b"\x00\x01\x02 SMTP 220 ready\r\n\r\n",
            Mode::BreaksOff | Mode::Down => b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"tak",
        };
        if mode == Mode::Slow {
            // Longer than anybody waits for it.
            let _nothing = stream.set_read_timeout(Some(Duration::from_millis(900)));
            let _closed = stream.read(&mut [0]);
        }
        let _gone = stream.write_all(answer);
    }
}

fn body(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let length = text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
        if bytes.len() >= end + 4 + length {
            return Some(bytes[end + 4..].to_vec());
        }
    }
}
