//! The end of temporary groups: each lives as long as the session it was made in.
//!
//! Logout ends one at once. All other ends are seen in who is connected: when the installation has another session (the page was loaded again,
//! or somebody else took the place) the group is dissolved at the next look; when it has none (goodbye, expiry) after [`GONE_FOR`], because
//! a Redis that lost its memory hears of the sessions again from their edges within seconds. Nothing is dissolved on the word of a Redis or
//! SQL that does not answer. Any number of directories may look: to dissolve twice is harmless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::login::Desk;
use crate::model::{GroupId, InstallationId, SessionId, UserId};
use crate::session;
use crate::shutdown::Shutdown;
use crate::store::{self, Store, TemporaryGroup};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a session is missing, seen so at every look, until it counts as ended.
const GONE_FOR: Duration = Duration::from_secs(5);
/// The most groups of a round trip.
const PAGE: u32 = 1_000;

/// Since when the sessions of groups are missing, UTC ms.
type Missing = BTreeMap<(GroupId, SessionId), u64>;

/// Ends temporary groups until `shutdown`.
pub(super) async fn ending(desk: Arc<Desk>, shutdown: Shutdown) -> Result<(), Error> {
    let mut missing = Missing::new();
    loop {
        tokio::select! {
            () = desk.clock.sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        missing = match desk.look(&missing).await {
            Ok(missing) => missing,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "not known which temporary groups ended");
                Missing::new()
            }
        };
    }
}

impl Desk {
    /// Dissolves what ended; returns what is missing now.
    async fn look(&self, missing: &Missing) -> Result<Missing, Error> {
        let (mut still, mut after) = (Missing::new(), GroupId(0));
        loop {
            let groups = self.store.temporary_groups(after, PAGE).await.map_err(|source| Error::Store { source })?;
            let Some(last) = groups.last() else { return Ok(still) };
            after = last.group;
            let asked: Vec<(UserId, InstallationId)> = groups.iter().map(|found| (found.owner, found.tie.installation)).collect();
            let held = session::held(&self.redis, self.shards, &asked).await.map_err(|source| Error::Redis { source })?;
            let now_ms = self.clock.now_ms();
            for (TemporaryGroup { group, owner, tie }, held) in groups.into_iter().zip(held) {
                let since_ms = missing.get(&(group, tie.session)).copied().unwrap_or(now_ms);
                let ended = match held {
                    Some(session) => session != tie.session,
                    None => now_ms.saturating_sub(since_ms) > GONE_FOR.as_millis() as u64,
                };
                if ended {
                    let ended = self.end_temporary(&self.store, owner, tie.installation, Some(tie.session)).await;
                    ended.map_err(|source| Error::Store { source })?;
                } else if held.is_none() {
                    still.insert((group, tie.session), since_ms);
                }
            }
        }
    }

    /// Dissolves the temporary group of an account, if it lives as long as this session, or any of the installation.
    pub(super) async fn end_temporary(
        &self,
        store: &Store,
        owner: UserId,
        installation: InstallationId,
        session: Option<SessionId>,
    ) -> Result<(), store::Error> {
        if let Some(group) = store.dissolve_temporary(owner, installation, session, self.clock.now_ms()).await? {
            tracing::debug!(group.id = %group, user.id = %owner, "a temporary group ended with its session");
            self.nudge.notify_one();
        }
        Ok(())
    }
}
