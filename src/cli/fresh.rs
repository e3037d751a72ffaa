//! Accounts and groups of one run of a replay or benchmark, made straight in the store; their tokens are signed here, since a login costs a
//! password hash each.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use crate::client::{TokenFuture, Tokens};
use crate::clock::Clock;
use crate::model::{GroupId, InstallationId, TenantId, UserId, UserKind};
use crate::store::{NewAccount, Store};
use crate::token::{Claims, Signer};

/// How long a token made here is good for.
const TOKEN_LIFETIME_MS: u64 = 3_600_000;

/// Makes what a run needs, under a tenant of its own.
pub(super) struct Fresh {
    store: Store,
    signer: Arc<Signer>,
    clock: Clock,
    run: String,
    tenant: TenantId,
}

/// A device that may open a session.
#[derive(Clone)]
pub(super) struct Device {
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) installation: InstallationId,
    pub(super) tokens: Arc<dyn Tokens>,
}

impl Fresh {
    /// Everything is named after `run`: the same run finds its accounts again.
    pub(super) async fn new(store: Store, secret_key_file: &Path, clock: Clock, run: &str) -> Result<Self, Error> {
        store.migrate().await?;
        let signer = Arc::new(Signer::load(secret_key_file)?);
        let tenant = store.ensure_tenant(run).await?.id();
        Ok(Self { store, signer, clock, run: run.to_owned(), tenant })
    }

    pub(super) async fn device(&self, name: &str) -> Result<Device, Error> {
        self.account(name, UserKind::Device, None).await
    }

    /// An account of any kind, and a device it has; `parent` manages it.
    pub(super) async fn account(&self, name: &str, kind: UserKind, parent: Option<UserId>) -> Result<Device, Error> {
        let (nickname, tenant) = (name.to_owned(), self.tenant);
        let account = NewAccount { name: format!("{}.{name}", self.run), nickname, kind, tenant, password_hash: String::new(), parent };
        let user = self.store.ensure_account(account, self.clock.now_ms()).await?.id();
        let installation = InstallationId(rand::random_range(1..=u64::MAX));
        let claims = Claims { user, tenant, kind, installation, name: name.to_owned(), expires_ms: 0, issued_ms: 0, token_id: 0 };
        let tokens = minted(self.signer.clone(), self.clock.clone(), claims);
        Ok(Device { user, name: name.to_owned(), installation, tokens })
    }

    pub(super) async fn group(&self, name: &str, members: &[UserId]) -> Result<GroupId, Error> {
        let group = self.store.ensure_group(self.tenant, name).await?.id();
        self.store.set_members(group, members, self.clock.now_ms()).await?;
        Ok(group)
    }

    /// Waits until the directory has told the shards of all that was made.
    pub(super) async fn relayed(&self, within: Duration) -> Result<(), Error> {
        let late =
            || Error::Late { what: "the relay of new accounts to the shards (is the directory up?)".into(), seconds: within.as_secs() };
        let relayed = async {
            while !self.store.outbox(0, 1).await?.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(within, relayed).await.map_err(|_| late())?
    }
}

/// Tokens of somebody, signed here. When they are issued and run out is set as they are.
pub(super) fn minted(signer: Arc<Signer>, clock: Clock, claims: Claims) -> Arc<dyn Tokens> {
    let mut tokens = Minted { signer, clock, claims, first: None };
    // Now, as a device has its token before it connects: the clock of a benchmark is not running yet.
    tokens.first = tokens.sign().ok();
    Arc::new(tokens)
}

/// A token signed beforehand, and others when it is no longer good.
struct Minted {
    signer: Arc<Signer>,
    clock: Clock,
    claims: Claims,
    first: Option<String>,
}

impl Minted {
    fn sign(&self) -> Result<String, crate::client::Error> {
        let now_ms = self.clock.now_ms();
        let claims = Claims { issued_ms: now_ms, expires_ms: now_ms + TOKEN_LIFETIME_MS, token_id: rand::random(), ..self.claims.clone() };
        self.signer.sign(&claims).map_err(|_| crate::client::Error::Closed { reason: None })
    }
}

impl Tokens for Minted {
    fn token<'a>(&'a self, expired: Option<&'a str>) -> TokenFuture<'a> {
        let token = match &self.first {
            Some(first) if expired.is_none() => Ok(first.clone()),
            _ => self.sign(),
        };
        Box::pin(std::future::ready(token))
    }
}
