//! The stream of dead letters, as texts; what stands in them is the worker's.

use std::time::Duration;

use redis::Value;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::streams::StreamId;
use crate::topic::frame::FORMAT;

/// The only field of an entry of the stream `dead`.
const FIELD: &str = "letter";

impl Redis {
    /// Adds a letter.
    pub async fn add_letter(&self, letter: &str) -> Result<StreamId, Error> {
        const OPERATION: &str = "add a dead letter";
        let mut command = redis::cmd("XADD");
        command.arg(keys::dead()).arg("*").arg(FIELD).arg(letter);
        let id: String = self.command(OPERATION, command).await?;
        id.parse().map_err(|_| Error::answer(OPERATION, &Value::SimpleString(id)))
    }

    /// Adds letters in one round trip, in their order; their ids. When it fails, any of them may have been added.
    pub async fn add_letters(&self, letters: &[String]) -> Result<Vec<StreamId>, Error> {
        const OPERATION: &str = "add dead letters";
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::Pipeline::with_capacity(letters.len());
        for letter in letters {
            pipeline.cmd("XADD").arg(keys::dead()).arg("*").arg(FIELD).arg(letter);
        }
        let ids: Vec<String> = self.pipe(OPERATION, &pipeline).await?;
        ids.into_iter().map(|id| id.parse().map_err(|_| Error::answer(OPERATION, &Value::SimpleString(id)))).collect()
    }

    /// At most `count` letters from `from` on, in order.
    pub async fn letters(&self, from: StreamId, count: usize) -> Result<Vec<(StreamId, String)>, Error> {
        const OPERATION: &str = "read dead letters";
        let mut command = redis::cmd("XRANGE");
        command.arg(keys::dead()).arg(from.to_string()).arg("+").arg("COUNT").arg(count);
        let entries: Vec<(String, Vec<(String, String)>)> = self.command(OPERATION, command).await?;
        let mut letters = Vec::with_capacity(entries.len());
        for (id, fields) in entries {
            let letter = fields.into_iter().find(|(name, _)| name == FIELD).map(|(_, letter)| letter).unwrap_or_default();
            letters.push((id.parse().map_err(|_| Error::answer(OPERATION, &Value::SimpleString(id)))?, letter));
        }
        Ok(letters)
    }

    /// Keeps what became of work before it was put back as that entry of a stream, for so long.
    pub async fn keep_letter_history(&self, stream: &str, entry: &str, history: &str, keep: Duration) -> Result<(), Error> {
        let mut command = redis::cmd("SET");
        command.arg(keys::dead_history(stream, entry)).arg(history).arg("EX").arg(keep.as_secs());
        self.command("keep the history of a dead letter", command).await
    }

    /// What became of work before it was put back as those entries of streams; `None` for what never was.
    pub async fn letter_histories(&self, entries: &[(&str, &str)]) -> Result<Vec<Option<String>>, Error> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::Pipeline::with_capacity(entries.len());
        for (stream, entry) in entries {
            pipeline.cmd("GET").arg(keys::dead_history(stream, entry));
        }
        self.pipe("read the history of dead letters", &pipeline).await
    }

    /// Puts a payload back on its stream as a new entry, which names the letter it comes from in a second field.
    pub async fn add_redriven(&self, stream: &str, payload: &[u8], letter: StreamId) -> Result<StreamId, Error> {
        const OPERATION: &str = "redrive a dead letter";
        let mut command = redis::cmd("XADD");
        command.arg(stream).arg("*").arg(FORMAT).arg(payload).arg("redriven").arg(letter.to_string());
        let id: String = self.command(OPERATION, command).await?;
        id.parse().map_err(|_| Error::answer(OPERATION, &Value::SimpleString(id)))
    }
}
