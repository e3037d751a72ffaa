//! Accounts, as operators change them: by name.

use super::password::{self, PASSWORD_BYTES_MAX, Passwords};
use super::stock::IMPORT_DEVICES_MAX;
use crate::clock::Clock;
use crate::model::{TenantId, UserId, UserKind};
use crate::retry::ErrorClass;
use crate::store::{self, Account, AccountProfile, Ensured, NewAccount, NewChild, Store};

pub use crate::store::LOGIN_NAME_CHARACTERS_MAX;

/// What an account should be like.
#[derive(Clone)]
pub struct AccountSpec {
    /// The login name: unique in the deployment, 1 to [`LOGIN_NAME_CHARACTERS_MAX`] characters.
    pub name: String,
    /// What others see: 1 to 100 characters.
    pub nickname: String,
    /// What it may do.
    pub kind: UserKind,
    /// The name of its tenant.
    pub tenant: String,
    /// 1 to [`PASSWORD_BYTES_MAX`] bytes; `None` for an account that cannot log in yet.
    pub password: Option<String>,
}

impl std::fmt::Debug for AccountSpec {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, nickname, kind, tenant, password: _ } = self;
        write!(f, "AccountSpec {{ name: {name:?}, nickname: {nickname:?}, kind: {kind:?}, tenant: {tenant:?} }}")
    }
}

/// Why a change was not made. None holds a password.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store failed or refused.
    #[error("the store does not do it")]
    Store {
        /// Why.
        source: store::Error,
    },
    /// The password was not hashed.
    #[error("cannot hash the password of {account:?}")]
    Password {
        /// The login name.
        account: String,
        /// Why.
        source: password::Error,
    },
    /// A password is empty or too long.
    #[error("the password of {account:?} has {bytes} bytes: it must have 1 to {PASSWORD_BYTES_MAX}")]
    PasswordLength {
        /// The login name.
        account: String,
        /// Its length.
        bytes: usize,
    },
    /// A login name is empty or too long.
    #[error("the login name {account:?} has {characters} characters: it must have 1 to {LOGIN_NAME_CHARACTERS_MAX}")]
    NameLength {
        /// The name.
        account: String,
        /// Its length.
        characters: usize,
    },
    /// A login name has a slash, which tells the names of deleted accounts apart.
    #[error("the login name {account:?} has a slash")]
    NameSlash {
        /// The name.
        account: String,
    },
    /// An import is too large.
    #[error("{count} devices are too many for one import: it may have {IMPORT_DEVICES_MAX}")]
    ImportSize {
        /// How many there are.
        count: usize,
    },
    /// There is no device of this IMEI or id.
    #[error("there is no device {device:?}")]
    NoDevice {
        /// What was asked for.
        device: String,
    },
    /// There is no tenant of this name.
    #[error("there is no tenant {tenant:?}")]
    NoTenant {
        /// The name.
        tenant: String,
    },
    /// There is no account of this name.
    #[error("there is no account {account:?}")]
    NoAccount {
        /// The name.
        account: String,
    },
    /// The tenant has no group of this name.
    #[error("tenant {tenant:?} has no group {group:?}")]
    NoGroup {
        /// The tenant's name.
        tenant: String,
        /// The group's name.
        group: String,
    },
}

impl RegistryError {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store { source } => source.class(),
            Self::Password { source, .. } => source.class(),
            Self::PasswordLength { .. }
            | Self::NameLength { .. }
            | Self::NameSlash { .. }
            | Self::ImportSize { .. }
            | Self::NoDevice { .. }
            | Self::NoTenant { .. }
            | Self::NoAccount { .. }
            | Self::NoGroup { .. } => ErrorClass::Permanent,
        }
    }
}

pub(super) fn store_failed(source: store::Error) -> RegistryError {
    RegistryError::Store { source }
}

/// Changes accounts and groups. What a change means for the shards goes with it; a running directory relays it.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(super) store: Store,
    pub(super) passwords: Passwords,
    pub(super) clock: Clock,
}

impl Registry {
    /// A registry over a store with tables ([`super::prepare_store`]).
    pub fn new(store: Store, passwords: Passwords, clock: Clock) -> Self {
        Self { store, passwords, clock }
    }

