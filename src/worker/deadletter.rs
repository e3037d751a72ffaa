//! Work that was given up: kept whole, with the reason, until a human decides.

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::job::chain;
use super::payload::{self, senders};
use super::summary::{is_input, summary};
use crate::broker::{Error as RedisError, Redis, StreamId, keys};
use crate::retry::ErrorClass;
use crate::topic::frame::{InFrame, Input};

/// How long the history of work that was redriven waits for that to fail again.
const HISTORY_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Work that was given up. JSON on the stream [`keys::dead`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The key of the stream it came from.
    pub stream: String,
    /// Its id there.
    pub entry: String,
    /// The job that gave it up.
    pub job: String,
    /// Why, with all causes.
    pub reason: String,
    /// How often it was tried and failed.
    pub attempts: u64,
    /// How often a worker was given it; above the attempts when workers died over it.
    pub deliveries: u64,
    /// When it was given up, UTC ms.
    pub time_ms: u64,
    /// What is in it as far as it can be read, without texts, positions and numbers of telephones.
    pub summary: String,
    /// The whole payload in hexadecimal; absent when there was none of a format that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The letters that this work was redriven from, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
}

/// A letter that was redriven, and failed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// What its id was.
    pub letter: String,
    /// Why the work was given up.
    pub reason: String,
    /// When it was given up, UTC ms.
    pub time_ms: u64,
    /// When it was redriven, UTC ms.
    pub redriven_ms: u64,
}

/// A letter on the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Filed {
    /// Its id on [`keys::dead`], by which it is shown, dropped and redriven.
    pub id: String,
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
}

/// Why a dead letter cannot be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis does not do it.
    #[error("{operation}")]
    Redis {
        /// What was to be done.
        operation: &'static str,
        /// Why.
        #[source]
        source: RedisError,
    },
    /// The text is not the id of an entry.
    #[error("`{0}` is not the id of a dead letter: they look like 1700000000000-0")]
    BadId(String),
    /// There is none, or no longer.
    #[error("there is no dead letter {0}")]
    NotFound(String),
    /// It holds no payload that could be put back.
    #[error("dead letter {0} has no payload to put back")]
    NoPayload(String),
    /// What stands on the stream is not a letter.
    #[error("dead letter {id} cannot be read")]
    Unreadable {
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Redis { source, .. } => source.class(),
            Self::BadId(_) | Self::NotFound(_) | Self::NoPayload(_) => ErrorClass::Permanent,
            Self::Unreadable { .. } => ErrorClass::Defect,
        }
    }
}

fn redis(operation: &'static str) -> impl FnOnce(RedisError) -> Error {
    move |source| Error::Redis { operation, source }
}

impl DeadLetter {
    /// A letter about an entry of `stream`, with its payload and what can be read of it.
    pub fn about(stream: &str, entry: StreamId, payload: Option<&[u8]>) -> Self {
        Self {
            stream: stream.to_owned(),
            entry: entry.to_string(),
            summary: payload.map_or_else(|| "nothing of a known format".to_owned(), |payload| summary(stream, payload)),
            payload: payload.map(to_hex),
            ..Self::default()
        }
    }

    /// The users whose words, presses or reports are in it.
    pub fn senders(&self) -> BTreeSet<u64> {
        self.payload().map(|payload| senders(&self.stream, &payload)).unwrap_or_default()
    }

    /// The whole payload for people, without texts, positions and numbers of telephones; `None` when it cannot be read, or not without those.
    pub fn readable(&self) -> Option<String> {
        payload::readable(&self.stream, &self.payload()?)
    }

    /// The payload; `None` when there is none, or it cannot be read.
    pub fn payload(&self) -> Option<Vec<u8>> {
        self.payload.as_deref().and_then(from_hex)
    }
}

