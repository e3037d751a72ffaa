//! Tenants and accounts.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::change::{Noted, note};
use super::outbox::{Outgoing, notice, push_outbox};
use super::profile::set_disabled;
use super::revocation::put_password;
use super::{check_name, lock_counter, next_numbers};
use crate::model::{MessageKind, TenantId, TopicId, UserId, UserKind};
use crate::topic::frame::{Input, NoticeBody, Profile};

/// A company. Its users and groups are invisible to all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// From 1.
    pub id: TenantId,
    /// Unique.
    pub name: String,
}

/// An account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// From 1.
    pub id: UserId,
    /// The login name, unique in the whole deployment.
    pub name: String,
    /// What others see.
    pub nickname: String,
    /// What it may do.
    pub kind: UserKind,
    /// Never changes.
    pub tenant: TenantId,
    /// The Argon2id hash of the password in PHC form; empty when nobody can log in with a password.
    pub password_hash: String,
    /// Rises with every change that the account's inbox must hear of.
    pub version: u64,
    /// When it was created, UTC milliseconds.
    pub created_ms: u64,
    /// May not log in.
    pub disabled: bool,
    /// The account above it, which manages it; 0 for none.
    pub parent: UserId,
}

impl std::fmt::Debug for Account {
    /// Without the password hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, name, kind, tenant, version, disabled, .. } = self;
        write!(f, "Account {{ id: {id}, name: {name:?}, kind: {kind:?}, tenant: {tenant}, version: {version}, disabled: {disabled} }}")
    }
}

/// What an account should be like.
#[derive(Clone)]
pub struct NewAccount {
    /// The login name, 1 to 100 characters.
    pub name: String,
    /// What others see, 1 to 100 characters.
    pub nickname: String,
    /// What it may do.
    pub kind: UserKind,
    /// Its company.
    pub tenant: TenantId,
    /// The Argon2id hash of the password in PHC form; empty for none.
    pub password_hash: String,
    /// The account above, of a higher kind and the same tenant; `None` for none, or, of an account that is there, for the one it has.
    pub parent: Option<UserId>,
}

/// What a declarative call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured<T> {
    /// It was not there.
    Created(T),
    /// It was there and differed.
    Changed(T),
    /// It was there as wanted.
    Unchanged(T),
}

impl<T> Ensured<T> {
    /// The id, whatever was done.
    pub fn id(self) -> T {
        match self {
            Self::Created(id) | Self::Changed(id) | Self::Unchanged(id) => id,
        }
    }
}

pub(super) type AccountRecord = (i64, String, String, i64, i64, String, i64, i64, i64, i64);

pub(super) const ACCOUNT_COLUMNS: &str = "id, name, nickname, kind, tenant, password, version, created_ms, disabled, parent";

impl Store {
    /// The tenant of a name, created if there is none.
    pub async fn ensure_tenant(&self, name: &str) -> Result<Ensured<TenantId>, Error> {
        let name = name.to_owned();
        let operation = format!("ensure tenant {name:?}");
        check_name(&operation, &name)?;
        self.write(operation, move |conn| {
            Box::pin(async move {
                lock_counter(conn, "tenant").await?;
                let found: Option<(i64,)> = conn.first("SELECT id FROM tenant WHERE name = ?", values![name.as_str()]).await?;
                if let Some((id,)) = found {
                    return Ok(Ensured::Unchanged(TenantId(id.cast_unsigned())));
                }
                let id = next_numbers(conn, "tenant", 1).await?;
                conn.execute("INSERT INTO tenant (id, name) VALUES (?, ?)", values![id, name.as_str()]).await?;
                let (subject, after) = (format!("tenant:{id}"), json!({ "name": name }));
                note(conn, Noted { what: "tenant.added", subject, before: Json::Null, after }).await?;
                Ok(Ensured::Created(TenantId(id)))
            })
        })
        .await
    }

