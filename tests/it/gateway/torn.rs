//! Uploads that end before their end, over a bare socket.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use reqwest::StatusCode;

use super::{Crew, Ground, Running, refusal, refused};
use crate::support::apk::noise;
use crate::support::{PATIENCE, eventually};

/// A POST over a bare socket, whose headers are sent.
pub(super) struct Raw(TcpStream);

impl Raw {
    /// With a declared length, or in chunks.
    pub(super) fn post(url: &str, path: &str, token: &str, length: Option<usize>) -> Self {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = length.map_or("transfer-encoding: chunked".to_owned(), |length| format!("content-length: {length}"));
        write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{length}\r\n\r\n").unwrap();
        Self(stream)
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(super) fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        write!(self.0, "{:x}\r\n", bytes.len())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")
    }

    /// Whether something came back, or the connection ended.
    pub(super) fn is_answered(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What comes back, until nothing more does for a while or the connection ends.
    pub(super) fn read_answer(mut self) -> String {
        let mut answer = Vec::new();
        let mut part = [0; 4_096];
        while let Ok(bytes @ 1..) = self.0.read(&mut part) {
            answer.extend_from_slice(&part[..bytes]);
            if answer.ends_with(b"}") {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// What a whole request over a connection of its own is answered; empty when it is not.
pub(super) fn answer_of(address: &str, request: &str) -> String {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}

/// An upload that has begun, at a gateway which takes in one at a time: nobody else finds room.
pub(super) async fn begun(gateway: &Running, token: &str, length: Option<usize>) -> Raw {
    let begin = || {
        let mut raw = Raw::post(&gateway.url, "/files?name=a&purpose=log", token, length);
        // One that is refused at once takes nothing any more.
        let _sent = raw.send(if length.is_some() { b"half of it" } else { b"a\r\nhalf of it\r\n" });
        raw
    };
    let (mut raw, since) = (begin(), Instant::now());
    loop {
        // Which of the two comes first is not said. One that was refused has its answer, and holds nothing any more.
        let answer = gateway.post("/files?name=b&purpose=log", Some(token), "text").await;
        let is_busy = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        if is_busy && !raw.is_answered() {
            assert!(answer.headers().contains_key("retry-after"));
            assert_eq!(refused(answer).await, refusal(503, "busy", ""));
            return raw;
        }
        if raw.is_answered() {
            raw = begin();
        }
        assert!(since.elapsed() < PATIENCE, "no upload began");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The upload that had begun was given up.
async fn there_is_room(gateway: &Running, token: &str) {
    eventually("there is room for an upload", || async {
        let answer = gateway.post("/files?name=b&purpose=log", Some(token), "text").await;
        (answer.status() == StatusCode::CREATED).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_upload_leaves_nothing() {
    let ground = Ground::new();
    let store = ground.store().await;
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[("gateway.uploads_max", "1")]).await;
    let token = ground.token(&crew.neil);
    let content = noise(2_000_000, 1);

    // The client hangs up in the middle of what it declared.
    let mut raw = begun(&gateway, &token, Some(content.len())).await;
    raw.send(&content[..1_000_000]).unwrap();
    drop(raw);
    there_is_room(&gateway, &token).await;
    // It ends its half of the connection too early, and may still be answered.
    let raw = begun(&gateway, &token, Some(content.len())).await;
    raw.0.shutdown(Shutdown::Write).unwrap();
    raw.read_answer();
    there_is_room(&gateway, &token).await;
    // In chunks, without the last.
    let mut raw = begun(&gateway, &token, None).await;
    raw.send_chunk(&content).unwrap();
    drop(raw);
    there_is_room(&gateway, &token).await;

    let files = store.files(None, 10).await.unwrap();
    assert!(!files.is_empty() && files.iter().all(|file| file.bytes == 4), "{files:?}");
    assert_eq!((ground.objects().len(), ground.spooled()), (1, vec![]));
    assert_eq!(store.stray_objects(u64::MAX >> 1, 10).await.unwrap(), [""; 0]);
    gateway.stop().await;
}
