//! Who calls, and when what a call changed is on its way.

use std::time::Duration;

use super::login::Desk;
use super::store_failed;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::store::{Account, Store};
use crate::token::Claims;

/// How long a call waits until the shards' inputs hold what it changed. Beyond that it answers all the same: the change is stored, and the
/// relay brings it when it can.
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks. The relay of this program is woken; one of another program looks by itself.
const SETTLE_LOOK: Duration = Duration::from_millis(5);

/// The account behind a token, as SQL has it now.
pub(super) struct Caller {
    pub(super) account: Account,
    pub(super) claims: Claims,
    /// The store, whose changes name the account as their author and are refused where it manages nothing.
    pub(super) store: Store,
}

impl Desk {
    /// Who calls. An account that was disabled or deleted is nobody, and so is a token that was called back, whatever it says.
    pub(super) async fn caller(&self, token: &str) -> Result<Caller, Refused> {
        let claims = self.claims(token, self.clock.now_ms())?;
        let account = self.store.caller(claims.user, claims.installation, claims.issued_ms).await.map_err(store_failed)?;
        let account = account.ok_or_else(|| Refused::new(Reason::TokenRevoked).field("token"))?;
        let store = self.store_of(account.id);
        Ok(Caller { account, claims, store })
    }

    /// Waits until everything written so far is in the inputs of the shards, so that it stands in front of whatever the caller does next.
    pub(super) async fn settle(&self) {
        self.nudge.notify_one();
        let settled = async {
            let Ok(last) = self.store.outbox_last().await else { return };
            // An SQL that does not answer says nothing of what waits.
            while !self.store.outbox_first().await.is_ok_and(|first| first.is_none_or(|first| first > last)) {
                tokio::time::sleep(SETTLE_LOOK).await;
            }
        };
        if tokio::time::timeout(SETTLE_PATIENCE, settled).await.is_err() {
            tracing::warn!("a change is stored and waits for the relay");
        }
    }
}
