//! Replays: pages of a topic's log for sessions that lack a part of it.
//!
//! Consumes the stream `replay` (replay requests, consumer group `offline`). Reads SQL for what is archived and the end of `{s}:log` for the
//! rest. Writes a page to `out:<edge>:replay`, if that edge still lives. A repeat is a page twice, which the session knows by its request
//! and its places. There is no limit of attempts: a request waits for SQL when only SQL can answer, until its session asks again; what is
//! older than that is dropped unread, so that after an outage only what somebody still waits for is answered.
//!
//! What a page is, and what counts as lost, is in [`crate::topic::replay`].

mod log;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prost::Message as _;

use crate::broker::{self, Redis, keys};
use crate::clock::Clock;
use crate::model::{Place, Span, TopicId};
use crate::retry::ErrorClass;
use crate::store::{self, Position, Store};
use crate::topic::frame::{Entry, OutFrame, Output, Page, ReplayRequest};
use crate::topic::replay::{Ask, Draft};
use crate::worker::{Classed, Competing, Verdict, Work};
use log::Log;

/// The most entries in a page, and how many when the request does not say.
const ENTRIES_MAX: usize = 4_096;
/// The most bytes of bodies in a page, and how many when the request does not say. One entry may be above it.
const BYTES_MAX: usize = 1 << 20;
/// The most pages that wait on an edge's stream: far above what an edge asks for at once.
const PAGES_MAX: usize = 65_536;
/// How soon a request is tried again that waits for the archive, or for SQL.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The job: answers replay requests.
#[derive(Clone, Debug)]
pub struct Replay {
    redis: Redis,
    store: Store,
    clock: Clock,
    shards: u32,
    window_bytes_max: usize,
    logs: Arc<Mutex<HashMap<u32, Arc<tokio::sync::Mutex<Log>>>>>,
}

/// Why a request is not answered this time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis did not do what it was asked.
    #[error("replay of {topic}")]
    Broker {
        /// The topic.
        topic: TopicId,
        /// What failed.
        #[source]
        source: broker::Error,
    },
    /// SQL did not do what it was asked.
    #[error("replay of {topic}")]
    Store {
        /// The topic.
        topic: TopicId,
        /// What failed.
        #[source]
        source: store::Error,
    },
    /// Neither SQL nor the window has it yet.
    #[error("replay of {topic}: what lies behind {after} is not archived yet")]
    NotYet {
        /// The topic.
        topic: TopicId,
        /// The place behind which nothing is known.
        after: Place,
    },
}

impl Classed for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Broker { source, .. } => source.class(),
            Self::Store { source, .. } => source.class(),
            Self::NotYet { .. } => ErrorClass::Transient,
        }
    }
}

impl Replay {
    /// The job, for a deployment of `shards`; keeps at most `window_bytes_max` of each shard's log in memory.
    pub fn new(redis: Redis, store: Store, clock: Clock, shards: u32, window_bytes_max: usize) -> Self {
        Self { redis, store, clock, shards, window_bytes_max, logs: Arc::default() }
    }

