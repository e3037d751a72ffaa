//! What programs tell each other of SQL: the epoch of its primary.

use futures_util::future::BoxFuture;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::SQL_EPOCH;

impl Redis {
    /// Notes the epoch of an SQL primary, 0 for none; returns the highest that anybody ever noted, 0 for none.
    pub async fn note_sql_epoch(&self, epoch: u64) -> Result<u64, Error> {
        let mut command = SQL_EPOCH.call(&[&keys::sql_epoch()]);
        command.arg(epoch);
        self.command("note the epoch of SQL", command).await
    }

    /// [`Redis::note_sql_epoch`] as a function, for a store that follows the epoch; it answers `None` while Redis is away.
    pub fn sql_epochs(&self) -> impl Fn(u64) -> BoxFuture<'static, Option<u64>> + Send + 'static + use<> {
        let redis = self.clone();
        move |epoch| {
            let redis = redis.clone();
            Box::pin(async move { redis.note_sql_epoch(epoch).await.ok() })
        }
    }
}
