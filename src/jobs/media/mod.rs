//! Commands to the media server that come by a list of Redis.
//!
//! Consumes that list by way of a stream, in order, as the holder of a lease; has each command carried out, and writes its answer onto the list that
//! Janus writes to. A request whose id was answered is answered the same again, for a while ([`REMEMBERED`]); the answer is remembered in the step that
//! gives it. A death between doing and answering repeats a command, which each of them bears. What is past its deadline is counted and not begun: nobody
//! waits. What is no command is refused by name if it says who asks, and is a dead letter otherwise.

mod several;

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{self, Reader, Redis, StreamEntry, StreamId, keys};
use crate::clock::Clock;
use crate::janus::{CommandError, ID_REUSED, MediaServer, Request, envelope};
use crate::retry::ErrorClass;
use crate::worker::deadletter::{self, DeadLetter};
use crate::worker::{Classed, Ordered, Tenure, note_waiting};

pub use several::Several;

/// How long it waits for a command; also how soon a stop is seen.
const BLOCK: Duration = Duration::from_millis(500);
/// The most commands that are read at once.
const COMMANDS_MAX: usize = 256;
/// How long an answer is remembered: above every deadline.
pub const REMEMBERED: Duration = Duration::from_secs(600);

/// The job.
#[derive(Clone, Debug)]
pub struct Media {
    redis: Redis,
    server: Arc<dyn MediaServer>,
    clock: Clock,
    commands: String,
    answers: String,
    host: String,
}

/// Why commands are not carried out just now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis did not do what it was asked.
    #[error("commands on the list {list}")]
    Broker {
        /// The list.
        list: String,
        /// What failed.
        #[source]
        source: broker::Error,
    },
    /// A dead letter could not be filed.
    #[error("commands on the list {list}")]
    Bury {
        /// The list.
        list: String,
        /// What failed.
        #[source]
        source: deadletter::Error,
    },
}

impl Classed for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Broker { source, .. } => source.class(),
            Self::Bury { source, .. } => source.class(),
        }
    }
}

impl Media {
    /// The job: commands come from the list `commands`, answers go onto `answers`.
    pub fn new(redis: Redis, server: Arc<dyn MediaServer>, clock: Clock, commands: String, answers: String) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Self { redis, server, clock, commands, answers, host }
    }

    fn broker(&self, source: broker::Error) -> Error {
        Error::Broker { list: self.commands.clone(), source }
    }

    async fn work_off(&self, entry: &StreamEntry) -> Result<(), Error> {
        match envelope::read_command(entry.payload.as_deref().unwrap_or_default()) {
            Ok(request) => self.answer(&request).await,
            Err(bad) => match bad.id {
                Some(id) => {
                    count("refused");
                    let item = envelope::refusal(&id, &bad.why, &self.host);
                    self.give(id.as_str(), &item, None).await
                }
                None => self.bury(entry, bad.why).await,
            },
        }
    }

    async fn answer(&self, request: &Request) -> Result<(), Error> {
        let (id, fingerprint) = (request.id.as_str(), envelope::fingerprint(&request.command));
        let given = self.redis.given_answer(id).await.map_err(|source| self.broker(source))?;
        if let Some(given) = given {
            count("repeated");
            let reused =
                || envelope::answer(request, &Err((ID_REUSED, "this id was used for another command before".to_owned())), &self.host);
            let item = if given.fingerprint == fingerprint { given.item } else { reused() };
            return self.give(id, &item, None).await;
        }
        let answer = match self.server.carry_out(request).await {
            Ok(outcome) => Ok(outcome),
            Err(CommandError::Refused { code, why, .. }) => Err((code, why)),
            Err(error @ CommandError::Late { .. }) => {
                tracing::warn!(%error, "a command was not carried out");
                count("late");
                return Ok(());
            }
        };
        count(if answer.is_ok() { "done" } else { "refused" });
        let item = envelope::answer(request, &answer, &self.host);
        self.give(id, &item, Some((&fingerprint, REMEMBERED))).await
    }

    async fn give(&self, id: &str, item: &[u8], remembered: Option<(&str, Duration)>) -> Result<(), Error> {
        self.redis.give_answer(&self.answers, id, item, remembered).await.map_err(|source| self.broker(source))
    }

    async fn bury(&self, entry: &StreamEntry, reason: String) -> Result<(), Error> {
        count("dead");
        let letter = DeadLetter {
            job: Self::JOB.to_owned(),
            reason,
            attempts: 1,
            deliveries: 1,
            time_ms: self.clock.now_ms(),
            ..DeadLetter::about(&keys::talk(&self.commands), entry.id, entry.payload.as_deref())
        };
        let filed = deadletter::add(&self.redis, &letter).await;
        filed.map(drop).map_err(|source| Error::Bury { list: self.commands.clone(), source })
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("roger_media_commands_total", "outcome" => outcome).increment(1);
}

impl Ordered for Media {
    const JOB: &'static str = "media";
    type Error = Error;

    async fn measure(&self, _shard: u32) -> Result<(), broker::Error> {
        let look = self.redis.look_at_talk(&self.commands, Self::JOB, self.clock.now_ms()).await?;
        note_waiting(Self::JOB, &self.commands, look.length, look.oldest_ms);
        Ok(())
    }

    async fn serve(&self, tenure: Tenure) -> Result<(), Error> {
        let stream = keys::talk(&self.commands);
        let (mut waiting, mut reader) = (Reader::new(&self.redis, BLOCK), Reader::new(&self.redis, BLOCK));
        while !tenure.stop.is_cancelled() {
            tenure.progress.turn();
            self.redis.move_list(&self.commands, COMMANDS_MAX).await.map_err(|source| self.broker(source))?;
            let entries = reader.behind(&stream, StreamId::default(), COMMANDS_MAX).await.map_err(|source| self.broker(source))?;
            if entries.is_empty() {
                // Broken off in the middle it loses nothing: what it moved comes first next time.
                tokio::select! {
                    () = tenure.stop.cancelled() => {}
                    waited = waiting.wait_for_list(&self.commands) => drop(waited.map_err(|source| self.broker(source))?),
                }
                continue;
            }
            for entry in entries {
                tenure.progress.turn();
                // One that is broken off is still on the stream.
                tokio::select! {
                    () = tenure.stop.cancelled() => return Ok(()),
                    worked = self.work_off(&entry) => worked?,
                }
                self.redis.trim(&stream, entry.id.next()).await.map_err(|source| self.broker(source))?;
            }
        }
        Ok(())
    }
}
