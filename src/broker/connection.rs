//! One multiplexed connection per program, made again whenever it fails.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, Pipeline};
use tokio::sync::Mutex;

use super::error::Error;
use super::scripts;
use crate::model::Durability;

/// How to reach Redis, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `redis://HOST:PORT/DB` or `unix:///PATH`.
    pub url: String,
    /// For the TCP connection and the first commands on it.
    pub connect_timeout: Duration,
    /// For every command that does not block. Above the longest stall to be sat out.
    pub response_timeout: Duration,
}

impl From<&crate::config::Redis> for Settings {
    fn from(config: &crate::config::Redis) -> Self {
        let crate::config::Redis { url, connect_timeout, response_timeout } = config.clone();
        Self { url, connect_timeout, response_timeout }
    }
}

/// What a connection found out about its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Random per start of the server process.
    pub run_id: String,
    /// How safe a write is once it is answered.
    pub durability: Durability,
}

/// A handle to Redis. Clones share one connection; blocking reads use [`super::Reader`], which has its own.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    settings: Settings,
    current: Mutex<Current>,
    /// Whether it stays with its connection, and fails when that breaks.
    held: bool,
}

/// The connection in use, numbered so that a call that failed discards only the one it used.
type Current = (u64, Option<(MultiplexedConnection, Arc<Facts>)>);

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
        // A peer that vanished without a word is noticed in 10 s + 3 * 3 s when idle, and in 10 s when something is unacknowledged.
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(3)).with_retries(3);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(Duration::from_secs(10));
        let info = settings.url.as_str().into_connection_info().map_err(Error::Url)?.set_tcp_settings(tcp);
        let client = Client::open(info).map_err(Error::Url)?;
        Ok(Self(Arc::new(Inner { client, settings, current: Mutex::new((0, None)), held: false })))
    }

    /// A handle that stays with the present connection: once that breaks, every call fails. A connection is one run of one server, so what
    /// was read and written through the handle is of one history; a new connection may be to a Redis that lost the end of it.
    pub async fn hold(&self) -> Result<(Self, Arc<Facts>), Error> {
        let (_, connection, facts) = self.current().await?;
        let (client, settings) = (self.0.client.clone(), self.0.settings.clone());
        let current = Mutex::new((0, Some((connection, facts.clone()))));
        Ok((Self(Arc::new(Inner { client, settings, current, held: true })), facts))
    }

    /// A connection of one's own; `response_timeout` counts from the sending of a command.
    pub(super) async fn connect(&self, response_timeout: Duration) -> Result<(MultiplexedConnection, Facts), Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.0.settings.connect_timeout))
            .set_response_timeout(Some(response_timeout))
            .set_pipeline_buffer_size(1_000);
        let failed = |source| Error::of("connect", source);
        let mut connection = self.0.client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let facts = examine(&mut connection).await?;
        scripts::load(&mut connection).await.map_err(|source| Error::of("load the scripts", source))?;
        Ok((connection, facts))
    }

    async fn current(&self) -> Result<(u64, MultiplexedConnection, Arc<Facts>), Error> {
        let mut current = self.0.current.lock().await;
        if let Some((connection, facts)) = &current.1 {
            return Ok((current.0, connection.clone(), facts.clone()));
        }
        if self.0.held {
            return Err(Error::Broken);
        }
        let (connection, facts) = self.connect(self.0.settings.response_timeout).await?;
        let facts = Arc::new(facts);
        current.0 += 1;
        current.1 = Some((connection.clone(), facts.clone()));
        Ok((current.0, connection, facts))
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
        self.current().await.map(|(_, _, facts)| facts)
    }

    /// Asks the server again what it is: somebody may have changed its configuration.
    pub async fn refresh_facts(&self) -> Result<Arc<Facts>, Error> {
        let (number, mut connection, _) = self.current().await?;
        match examine(&mut connection).await {
            Ok(facts) => {
                let facts = Arc::new(facts);
                let mut current = self.0.current.lock().await;
                if let (true, Some((_, known))) = (current.0 == number, current.1.as_mut()) {
                    *known = facts.clone();
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
        let (number, mut connection, facts) = self.current().await?;
        match pipeline.query_async(&mut connection).await {
            Ok(answer) => Ok((answer, facts)),
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

/// Learns what server this is, and refuses one that would lose what it was given.
async fn examine(connection: &mut MultiplexedConnection) -> Result<Facts, Error> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("INFO").arg("server");
    for name in ["appendonly", "appendfsync", "maxmemory-policy", "maxmemory"] {
        pipeline.cmd("CONFIG").arg("GET").arg(name);
    }
    type Setting = std::collections::HashMap<String, String>;
    let (info, appendonly, appendfsync, policy, maxmemory): (String, Setting, Setting, Setting, Setting) =
        pipeline.query_async(connection).await.map_err(|source| Error::of("ask Redis what it is", source))?;
    let fact = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().to_owned();
    let value = |setting: Setting| setting.into_values().next().unwrap_or_default();
    let version = fact("redis_version");
    if version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_none_or(|major| major < 7) {
        return Err(Error::Unfit { why: format!("its version is {version}, and 7.0 is the lowest that works") });
    }
    let (policy, maxmemory) = (value(policy), value(maxmemory));
    if policy != "noeviction" && maxmemory != "0" {
        return Err(Error::Unfit {
            why: format!("maxmemory-policy is {policy}, which deletes queues when memory is short: set noeviction"),
        });
    }
    let durability = match (value(appendonly).as_str(), value(appendfsync).as_str()) {
        ("yes", "always") => Durability::Fsync,
        ("yes", "no") => Durability::Written,
        // everysec answers up to two seconds before it writes while an fsync is slow.
        _ => Durability::Memory,
    };
    Ok(Facts { run_id: fact("run_id"), durability })
}