/// Files a letter, counts it and logs it as an error: somebody must act. One about work that was redriven keeps its history.
pub async fn add(to: &Redis, letter: &DeadLetter) -> Result<StreamId, Error> {
    let letters = with_history(to, std::slice::from_ref(letter)).await?;
    let letter = letters.first().unwrap_or(letter);
    let id = to.add_letter(&written(letter)?).await.map_err(redis("file a dead letter"))?;
    tell(letter, id);
    Ok(id)
}

/// As [`add`], of several at once, in one round trip. When it fails, any of them may have been filed.
pub async fn add_all(to: &Redis, letters: &[DeadLetter]) -> Result<(), Error> {
    let letters = with_history(to, letters).await?;
    let texts: Vec<String> = letters.iter().map(written).collect::<Result<_, _>>()?;
    let ids = to.add_letters(&texts).await.map_err(redis("file dead letters"))?;
    letters.iter().zip(ids).for_each(|(letter, id)| tell(letter, id));
    Ok(())
}

/// Letters with what became of their work before it was redriven.
async fn with_history(of: &Redis, letters: &[DeadLetter]) -> Result<Vec<DeadLetter>, Error> {
    let entries: Vec<(&str, &str)> = letters.iter().map(|letter| (letter.stream.as_str(), letter.entry.as_str())).collect();
    let pasts = of.letter_histories(&entries).await.map_err(redis("look for the history of dead letters"))?;
    let with = |(letter, past): (&DeadLetter, Option<String>)| match past.and_then(|past| serde_json::from_str(&past).ok()) {
        Some(history) => DeadLetter { history, ..letter.clone() },
        None => letter.clone(),
    };
    Ok(letters.iter().zip(pasts).map(with).collect())
}

fn written(letter: &DeadLetter) -> Result<String, Error> {
    serde_json::to_string(letter).map_err(|source| Error::Unreadable { id: letter.entry.clone(), source })
}

fn tell(letter: &DeadLetter, id: StreamId) {
    metrics::counter!("roger_dead_letters_total", "job" => letter.job.clone()).increment(1);
    tracing::error!(
        job = letter.job,
        stream = letter.stream,
        entry.id = letter.entry,
        letter.id = %id,
        reason = letter.reason,
        summary = letter.summary,
        "dead letter"
    );
}

/// At most `count` letters behind `after`, in the order in which they were filed. Begin with `None`, go on with the id of the last one.
pub async fn list(from: &Redis, after: Option<&str>, count: usize) -> Result<Vec<Filed>, Error> {
    let first = match after {
        Some(after) => parse(after)?.next(),
        None => StreamId::default(),
    };
    let letters = from.letters(first, count).await.map_err(redis("list dead letters"))?;
    Ok(letters.into_iter().map(|(id, text)| Filed { id: id.to_string(), letter: readable(&text) }).collect())
}

/// One letter.
pub async fn show(from: &Redis, id: &str) -> Result<Filed, Error> {
    let wanted = parse(id)?;
    let letters = from.letters(wanted, 1).await.map_err(redis("show a dead letter"))?;
    match letters.into_iter().next() {
        Some((found, text)) if found == wanted => Ok(Filed { id: found.to_string(), letter: readable(&text) }),
        _ => Err(Error::NotFound(id.to_owned())),
    }
}

/// Deletes a letter.
pub async fn drop(from: &Redis, id: &str) -> Result<(), Error> {
    let removed = from.remove(&keys::dead(), parse(id)?).await.map_err(redis("drop a dead letter"))?;
    if removed { Ok(()) } else { Err(Error::NotFound(id.to_owned())) }
}