    /// All tenants by name.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        self.read("tenants".to_owned(), |conn| {
            Box::pin(async move {
                let rows: Vec<(i64, String)> = conn.all("SELECT id, name FROM tenant ORDER BY name", &[]).await?;
                Ok(rows.into_iter().map(|(id, name)| Tenant { id: TenantId(id.cast_unsigned()), name }).collect())
            })
        })
        .await
    }

    /// Creates an account, and tells its inbox who may write there. [`Error::NameTaken`] when the name is in use.
    pub async fn create_account(&self, account: NewAccount, now_ms: u64) -> Result<UserId, Error> {
        match self.put_account(format!("create account {:?}", account.name), account, now_ms, false).await? {
            Ensured::Created(id) | Ensured::Changed(id) | Ensured::Unchanged(id) => Ok(id),
        }
    }

    /// Creates the account, or gives the one of this name the wanted nickname, kind and parent. The password of an existing one stays as it
    /// is: hashes of one password differ, so only the caller can tell whether it changed. [`Error::OtherTenant`] when the name belongs to
    /// another tenant: an account does not move. [`Error::Invalid`] when the kinds do not fall from parent to child.
    pub async fn ensure_account(&self, account: NewAccount, now_ms: u64) -> Result<Ensured<UserId>, Error> {
        self.put_account(format!("ensure account {:?}", account.name), account, now_ms, true).await
    }

    async fn put_account(&self, operation: String, wanted: NewAccount, now_ms: u64, update: bool) -> Result<Ensured<UserId>, Error> {
        check_name(&operation, &wanted.name)?;
        check_name(&operation, &wanted.nickname)?;
        self.write(operation, move |conn| {
            Box::pin(async move {
                lock_counter(conn, "account").await?;
                match find_account(conn, &wanted.name).await? {
                    None => {
                        let (user, profile) = insert_account(conn, &wanted, now_ms).await?;
                        push_outbox(conn, &[profile], now_ms).await?;
                        Ok(Ensured::Created(user))
                    }
                    Some(found) if update => update_account(conn, found, &wanted, now_ms).await,
                    Some(found) => Err(Error::NameTaken { operation: conn.operation.clone(), id: found.id.0 }),
                }
            })
        })
        .await
    }

    /// The account of a login name.
    pub async fn account_by_name(&self, name: &str) -> Result<Option<Account>, Error> {
        let name = name.to_owned();
        self.read(format!("account {name:?}"), move |conn| Box::pin(async move { find_account(conn, &name).await })).await
    }

    /// The account of an id.
    pub async fn account(&self, user: UserId) -> Result<Option<Account>, Error> {
        self.read(format!("account {user}"), move |conn| Box::pin(async move { account_by_id(conn, user).await })).await
    }

    /// The login names of accounts; those that do not exist are left out.
    pub async fn account_names(&self, users: &[UserId]) -> Result<BTreeMap<UserId, String>, Error> {
        let users = users.to_vec();
        self.read(format!("names of {} accounts", users.len()), move |conn| {
            Box::pin(async move {
                let mut names = BTreeMap::new();
                for piece in pieces(&users, usize::MAX, |_| 0) {
                    let sql = format!("SELECT id, name FROM account WHERE id IN {}", places(1, piece.len()));
                    let values: Vec<Value<'_>> = piece.iter().map(|user| user.0.into()).collect();
                    let rows: Vec<(i64, String)> = conn.all(sqlx::AssertSqlSafe(sql), &values).await?;
                    names.extend(rows.into_iter().map(|(id, name)| (UserId(id.cast_unsigned()), name)));
                }
                Ok(names)
            })
        })
        .await
    }

    /// Replaces the password hash; empty for no password. Another one calls all tokens of the account back.
    pub async fn set_password_hash(&self, user: UserId, hash: &str) -> Result<(), Error> {
        let hash = hash.to_owned();
        self.write(format!("set the password of account {user}"), move |conn| {
            Box::pin(async move {
                let before = lock_account(conn, user).await?;
                if before.password_hash == hash {
                    return Ok(());
                }
                put_password(conn, &before, &hash, None).await
            })
        })
        .await
    }

    /// Forbids or allows logins. Forbidding them calls all tokens of the account back.
    pub async fn set_disabled(&self, user: UserId, disabled: bool) -> Result<(), Error> {
        self.write(format!("set account {user} disabled {disabled}"), move |conn| {
            Box::pin(async move {
                let account = lock_account(conn, user).await?;
                set_disabled(conn, &account, disabled).await
            })
        })
        .await
    }
}

/// The account, locked until the transaction ends, so that what is noted as before was there until now.
pub(super) async fn lock_account(conn: &mut Conn, user: UserId) -> Result<Account, Error> {
    conn.execute("UPDATE account SET version = version WHERE id = ?", values![user.0]).await?;
    match account_by_id(conn, user).await? {
        Some(account) => Ok(account),
        None => Err(Error::NoAccount { operation: conn.operation.clone(), user }),
    }
}

pub(super) async fn find_account(conn: &mut Conn, name: &str) -> Result<Option<Account>, Error> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE name = ? AND deleted_ms = 0");
    let row: Option<AccountRecord> = conn.first(sqlx::AssertSqlSafe(sql), values![name]).await?;
    row.map(|row| account_of(conn, row)).transpose()
}

pub(super) async fn account_by_id(conn: &mut Conn, user: UserId) -> Result<Option<Account>, Error> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE id = ? AND deleted_ms = 0");
    let row: Option<AccountRecord> = conn.first(sqlx::AssertSqlSafe(sql), values![user.0]).await?;
    row.map(|row| account_of(conn, row)).transpose()
}

pub(super) fn account_of(conn: &Conn, row: AccountRecord) -> Result<Account, Error> {
    let (id, name, nickname, kind, tenant, password_hash, version, created_ms, disabled, parent) = row;
    Ok(Account {
        id: UserId(id.cast_unsigned()),
        name,
        nickname,
        kind: kind_of(conn, kind)?,
        tenant: TenantId(tenant.cast_unsigned()),
        password_hash,
        version: version.cast_unsigned(),
        created_ms: created_ms.cast_unsigned(),
        disabled: disabled != 0,
        parent: UserId(parent.cast_unsigned()),
    })
}

