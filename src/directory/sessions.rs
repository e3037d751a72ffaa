//! Sessions and passwords: what an account is used by, and how it is ended.

use std::collections::BTreeMap;

use super::caller::Caller;
use super::login::{BUSY_RETRY, Desk};
use super::password::{Error, PASSWORD_BYTES_MAX};
use super::{store_failed, unavailable};
use crate::model::{InstallationId, Reason, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::session::{self, Wanted};
use crate::store::{LoginRecord, Revoked};

/// The most connected sessions that are listed.
const SESSIONS_MAX: usize = 1_000;
/// How many logins are listed.
const LOGINS: u32 = 50;
/// The shortest password somebody may choose, in bytes.
const PASSWORD_BYTES_MIN: usize = 8;

impl Caller {
    /// The account a request names; 0 is the caller's own. Whether the caller manages it the store says.
    fn target(&self, account_id: u64) -> UserId {
        if account_id == 0 { self.account.id } else { UserId(account_id) }
    }

    /// The caller's own installation, when the account is the caller's own.
    fn own_installation(&self, target: UserId) -> Option<InstallationId> {
        (target == self.account.id).then_some(self.claims.installation)
    }
}

impl Desk {
    /// By what an account is used: sessions that are connected, those that may come back without a password, and the last logins.
    pub(super) async fn list_sessions(&self, request: v1::ListSessionsRequest) -> Result<v1::ListSessionsResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let target = caller.target(request.account_id);
        let access = caller.store.access(target, self.clock.now_ms(), LOGINS).await.map_err(store_failed)?;
        let wanted = Wanted { user: Some(target), edge: None, limit: SESSIONS_MAX };
        let listing = session::list(&self.redis, self.shards, &wanted).await;
        let listing = listing.map_err(|error| unavailable("list sessions", error.class(), &error))?;
        let own = caller.own_installation(target);
        let mut sessions: BTreeMap<InstallationId, v1::LiveSession> = BTreeMap::new();
        let mut session = |installation: InstallationId, add: &mut dyn FnMut(&mut v1::LiveSession)| {
            let session = sessions.entry(installation).or_default();
            (session.installation_id, session.own) = (installation.0, own == Some(installation));
            add(session);
        };
        for live in listing.sessions {
            session(live.presence.installation, &mut |session| {
                session.edge.clone_from(&live.presence.edge_name);
                session.since_ms = live.presence.since_ms;
            });
        }
        for token in access.resume_tokens {
            session(token.installation, &mut |session| session.resume_expires_ms = session.resume_expires_ms.max(token.expires_ms));
        }
        Ok(v1::ListSessionsResponse {
            sessions: sessions.into_values().collect(),
            logins: access.logins.into_iter().map(login_entry).collect(),
        })
    }

    /// Ends the sessions of an installation, or of all, and calls their tokens back.
    pub(super) async fn revoke_session(&self, request: v1::RevokeSessionRequest) -> Result<v1::RevokeSessionResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let target = caller.target(request.account_id);
        let revoked = match request.installation_id {
            0 => Revoked::AllBut(caller.own_installation(target)),
            installation => Revoked::Installation(InstallationId(installation)),
        };
        caller.store.revoke(target, revoked).await.map_err(store_failed)?;
        Ok(v1::RevokeSessionResponse { closed: self.enforce(target).await })
    }

    /// Changes a password: one's own with the old one, or that of an account the caller manages. The caller's installation stays logged in.
    pub(super) async fn change_password(&self, request: v1::ChangePasswordRequest) -> Result<v1::ChangePasswordResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let target = caller.target(request.account_id);
        let keep = caller.own_installation(target);
        let refused = |reason, field: &'static str| Err(Refused::new(reason).field(field));
        if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&request.new_password.len()) {
            return refused(Reason::FieldInvalid, "new_password");
        }
        let mut old_hash = None;
        if keep.is_some() {
            if !(1..=PASSWORD_BYTES_MAX).contains(&request.old_password.len()) {
                return refused(Reason::FieldMissing, "old_password");
            }
            // Whoever found a radio may guess no faster than one who found a name.
            self.throttle.attempt(&caller.account.name, None).map_err(|wait| Refused::new(Reason::RateLimited).retry_after(wait))?;
            let stored = caller.account.password_hash.clone();
            let good = self.passwords.verify(&request.old_password, Some(&stored)).await.map_err(password_failed)?;
            if !good {
                return refused(Reason::BadCredentials, "old_password");
            }
            old_hash = Some(stored);
        }
        let hash = self.passwords.hash(&request.new_password).await.map_err(password_failed)?;
        let changed = caller.store.change_password(target, &hash, old_hash.as_deref(), keep).await.map_err(store_failed)?;
        if !changed {
            // Somebody was faster: the old password is another one by now.
            return refused(Reason::BadCredentials, "old_password");
        }
        self.enforce(target).await;
        Ok(v1::ChangePasswordResponse {})
    }
}

fn password_failed(error: Error) -> Refused {
    match error {
        Error::Busy => Refused::new(Reason::RateLimited).retry_after(BUSY_RETRY),
        error => unavailable("change a password", error.class(), &error),
    }
}

fn login_entry(record: LoginRecord) -> v1::LoginEntry {
    let LoginRecord { user: _, installation, time_ms, outcome, peer, app } = record;
    v1::LoginEntry { time_ms, installation_id: installation.0, outcome, peer, app }
}
