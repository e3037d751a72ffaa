//! Stream entries: adding, reading without blocking others, trimming.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::connection::Redis;
use super::error::Error;
use super::facts::Facts;
use super::scripts::WHEN_FULL;
use super::server::{Live, Server};
use super::slots::key_of;
use crate::topic::frame::FORMAT;

/// The id of a stream entry. Ids of `{s}:log` are (epoch, commit); of other streams (ms, counter), and nothing is
/// ever decided by their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64, pub u64);

impl StreamId {
    /// The lowest id above this one.
    pub fn next(self) -> Self {
        self.1.checked_add(1).map_or(Self(self.0.saturating_add(1), 0), |low| Self(self.0, low))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl FromStr for StreamId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (high, low) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self(high.parse()?, low.parse()?))
    }
}

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// The value of its field of the present format; `None` when it has none, which makes it a dead letter.
    pub payload: Option<Bytes>,
}

impl StreamEntry {
    /// Decodes the payload.
    ///
    /// # Errors
    /// [`Error::Frame`] when there is none of this format, or it does not decode.
    pub fn decode<T: prost::Message + Default>(&self, stream: &str) -> Result<T, Error> {
        let failed = |source| Error::Frame { stream: stream.to_owned(), id: self.id.to_string(), source };
        T::decode(self.payload.clone().ok_or_else(|| failed(None))?).map_err(|source| failed(Some(source)))
    }
}

/// Entries as XRANGE gives them: `[[id, [field, value, …]], …]`; entries that were deleted meanwhile have no fields.
pub(super) fn parse_entries(operation: &'static str, value: Value) -> Result<Vec<StreamEntry>, Error> {
    let Value::Array(entries) = value else { return Err(Error::answer(operation, &value)) };
    entries.into_iter().map(|entry| parse_entry(operation, entry)).collect()
}

fn parse_entry(operation: &'static str, entry: Value) -> Result<StreamEntry, Error> {
    let Value::Array(parts) = entry else { return Err(Error::answer(operation, &entry)) };
    let mut parts = parts.into_iter();
    let (id, fields) = (parts.next(), parts.next());
    let Some(Value::BulkString(id)) = id else { return Err(Error::answer(operation, &Value::Nil)) };
    let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| Error::answer(operation, &Value::Nil))?;
    let mut payload = None;
    if let Some(Value::Array(fields)) = fields {
        let mut fields = fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            if let (Value::BulkString(name), Value::BulkString(value)) = (name, value)
                && name == FORMAT.as_bytes()
            {
                payload = Some(Bytes::from(value));
            }
        }
    }
    Ok(StreamEntry { id, payload })
}

/// What XREAD gives: by key its entries; nothing when it timed out.
pub(super) fn parse_streams(operation: &'static str, value: Value) -> Result<Vec<(String, Vec<StreamEntry>)>, Error> {
    let pairs: Vec<(Value, Value)> = match value {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(pairs) => pairs,
        Value::Array(streams) => {
            let mut pairs = Vec::with_capacity(streams.len());
            for stream in streams {
                let Value::Array(parts) = stream else { return Err(Error::answer(operation, &stream)) };
                let mut parts = parts.into_iter();
                let (Some(key), Some(entries)) = (parts.next(), parts.next()) else { return Err(Error::answer(operation, &Value::Nil)) };
                pairs.push((key, entries));
            }
            pairs
        }
        other => return Err(Error::answer(operation, &other)),
    };
    pairs
        .into_iter()
        .map(|(key, entries)| match key {
            Value::BulkString(key) => Ok((String::from_utf8_lossy(&key).into_owned(), parse_entries(operation, entries)?)),
            other => Err(Error::answer(operation, &other)),
        })
        .collect()
}

/// About how many bytes one read brings of a stream: while Redis writes a longer answer it serves nobody else, and an SOS would wait.
const READ_BYTES: usize = 256 << 10;

/// The fewest entries of a read: of streams with large and with small ones it must not starve the small ones.
const SIP_MIN: usize = 4;

