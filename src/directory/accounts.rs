//! Accounts in their tree.

use super::caller::Caller;
use super::login::Desk;
use super::password::{self, PASSWORD_BYTES_MAX};
use super::{page_limit, store_failed, unavailable};
use crate::model::{Reason, UserId, UserKind};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::{Account, AccountCard, AccountProfile, AccountUpdate, Named, NewChild};

/// The shortest password that a client may set, in bytes.
const PASSWORD_BYTES_MIN: usize = 8;

impl Desk {
    pub(super) async fn create_account(&self, request: v1::CreateAccountRequest) -> Result<v1::CreateAccountResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let kind = Option::<UserKind>::from(request.kind());
        let Some(kind) = kind else { return Err(Refused::new(Reason::FieldMissing).field("kind")) };
        if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&request.password.len()) {
            return Err(Refused::new(Reason::FieldInvalid).field("password"));
        }
        let parent = caller.or(request.parent_id);
        // Asked before the work of a hash; it is decided in the transaction.
        caller.store.account_card(Named::Id(parent)).await.map_err(store_failed)?;
        let password_hash = self.hash(&request.password).await?;
        let v1::CreateAccountRequest { name, nickname, profile, .. } = request;
        let nickname = if nickname.is_empty() { name.clone() } else { nickname };
        let child = NewChild { parent, name, nickname, kind, password_hash, profile: profile.map(profile_of).unwrap_or_default() };
        let user = caller.store.create_child(child, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::CreateAccountResponse { account_id: user.0 })
    }

    pub(super) async fn update_account(&self, request: v1::UpdateAccountRequest) -> Result<v1::UpdateAccountResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let user = given(request.account_id, "account_id")?;
        let v1::UpdateAccountRequest { nickname, profile, disabled, .. } = request;
        let update = AccountUpdate { nickname, profile: profile.map(profile_of), disabled };
        caller.store.update_account(user, update, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        if disabled == Some(true) {
            self.enforce(user).await;
        }
        Ok(v1::UpdateAccountResponse {})
    }

    pub(super) async fn delete_account(&self, request: v1::DeleteAccountRequest) -> Result<v1::DeleteAccountResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let user = given(request.account_id, "account_id")?;
        caller.store.delete_account(user, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        self.enforce(user).await;
        Ok(v1::DeleteAccountResponse {})
    }

    pub(super) async fn get_junior_account(&self, request: v1::GetJuniorAccountRequest) -> Result<v1::GetJuniorAccountResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let limit = page_limit(request.limit)?;
        let after = UserId(request.after_account_id);
        // One more than asked for, to know whether there are more.
        let mut accounts = caller.store.juniors(caller.or(request.account_id), after, limit + 1).await.map_err(store_failed)?;
        let more = accounts.len() > limit as usize;
        accounts.truncate(limit as usize);
        Ok(v1::GetJuniorAccountResponse { accounts: accounts.into_iter().map(|account| caller.sees(account)).collect(), more })
    }

    pub(super) async fn get_account(&self, request: v1::GetAccountRequest) -> Result<v1::GetAccountResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let named = match (request.account_id, request.name) {
            (0, name) if !name.is_empty() => Named::Name(name),
            (id, _) => Named::Id(caller.or(id)),
        };
        let AccountCard { account, profile, children, devices } = caller.store.account_card(named).await.map_err(store_failed)?;
        let AccountProfile { email, phone, address, contact, remark } = profile;
        let profile = Some(v1::AccountProfile { email, phone, address, contact, remark });
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let account = Some(v1::Account { profile, ..caller.sees(account) });
        Ok(v1::GetAccountResponse { account, children: count(children), devices: count(devices) })
    }

    /// The hash of a password that a client sets.
    async fn hash(&self, password: &str) -> Result<String, Refused> {
        match self.passwords.hash(password).await {
            Ok(hash) => Ok(hash),
            Err(password::Error::Busy) => Err(Refused::new(Reason::RateLimited).retry_after(super::login::BUSY_RETRY)),
            Err(error) => Err(unavailable("hash a password", error.class(), &error)),
        }
    }
}

impl Caller {
    /// The account of an id, or the caller itself where none is given.
    pub(super) fn or(&self, id: u64) -> UserId {
        if id == 0 { self.account.id } else { UserId(id) }
    }

    /// An account that the caller manages, without its profile.
    fn sees(&self, account: Account) -> v1::Account {
        // What stands above the caller is none of its business.
        let parent_id = if account.id == self.account.id { 0 } else { account.parent.0 };
        let Account { id, name, nickname, kind, created_ms, disabled, .. } = account;
        let kind = v1::UserKind::from(kind).into();
        v1::Account { account_id: id.0, name, nickname, kind, parent_id, created_ms, disabled, profile: None }
    }
}

/// An id that must be given.
pub(super) fn given(id: u64, field: &'static str) -> Result<UserId, Refused> {
    if id == 0 { Err(Refused::new(Reason::FieldMissing).field(field)) } else { Ok(UserId(id)) }
}

fn profile_of(profile: v1::AccountProfile) -> AccountProfile {
    let v1::AccountProfile { email, phone, address, contact, remark } = profile;
    AccountProfile { email, phone, address, contact, remark }
}