    fn log(&self, shard: u32) -> Arc<tokio::sync::Mutex<Log>> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.entry(shard).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(Log::new(shard, self.window_bytes_max)))).clone()
    }

    /// Whether its session has asked again meanwhile. A clock that is ahead costs only patience, which rises with every request.
    fn is_stale(&self, request: &ReplayRequest) -> bool {
        request.asked_ms > 0 && self.clock.now_ms() > request.asked_ms + u64::from(request.patience_ms)
    }

    async fn answer(&self, request: &ReplayRequest, ask: Ask) -> Result<(), Error> {
        let broker = |source| Error::Broker { topic: ask.topic, source };
        let out = keys::out_replay(&request.edge);
        // Both at once, for edges are seldom gone; one that is gone does not wait for SQL.
        let there = async { if self.redis.exists(&out).await.map_err(|source| Some(broker(source)))? { Ok(()) } else { Err(None) } };
        let draft = async { self.draft(ask).await.map_err(Some) };
        let draft = match tokio::try_join!(there, draft) {
            Ok(((), draft)) => draft,
            Err(Some(error)) => return Err(error),
            Err(None) => {
                tracing::debug!(edge = request.edge, "replay for an edge that is gone");
                return Ok(());
            }
        };
        metrics::counter!("roger_replayed_entries_total").increment(draft.entries.len() as u64);
        if !draft.lost.is_empty() {
            metrics::counter!("roger_replay_lost_spans_total").increment(draft.lost.len() as u64);
            tracing::error!(topic = %ask.topic, lost = ?draft.lost, "entries that existed are neither in SQL nor in Redis");
        }
        let page = Page {
            topic: request.topic,
            session: request.session,
            span: Span::new(ask.span.after, draft.upto).into(),
            entries: draft.entries,
            lost: draft.lost.into_iter().map(Into::into).collect(),
            request: request.request,
        };
        let frame = OutFrame { shard: ask.topic.shard(self.shards), items: vec![Output::Page(page).into()], ..OutFrame::default() };
        self.redis.add_existing(PAGES_MAX, [(out, frame.encode_to_vec())]).await.map_err(broker)
    }

    async fn draft(&self, ask: Ask) -> Result<Draft, Error> {
        let log = self.log(ask.topic.shard(self.shards));
        let asked = Instant::now();
        {
            let mut log = log.lock().await;
            log.refresh(&self.redis, asked).await.map_err(|source| Error::Broker { topic: ask.topic, source })?;
            // Complete by itself: SQL need not be asked, nor be there.
            if let Some(recent) = Draft::of_window(ask, log.window()) {
                return Ok(recent);
            }
        }
        self.draft_from_sql(ask, &log).await
    }

    async fn draft_from_sql(&self, ask: Ask, log: &tokio::sync::Mutex<Log>) -> Result<Draft, Error> {
        let topic = ask.topic;
        let (draft, archived) = self.look(ask, log).await?;
        if draft.lost.is_empty() {
            return Ok(draft);
        }
        // What SQL and the log do not have is lost once something behind it is archived. Not once its epoch is over: whoever had it may be the primary
        // again, as long as SQL does not go on without it.
        let head = self.store.head(topic).await.map_err(|source| Error::Store { topic, source })?;
        let head = head.map_or(Place::START, |head| head.head.into());
        if let Some(after) = draft.waits_behind(head, archived.epoch) {
            return Err(Error::NotYet { topic, after });
        }
        // Unless the archive had it in hand at the first look, as after a failover, and brought it in since: so once more, behind what it is judged by.
        log.lock().await.refresh(&self.redis, Instant::now()).await.map_err(|source| Error::Broker { topic, source })?;
        let (draft, _) = self.look(ask, log).await?;
        match draft.waits_behind(head, archived.epoch) {
            Some(after) => Err(Error::NotYet { topic, after }),
            None => Ok(draft),
        }
    }

    /// What SQL and the window have, with the holes in it as lost, and up to where the archive was.
    async fn look(&self, ask: Ask, log: &tokio::sync::Mutex<Log>) -> Result<(Draft, Position), Error> {
        let topic = ask.topic;
        let store = |source| Error::Store { topic, source };
        // First the position: all up to it is in what is read after it.
        let archived = self.store.archive_state(topic.shard(self.shards)).await.map_err(store)?.position;
        let entries = self.store.entries(topic, ask.span, ask.entries_max, ask.bytes_max).await.map_err(store)?;
        let (count, bytes) = (entries.len(), entries.iter().map(|entry| entry.body.len()).sum::<usize>());
        let last = entries.last().map(Entry::place);
        // Whether SQL stopped at the bounds, or has no more.
        let more = count >= ask.entries_max || bytes >= ask.bytes_max || self.has_more(ask, last).await.map_err(store)?;
        let log = log.lock().await;
        let draft = Draft::of_both(ask, entries, more, (archived.epoch, archived.commit), log.window());
        draft.map(|draft| (draft, archived)).map_err(|after| Error::NotYet { topic, after })
    }

    /// Whether SQL has entries of the span behind the last one that it gave: a body that did not fit ends a page early.
    async fn has_more(&self, ask: Ask, last: Option<Place>) -> Result<bool, store::Error> {
        let Some(rest) = last.map(|last| Span::new(last, ask.span.upto)).filter(|rest| rest.after < rest.upto) else { return Ok(false) };
        Ok(!self.store.entries(ask.topic, rest, 1, 1).await?.is_empty())
    }
}

impl Competing for Replay {
    const JOB: &'static str = "replay";
    const GROUP: &'static str = "offline";
    const DEADLINE: Duration = Duration::from_secs(8);
    // As long as its session waits: see the head of this file.
    const ATTEMPTS_MAX: u64 = u64::MAX;

    fn stream(&self) -> String {
        keys::replay()
    }

    async fn run(&self, work: Work) -> Verdict {
        let request: ReplayRequest = match work.entry.decode(&keys::replay()) {
            Ok(request) => request,
            Err(error) => return Verdict::of(&error),
        };
        let Some(topic) = TopicId::from_packed(request.topic) else {
            return Verdict::Reject(format!("{:#x} is not a topic", request.topic));
        };
        let bound = |asked: u32, most: usize| if asked == 0 { most } else { most.min(asked as usize) };
        let (entries_max, bytes_max) = (bound(request.entries_max, ENTRIES_MAX), bound(request.bytes_max, BYTES_MAX));
        if self.is_stale(&request) {
            metrics::counter!("roger_replay_stale_total").increment(1);
            return Verdict::Done;
        }
        match self.answer(&request, Ask { topic, span: request.span.into(), entries_max, bytes_max }).await {
            Ok(()) => Verdict::Done,
            Err(error) => match Verdict::of(&error) {
                Verdict::Retry { error, .. } => Verdict::Retry { after: Some(RETRY_AFTER.mul_f64(rand::random_range(0.5..1.5))), error },
                verdict => verdict,
            },
        }
    }
}