/// Reads streams with a connection of its own, so that its blocking holds up nobody else.
pub struct Reader {
    redis: Redis,
    connection: Option<(Arc<Server>, Live)>,
    block: Duration,
    sips: Sips,
    asked: usize,
}

/// How many entries make one read: fewer while they are large.
#[derive(Clone, Copy, Debug, Default)]
struct Sips {
    /// What an entry weighed of late.
    entry_bytes: usize,
}

impl Sips {
    fn count(self, most: usize) -> usize {
        most.min((READ_BYTES / self.entry_bytes.max(1)).max(SIP_MIN))
    }

    fn took<'a>(&mut self, entries: impl Iterator<Item = &'a StreamEntry>) {
        let (count, bytes) =
            entries.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.payload.as_ref().map_or(0, Bytes::len)));
        if let Some(average) = bytes.checked_div(count) {
            // Large ones are remembered for a few reads.
            self.entry_bytes = average.max(self.entry_bytes - self.entry_bytes / 4);
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("block", &self.block).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader that waits at most `block` for something to come. Finite, so that a shutdown is seen.
    pub fn new(redis: &Redis, block: Duration) -> Self {
        Self { redis: redis.clone(), connection: None, block, sips: Sips::default(), asked: 0 }
    }

    /// Sets back to its start whatever was read of a stream beyond where it ends now; to be called before each read, by whoever keeps ids in memory. It
    /// looks on a new connection only: another server, or an older file, may lack the end of a stream, and where that was given by a clock that was
    /// ahead, what comes next would be passed over for as long as the clock was.
    ///
    /// # Errors
    /// When there is no connection, or it does not answer.
    pub async fn rewind(&mut self, after: &mut BTreeMap<String, StreamId>) -> Result<(), Error> {
        const OPERATION: &str = "look where streams end";
        let Some(first) = after.keys().next() else { return Ok(()) };
        let server = self.redis.server_of(Some(first.as_bytes())).await?;
        if self.connection.as_ref().is_some_and(|connection| is_of(connection, &server)) {
            return Ok(());
        }
        let mut live = server.connect(self.block + Duration::from_secs(2)).await?;
        for (key, after) in after.iter_mut().filter(|(_, after)| **after > StreamId::default()) {
            let mut command = redis::cmd("XINFO");
            command.arg("STREAM").arg(key);
            let end = match command.query_async::<HashMap<String, Value>>(&mut live.connection).await {
                Ok(mut facts) => facts.remove("last-generated-id").and_then(|id| redis::from_redis_value::<String>(id).ok()?.parse().ok()),
                Err(error) if error.to_string().contains("no such key") => Some(StreamId::default()),
                Err(source) => return Err(Error::of(OPERATION, source)),
            };
            if end.is_some_and(|end| end < *after) {
                tracing::info!(key, read = %after, ends = ?end, "a stream ends before what was read of it; reading it from its start");
                *after = StreamId::default();
            }
        }
        self.connection = Some((server, live));
        Ok(())
    }

    /// What lies behind the given ids, by key; at most `count` entries a stream, and fewer while they are large. Empty when nothing came in time. Reading removes nothing: a call
    /// that fails is simply made again.
    pub async fn read(&mut self, count: usize, streams: &BTreeMap<String, StreamId>) -> Result<Vec<(String, Vec<StreamEntry>)>, Error> {
        const OPERATION: &str = "read streams";
        self.asked = self.sips.count(count);
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(self.asked).arg("BLOCK").arg(self.block_ms()).arg("STREAMS");
        for key in streams.keys() {
            command.arg(key);
        }
        for after in streams.values() {
            command.arg(after.to_string());
        }
        let streams = parse_streams(OPERATION, self.blocking(OPERATION, &command).await?)?;
        self.sips.took(streams.iter().flat_map(|(_, entries)| entries));
        Ok(streams)
    }

    /// How many entries of each stream the last read asked for: who got fewer has read to the end.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// What lies in a stream behind an id now, at most `count` entries, and fewer while they are large. Does not wait.
    pub async fn behind(&mut self, key: &str, after: StreamId, count: usize) -> Result<Vec<StreamEntry>, Error> {
        let entries = self.redis.range(key, after.next(), StreamId(u64::MAX, u64::MAX), self.sips.count(count)).await?;
        self.sips.took(entries.iter());
        Ok(entries)
    }

    /// As [`Reader::behind`], of the log of a shard, with the epoch that the server has which it is from.
    pub async fn log_behind(&mut self, shard: u32, after: StreamId, count: usize) -> Result<(Option<u64>, Vec<StreamEntry>), Error> {
        let (epoch, entries) = self.redis.log_behind(shard, after, self.sips.count(count)).await?;
        self.sips.took(entries.iter());
        Ok((epoch, entries))
    }

    /// As [`Reader::read`], for an answer to a command that names how many it wants.
    pub(super) fn sip(&self, most: usize) -> usize {
        self.sips.count(most)
    }

    pub(super) fn took(&mut self, entries: &[StreamEntry]) {
        self.sips.took(entries.iter());
    }

    pub(super) fn block_ms(&self) -> u64 {
        self.block.as_millis() as u64
    }

    pub(super) async fn blocking(&mut self, operation: &'static str, command: &redis::Cmd) -> Result<Value, Error> {
        // Taken out, so that a connection is dropped with whatever is still under way on it when this future fails or is dropped.
        let server = self.redis.server_of(key_of(command)).await?;
        let mut live = match self.connection.take().filter(|connection| is_of(connection, &server)) {
            Some((_, live)) => live,
            None => server.connect(self.block + Duration::from_secs(2)).await?,
        };
        let asked = command.query_async::<Value>(&mut live.connection).await;
        if asked.is_err()
            && let Some(cluster) = self.redis.cluster()
        {
            // The slot may be somebody else's by now.
            cluster.look_again().await;
        }
        let value = asked.map_err(|source| Error::of(operation, source))?;
        self.connection = Some((server, live));
        Ok(value)
    }
}

