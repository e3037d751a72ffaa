//! Brings what SQL says of called back tokens to Redis, where sessions open.
//!
//! At once after a call, and every few seconds whatever is young enough to matter: so a Redis that was emptied learns it again, and what was
//! called back by somebody who does not reach Redis, or died on the way, holds as well.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::login::{Desk, millis};
use crate::broker;
use crate::model::UserId;
use crate::session;
use crate::shutdown::Shutdown;
use crate::store::{self, Revocations};

/// How often everything is written again: so long after Redis was emptied, or an operator called tokens back, an edge may take one.
const ENFORCE_EVERY: Duration = Duration::from_secs(2);
/// How many accounts are written in one round trip.
const ACCOUNTS_A_CALL: u32 = 250;

/// Why it was not brought.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("SQL does not say whose tokens were called back")]
    Store(#[from] store::Error),
    #[error("Redis was not told whose tokens were called back")]
    Redis(#[from] broker::Error),
}

impl Desk {
    /// Ends what an account's called back tokens opened; how many sessions that were. What fails now is done within seconds.
    pub(super) async fn enforce(&self, user: UserId) -> u32 {
        let enforced = async {
            let revocations = self.store.revocations_of(user).await?;
            self.tell_redis(vec![revocations]).await
        };
        enforced.await.unwrap_or_else(|error: Failed| {
            tracing::warn!(user.id = %user, error = &error as &dyn std::error::Error, "sessions of called back tokens end a little later");
            0
        })
    }

    async fn tell_redis(&self, revocations: Vec<Revocations>) -> Result<u32, Failed> {
        let void: Vec<_> = revocations.into_iter().map(|Revocations { user, void_ms }| (user, void_ms)).collect();
        Ok(session::revoke(&self.redis, self.shards, self.token_lifetime, &void).await?)
    }

    /// Everything that voids a token which has not run out.
    async fn enforce_all(&self) -> Result<(), Failed> {
        let mut after = UserId(0);
        loop {
            let revocations = self.store.revocations(after, self.oldest_ms(), ACCOUNTS_A_CALL).await?;
            let Some(last) = revocations.last() else { return Ok(()) };
            after = last.user;
            self.tell_redis(revocations).await?;
        }
    }

    /// Tokens signed before have run out.
    pub(super) fn oldest_ms(&self) -> u64 {
        self.clock.now_ms().saturating_sub(millis(self.token_lifetime))
    }
}

/// Brings it until it is time to stop.
pub(super) async fn run(desk: Arc<Desk>, shutdown: Shutdown) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = desk.clock.sleep(ENFORCE_EVERY) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        // Readiness says that a server is away; the next round does what this one could not.
        if let Err(error) = desk.enforce_all().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "called back tokens were not brought to Redis");
        }
    }
}
