//! Consumer groups: competing work on a stream, each entry by one consumer at a time.
//!
//! An entry is the consumer's from the moment it is read or taken over until it is finished, given back, or shows no life for the idle
//! time. Every change of it checks in the same script that it still is: a consumer that slept changes nothing any more.

use std::time::Duration;

use redis::Value;

use super::connection::Redis;
use super::error::{Error, code};
use super::keys;
use super::scripts::{FAIL, FINISH, GIVE_BACK, KEEP, REAP, RECLAIM};
use super::streams::{Reader, StreamEntry, StreamId, parse_entries, parse_streams};

/// The most characters that are kept of what went wrong.
const WHY_CHARS_MAX: usize = 300;

/// A consumer of a group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The stream.
    pub stream: String,
    /// The group's name.
    pub group: String,
    /// This consumer's name: never used by two processes.
    pub consumer: String,
}

/// An entry that was given to the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The entry.
    pub entry: StreamEntry,
    /// How often it was given to a consumer that did not give it back: 1 for the first time.
    pub count: u64,
}

/// What taking over found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Where to go on; `None` at the end.
    pub next: Option<StreamId>,
    /// What is now the consumer's.
    pub deliveries: Vec<Delivery>,
    /// What was pending and is no longer in the stream: lost.
    pub lost: Vec<StreamId>,
    /// How many entries were given out and nobody's, for their consumer was deleted; they are pending again.
    pub adopted: u64,
}

/// How a consumer group stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GroupState {
    /// The group's name.
    pub name: String,
    /// How many consumers it has.
    pub consumers: u64,
    /// How many entries are given out and not finished.
    pub pending: u64,
    /// How many entries nobody was given yet, if Redis knows.
    pub lag: Option<u64>,
    /// Up to where entries were given out, for programs: what stands behind nobody was given yet.
    #[serde(skip)]
    pub given: StreamId,
    /// How many entries were given out, ever; if Redis knows.
    #[serde(skip)]
    pub read: Option<u64>,
}

impl Error {
    /// Whether the consumer group, or its stream, is not there: Redis was emptied, or this is the first start.
    pub fn is_no_group(&self) -> bool {
        matches!(self, Self::Rejected { source, .. } if code(source).as_deref() == Some("NOGROUP"))
    }
}

impl Group {
    fn call_keys(&self) -> [String; 2] {
        [self.stream.clone(), keys::failures(&self.stream)]
    }
}

fn ids(operation: &'static str, texts: Vec<String>) -> Result<Vec<StreamId>, Error> {
    texts.into_iter().map(|text| text.parse().map_err(|_| Error::answer(operation, &Value::SimpleString(text)))).collect()
}

impl Reader {
    /// Entries nobody was given yet, at most `count` of them, and fewer while they are large; each counts as delivered once. Empty when nothing came in time. When it
    /// fails, entries may have been given all the same: [`Redis::stray`] finds them.
    pub async fn read_group(&mut self, group: &Group, count: usize) -> Result<Vec<StreamEntry>, Error> {
        const OPERATION: &str = "read a consumer group";
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&group.group).arg(&group.consumer).arg("COUNT").arg(self.sip(count));
        command.arg("BLOCK").arg(self.block_ms()).arg("STREAMS").arg(&group.stream).arg(">");
        let mut streams = parse_streams(OPERATION, self.blocking(OPERATION, &command).await?)?;
        let entries = streams.pop().map(|(_, entries)| entries).unwrap_or_default();
        self.took(&entries);
        Ok(entries)
    }
}