/// The kind of account in column `account.kind`.
pub(super) fn kind_of(conn: &Conn, number: i64) -> Result<UserKind, Error> {
    let kind = u32::try_from(number).ok().and_then(UserKind::from_number);
    kind.ok_or_else(|| conn.unreadable("account.kind", format!("{number} is no kind of account")))
}

/// Makes an account; its id, and what its inbox must hear. The counter of accounts is locked.
pub(super) async fn insert_account(conn: &mut Conn, account: &NewAccount, now_ms: u64) -> Result<(UserId, Outgoing), Error> {
    let NewAccount { name, nickname, kind, tenant, password_hash, parent } = account;
    let parent = parent.unwrap_or_default();
    check_parent(conn, parent, *kind, *tenant).await?;
    let id = UserId(next_numbers(conn, "account", 1).await?);
    let sql = "INSERT INTO account (id, name, nickname, kind, tenant, password, version, created_ms, disabled, parent) \
               VALUES (?, ?, ?, ?, ?, ?, 1, ?, 0, ?)";
    let values = values![id.0, name.as_str(), nickname.as_str(), *kind as u32, tenant.0, password_hash.as_str(), now_ms, parent.0];
    conn.execute(sql, values).await?;
    let mut after = json!({
        "name": name, "nickname": nickname, "kind": kind, "tenant": tenant, "password": !password_hash.is_empty(),
    });
    if parent.0 != 0 {
        after["parent"] = json!(parent);
    }
    note(conn, Noted { what: "account.added", subject: format!("account:{id}"), before: Json::Null, after }).await?;
    Ok((id, profile_of(id, *tenant, 1, parent, nickname)))
}

/// What an account's inbox hears of who it is.
pub(super) fn profile_of(user: UserId, tenant: TenantId, version: u64, manager: UserId, nickname: &str) -> Outgoing {
    let topic = TopicId::inbox(user);
    let profile = Profile { topic: topic.packed(), tenant: tenant.0, version, manager: manager.0, nickname: nickname.to_owned() };
    Outgoing { topic, kind: "profile", input: Input::Profile(profile) }
}

/// Refuses a parent that is not above a kind, or of another tenant; companies stand below roots, whose tenant is another. 0 is no parent.
async fn check_parent(conn: &mut Conn, parent: UserId, kind: UserKind, tenant: TenantId) -> Result<(), Error> {
    if parent.0 == 0 {
        return Ok(());
    }
    let above = lock_account(conn, parent).await?;
    if above.kind <= kind {
        return Err(Error::Invalid { operation: conn.operation.clone(), field: "kind", rule: "must be below that of the account above" });
    }
    if above.kind != UserKind::Root && above.tenant != tenant {
        return Err(Error::OtherTenant { operation: conn.operation.clone(), user: parent, has: above.tenant, wanted: tenant });
    }
    Ok(())
}

async fn update_account(conn: &mut Conn, found: Account, wanted: &NewAccount, now_ms: u64) -> Result<Ensured<UserId>, Error> {
    let Account { id: user, tenant: has, .. } = found;
    if has != wanted.tenant {
        return Err(Error::OtherTenant { operation: conn.operation.clone(), user, has, wanted: wanted.tenant });
    }
    let parent = wanted.parent.unwrap_or(found.parent);
    if found.nickname == wanted.nickname && found.kind == wanted.kind && found.parent == parent {
        return Ok(Ensured::Unchanged(user));
    }
    check_parent(conn, parent, wanted.kind, has).await?;
    let sql = "SELECT id FROM account WHERE parent = ? AND kind >= ? AND deleted_ms = 0 ORDER BY id LIMIT 1";
    if conn.first::<(i64,)>(sql, values![user.0, wanted.kind as u32]).await?.is_some() {
        return Err(Error::Invalid { operation: conn.operation.clone(), field: "kind", rule: "must be above those of the accounts below" });
    }
    let version = lock_account(conn, user).await?.version + 1;
    let sql = "UPDATE account SET nickname = ?, kind = ?, parent = ?, version = ? WHERE id = ?";
    let values = values![wanted.nickname.as_str(), wanted.kind as u32, parent.0, version, user.0];
    conn.execute(sql, values).await?;
    let state = |nickname: &str, kind: UserKind, above: UserId| {
        let mut state = json!({ "name": found.name, "nickname": nickname, "kind": kind });
        if found.parent != parent {
            state["parent"] = json!(above);
        }
        state
    };
    let (before, after) = (state(&found.nickname, found.kind, found.parent), state(&wanted.nickname, wanted.kind, parent));
    note(conn, Noted { what: "account.changed", subject: format!("account:{user}"), before, after }).await?;
    let mut outgoing = vec![profile_of(user, has, version, parent, &wanted.nickname)];
    if found.nickname != wanted.nickname {
        outgoing.push(renaming(user, &wanted.nickname));
    }
    push_outbox(conn, &outgoing, now_ms).await?;
    Ok(Ensured::Changed(user))
}

/// What a user's own inbox hears of another nickname.
pub(super) fn renaming(user: UserId, nickname: &str) -> Outgoing {
    let body = NoticeBody { user: user.0, nickname: nickname.to_owned(), ..NoticeBody::default() };
    notice(TopicId::inbox(user), MessageKind::ProfileChanged, body)
}
