//! Whether a server that answered is the primary still.
//!
//! Programs hear of a failover within a second. Until then they may be connected to a primary of before which still takes writes, and what those
//! come to is lost. Whoever does something that lasts elsewhere because of such an answer asks anew who the primary is, after it.

use std::sync::Arc;

use super::connection::Redis;
use super::error::Error;
use super::facts::Facts;
use super::route::Asked;

impl Redis {
    /// Asks anew who the primaries are, of whoever says so, and fails unless those who answered are among them and of the same history since.
    /// Then every later primary goes on from what they answered, or a new epoch begins later than this. Where something is forgotten
    /// elsewhere because of it, more than half of the sentinels are asked: one of them may be cut off together with the old primary.
    ///
    /// # Errors
    /// [`Error::Broken`] when one of them is the primary no more, [`Error::Unsure`] when fewer sentinels answer; or why nobody could be asked.
    pub async fn confirm(&self, answered: &[Arc<Facts>], who: Asked) -> Result<(), Error> {
        match self.cluster() {
            Some(cluster) => drop(cluster.learn_now().await?),
            None => self.server_of(None).await?.route().ask_now(who).await?,
        }
        for facts in answered {
            let (_, live) = self.server_named(&facts.server)?.current().await?;
            if live.facts.history != facts.history {
                return Err(Error::Broken);
            }
        }
        Ok(())
    }
}