impl Redis {
    /// Makes the group, and the stream, unless they are there. It begins with the first entry of the stream.
    pub async fn ensure_group(&self, group: &Group) -> Result<(), Error> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(&group.stream).arg(&group.group).arg(0).arg("MKSTREAM");
        match self.command::<()>("make a consumer group", command).await {
            Err(Error::Rejected { source, .. }) if code(&source).as_deref() == Some("BUSYGROUP") => Ok(()),
            done => done,
        }
    }

    /// Completes an entry; false when it is no longer the consumer's, and then nothing was changed.
    pub async fn finish(&self, group: &Group, id: StreamId) -> Result<bool, Error> {
        let mut call = FINISH.call(&group.call_keys().each_ref().map(String::as_str));
        call.arg(&group.group).arg(&group.consumer).arg(id.to_string());
        self.command::<i64>("finish an entry", call).await.map(|done| done == 1)
    }

    /// Counts a failed attempt and returns how many there were; `None` when the entry is no longer the consumer's.
    pub async fn count_failure(&self, group: &Group, id: StreamId, error: &str) -> Result<Option<u64>, Error> {
        let mut call = FAIL.call(&group.call_keys().each_ref().map(String::as_str));
        let error: String = error.chars().take(WHY_CHARS_MAX).collect();
        call.arg(&group.group).arg(&group.consumer).arg(id.to_string()).arg(error);
        self.command::<u64>("count a failure", call).await.map(|failures| (failures > 0).then_some(failures))
    }

    /// Shows that the consumer still works on entries; returns those that are still its own.
    pub async fn keep(&self, group: &Group, entries: &[StreamId]) -> Result<Vec<StreamId>, Error> {
        const OPERATION: &str = "keep entries";
        let mut call = KEEP.call(&[&group.stream]);
        call.arg(&group.group).arg(&group.consumer);
        for id in entries {
            call.arg(id.to_string());
        }
        ids(OPERATION, self.command(OPERATION, call).await?)
    }

    /// Takes over at most `count` entries from `cursor` on whose consumer showed no life for `idle`.
    pub async fn reclaim(&self, group: &Group, idle: Duration, cursor: StreamId, count: usize) -> Result<Reclaimed, Error> {
        const OPERATION: &str = "take over entries";
        let mut call = RECLAIM.call(&[&group.stream]);
        call.arg(&group.group).arg(&group.consumer).arg(idle.as_millis() as u64).arg(cursor.to_string()).arg(count);
        let (next, entries, counts, lost, adopted): (String, Value, Vec<u64>, Vec<String>, u64) = self.command(OPERATION, call).await?;
        let next = ids(OPERATION, vec![next])?.pop().filter(|next| *next != StreamId::default());
        let entries = parse_entries(OPERATION, entries)?;
        let deliveries = entries.into_iter().zip(counts).map(|(entry, count)| Delivery { entry, count }).collect();
        Ok(Reclaimed { next, deliveries, lost: ids(OPERATION, lost)?, adopted })
    }

    /// Entries that are the consumer's without its knowing: an answer that got lost. At most `count`, from `from` on.
    pub async fn stray(&self, group: &Group, from: StreamId, count: usize) -> Result<Vec<Delivery>, Error> {
        const OPERATION: &str = "find stray entries";
        let mut command = redis::cmd("XPENDING");
        command.arg(&group.stream).arg(&group.group).arg(from.to_string()).arg("+").arg(count).arg(&group.consumer);
        let pending: Vec<(String, String, u64, u64)> = self.command(OPERATION, command).await?;
        let mut pipeline = redis::Pipeline::new();
        for (id, ..) in &pending {
            pipeline.cmd("XRANGE").arg(&group.stream).arg(id).arg(id);
        }
        let ranges: Vec<Value> = if pending.is_empty() { Vec::new() } else { self.pipe(OPERATION, &pipeline).await? };
        let mut deliveries = Vec::with_capacity(pending.len());
        for ((id, _, _, count), range) in pending.into_iter().zip(ranges) {
            let gone = StreamEntry { id: ids(OPERATION, vec![id])?.pop().unwrap_or_default(), payload: None };
            let entry = parse_entries(OPERATION, range)?.pop().unwrap_or(gone);
            deliveries.push(Delivery { entry, count });
        }
        Ok(deliveries)
    }

    /// Gives entries back at a clean stop: it does not count as a delivery, and the next one who looks takes them over.
    pub async fn give_back(&self, group: &Group, entries: &[StreamId]) -> Result<u64, Error> {
        let mut call = GIVE_BACK.call(&[&group.stream]);
        call.arg(&group.group).arg(&group.consumer);
        for id in entries {
            call.arg(id.to_string());
        }
        self.command("give entries back", call).await
    }

    /// Deletes the names of consumers that have nothing pending and showed no life for `idle`; returns how many.
    pub async fn reap_consumers(&self, group: &Group, idle: Duration) -> Result<u64, Error> {
        let mut call = REAP.call(&[&group.stream]);
        call.arg(&group.group).arg(idle.as_millis() as u64);
        self.command("delete the names of dead consumers", call).await
    }

    /// The consumer groups of a stream; none when there is no stream.
    pub async fn groups(&self, stream: &str) -> Result<Vec<GroupState>, Error> {
        const OPERATION: &str = "describe consumer groups";
        let mut command = redis::cmd("XINFO");
        command.arg("GROUPS").arg(stream);
        let groups: Vec<std::collections::HashMap<String, Value>> = match self.command(OPERATION, command).await {
            Err(Error::Rejected { source, .. }) if source.to_string().contains("no such key") => {
                return Ok(Vec::new());
            }
            groups => groups?,
        };
        let number = |group: &std::collections::HashMap<String, Value>, name: &str| match group.get(name) {
            Some(Value::Int(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        let text = |group: &std::collections::HashMap<String, Value>, name: &str| match group.get(name) {
            Some(Value::BulkString(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let state = |group: &std::collections::HashMap<String, Value>| GroupState {
            name: text(group, "name"),
            consumers: number(group, "consumers").unwrap_or(0),
            pending: number(group, "pending").unwrap_or(0),
            lag: number(group, "lag"),
            given: text(group, "last-delivered-id").parse().unwrap_or_default(),
            read: number(group, "entries-read"),
        };
        Ok(groups.iter().map(state).collect())
    }
}
