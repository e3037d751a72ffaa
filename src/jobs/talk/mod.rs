//! Talk: what Janus recorded is kept, and announced to the room it was in, each burst once.
//!
//! Reports of how well talk is heard are kept with who is on the air, the newest of each.
//!
//! Consumes the list that Janus writes to, by way of a stream (`broker/talk.rs`), in order, as the holder of a lease. Writes rows of
//! recordings, and pushes `Spoken` into the input of the room's shard. What Janus says twice is known by its id in SQL. An announcement
//! that was pushed before is known to the shard by its number, that of the recording: numbers rise in the order of the items, for ever. So
//! a death between any two steps repeats nothing and loses nothing. SQL knows a burst by the entry that brought it. So before that,
//! replicas have the entry, and who gave it is the primary of Redis still: an item that is moved anew is another entry, a repeat for SQL,
//! and nobody would be told. There is no limit of attempts: while SQL or Redis is away everything waits. An item that nobody understands
//! becomes a dead letter and holds up nobody; after a death just then it may become two.

mod program;

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;

use crate::broker::{self, Asked, Facts, Reader, Redis, StreamEntry, StreamId, keys};
use crate::clock::Clock;
use crate::model::{Durability, MessageKind, TalkQuality, TopicId, UserId};
use crate::retry::ErrorClass;
use crate::store::{self, Kept, NewRecording, Recorded, Store};
use crate::talk::{Burst, Said, parse};
use crate::topic::frame::{InFrame, Input, NoticeBody, Spoken, TALK_PRODUCER};
use crate::worker::deadletter::{self, DeadLetter};
use crate::worker::{Classed, Ordered, Tenure, chain, note_waiting};

pub use program::{ProgramError, run};

/// How long it waits for an item; also how soon a stop is seen.
const BLOCK: std::time::Duration = std::time::Duration::from_millis(500);
/// The most items worked off at once.
pub const ITEMS_MAX: usize = 1_024;

/// The job.
#[derive(Clone, Debug)]
pub struct Talk {
    redis: Redis,
    store: Store,
    clock: Clock,
    shards: u32,
    list: String,
}

/// Why talk is not announced just now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis did not do what it was asked.
    #[error("talk on the list {list}")]
    Broker {
        /// The list of Janus.
        list: String,
        /// What failed.
        #[source]
        source: broker::Error,
    },
    /// SQL did not do what it was asked.
    #[error("talk on the list {list}")]
    Store {
        /// The list of Janus.
        list: String,
        /// What failed.
        #[source]
        source: store::Error,
    },
    /// A dead letter could not be filed.
    #[error("talk on the list {list}")]
    Bury {
        /// The list of Janus.
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
            Self::Store { source, .. } => source.class(),
            Self::Bury { source, .. } => source.class(),
        }
    }
}

impl Talk {
    /// The job. `list` is the one that Janus writes to.
    pub fn new(redis: Redis, store: Store, clock: Clock, shards: u32, list: String) -> Self {
        Self { redis, store, clock, shards, list }
    }

    fn broker(&self, source: broker::Error) -> Error {
        Error::Broker { list: self.list.clone(), source }
    }

