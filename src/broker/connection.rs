//! The handle to Redis: one server, whichever of several is the primary, or a cluster of primaries.

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, Pipeline};

use super::cluster::{Cluster, Hold};
use super::error::Error;
use super::facts::{Facts, weakest};
use super::replicate::Replication;
use super::route::Route;
use super::server::{Live, Server};
use super::slots::slot_of;
use super::spread;

/// How to reach Redis, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `redis://HOST:PORT/DB`, `unix:///PATH`, `redis-sentinel://HOST:PORT,HOST:PORT,…/DB#SERVICE`, or `redis-cluster://HOST:PORT,HOST:PORT,…`.
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

/// A handle to Redis. Clones share one connection a server; blocking reads use [`super::Reader`], which has its own.
#[derive(Clone)]
pub struct Redis(Servers);

#[derive(Clone)]
enum Servers {
    /// One server, or whichever the sentinels name.
    One(Arc<Server>),
    /// Each key is at the server that has its slot.
    Cluster(Arc<Cluster>, Option<Arc<Hold>>),
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
        if let Some(cluster) = Cluster::parse(&settings)? {
            return Ok(Self(Servers::Cluster(Arc::new(cluster), None)));
        }
        let route = Arc::new(Route::parse(&settings.url, settings.connect_timeout)?);
        Ok(Self::of(Arc::new(Server::new(route, settings))))
    }

    fn of(server: Arc<Server>) -> Self {
        Self(Servers::One(server))
    }

    /// A handle that stays with the present connections: once one of those it used breaks, every call fails. A connection is one run of one
    /// server, so what was read and written through the handle is of one history; a new connection may be to a Redis that lost the end of it.
    /// `home` is the key that it is about; with the facts of who has that.
    pub async fn hold(&self, home: &str) -> Result<(Self, Arc<Facts>), Error> {
        match &self.0 {
            Servers::One(server) => {
                let held = server.hold().await?;
                let facts = held.current().await?.1.facts;
                Ok((Self::of(Arc::new(held)), facts))
            }
            Servers::Cluster(cluster, _) => {
                let hold = Arc::new(Hold::new(slot_of(home.as_bytes())));
                let server = cluster.held_server(&hold, hold.home()).await?;
                let facts = server.current().await?.1.facts;
                Ok((Self(Servers::Cluster(cluster.clone(), Some(hold))), facts))
            }
        }
    }

    /// Whether keys are spread over several servers, which fail one by one.
    pub fn is_cluster(&self) -> bool {
        matches!(self.0, Servers::Cluster(..))
    }

    /// Another handle to the same; to one server with connections of its own.
    pub(super) fn apart(&self) -> Self {
        match &self.0 {
            Servers::One(server) => Self::of(Arc::new(server.apart())),
            Servers::Cluster(..) => self.clone(),
        }
    }

    /// The cluster, when it is one.
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.0 {
            Servers::One(_) => None,
            Servers::Cluster(cluster, _) => Some(cluster),
        }
    }

    /// The server that has a key; of a cluster any for none.
    pub(super) async fn server_of(&self, key: Option<&[u8]>) -> Result<Arc<Server>, Error> {
        match &self.0 {
            Servers::One(server) => Ok(server.clone()),
            Servers::Cluster(cluster, _) => cluster.server_at(key.map(slot_of)).await,
        }
    }

    /// The server that goes by a name, as [`Facts::server`]; [`Error::Broken`] when there is none any more.
    pub(super) fn server_named(&self, name: &str) -> Result<Arc<Server>, Error> {
        match &self.0 {
            Servers::One(server) => Ok(server.clone()),
            Servers::Cluster(cluster, _) => cluster.server_named(name).ok_or(Error::Broken),
        }
    }

    /// A handle to each server by itself: for what is about servers and no keys.
    pub async fn each(&self) -> Result<Vec<Self>, Error> {
        match &self.0 {
            Servers::One(_) => Ok(vec![self.clone()]),
            Servers::Cluster(cluster, _) => Ok(cluster.servers().await?.into_iter().map(Self::of).collect()),
        }
    }

    /// A connection of one's own, to the server that has a key.
    pub(super) async fn connect(&self, key: Option<&[u8]>, response_timeout: Duration) -> Result<Live, Error> {
        self.server_of(key).await?.connect(response_timeout).await
    }

    /// What the present connection found out about its server; of several servers what holds for each. Connects if there is none.
    pub async fn facts(&self) -> Result<Arc<Facts>, Error> {
        let mut all = Vec::new();
        for server in self.all().await? {
            all.push(server.current().await?.1.facts);
        }
        weakest(&all).ok_or(Error::NoOwner { slot: 0 })
    }

    /// As [`Redis::facts`], asked again: somebody may have changed the configuration of a server.
    pub async fn refresh_facts(&self) -> Result<Arc<Facts>, Error> {
        let mut all = Vec::new();
        for server in self.all().await? {
            all.push(server.refresh_facts().await?);
        }
        weakest(&all).ok_or(Error::NoOwner { slot: 0 })
    }

    async fn all(&self) -> Result<Vec<Arc<Server>>, Error> {
        match &self.0 {
            Servers::One(server) => Ok(vec![server.clone()]),
            Servers::Cluster(cluster, _) => cluster.servers().await,
        }
    }

    /// Sends a pipeline in one round trip; of a cluster in one to each server that has keys of it. When it fails, any part of it may have been
    /// executed.
    pub(super) async fn pipe<T: FromRedisValue>(&self, operation: &'static str, pipeline: &Pipeline) -> Result<T, Error> {
        self.pipe_to(operation, pipeline).await.map(|(answer, _)| answer)
    }

    /// As [`Redis::pipe`]; also what the servers are that answered.
    pub(super) async fn pipe_to<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<(T, Vec<Arc<Facts>>), Error> {
        match &self.0 {
            Servers::One(server) => server.pipe(operation, pipeline).await.map(|(answer, facts)| (answer, vec![facts])),
            Servers::Cluster(cluster, hold) => spread::pipe(cluster, hold.as_deref(), operation, pipeline).await,
        }
    }

    /// Sends one command.
    pub(super) async fn command<T: FromRedisValue>(&self, operation: &'static str, command: redis::Cmd) -> Result<T, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        self.pipe::<(T,)>(operation, &pipeline).await.map(|(answer,)| answer)
    }
}
