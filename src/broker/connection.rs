//! One multiplexed connection per program, made again whenever it fails.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, Pipeline};
use tokio::sync::Mutex;

use super::error::Error;
use super::facts::{Facts, examine};
use super::replicate::{Asker, Replication};
use super::route::{Named, Route};
use super::scripts;

/// How to reach Redis, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `redis://HOST:PORT/DB`, `unix:///PATH`, or `redis-sentinel://HOST:PORT,HOST:PORT,…/DB#SERVICE`.
    pub url: String,
    /// For the TCP connection and the first commands on it.
    pub connect_timeout: Duration,
    /// For every command that does not block. Above the longest stall to be sat out.
    pub response_timeout: Duration,
    /// When something counts as replicated.
    pub replication: Replication,
}

impl From<&crate::config::Redis> for Settings {
    fn from(config: &crate::config::Redis) -> Self {
        let crate::config::Redis { url, connect_timeout, response_timeout, replicas, replica_wait } = config.clone();
        let replication = Replication { replicas, patience: replica_wait };
        Self { url, connect_timeout, response_timeout, replication }
    }
}

/// A handle to Redis. Clones share one connection; blocking reads use [`super::Reader`], which has its own.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    route: Arc<Route>,
    settings: Settings,
    current: Mutex<Current>,
    asker: Asker,
    /// Whether it stays with its connection, and fails when that breaks.
    held: bool,
}

/// The connection in use, numbered so that a call that failed discards only the one it used.
type Current = (u64, Option<Live>);

/// A connection, and what it found out.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    pub(super) facts: Arc<Facts>,
    /// Of the server, as `host:port` or the path of its socket.
    pub(super) address: String,
    /// Of the answer that named the server.
    generation: u64,
    epoch: Option<u64>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl Redis {
    /// A handle that connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Url`] when the URL does not parse.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let route = Arc::new(Route::parse(&settings.url, settings.connect_timeout)?);
        Ok(Self::with(route, settings, None))
    }

    /// A handle that stays with the present connection: once that breaks, every call fails. A connection is one run of one server, so what
    /// was read and written through the handle is of one history; a new connection may be to a Redis that lost the end of it.
    pub async fn hold(&self) -> Result<(Self, Arc<Facts>), Error> {
        let (_, live) = self.current().await?;
        let facts = live.facts.clone();
        let (route, settings) = (self.0.route.clone(), self.0.settings.clone());
        Ok((Self::with(route, settings, Some(live)), facts))
    }

    fn with(route: Arc<Route>, settings: Settings, held: Option<Live>) -> Self {
        let is_held = held.is_some();
        Self(Arc::new(Inner { route, settings, current: Mutex::new((0, held)), asker: Asker::default(), held: is_held }))
    }

    /// Another handle to the same, with connections of its own.
    pub(super) fn apart(&self) -> Self {
        Self::with(self.0.route.clone(), self.0.settings.clone(), None)
    }

    pub(super) fn asker(&self) -> &Asker {
        &self.0.asker
    }

    pub(super) fn replication(&self) -> Replication {
        self.0.settings.replication
    }

    pub(super) fn response_timeout(&self) -> Duration {
        self.0.settings.response_timeout
    }

    /// The way to the primary.
    pub(super) fn route(&self) -> &Route {
        &self.0.route
    }

    /// Whether a connection is to what is the primary by the newest answer.
    pub(super) fn is_current(&self, live: &Live) -> bool {
        live.generation == self.0.route.generation()
    }

    /// A connection of one's own to the primary; `response_timeout` counts from the sending of a command.
    pub(super) async fn connect(&self, response_timeout: Duration) -> Result<Live, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.0.settings.connect_timeout))
            .set_response_timeout(Some(response_timeout))
            .set_pipeline_buffer_size(1_000);
        let failed = |source| Error::of("connect", source);
        let Named { client, generation, epoch } = self.0.route.primary().await?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let facts = Arc::new(examine(&mut connection, epoch).await?);
        scripts::load(&mut connection).await.map_err(|source| Error::of("load the scripts", source))?;
        let address = client.get_connection_info().addr().to_string();
        Ok(Live { connection, facts, address, generation, epoch })
    }

    async fn current(&self) -> Result<(u64, Live), Error> {
        let mut current = self.0.current.lock().await;
        if let Some(live) = current.1.as_ref().filter(|live| self.is_current(live)) {
            return Ok((current.0, live.clone()));
        }
        if self.0.held {
            return Err(Error::Broken);
        }
        let live = self.connect(self.0.settings.response_timeout).await?;
        current.0 += 1;
        current.1 = Some(live.clone());
        Ok((current.0, live))
    }

    /// Drops the connection a call failed on, unless somebody did already.
    async fn discard(&self, number: u64) {
        let mut current = self.0.current.lock().await;
        if current.0 == number {
            current.1 = None;
        }
    }

    /// What the present connection found out about its server; connects if there is none.
    pub async fn facts(&self) -> Result<Arc<Facts>, Error> {
        self.current().await.map(|(_, live)| live.facts)
    }

    /// Asks the server again what it is: somebody may have changed its configuration.
    pub async fn refresh_facts(&self) -> Result<Arc<Facts>, Error> {
        let (number, mut live) = self.current().await?;
        match examine(&mut live.connection, live.epoch).await {
            Ok(facts) => {
                let facts = Arc::new(facts);
                let mut current = self.0.current.lock().await;
                if let (true, Some(live)) = (current.0 == number, current.1.as_mut()) {
                    live.facts = facts.clone();
                }
                Ok(facts)
            }
            Err(error) => {
                self.discard(number).await;
                Err(error)
            }
        }
    }

    /// Sends a pipeline in one round trip. When it fails, any part of it may have been executed.
    pub(super) async fn pipe<T: FromRedisValue>(&self, operation: &'static str, pipeline: &Pipeline) -> Result<T, Error> {
        self.pipe_to(operation, pipeline).await.map(|(answer, _)| answer)
    }

    /// As [`Redis::pipe`]; also what the server is that answered.
    pub(super) async fn pipe_to<T: FromRedisValue>(&self, operation: &'static str, pipeline: &Pipeline) -> Result<(T, Arc<Facts>), Error> {
        let (number, mut live) = self.current().await?;
        match pipeline.query_async(&mut live.connection).await {
            Ok(answer) => Ok((answer, live.facts)),
            Err(source) => {
                let error = Error::of(operation, source);
                // Any but these may mean another server, or answers that come late: none of them is worth keeping the connection for.
                if !matches!(error, Error::Rejected { .. }) && !error.is_full() {
                    self.discard(number).await;
                }
                Err(error)
            }
        }
    }

    /// Sends one command.
    pub(super) async fn command<T: FromRedisValue>(&self, operation: &'static str, command: redis::Cmd) -> Result<T, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        self.pipe::<(T,)>(operation, &pipeline).await.map(|(answer,)| answer)
    }
}
