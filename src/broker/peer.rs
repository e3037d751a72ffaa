//! One of several servers that say where the primaries are: a sentinel, or a server of a cluster.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Somebody to ask, over a connection that is kept.
pub(super) struct Peer {
    /// `host:port`.
    pub(super) name: String,
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// For the connection and for each answer.
    deadline: Duration,
}

impl Peer {
    pub(super) fn new(name: &str, client: Client, deadline: Duration) -> Self {
        Self { name: name.to_owned(), client, connection: Mutex::default(), deadline }
    }

    pub(super) async fn connection(&self) -> Result<MultiplexedConnection, String> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref() {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.deadline)).set_response_timeout(Some(self.deadline));
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| error.to_string())?;
        Ok(connection.insert(made).clone())
    }

    /// Asks, and drops the connection when there is no answer.
    pub(super) async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, String> {
        let mut connection = self.connection().await?;
        let asked = pipeline.query_async(&mut connection).await;
        if asked.is_err() {
            *self.connection.lock().await = None;
        }
        asked.map_err(|error| error.to_string())
    }

    /// What it publishes on a channel; `None` when it cannot be listened to.
    pub(super) async fn announcements(&self, channel: &str) -> Option<PubSubStream> {
        let listen = async {
            let mut listener = self.client.get_async_pubsub().await.ok()?;
            listener.subscribe(channel).await.ok()?;
            Some(listener.into_on_message())
        };
        timeout(self.deadline, listen).await.ok().flatten()
    }
}