    /// Creates an account, and its tenant if there is none of the name.
    ///
    /// # Errors
    /// [`store::Error::NameTaken`] within [`RegistryError::Store`] when the login name is in use.
    pub async fn add_account(&self, spec: &AccountSpec) -> Result<UserId, RegistryError> {
        check_login_name(&spec.name)?;
        let password_hash = self.hash(&spec.name, spec.password.as_deref()).await?;
        let tenant = self.store.ensure_tenant(&spec.tenant).await.map_err(store_failed)?.id();
        let account = spec.to_account(tenant, None, password_hash);
        self.store.create_account(account, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// Creates an account below another, whose tenant it has, whatever the specification says; a company opens a tenant of its own name.
    ///
    /// # Errors
    /// As [`Registry::add_account`], and for a tenant's name too; [`RegistryError::NoAccount`] when there is no parent of the name;
    /// [`store::Error::Invalid`] within [`RegistryError::Store`] when its kind is not above.
    pub async fn add_account_below(&self, parent: &str, spec: &AccountSpec) -> Result<UserId, RegistryError> {
        check_login_name(&spec.name)?;
        let parent = self.account(parent).await?.id;
        let password_hash = self.hash(&spec.name, spec.password.as_deref()).await?;
        let AccountSpec { name, nickname, kind, .. } = spec.clone();
        let child = NewChild { parent, name, nickname, kind, password_hash, profile: AccountProfile::default() };
        self.store.create_child(child, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// Gives an account another password, and calls all its tokens back: a running directory ends its sessions within seconds.
    ///
    /// # Errors
    /// [`RegistryError::NoAccount`], [`RegistryError::PasswordLength`].
    pub async fn set_password(&self, name: &str, password: &str) -> Result<(), RegistryError> {
        let account = self.account(name).await?;
        let hash = self.hash(name, Some(password)).await?;
        self.store.set_password_hash(account.id, &hash).await.map_err(store_failed)
    }

    /// Forbids an account to log in, or allows it again. Forbidding calls all its tokens back: a running directory ends
    /// its sessions within seconds.
    ///
    /// # Errors
    /// [`RegistryError::NoAccount`].
    pub async fn set_disabled(&self, name: &str, disabled: bool) -> Result<(), RegistryError> {
        let account = self.account(name).await?;
        self.store.set_disabled(account.id, disabled).await.map_err(store_failed)
    }

    /// Creates the account, or makes the one of this name as wanted, below `parent` if one is named; says what it did, and whether it set the
    /// password.
    pub(super) async fn ensure_account(
        &self,
        spec: &AccountSpec,
        parent: Option<&str>,
        tenant: TenantId,
    ) -> Result<(Ensured<UserId>, bool), RegistryError> {
        check_login_name(&spec.name)?;
        let now_ms = self.clock.now_ms();
        let parent = match parent {
            Some(parent) => Some(self.account(parent).await?.id),
            None => None,
        };
        let Some(found) = self.store.account_by_name(&spec.name).await.map_err(store_failed)? else {
            let hash = self.hash(&spec.name, spec.password.as_deref()).await?;
            let created = self.store.ensure_account(spec.to_account(tenant, parent, hash), now_ms).await.map_err(store_failed)?;
            return Ok((created, spec.password.is_some()));
        };
        let ensured = self.store.ensure_account(spec.to_account(tenant, parent, String::new()), now_ms).await.map_err(store_failed)?;
        let Some(password) = &spec.password else { return Ok((ensured, false)) };
        let failed = |source| RegistryError::Password { account: spec.name.clone(), source };
        let same = self.passwords.verify(password, Some(&found.password_hash)).await.map_err(failed)?;
        if !same {
            self.set_password(&spec.name, password).await?;
        }
        Ok((ensured, !same))
    }

    async fn hash(&self, account: &str, password: Option<&str>) -> Result<String, RegistryError> {
        let Some(password) = password else { return Ok(String::new()) };
        if !(1..=PASSWORD_BYTES_MAX).contains(&password.len()) {
            return Err(RegistryError::PasswordLength { account: account.to_owned(), bytes: password.len() });
        }
        self.passwords.hash(password).await.map_err(|source| RegistryError::Password { account: account.to_owned(), source })
    }

    pub(super) async fn tenant(&self, name: &str) -> Result<TenantId, RegistryError> {
        let tenants = self.store.tenants().await.map_err(store_failed)?;
        let found = tenants.into_iter().find(|tenant| tenant.name == name);
        found.map(|tenant| tenant.id).ok_or_else(|| RegistryError::NoTenant { tenant: name.to_owned() })
    }

    pub(super) async fn account(&self, name: &str) -> Result<Account, RegistryError> {
        let found = self.store.account_by_name(name).await.map_err(store_failed)?;
        found.ok_or_else(|| RegistryError::NoAccount { account: name.to_owned() })
    }
}

impl AccountSpec {
    fn to_account(&self, tenant: TenantId, parent: Option<UserId>, password_hash: String) -> NewAccount {
        let Self { name, nickname, kind, .. } = self.clone();
        NewAccount { name, nickname, kind, tenant, password_hash, parent }
    }
}

fn check_login_name(name: &str) -> Result<(), RegistryError> {
    match name.chars().count() {
        1..=LOGIN_NAME_CHARACTERS_MAX if name.contains('/') => Err(RegistryError::NameSlash { account: name.to_owned() }),
        1..=LOGIN_NAME_CHARACTERS_MAX => Ok(()),
        characters => Err(RegistryError::NameLength { account: name.to_owned(), characters }),
    }
}
