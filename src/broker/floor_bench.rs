//! What Redis itself can do: the measure beside which `roger bench` puts the fleet.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

use super::connection::Redis;
use super::error::Error;

/// Connections; more did not change the result on two cores.
const CONNECTIONS: usize = 4;

/// How the floor is measured.
#[derive(Clone, Copy, Debug)]
pub struct FloorLoad {
    /// Messages in all.
    pub messages: u64,
    /// Pairs of a producer and a consumer, each with a stream.
    pub pairs: u32,
    /// Commands of a pipeline.
    pub window: u32,
    /// Length of each payload in bytes.
    pub bytes: usize,
}

impl Redis {
    /// Empties the server, or all of a cluster, as an accident would. For benchmarks on servers of their own, and nothing else.
    pub async fn empty(&self) -> Result<(), Error> {
        for server in self.each().await? {
            server.command::<()>("empty the server", redis::cmd("FLUSHALL")).await?;
        }
        Ok(())
    }

    /// One XADD, one XREADGROUP and one XACK for each message, in pipelines, each message read and acknowledged by the consumer of its
    /// pair; streams are trimmed as a queue would. Returns how many messages there were and how long it took. Uses keys of its own and deletes them.
    pub async fn bench_floor(&self, load: FloorLoad) -> Result<(u64, Duration), Error> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(self.connect(None, Duration::from_secs(30)).await?.connection);
        }
        let rounds = load.messages.div_ceil(u64::from(load.pairs) * u64::from(load.window)).max(1);
        let begun = Instant::now();
        let mut pairs = tokio::task::JoinSet::new();
        for pair in 0..load.pairs as usize {
            pairs.spawn(play_pair(connections[pair % CONNECTIONS].clone(), format!("bench:floor:{pair}"), rounds, load));
        }
        while let Some(done) = pairs.join_next().await {
            if let Ok(Err(source)) = done {
                return Err(Error::of("measure the floor", source));
            }
        }
        Ok((rounds * u64::from(load.pairs) * u64::from(load.window), begun.elapsed()))
    }
}

async fn play_pair(mut connection: MultiplexedConnection, stream: String, rounds: u64, load: FloorLoad) -> Result<(), redis::RedisError> {
    let payload = vec![b'x'; load.bytes];
    let window = load.window as usize;
    redis::cmd("XGROUP").arg("CREATE").arg(&stream).arg("bench").arg("$").arg("MKSTREAM").query_async::<()>(&mut connection).await?;
    for _ in 0..rounds {
        let mut add = redis::Pipeline::with_capacity(window);
        for _ in 0..window {
            add.cmd("XADD").arg(&stream).arg("MAXLEN").arg("~").arg(1_000).arg("*").arg("1").arg(&payload);
        }
        let ids: Vec<String> = add.query_async(&mut connection).await?;
        let mut read = redis::Pipeline::with_capacity(window);
        for _ in 0..window {
            let command = read.cmd("XREADGROUP").arg("GROUP").arg("bench").arg("c").arg("COUNT").arg(1);
            command.arg("STREAMS").arg(&stream).arg(">");
        }
        read.query_async::<Vec<redis::Value>>(&mut connection).await?;
        let mut acknowledge = redis::Pipeline::with_capacity(window);
        for id in &ids {
            acknowledge.cmd("XACK").arg(&stream).arg("bench").arg(id);
        }
        acknowledge.query_async::<Vec<u64>>(&mut connection).await?;
    }
    redis::cmd("DEL").arg(&stream).query_async(&mut connection).await
}
