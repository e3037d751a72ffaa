//! One multiplexed connection to a server, made again whenever it fails.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, FromRedisValue, Pipeline, Value};
use tokio::sync::Mutex;

use super::connection::Settings;
use super::error::Error;
use super::facts::{Facts, examine};
use super::replicate::Asker;
use super::route::{Named, Route};
use super::scripts;

/// A server, or whichever is the primary of some.
pub(super) struct Server {
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
    /// Of the answer that named the server.
    generation: u64,
    epoch: Option<u64>,
}

impl Server {
    pub(super) fn new(route: Arc<Route>, settings: Settings) -> Self {
        Self::with(route, settings, None)
    }

    /// Stays with the present connection: once that breaks, every call fails.
    pub(super) async fn hold(&self) -> Result<Self, Error> {
        let (_, live) = self.current().await?;
        Ok(Self::with(self.route.clone(), self.settings.clone(), Some(live)))
    }

    fn with(route: Arc<Route>, settings: Settings, held: Option<Live>) -> Self {
        let is_held = held.is_some();
        Self { route, settings, current: Mutex::new((0, held)), asker: Asker::default(), held: is_held }
    }

    /// Another handle to the same, with connections of its own.
    pub(super) fn apart(&self) -> Self {
        Self::with(self.route.clone(), self.settings.clone(), None)
    }

    pub(super) fn asker(&self) -> &Asker {
        &self.asker
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The way to it.
    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// Whether a connection is to what is the primary by the newest answer.
    pub(super) fn is_current(&self, live: &Live) -> bool {
        live.generation == self.route.generation()
    }

    /// A connection of one's own to the primary; `response_timeout` counts from the sending of a command.
    pub(super) async fn connect(&self, response_timeout: Duration) -> Result<Live, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout))
            .set_response_timeout(Some(response_timeout))
            .set_pipeline_buffer_size(1_000);
        let failed = |source| Error::of("connect", source);
        let Named { client, generation, epoch } = self.route.primary().await?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let address = client.get_connection_info().addr().to_string();
        let facts = Arc::new(examine(&mut connection, &address, epoch).await?);
        scripts::load(&mut connection).await.map_err(|source| Error::of("load the scripts", source))?;
        Ok(Live { connection, facts, generation, epoch })
    }

    /// The connection in use; made if there is none.
    pub(super) async fn current(&self) -> Result<(u64, Live), Error> {
        let mut current = self.current.lock().await;
        if let Some(live) = current.1.as_ref().filter(|live| self.is_current(live)) {
            return Ok((current.0, live.clone()));
        }
        if self.held {
            return Err(Error::Broken);
        }
        let live = self.connect(self.settings.response_timeout).await?;
        current.0 += 1;
        current.1 = Some(live.clone());
        Ok((current.0, live))
    }

    /// Drops the connection a call failed on, unless somebody did already.
    async fn discard(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.0 == number {
            current.1 = None;
        }
    }

    /// Asks the server again what it is: somebody may have changed its configuration.
    pub(super) async fn refresh_facts(&self) -> Result<Arc<Facts>, Error> {
        let (number, mut live) = self.current().await?;
        match examine(&mut live.connection, &live.facts.server, live.epoch).await {
            Ok(facts) => {
                let facts = Arc::new(facts);
                let mut current = self.current.lock().await;
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

    /// Sends a pipeline in one round trip; also what the server is that answered. When it fails, any part of it may have been executed.
    pub(super) async fn pipe<T: FromRedisValue>(&self, operation: &'static str, pipeline: &Pipeline) -> Result<(T, Arc<Facts>), Error> {
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

    /// Sends a pipeline to a server of a cluster; the answers as they came, refusals among them, one for each command, or one for a transaction.
    pub(super) async fn exchange(&self, operation: &'static str, pipeline: &Pipeline) -> Result<(Vec<Value>, Arc<Facts>), Error> {
        let (number, mut live) = self.current().await?;
        let (offset, count) = if pipeline.is_transaction() { (pipeline.len() + 1, 1) } else { (0, pipeline.len()) };
        match live.connection.req_packed_commands(pipeline, offset, count).await {
            Ok(answers) => {
                let of_the_server = |answer: &Value| matches!(answer, Value::ServerError(error) if Error::is_of_the_server(error.code()));
                if answers.iter().any(of_the_server) {
                    self.discard(number).await;
                }
                Ok((answers, live.facts))
            }
            Err(source) => {
                self.discard(number).await;
                Err(Error::of(operation, source))
            }
        }
    }
}
