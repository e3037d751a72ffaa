//! What is fixed for a deployment.

use sqlx::AssertSqlSafe;

use super::conn::values;
use super::{Error, Store};

impl Store {
    /// Fixes the number of shards on the first call, and compares it on all later ones: topics are spread by it, so it can never change.
    pub async fn pin_shards(&self, shards: u32) -> Result<(), Error> {
        self.write(format!("pin {shards} shards"), move |conn| {
            Box::pin(async move {
                let insert = format!("{} setting (name, value) VALUES ('shards', ?)", conn.dialect().insert_ignore());
                conn.execute(AssertSqlSafe(insert), values![shards.to_string().as_str()]).await?;
                let (stored,): (String,) = conn.one("SELECT value FROM setting WHERE name = 'shards'", &[]).await?;
                if stored == shards.to_string() { Ok(()) } else { Err(Error::ShardsDiffer { stored, configured: shards }) }
            })
        })
        .await
    }
}
