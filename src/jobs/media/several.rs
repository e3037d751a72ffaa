//! Commands to several Januses: each goes to the one that has the room.

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use crate::broker::Redis;
use crate::janus::{CommandError, MediaServer, Outcome, Request};
use crate::jobs::bridge::server_of;
use crate::model::GroupId;

/// Several media servers, by their addresses.
#[derive(Debug)]
pub struct Several {
    redis: Redis,
    urls: Vec<String>,
    servers: Vec<Arc<dyn MediaServer>>,
}

impl Several {
    /// Each under its address, as the bridge calls it.
    pub fn new(redis: Redis, servers: Vec<(String, Arc<dyn MediaServer>)>) -> Self {
        let (urls, servers) = servers.into_iter().unzip();
        Self { redis, urls, servers }
    }

    async fn one(&self, group: GroupId, request: &Request) -> Result<Outcome, CommandError> {
        let late = |why: String| CommandError::Late { id: request.id.clone(), why };
        let at = server_of(&self.redis, group, &self.urls).await.map_err(|error| late(error.to_string()))?;
        match at.and_then(|at| self.servers.get(at)) {
            Some(server) => server.carry_out(request).await,
            None => Err(late("no media server is configured".to_owned())),
        }
    }

    async fn all(&self, request: &Request) -> Result<Outcome, CommandError> {
        let mut rooms = Vec::new();
        for answer in join_all(self.servers.iter().map(|server| server.carry_out(request))).await {
            match answer? {
                Outcome::Rooms(more) => rooms.extend(more),
                other => return Ok(other),
            }
        }
        Ok(Outcome::Rooms(rooms))
    }
}

impl MediaServer for Several {
    fn carry_out<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Outcome, CommandError>> {
        Box::pin(async move {
            match request.command.group() {
                Some(group) => self.one(group, request).await,
                None => self.all(request).await,
            }
        })
    }
}