/// Whether a connection goes to a server as it is now: no other took its place since.
fn is_of((of, live): &(Arc<Server>, Live), server: &Arc<Server>) -> bool {
    Arc::ptr_eq(of, server) && server.is_current(live)
}

impl Redis {
    /// Adds an entry to a stream.
    pub async fn add(&self, key: &str, payload: &[u8]) -> Result<StreamId, Error> {
        const OPERATION: &str = "add to a stream";
        let mut command = redis::cmd("XADD");
        command.arg(key).arg("*").arg(FORMAT).arg(payload);
        let id: String = self.command(OPERATION, command).await?;
        id.parse().map_err(|_| Error::answer(OPERATION, &Value::SimpleString(id)))
    }

    /// Adds one entry to each of several streams, in one round trip; returns what the servers that took them are. When it fails, any of
    /// them may have been added.
    pub async fn add_all(&self, entries: &[(String, Vec<u8>)]) -> Result<Vec<Arc<Facts>>, Error> {
        let mut pipeline = redis::Pipeline::new();
        for (key, payload) in entries {
            pipeline.cmd("XADD").arg(key).arg("*").arg(FORMAT).arg(payload.as_slice()).ignore();
        }
        self.pipe_to::<()>("push frames", &pipeline).await.map(|((), facts)| facts)
    }

    /// As [`Redis::add_all`], also when memory is full: for what comes of an input that was taken in, and frees its place only when it is done with.
    pub async fn add_all_when_full(&self, entries: &[(String, Vec<u8>)]) -> Result<Vec<Arc<Facts>>, Error> {
        match self.add_all(entries).await {
            Err(error) if error.is_full() => {}
            answer => return answer,
        }
        let mut pipeline = redis::Pipeline::new();
        for (key, payload) in entries {
            let mut command = WHEN_FULL.call(&[key]);
            command.arg("XADD").arg("*").arg(FORMAT).arg(payload.as_slice());
            pipeline.add_command(command).ignore();
        }
        self.pipe_to::<()>("push frames", &pipeline).await.map(|((), facts)| facts)
    }

