//! Commands to a media server on Redis, who waits for their answers, and the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::streams::{Reader, StreamEntry, StreamId};
use crate::topic::frame::FORMAT;

/// The most answers that wait for a process; it reads them at once, or is dead.
const ANSWERS_MAX: usize = 10_000;

/// An answer that was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Of the command it was given to.
    pub fingerprint: String,
    /// It.
    pub item: Vec<u8>,
}

impl Redis {
    /// Says who waits for the answer to a command, process `asker` for `lifetime`, and pushes it.
    pub async fn push_command(&self, list: &str, id: &str, asker: &str, lifetime: Duration, item: &[u8]) -> Result<(), Error> {
        const OPERATION: &str = "push a command";
        // One after the other: they may be at two servers, and nobody must answer before it is known whom.
        let mut command = redis::cmd("SET");
        command.arg(keys::command_asker(id)).arg(asker).arg("PX").arg(lifetime.as_millis().max(1) as u64);
        self.command::<()>(OPERATION, command).await?;
        let mut command = redis::cmd("RPUSH");
        command.arg(list).arg(item);
        self.command::<()>(OPERATION, command).await
    }

    /// Hands an answer on to whoever waits for it; false when nobody does any more.
    pub async fn hand_answer_on(&self, id: &str, item: &[u8]) -> Result<bool, Error> {
        let mut command = redis::cmd("GET");
        command.arg(keys::command_asker(id));
        let asker: Option<String> = self.command("ask who waits for an answer", command).await?;
        let Some(asker) = asker else { return Ok(false) };
        let mut command = redis::cmd("XADD");
        command.arg(keys::answers(&asker)).arg("NOMKSTREAM").arg("MAXLEN").arg("~").arg(ANSWERS_MAX).arg("*").arg(FORMAT).arg(item);
        let added: Option<String> = self.command("hand an answer on", command).await?;
        Ok(added.is_some())
    }

    /// Keeps the stream of a process's answers for `lifetime` from now on; whether it had to be made.
    pub async fn keep_answers(&self, asker: &str, lifetime: Duration) -> Result<bool, Error> {
        let key = keys::answers(asker);
        if self.expire(&key, lifetime).await? {
            return Ok(false);
        }
        self.make_stream(&key, lifetime).await.map(|()| true)
    }

    /// Removes the answers up to and including `taken`.
    pub async fn drop_answers(&self, asker: &str, taken: StreamId) -> Result<(), Error> {
        self.trim(&keys::answers(asker), taken.next()).await.map(drop)
    }

    /// The answer that was given to a request before, if it is remembered.
    pub async fn given_answer(&self, id: &str) -> Result<Option<Given>, Error> {
        let mut command = redis::cmd("HMGET");
        command.arg(keys::command_answer(id)).arg(["command", "item"].as_slice());
        let (fingerprint, item): (Option<String>, Option<Vec<u8>>) = self.command("look for an answer", command).await?;
        Ok(fingerprint.zip(item).map(|(fingerprint, item)| Given { fingerprint, item }))
    }

    /// Remembers an answer for `lifetime` when it is `remembered` under the fingerprint of its command, and gives it onto `list`. Whoever failed
    /// in between finds it as [`Redis::given_answer`], and gives it then.
    pub async fn give_answer(&self, list: &str, id: &str, item: &[u8], remembered: Option<(&str, Duration)>) -> Result<(), Error> {
        const OPERATION: &str = "give an answer";
        if let Some((fingerprint, lifetime)) = remembered {
            let key = keys::command_answer(id);
            let mut pipeline = redis::Pipeline::new();
            pipeline.atomic();
            pipeline.cmd("HSET").arg(&key).arg("command").arg(fingerprint).arg("item").arg(item).ignore();
            pipeline.cmd("PEXPIRE").arg(&key).arg(lifetime.as_millis() as u64).ignore();
            self.pipe::<()>(OPERATION, &pipeline).await?;
        }
        let mut command = redis::cmd("RPUSH");
        command.arg(list).arg(item);
        self.command(OPERATION, command).await
    }
}

impl Reader {
    /// The answers to a process behind an id, at most `count`; empty when none came in time.
    pub async fn read_answers(&mut self, asker: &str, after: StreamId, count: usize) -> Result<Vec<StreamEntry>, Error> {
        let streams = BTreeMap::from([(keys::answers(asker), after)]);
        Ok(self.read(count, &streams).await?.into_iter().flat_map(|(_, entries)| entries).collect())
    }
}
