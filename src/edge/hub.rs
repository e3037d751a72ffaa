//! What all sessions of an edge share.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::push::Pusher;
use super::session::Session;
use super::views::Views;
use super::watch::Watchers;
use crate::broker::{Redis, Reports};
use crate::clock::Clock;
use crate::config;
use crate::model::{Durability, Reason, SessionId, TopicId};
use crate::token::Verifier;

/// An edge.
pub(super) struct Edge {
    pub(super) config: config::Edge,
    /// What receipts wait for.
    pub(super) receipts: config::Receipts,
    pub(super) shards: u32,
    /// The name of this start: that of the configuration and a random number.
    pub(super) boot: String,
    pub(super) redis: Redis,
    /// Where SOS goes.
    pub(super) sos: Redis,
    pub(super) clock: Clock,
    pub(super) verifier: Verifier,
    pub(super) pusher: Pusher,
    pub(super) index: Index,
    pub(super) reports: Reports,
    pub(super) watchers: Watchers,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    durability: AtomicU8,
    /// When the stream of pages was last seen read to its end, UTC ms.
    pages_read_ms: AtomicU64,
    /// When the streams of this edge were last read.
    read_last: Mutex<Instant>,
    /// What is known of owners of shards.
    pub(super) views: Views,
    /// How often the streams of this edge were gone and made anew.
    pub(super) streams_made: AtomicU64,
    /// The sessions have to be opened and attached again: streams of this edge were gone.
    pub(super) streams_gone: tokio::sync::Notify,
}

/// Which sessions follow a topic. Lists are replaced, never changed, so that a reader needs the lock only to get one.
#[derive(Default)]
pub(super) struct Index(Mutex<HashMap<TopicId, Followers>>);

type Followers = Arc<Vec<Arc<Session>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    pub(super) fn add(&self, topic: TopicId, session: &Arc<Session>) {
        let mut index = lock(&self.0);
        Arc::make_mut(index.entry(topic).or_default()).push(session.clone());
    }

    pub(super) fn remove(&self, topic: TopicId, session: SessionId) {
        let mut index = lock(&self.0);
        if let Some(followers) = index.get_mut(&topic) {
            Arc::make_mut(followers).retain(|known| known.id != session);
            if followers.is_empty() {
                index.remove(&topic);
            }
        }
    }

    pub(super) fn of(&self, topic: TopicId) -> Option<Followers> {
        lock(&self.0).get(&topic).cloned()
    }

    /// Whether anybody follows a topic of the shard.
    pub(super) fn has_shard(&self, shard: u32, shards: u32) -> bool {
        lock(&self.0).keys().any(|topic| topic.shard(shards) == shard)
    }
}

impl Edge {
    pub(super) fn new(
        config: config::Edge,
        receipts: config::Receipts,
        shards: u32,
        redis: Redis,
        sos: Redis,
        clock: Clock,
        verifier: Verifier,
    ) -> Self {
        let producer: u64 = rand::random();
        let boot = format!("{}-{producer:016x}", config.name);
        Self {
            pusher: Pusher::new(producer, &boot, shards, config.mark_linger, receipts.messages, receipts.sql_wait),
            config,
            receipts,
            shards,
            boot,
            redis,
            sos,
            clock,
            verifier,
            index: Index::default(),
            reports: Reports::default(),
            watchers: Watchers::default(),
            sessions: Mutex::default(),
            durability: AtomicU8::new(Durability::Memory as u8),
            pages_read_ms: AtomicU64::new(0),
            read_last: Mutex::new(Instant::now()),
            views: Views::new(shards),
            streams_made: AtomicU64::new(0),
            streams_gone: tokio::sync::Notify::new(),
        }
    }

    /// A limiter of one session's messages, unless they are not limited.
    pub(super) fn limiter(&self) -> Option<governor::DefaultDirectRateLimiter> {
        let per_second = NonZeroU32::new(self.config.rate_messages_per_s)?;
        let burst = NonZeroU32::new(self.config.rate_burst).unwrap_or(per_second);
        Some(governor::RateLimiter::direct(governor::Quota::per_second(per_second).allow_burst(burst)))
    }

    /// How safely a message is stored now.
    pub(super) fn durability(&self) -> Durability {
        match self.durability.load(Ordering::Relaxed) {
            5 => Durability::Sql,
            4 => Durability::Replica,
            3 => Durability::Fsync,
            2 => Durability::Written,
            _ => Durability::Memory,
        }
    }

    pub(super) fn set_durability(&self, durability: Durability) {
        self.durability.store(durability as u8, Ordering::Relaxed);
    }

    /// A page asked for before this time, by more than it takes to answer, did not come.
    pub(super) fn pages_read_ms(&self) -> u64 {
        self.pages_read_ms.load(Ordering::Relaxed)
    }

    pub(super) fn pages_were_read(&self, when_ms: u64) {
        self.pages_read_ms.store(when_ms, Ordering::Relaxed);
    }

    /// When the streams of this edge were last read, to whatever end.
    pub(super) fn read_last(&self) -> Instant {
        *lock(&self.read_last)
    }

    pub(super) fn was_read(&self) {
        *lock(&self.read_last) = Instant::now();
    }

    /// Takes a session in, unless there are as many as there may be.
    pub(super) fn register(&self, session: &Arc<Session>) -> Result<(), Reason> {
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.config.sessions_max {
            return Err(Reason::EdgeFull);
        }
        sessions.insert(session.id, session.clone());
        metrics::gauge!("roger_sessions").set(sessions.len() as f64);
        Ok(())
    }

    pub(super) fn forget(&self, session: SessionId) {
        let mut sessions = lock(&self.sessions);
        sessions.remove(&session);
        metrics::gauge!("roger_sessions").set(sessions.len() as f64);
    }

    pub(super) fn session(&self, session: SessionId) -> Option<Arc<Session>> {
        lock(&self.sessions).get(&session).cloned()
    }

    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        lock(&self.sessions).values().cloned().collect()
    }

    pub(super) fn session_count(&self) -> usize {
        lock(&self.sessions).len()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Hand;
    use crate::model::{InstallationId, TenantId, UserId, UserKind};
    use crate::session::Presence;
    use crate::token::{Claims, KeyPair};

    /// An edge whose Redis was never there, and the hand of its clock.
    pub(in crate::edge) fn edge() -> (Edge, Hand) {
        let folder = tempfile::tempdir().unwrap();
        KeyPair::create(folder.path()).unwrap();
        let verifier = Verifier::load(&folder.path().join(crate::token::PUBLIC_FILE)).unwrap();
        let config = config::Config::defaults().unwrap();
        let redis = Redis::new(crate::broker::Settings::from(&config.redis)).unwrap();
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        (Edge::new(config.edge, config.durability, 4, redis.clone(), redis, clock, verifier), hand)
    }

    /// A session at it.
    pub(in crate::edge) fn session(edge: &Edge, user: UserId) -> Arc<Session> {
        let (installation, kind) = (InstallationId(1), UserKind::Device);
        let presence = Presence::new(user, installation, SessionId(user.0), &edge.boot, &edge.config.name, edge.clock.now_ms());
        let claims =
            Claims { user, tenant: TenantId(1), kind, installation, name: "somebody".to_owned(), expires_ms: 0, issued_ms: 0, token_id: 0 };
        let session = Session::new(edge, claims, presence, HashMap::new());
        edge.register(&session).unwrap();
        session
    }
}