    /// Works items off that a server gave, in their order, and takes them from the stream.
    async fn work_off(&self, entries: Vec<StreamEntry>, server: Arc<Facts>) -> Result<(), Error> {
        let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(()) };
        let mut bursts = Vec::with_capacity(entries.len());
        let (mut dead, mut qualities) = (Vec::new(), BTreeMap::new());
        for entry in entries {
            match entry.payload.as_deref().map(parse) {
                Some(Ok(Said::Burst(burst))) => bursts.push((entry, burst)),
                Some(Ok(Said::Greeting)) => count("greeting", 1),
                Some(Ok(Said::Quality(user, quality))) => drop(qualities.insert(user, quality)),
                Some(Ok(Said::Reply(Some(id)))) => self.hand_on(&id, &entry).await?,
                Some(Ok(Said::Reply(None))) => dead.push((entry, "a reply, and nobody asked".to_owned())),
                Some(Err(error)) => dead.push((entry, error.to_string())),
                None => dead.push((entry, "the entry has no item".to_owned())),
            }
        }
        if !bursts.is_empty() {
            self.make_sure_of(server).await.map_err(|source| self.broker(source))?;
        }
        self.announce(bursts, &mut dead).await?;
        self.note(qualities).await?;
        // Behind what may have to be done again while SQL is away: each attempt would be one more letter.
        self.bury(dead).await?;
        let stream = keys::talk(&self.list);
        self.redis.trim(&stream, last.next()).await.map(drop).map_err(|source| self.broker(source))
    }

    /// That what a server gave is not given again under other ids, for the next primary has it as well.
    async fn make_sure_of(&self, server: Arc<Facts>) -> Result<(), broker::Error> {
        let server = [server];
        self.redis.secured(&server, Durability::Replica).await?;
        self.redis.confirm(&server, Asked::Most).await
    }

    /// Gives an answer to who asked, who knows it when it comes twice. Nobody waits for one that is late, and it is no loss.
    async fn hand_on(&self, id: &str, entry: &StreamEntry) -> Result<(), Error> {
        let item = entry.payload.as_deref().unwrap_or_default();
        let taken = self.redis.hand_answer_on(id, item).await.map_err(|source| self.broker(source))?;
        count(if taken { "answer" } else { "late answer" }, 1);
        Ok(())
    }

    /// Keeps of each user the newest report, if that user is on the air.
    async fn note(&self, qualities: BTreeMap<UserId, TalkQuality>) -> Result<(), Error> {
        let now_ms = self.clock.now_ms();
        let notes: Vec<_> = qualities.into_iter().map(|(user, quality)| (user, TalkQuality { said_ms: now_ms, ..quality })).collect();
        let noted = self.redis.note_quality(self.shards, &notes).await.map_err(|source| self.broker(source))?;
        count("quality", noted);
        count("quality of nobody", (notes.len() as u64).saturating_sub(noted));
        Ok(())
    }

    async fn announce(&self, bursts: Vec<(StreamEntry, Burst)>, dead: &mut Vec<(StreamEntry, String)>) -> Result<(), Error> {
        if bursts.is_empty() {
            return Ok(());
        }
        let recorded = match self.keep(&bursts).await {
            // One that SQL can never take must not take the others along.
            Err(source) if source.class() == ErrorClass::Defect => {
                for (entry, burst) in bursts {
                    match self.keep(&[(entry.clone(), burst.clone())]).await {
                        Ok(recorded) => self.push(&[(entry, burst)], recorded, dead).await?,
                        Err(source) if source.class() == ErrorClass::Defect => dead.push((entry, chain(&source))),
                        Err(source) => return Err(Error::Store { list: self.list.clone(), source }),
                    }
                }
                return Ok(());
            }
            recorded => recorded.map_err(|source| Error::Store { list: self.list.clone(), source })?,
        };
        self.push(&bursts, recorded, dead).await
    }

    async fn keep(&self, bursts: &[(StreamEntry, Burst)]) -> Result<Vec<Recorded>, store::Error> {
        let new = |(entry, burst): &(StreamEntry, Burst)| NewRecording { entry: entry.id.to_string(), burst: burst.clone() };
        self.store.keep_recordings(bursts.iter().map(new).collect(), self.clock.now_ms()).await
    }

    /// Pushes the announcements, a frame each: its number is that of the recording.
    async fn push(
        &self,
        bursts: &[(StreamEntry, Burst)],
        recorded: Vec<Recorded>,
        dead: &mut Vec<(StreamEntry, String)>,
    ) -> Result<(), Error> {
        let mut frames = Vec::with_capacity(recorded.len());
        for ((entry, burst), recorded) in bursts.iter().zip(recorded) {
            match recorded {
                Recorded::Kept(kept) => frames.push(self.frame(burst, kept)),
                Recorded::Repeat => count("repeated", 1),
                Recorded::Refused(why) => dead.push((entry.clone(), why.to_owned())),
            }
        }
        if !frames.is_empty() {
            self.redis.hand_over(&frames).await.map_err(|source| self.broker(source))?;
            count("announced", frames.len() as u64);
        }
        Ok(())
    }

    fn frame(&self, burst: &Burst, kept: Kept) -> (String, Vec<u8>) {
        let room = TopicId::room(burst.group);
        let body = NoticeBody {
            recording: kept.id,
            group: burst.group.0,
            user: burst.speaker.0,
            nickname: kept.nickname,
            file: burst.file.clone(),
            md5: burst.md5.clone(),
            time_ms: burst.spoken_ms,
            duration_ms: burst.duration_ms,
            cut: burst.cut,
            ..NoticeBody::default()
        };
        let body = body.into_notice(room, MessageKind::Talk).body;
        let desks = kept.desks.into_iter().map(|desk| desk.0).collect();
        let (speaker, from_ms) = (burst.speaker.0, burst.spoken_ms.saturating_sub(burst.duration_ms));
        let spoken = Spoken { topic: room.packed(), desks, body, speaker, from_ms, upto_ms: burst.over_ms };
        let items = vec![Input::Spoken(spoken).into()];
        let frame = InFrame { producer: TALK_PRODUCER, number: kept.id, items, ..InFrame::default() };
        (keys::input(room.shard(self.shards)), frame.encode_to_vec())
    }

    /// Files dead letters, in the order of their entries.
    async fn bury(&self, mut dead: Vec<(StreamEntry, String)>) -> Result<(), Error> {
        dead.sort_by_key(|(entry, _)| entry.id);
        let (stream, now_ms) = (keys::talk(&self.list), self.clock.now_ms());
        let letter = |(entry, reason): (StreamEntry, String)| DeadLetter {
            job: Self::JOB.to_owned(),
            reason,
            attempts: 1,
            deliveries: 1,
            time_ms: now_ms,
            ..DeadLetter::about(&stream, entry.id, entry.payload.as_deref())
        };
        let letters: Vec<DeadLetter> = dead.into_iter().map(letter).collect();
        deadletter::add_all(&self.redis, &letters).await.map_err(|source| Error::Bury { list: self.list.clone(), source })?;
        count("dead", letters.len() as u64);
        Ok(())
    }
}