    /// Adds entries to streams that exist; others are not made, their reader is gone. A stream is capped near `length_max` entries.
    pub async fn add_existing(&self, length_max: usize, entries: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), Error> {
        let mut pipeline = redis::Pipeline::new();
        for (key, payload) in entries {
            let command = pipeline.cmd("XADD").arg(key).arg("NOMKSTREAM").arg("MAXLEN").arg("~").arg(length_max);
            command.arg("*").arg(FORMAT).arg(payload).ignore();
        }
        self.pipe("write to edges", &pipeline).await
    }

    /// Makes an empty stream that lives for `lifetime` unless that is prolonged.
    pub async fn make_stream(&self, key: &str, lifetime: Duration) -> Result<(), Error> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("XADD").arg(key).arg("MAXLEN").arg(0).arg("*").arg("made").arg("").ignore();
        pipeline.cmd("PEXPIRE").arg(key).arg(lifetime.as_millis() as u64).ignore();
        self.pipe("make a stream", &pipeline).await
    }

    /// Deletes a key.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let mut command = redis::cmd("DEL");
        command.arg(key);
        self.command("delete a key", command).await
    }

    /// At most `count` entries from `from` to `to`, both inclusive.
    pub async fn range(&self, key: &str, from: StreamId, to: StreamId, count: usize) -> Result<Vec<StreamEntry>, Error> {
        const OPERATION: &str = "read a range of a stream";
        let mut command = redis::cmd("XRANGE");
        command.arg(key).arg(from.to_string()).arg(to.to_string()).arg("COUNT").arg(count);
        parse_entries(OPERATION, self.command(OPERATION, command).await?)
    }

    /// The last entry of a stream, if it has one.
    pub async fn last(&self, key: &str) -> Result<Option<StreamEntry>, Error> {
        const OPERATION: &str = "read the end of a stream";
        let mut command = redis::cmd("XREVRANGE");
        command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
        Ok(parse_entries(OPERATION, self.command(OPERATION, command).await?)?.pop())
    }

    /// Whether there is such a key.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        let mut command = redis::cmd("EXISTS");
        command.arg(key);
        self.command("look for a key", command).await
    }

    /// How many entries streams have.
    pub async fn lengths(&self, keys: &[String]) -> Result<Vec<u64>, Error> {
        let mut pipeline = redis::Pipeline::new();
        for key in keys {
            pipeline.cmd("XLEN").arg(key);
        }
        self.pipe("measure streams", &pipeline).await
    }

    /// Removes the entries below `first`.
    pub async fn trim(&self, key: &str, first: StreamId) -> Result<u64, Error> {
        let mut command = redis::cmd("XTRIM");
        command.arg(key).arg("MINID").arg(first.to_string());
        self.command("trim a stream", command).await
    }

    /// Removes the entries below an id from each of several streams, in one round trip.
    pub async fn trim_all(&self, streams: impl IntoIterator<Item = (&String, StreamId)>) -> Result<(), Error> {
        let mut pipeline = redis::Pipeline::new();
        for (key, first) in streams {
            pipeline.cmd("XTRIM").arg(key).arg("MINID").arg(first.to_string()).ignore();
        }
        self.pipe("trim streams", &pipeline).await
    }

    /// Removes one entry; false when it was gone.
    pub async fn remove(&self, key: &str, id: StreamId) -> Result<bool, Error> {
        let mut command = redis::cmd("XDEL");
        command.arg(key).arg(id.to_string());
        self.command("remove a stream entry", command).await
    }

    /// Lets a key live for `lifetime` from now on; false when there is none.
    pub async fn expire(&self, key: &str, lifetime: Duration) -> Result<bool, Error> {
        let mut command = redis::cmd("PEXPIRE");
        command.arg(key).arg(lifetime.as_millis() as u64);
        self.command("set an expiry", command).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_order_by_their_numbers() {
        let check = |text: &str, id: StreamId| assert_eq!(text.parse::<StreamId>().unwrap(), id);
        check("5-3", StreamId(5, 3));
        check("5", StreamId(5, 0));
        assert!(StreamId(9, 9) < StreamId(10, 0));
        assert_eq!(StreamId(1, u64::MAX).next(), StreamId(2, 0));
        assert_eq!(StreamId(1, 7).next().to_string(), "1-8");
    }
}