/// Puts the payload of a letter back on its stream as a new entry that names the letter, then deletes the letter. Returns the id of the
/// new entry. A crash in between leaves the letter: redriving it again is harmless, as all work is harmless to repeat.
pub async fn redrive(redis_server: &Redis, id: &str, now_ms: u64) -> Result<StreamId, Error> {
    let Filed { letter, .. } = show(redis_server, id).await?;
    let payload = letter.payload().ok_or_else(|| Error::NoPayload(id.to_owned()))?;
    let filed = parse(id)?;
    let payload = refreshed(&letter.stream, payload, filed);
    let added = redis_server.add_redriven(&letter.stream, &payload, filed).await.map_err(redis("redrive a dead letter"))?;
    let mut history = letter.history;
    history.push(Past { letter: id.to_owned(), reason: letter.reason, time_ms: letter.time_ms, redriven_ms: now_ms });
    let history = serde_json::to_string(&history).unwrap_or_default();
    let kept = redis_server.keep_letter_history(&letter.stream, &added.to_string(), &history, HISTORY_KEPT).await;
    kept.map_err(redis("keep the history of a dead letter"))?;
    drop(redis_server, id).await?;
    tracing::info!(letter.id = id, stream = letter.stream, entry.id = %added, "dead letter redriven");
    Ok(added)
}

fn parse(id: &str) -> Result<StreamId, Error> {
    id.parse().map_err(|_| Error::BadId(id.to_owned()))
}

/// A letter, or what is there instead, so that it can be listed and dropped.
fn readable(text: &str) -> DeadLetter {
    serde_json::from_str(text)
        .unwrap_or_else(|error| DeadLetter { reason: format!("not a letter: {}", chain(&error)), ..DeadLetter::default() })
}

/// The owner of a shard drops frames of a producer that it has seen: a frame that comes back is one of a producer that is new. Its
/// messages are new as well, for their senders were told that they were refused, and a refusal is final for the number: they come from an
/// installation that nobody has, the same one each time a letter is redriven.
fn refreshed(stream: &str, payload: Vec<u8>, letter: StreamId) -> Vec<u8> {
    let Ok(mut frame) = InFrame::decode(payload.as_slice()) else { return payload };
    if !is_input(stream) {
        return payload;
    }
    let installation = xxhash_rust::xxh3::xxh3_64(letter.to_string().as_bytes()).max(1);
    let inputs = frame.items.iter_mut().filter_map(|item| item.input.as_mut());
    for (post, client_seq) in inputs.filter_map(|input| if let Input::Post(post) = input { Some(post) } else { None }).zip(1..) {
        (post.installation, post.client_seq, post.predecessor) = (installation, client_seq, 0);
    }
    InFrame { producer: rand::random(), number: 1, seen: None, ..frame }.encode_to_vec()
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::frame::Post;

    #[test]
    fn a_payload_survives_its_letter() {
        for payload in [&b""[..], b"\x00\xff\x10", b"1 GO FOR TLI"] {
            let text = serde_json::to_string(&DeadLetter::about("replay", StreamId(5, 1), Some(payload))).unwrap();
            assert_eq!(readable(&text).payload().as_deref(), Some(payload));
        }
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex("zz"), None);
    }

    #[test]
    fn a_frame_comes_back_as_one_of_a_new_producer_with_new_messages() {
        let post = Post { topic: 17 << 3 | 2, sender: 5, client_seq: 9, body: "secret".into(), ..Post::default() };
        let frame = InFrame { producer: 7, number: 40, items: vec![Input::Post(post).into()], ..InFrame::default() };
        let letter = DeadLetter::about("{s3}:in", StreamId(5, 1), Some(&frame.encode_to_vec()));
        assert_eq!(letter.summary, "frame 40 of 7: post g:17 from 5 #9");
        let again = |letter| InFrame::decode(refreshed("{s3}:in", frame.encode_to_vec(), letter).as_slice()).unwrap();
        let (first, second) = (again(StreamId(9, 1)), again(StreamId(9, 1)));
        assert!(first.producer != 7 && first.number == 1);
        assert_eq!(first.items, second.items, "a letter redriven twice makes two messages");
        assert_ne!(first.items, again(StreamId(9, 2)).items);
        let Some(Input::Post(post)) = &first.items[0].input else { panic!("{first:?}") };
        assert_eq!((post.client_seq, post.predecessor, &post.body[..]), (1, 0, &b"secret"[..]));
        assert_eq!(refreshed("replay", b"x".to_vec(), StreamId(9, 1)), b"x");
    }
}
