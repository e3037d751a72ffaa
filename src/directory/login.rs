//! Login and logout.
//!
//! Whoever knows neither a password nor a resume token learns nothing: an unknown name, a wrong password, a disabled account and a void
//! resume token get one answer, and the first three after the same work. What is written about a refused attempt is written after the
//! answer, so that the time to write does not tell either.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::LOGIN_NAME_CHARACTERS_MAX;
use super::gate::App;
use super::password::{PASSWORD_BYTES_MAX, Passwords};
use super::resume::ResumeSecret;
use super::{password, store_failed, unavailable};
use crate::broker::Redis;
use crate::clock::Clock;
use crate::model::{InstallationId, Reason, UserId, UserKind};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::{Account, Author, LoginRecord, ResumeToken, Rotation, Store};
use crate::throttle::Throttle;
use crate::token::{Claims, Signer, Verifier};

/// When to try again when too many log in.
pub(super) const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Where clients log in and out.
pub(super) struct Desk {
    pub(super) store: Store,
    pub(super) signer: Signer,
    pub(super) verifier: Verifier,
    pub(super) passwords: Passwords,
    pub(super) throttle: Throttle,
    pub(super) clock: Clock,
    pub(super) token_lifetime: Duration,
    pub(super) resume_lifetime: Duration,
    /// Where clients find releases; empty when apps of any age may log in.
    pub(super) releases_url: String,
    /// What is written after the answer; waited for at the end of the program.
    pub(super) records: TaskTracker,
    /// Wakes the relay of this program.
    pub(super) nudge: Arc<Notify>,
    /// Who is connected, and what else only Redis knows.
    pub(super) redis: Redis,
    pub(super) shards: u32,
}

impl Desk {
    /// A login, from `peer`.
    pub(super) async fn login(&self, request: v1::LoginRequest, peer: Option<IpAddr>) -> Result<v1::LoginResponse, Refused> {
        let missing = |field: &'static str| Err(Refused::new(Reason::FieldMissing).field(field));
        if request.installation_id == 0 {
            return missing("installation_id");
        }
        let installation = InstallationId(request.installation_id);
        let visit = Visit { installation, peer, app: App::of(request.app)? };
        match (request.password.as_str(), request.resume_token.as_str()) {
            ("", "") => missing("password"),
            ("", resume) => self.resume(resume, &visit).await,
            (password, "") => {
                if !(1..=LOGIN_NAME_CHARACTERS_MAX).contains(&request.name.chars().count()) {
                    return missing("name");
                }
                if password.len() > PASSWORD_BYTES_MAX {
                    return missing("password");
                }
                self.with_password(&request.name, password, &visit).await
            }
            // Either, so that nobody has to ask which one was judged.
            _ => missing("resume_token"),
        }
    }

    async fn with_password(&self, name: &str, password: &str, visit: &Visit) -> Result<v1::LoginResponse, Refused> {
        let too_fast = |wait| Refused::new(Reason::RateLimited).retry_after(wait);
        self.throttle.attempt(name, visit.peer).map_err(too_fast)?;
        let account = self.store.account_by_name(name).await.map_err(store_failed)?;
        let stored = account.as_ref().map(|account| account.password_hash.as_str());
        let good = match self.passwords.verify(password, stored).await {
            Ok(good) => good,
            Err(password::Error::Busy) => return Err(Refused::new(Reason::RateLimited).retry_after(BUSY_RETRY)),
            Err(error) => return Err(unavailable("login", error.class(), &error)),
        };
        let Some(account) = account else { return Err(Reason::BadCredentials.into()) };
        if !good || account.disabled {
            self.record(account.id, visit, if good { "disabled" } else { "bad_credentials" });
            return Err(Reason::BadCredentials.into());
        }
        if let Some(upgrade) = self.upgrade(&visit.app, visit.installation).await? {
            self.record(account.id, visit, "upgrade");
            return Ok(v1::LoginResponse { upgrade: Some(upgrade), ..v1::LoginResponse::default() });
        }
        let now_ms = self.clock.now_ms();
        let (secret, expires_ms) = (ResumeSecret::random(), now_ms + millis(self.resume_lifetime));
        let resume = ResumeToken { user: account.id, installation: visit.installation, expires_ms };
        // One resume token an installation: whoever holds an older one is somebody else, or has no use for it.
        let store = self.store_of(account.id);
        let void_ms = store.log_in(secret.hash(), resume, &account.password_hash).await.map_err(store_failed)?;
        // Meanwhile the password was changed, or the account closed.
        let Some(void_ms) = void_ms else { return Err(Reason::BadCredentials.into()) };
        self.record(account.id, visit, "ok");
        self.answer(&account, visit, now_ms.max(void_ms + 1), &secret, expires_ms)
    }