fn count(outcome: &'static str, items: u64) {
    metrics::counter!("roger_talk_items_total", "outcome" => outcome).increment(items);
}

impl Ordered for Talk {
    const JOB: &'static str = "talk";
    type Error = Error;

    async fn measure(&self, _shard: u32) -> Result<(), broker::Error> {
        let look = self.redis.look_at_talk(&self.list, Self::JOB, self.clock.now_ms()).await?;
        note_waiting(Self::JOB, &self.list, look.length, look.oldest_ms);
        Ok(())
    }

    async fn serve(&self, tenure: Tenure) -> Result<(), Error> {
        let stream = keys::talk(&self.list);
        let (mut waiting, mut reader) = (Reader::new(&self.redis, BLOCK), Reader::new(&self.redis, BLOCK));
        while !tenure.stop.is_cancelled() {
            tenure.progress.turn();
            // Asked before it is read: what answers later may be another server, of which that would not be known.
            let (_, server) = self.redis.hold(&stream).await.map_err(|source| self.broker(source))?;
            let entries = self.next(&mut reader, &stream).await.map_err(|source| self.broker(source))?;
            if entries.is_empty() {
                if self.redis.move_list(&self.list, ITEMS_MAX).await.map_err(|source| self.broker(source))? > 0 {
                    continue;
                }
                // Broken off in the middle it loses nothing: what it moved comes first next time.
                tokio::select! {
                    () = tenure.stop.cancelled() => {}
                    waited = waiting.wait_for_list(&self.list) => drop(waited.map_err(|source| self.broker(source))?),
                }
                continue;
            }
            // What comes next is moved meanwhile: the one waits for SQL most of the time, the other for Redis.
            let (worked, moved) = tokio::join!(self.work_off(entries, server), self.redis.move_list(&self.list, ITEMS_MAX));
            if let Err(Error::Store { .. }) = &worked {
                tenure.progress.waits_for("SQL");
            }
            worked?;
            moved.map_err(|source| self.broker(source))?;
        }
        Ok(())
    }
}

impl Talk {
    /// The oldest items of the stream, as many as are worked off at once; read in sips, for Redis serves nobody else meanwhile.
    async fn next(&self, reader: &mut Reader, stream: &str) -> Result<Vec<StreamEntry>, broker::Error> {
        let mut entries: Vec<StreamEntry> = Vec::new();
        while entries.len() < ITEMS_MAX {
            let after = entries.last().map_or(StreamId::default(), |entry| entry.id);
            let more = reader.behind(stream, after, ITEMS_MAX - entries.len()).await?;
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        Ok(entries)
    }
}
