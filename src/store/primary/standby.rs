//! The standby, for reads of what may be some seconds old.

use std::time::{Duration, Instant};

use sqlx::mysql::{MySql, MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::{Primary, Server, look_over};

/// For how long what was seen of it holds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same of one that could not be used: whoever looks waits for it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The standby as it was seen.
pub(super) struct Standby {
    at: Instant,
    epoch: u64,
    server: usize,
    pool: MySqlPool,
    fit: bool,
}

impl Standby {
    pub(super) async fn close(self) {
        self.pool.close().await;
    }
}

impl Primary {
    /// A connection to the standby: when reads from it are wished for, it follows the primary in use, and it is not too far behind.
    pub(in crate::store) async fn standby(&self, operation: &str) -> Option<PoolConnection<MySql>> {
        let lag_max = self.standby_lag_max?;
        let generation = self.generation(operation).await.ok()?;
        let at = self.servers.iter().position(|server| server.name != generation.server.name)?;
        let server = self.servers.get(at)?;
        let pool = {
            let mut seen = self.standby.lock().await;
            let holds = |seen: &Standby| {
                let same = seen.epoch == generation.epoch && seen.server == at;
                same && seen.at.elapsed() < if seen.fit { LOOK_EVERY } else { LOOK_AGAIN }
            };
            if !seen.as_ref().is_some_and(holds) {
                let fit = tokio::time::timeout(self.look_timeout(), follows(server, generation.epoch, lag_max)).await.unwrap_or_default();
                let pool = match seen.take().filter(|seen| seen.server == at) {
                    Some(seen) => seen.pool,
                    None => MySqlPoolOptions::new()
                        .acquire_timeout(self.acquire_timeout)
                        .max_connections(self.connections_max)
                        .connect_lazy_with(server.connect.clone()),
                };
                *seen = Some(Standby { at: Instant::now(), epoch: generation.epoch, server: at, pool, fit });
            }
            seen.as_ref().filter(|seen| seen.fit)?.pool.clone()
        };
        pool.acquire().await.ok()
    }
}

/// Whether a server has the row of the epoch, follows, and is at most so far behind.
async fn follows(server: &Server, epoch: u64, lag_max: Duration) -> bool {
    let work = async {
        let mut connection = server.connect.connect().await?;
        let look = look_over(&mut connection).await?;
        let rows = sqlx::raw_sql("SHOW SLAVE STATUS").fetch_all(&mut connection).await?;
        connection.close().await?;
        let of = |column: &str| rows.first().and_then(|row| row.try_get_unchecked::<Option<String>, _>(column).ok().flatten());
        let runs = ["Slave_IO_Running", "Slave_SQL_Running"].into_iter().all(|thread| of(thread).as_deref() == Some("Yes"));
        let behind = of("Seconds_Behind_Master").and_then(|seconds| seconds.parse::<u64>().ok());
        Ok::<_, sqlx::Error>(look.epoch() == epoch && runs && behind.is_some_and(|behind| behind <= lag_max.as_secs()))
    };
    work.await.unwrap_or_else(|error| {
        tracing::debug!(server = server.name, error = &error as &dyn std::error::Error, "the standby cannot be read from");
        false
    })
}
