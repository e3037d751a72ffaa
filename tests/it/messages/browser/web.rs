//! gRPC-Web by hand, as a browser speaks it over HTTP/1.1: a connection a call, binary or in base64.

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::PATIENCE;

/// Where the page was loaded from.
pub const ORIGIN: &str = "https://console.example.org";

/// How bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Binary,
    Text,
}

/// What an answer consists of behind its head.
#[derive(Debug)]
pub enum Part<M> {
    Message(M),
    /// The trailers, or the head of an answer that has nothing else, in lower case.
    End(String),
}

impl<M: std::fmt::Debug> Part<M> {
    #[track_caller]
    pub fn message(self) -> M {
        match self {
            Self::Message(message) => message,
            Self::End(trailers) => panic!("the end instead of a message: {trailers}"),
        }
    }

    #[track_caller]
    pub fn end(self) -> String {
        match self {
            Self::End(trailers) => trailers,
            Self::Message(message) => panic!("a message instead of the end: {message:?}"),
        }
    }
}

/// A call on its way.
pub struct Call {
    stream: TcpStream,
    form: Form,
    /// Status line and headers in lower case, once they are there.
    head: String,
    /// Read and not yet taken apart: of the connection, of its chunks, of the base64 in them.
    raw: Vec<u8>,
    encoded: Vec<u8>,
    body: Vec<u8>,
}

impl Call {
    /// Posts one message to a method of the service.
    pub async fn post(address: &str, method: &str, form: Form, message: &impl Message) -> Self {
        Self::post_bytes(address, method, form, &message.encode_to_vec()).await
    }

    /// The same with bytes that need not be a message.
    pub async fn post_bytes(address: &str, method: &str, form: Form, message: &[u8]) -> Self {
        let mut body = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
        let kind = match form {
            Form::Binary => "application/grpc-web+proto",
            Form::Text => "application/grpc-web-text",
        };
        if form == Form::Text {
            body = base64(&body).into_bytes();
        }
        let head = format!(
            "POST /roger.v1.TalkCloud/{method} HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\nContent-Type: {kind}\r\nAccept: {kind}\r\n\
             X-Grpc-Web: 1\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        Self { stream, form, head: String::new(), raw: Vec::new(), encoded: Vec::new(), body: Vec::new() }
    }

    /// Status line and headers in lower case.
    pub async fn head(&mut self) -> &str {
        while self.head.is_empty() {
            match self.raw.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => {
                    let rest = self.raw.split_off(at + 4);
                    self.head = String::from_utf8(std::mem::replace(&mut self.raw, rest)).unwrap().to_lowercase();
                }
                None => self.read().await,
            }
        }
        &self.head
    }

    /// The next part of the answer.
    pub async fn next<M: Message + Default>(&mut self) -> Part<M> {
        if self.head().await.contains("\r\ngrpc-status: ") {
            return Part::End(self.head.clone());
        }
        loop {
            if let Some((is_end, payload)) = self.take_part() {
                return if is_end {
                    Part::End(String::from_utf8(payload).unwrap().to_lowercase())
                } else {
                    Part::Message(M::decode(&*payload).unwrap())
                };
            }
            self.read().await;
        }
    }

    /// The only message of an answer that ends well.
    pub async fn only<M: Message + Default + std::fmt::Debug>(mut self) -> M {
        let message = self.next::<M>().await.message();
        let end = self.next::<M>().await.end();
        assert!(end.contains("grpc-status:0"), "{end}");
        message
    }

    async fn read(&mut self) {
        let mut buffer = [0; 4_096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("the answer takes too long").unwrap();
        assert!(read > 0, "the connection ended within the answer {:?} {:?}", self.head, self.raw);
        self.raw.extend_from_slice(&buffer[..read]);
    }

    fn take_part(&mut self) -> Option<(bool, Vec<u8>)> {
        while let Some(chunk) = take_chunk(&mut self.raw) {
            self.encoded.extend(chunk);
        }
        let whole = if self.form == Form::Text { self.encoded.len() / 4 * 4 } else { self.encoded.len() };
        let taken: Vec<u8> = self.encoded.drain(..whole).collect();
        self.body.extend(if self.form == Form::Text { from_base64(&taken) } else { taken });
        let length = u32::from_be_bytes(self.body.get(1..5)?.try_into().unwrap()) as usize;
        if self.body.len() < 5 + length {
            return None;
        }
        let part: Vec<u8> = self.body.drain(..5 + length).collect();
        Some((part[0] & 0x80 != 0, part[5..].to_vec()))
    }
}

/// Asks as a browser does before it lets a page call; the answer's head in lower case.
pub async fn preflight(address: &str, method: &str, origin: &str) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let asked = format!(
        "OPTIONS /roger.v1.TalkCloud/{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type,x-grpc-web\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.to_lowercase()
}

/// Takes one whole chunk of a chunked body.
fn take_chunk(raw: &mut Vec<u8>) -> Option<Vec<u8>> {
    let line = raw.windows(2).position(|bytes| bytes == b"\r\n")?;
    let length = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).unwrap();
    let (begin, end) = (line + 2, line + 2 + length);
    if length == 0 || raw.len() < end + 2 {
        return None;
    }
    let rest = raw.split_off(end + 2);
    let chunk = std::mem::replace(raw, rest);
    Some(chunk[begin..end].to_vec())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Of whole groups of four, each with its own padding: an answer is encoded piece by piece.
fn from_base64(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for four in text.chunks(4) {
        let digit = |byte: &u8| ALPHABET.iter().position(|known| known == byte).unwrap_or(0) as u32;
        let bits = four.iter().fold(0, |bits, byte| bits << 6 | digit(byte));
        let padding = four.iter().filter(|byte| **byte == b'=').count();
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    bytes
}

#[test]
fn base64_goes_there_and_back() {
    for (text, encoded) in [("", ""), ("r", "cg=="), ("ro", "cm8="), ("rog", "cm9n"), ("roger", "cm9nZXI=")] {
        assert_eq!(base64(text.as_bytes()), encoded);
        assert_eq!(from_base64(encoded.as_bytes()), text.as_bytes());
    }
    assert_eq!(from_base64(b"cg==cm8="), b"rro");
}