    async fn resume(&self, text: &str, visit: &Visit) -> Result<v1::LoginResponse, Refused> {
        let void = || Refused::new(Reason::BadCredentials);
        let presented = ResumeSecret::parse(text).ok_or_else(void)?;
        let now_ms = self.clock.now_ms();
        if let Some(upgrade) = self.upgrade(&visit.app, visit.installation).await? {
            // The token is not used up: it is as good after the upgrade. One that is not good is refused below, as without an upgrade.
            let token = self.store.resume_token(presented.hash(), now_ms).await.map_err(store_failed)?;
            if let Some(token) = token.filter(|token| token.installation == visit.installation) {
                self.record(token.user, visit, "upgrade");
                return Ok(v1::LoginResponse { upgrade: Some(upgrade), ..v1::LoginResponse::default() });
            }
        }
        let (next, expires_ms) = (ResumeSecret::random(), now_ms + millis(self.resume_lifetime));
        let rotation = self.store.rotate_resume_token(presented.hash(), next.hash(), now_ms, expires_ms).await.map_err(store_failed)?;
        let (token, outcome) = match rotation {
            Rotation::Unknown => return Err(void()),
            Rotation::Expired(token) => (token, Err("resume_expired")),
            Rotation::Reused(token) => (token, Err("resume_reused")),
            Rotation::Rotated { token, .. } if token.installation != visit.installation => (token, Err("resume_foreign")),
            Rotation::Rotated { token, void_ms } => (token, Ok(void_ms)),
        };
        let void_ms = match outcome {
            Ok(void_ms) => void_ms,
            Err(outcome) => {
                if outcome != "resume_expired" {
                    // Two hold what one was given: neither keeps it.
                    tracing::warn!(user.id = %token.user, installation.id = %token.installation, outcome, "resume tokens revoked");
                    self.store.revoke_resume_tokens(token.user, Some(token.installation)).await.map_err(store_failed)?;
                }
                self.record(token.user, visit, outcome);
                return Err(void());
            }
        };
        let account = self.store.account(token.user).await.map_err(store_failed)?.filter(|account| !account.disabled).ok_or_else(void)?;
        self.record(account.id, visit, "ok");
        self.answer(&account, visit, now_ms.max(void_ms + 1), &next, expires_ms)
    }

    /// The answer to a good login, with a token signed at `issued_ms`: behind whatever was called back, by whichever clock.
    fn answer(
        &self,
        account: &Account,
        visit: &Visit,
        issued_ms: u64,
        resume: &ResumeSecret,
        resume_expires_ms: u64,
    ) -> Result<v1::LoginResponse, Refused> {
        let claims = Claims {
            user: account.id,
            tenant: account.tenant,
            kind: account.kind,
            installation: visit.installation,
            name: account.nickname.clone(),
            expires_ms: issued_ms + millis(self.token_lifetime),
            issued_ms,
            token_id: rand::random(),
        };
        let token = self.signer.sign(&claims).map_err(|error| unavailable("login", error.class(), &error))?;
        Ok(v1::LoginResponse {
            upgrade: None,
            token,
            token_expires_ms: claims.expires_ms,
            resume_token: resume.text(),
            resume_expires_ms,
            user_id: account.id.0,
            nickname: claims.name,
            kind: v1::UserKind::from(account.kind).into(),
        })
    }

    /// A logout: voids the resume tokens of the installation that the token names. One that has run out names it as well: nothing is
    /// gained by it, and a client that comes back after a night may leave.
    pub(super) async fn logout(&self, request: v1::LogoutRequest) -> Result<v1::LogoutResponse, Refused> {
        let claims = self.claims(&request.token, 0)?;
        let store = self.store_of(claims.user);
        store.revoke_resume_tokens(claims.user, Some(claims.installation)).await.map_err(store_failed)?;
        if claims.kind != UserKind::Device {
            self.end_temporary(&store, claims.user, claims.installation, None).await.map_err(store_failed)?;
        }
        Ok(v1::LogoutResponse {})
    }

    /// The store, whose changes name the account as their author.
    pub(super) fn store_of(&self, user: UserId) -> Store {
        self.store.on_behalf_of(Author::Account(user), self.clock.clone())
    }

    /// What an access token says at `now_ms`.
    pub(super) fn claims(&self, token: &str, now_ms: u64) -> Result<Claims, Refused> {
        if token.is_empty() {
            return Err(Refused::new(Reason::FieldMissing).field("token"));
        }
        self.verifier.verify(token, now_ms).map_err(|error| Refused::new(error.reason()).field("token"))
    }

    /// Writes a login down, after the answer.
    fn record(&self, user: UserId, visit: &Visit, outcome: &'static str) {
        let record = LoginRecord {
            user,
            installation: visit.installation,
            time_ms: self.clock.now_ms(),
            outcome: outcome.to_owned(),
            peer: visit.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            app: visit.app.to_string(),
        };
        let store = self.store.clone();
        self.records.spawn(async move {
            if let Err(error) = store.record_login(record).await {
                tracing::warn!(user.id = %user, outcome, error = &error as &dyn std::error::Error, "a login is not on record");
            }
        });
    }
}

/// Who is at the desk.
struct Visit {
    installation: InstallationId,
    peer: Option<IpAddr>,
    app: App,
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
