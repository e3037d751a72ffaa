//! The tree of accounts: who stands below whom. Devices hang on the account that manages them by the same column.
//!
//! Kinds fall strictly from parent to child, so the tree has no circle and is no deeper than there are kinds. What an account without a
//! parent is, operators made; it stands below every root, as a root manages everything.

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, values};
use super::super::{Error, Store};
use super::account::{
    ACCOUNT_COLUMNS, Account, AccountRecord, NewAccount, account_by_id, account_of, find_account, insert_account, lock_account, profile_of,
};
use super::change::{Noted, note};
use super::outbox::push_outbox;
use super::phone::forget_phone;
use super::profile::{AccountProfile, forget_profile, profile_row, put_profile};
use super::revocation::revoke_access;
use super::scope::{author, author_kind, check_manages, not_permitted};
use super::transfer::leave_all;
use super::{LOGIN_NAME_CHARACTERS_MAX, bad_nickname, check_length, check_name, lock_counter, next_numbers};
use crate::model::{LeftWhy, TenantId, UserId, UserKind};

/// An account that is to stand below another.
#[derive(Clone)]
pub struct NewChild {
    /// The account above.
    pub parent: UserId,
    /// The login name, 1 to 64 characters, without a slash.
    pub name: String,
    /// What others see, 1 to 100 characters.
    pub nickname: String,
    /// Below that of the parent, and that of the author.
    pub kind: UserKind,
    /// The Argon2id hash of the password in PHC form; empty for none.
    pub password_hash: String,
    /// Contact details.
    pub profile: AccountProfile,
}

/// An account with what stands around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountCard {
    /// The account.
    pub account: Account,
    /// Its contact details.
    pub profile: AccountProfile,
    /// How many accounts stand right below it, devices left out.
    pub children: u64,
    /// How many devices it manages itself.
    pub devices: u64,
}

/// Which account is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its id.
    Id(UserId),
    /// By its login name.
    Name(String),
}

impl Store {
    /// Makes an account below another. A company opens a tenant of its own name; everybody else belongs to the tenant of the account above.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage the account above, or the kind is not below the author's;
    /// [`Error::Invalid`] for a kind that is not below the parent's, or a field that breaks its rule; [`Error::NameTaken`] when an account,
    /// or for a company a tenant, has the name.
    pub async fn create_child(&self, child: NewChild, now_ms: u64) -> Result<UserId, Error> {
        let operation = format!("create account {:?} below {}", child.name, child.parent);
        check_login_name(&operation, &child.name)?;
        check_name(&operation, &child.nickname).map_err(|_| bad_nickname(&operation))?;
        child.profile.check(&operation)?;
        self.write(operation, move |conn| {
            Box::pin(async move {
                lock_counter(conn, "account").await?;
                check_manages(conn, &[child.parent]).await?;
                if author_kind(conn).await?.is_some_and(|kind| kind <= child.kind) {
                    return Err(not_permitted(conn));
                }
                if let Some(found) = find_account(conn, &child.name).await? {
                    return Err(Error::NameTaken { operation: conn.operation.clone(), id: found.id.0 });
                }
                let above = lock_account(conn, child.parent).await?;
                let NewChild { parent, name, nickname, kind, password_hash, profile } = child;
                let tenant = if kind == UserKind::Company { open_tenant(conn, &name).await? } else { above.tenant };
                let account = NewAccount { name, nickname, kind, tenant, password_hash, parent: Some(parent) };
                let (user, outgoing) = insert_account(conn, &account, now_ms).await?;
                if profile != AccountProfile::default() {
                    put_profile(conn, user, &profile).await?;
                }
                push_outbox(conn, &[outgoing], now_ms).await?;
                Ok(user)
            })
        })
        .await
    }

    /// Deletes an account: its name is free, its tokens and details are gone, and it leaves all groups. Its id is never used again.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage it, or is it; [`Error::InUse`] while anything stands below it, or it owns a
    /// group.
    pub async fn delete_account(&self, user: UserId, now_ms: u64) -> Result<(), Error> {
        self.write(format!("delete account {user}"), move |conn| {
            Box::pin(async move {
                lock_counter(conn, "account").await?;
                check_manages(conn, &[user]).await?;
                if author(conn) == Some(user) {
                    return Err(not_permitted(conn));
                }
                let account = lock_account(conn, user).await?;
                let (children, devices) = count_below(conn, user).await?;
                let sql = "SELECT COUNT(*) FROM grp WHERE owner = ? AND dissolved_ms = 0";
                let (groups,): (i64,) = conn.one(sql, values![user.0]).await?;
                if (children, devices, groups) != (0, 0, 0) {
                    let (operation, groups) = (conn.operation.clone(), groups.cast_unsigned());
                    return Err(Error::InUse { operation, children, devices, groups });
                }
                close_account(conn, &account, "account.deleted", Json::Null, now_ms).await
            })
        })
        .await
    }

    /// The accounts below an account, at any depth, devices left out: behind `after` by id, at most `limit`.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage the account.
    pub async fn juniors(&self, top: UserId, after: UserId, limit: u32) -> Result<Vec<Account>, Error> {
        self.read(format!("accounts below account {top}"), move |conn| {
            Box::pin(async move {
                check_manages(conn, &[top]).await?;
                let (below, mut bound) = below(conn, top).await?;
                let sql = format!(
                    "{below} SELECT {ACCOUNT_COLUMNS} FROM account WHERE id IN (SELECT id FROM below) AND id <> ? AND id > ? \
                     ORDER BY id LIMIT ?"
                );
                bound.extend_from_slice(values![top.0, after.0, limit]);
                let rows: Vec<AccountRecord> = conn.all(AssertSqlSafe(sql), &bound).await?;
                rows.into_iter().map(|row| account_of(conn, row)).collect()
            })
        })
        .await
    }

    /// One account, with what stands around it.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage it, or there is none.
    pub async fn account_card(&self, named: Named) -> Result<AccountCard, Error> {
        self.read(format!("look at account {named:?}"), move |conn| {
            Box::pin(async move {
                let found = match &named {
                    Named::Id(user) => account_by_id(conn, *user).await?,
                    Named::Name(name) => find_account(conn, name).await?,
                };
                let Some(account) = found else { return Err(not_permitted(conn)) };
                check_manages(conn, &[account.id]).await?;
                let profile = profile_row(conn, account.id).await?;
                let (children, devices) = count_below(conn, account.id).await?;
                Ok(AccountCard { account, profile, children, devices })
            })
        })
        .await
    }

    /// All accounts but devices, with how many devices each manages itself: behind `after` by id, at most `limit`. For operators: nobody's
    /// permission is asked.
    pub async fn account_page(&self, after: UserId, limit: u32) -> Result<Vec<(Account, u64)>, Error> {
        self.read("list the accounts".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE kind > 1 AND deleted_ms = 0 AND id > ? ORDER BY id LIMIT ?");
                let rows: Vec<AccountRecord> = conn.all(AssertSqlSafe(sql), values![after.0, limit]).await?;
                let mut accounts = Vec::with_capacity(rows.len());
                for row in rows {
                    let account = account_of(conn, row)?;
                    let (_, devices) = count_below(conn, account.id).await?;
                    accounts.push((account, devices));
                }
                Ok(accounts)
            })
        })
        .await
    }
}

/// The beginning of a statement in which `below` holds an account and the accounts below it, devices left out, and its values. Goes down
/// from parent to child, whichever id is the higher one.
pub(super) async fn below(conn: &mut Conn, top: UserId) -> Result<(&'static str, Vec<Value<'static>>), Error> {
    let sql = "SELECT kind FROM account WHERE id = ?";
    let kind: Option<(i64,)> = conn.first(sql, values![top.0]).await?;
    // Who has no parent stands below a root, other roots excepted.
    let kinds_below = if kind == Some((UserKind::Root as i64,)) { UserKind::Root as u32 } else { 0 };
    let sql = "WITH RECURSIVE below (id) AS (\
                   SELECT id FROM account WHERE id = ? OR (parent = 0 AND kind > 1 AND kind < ? AND deleted_ms = 0) \
                   UNION \
                   SELECT account.id FROM account JOIN below ON account.parent = below.id WHERE account.kind > 1 AND account.deleted_ms = 0\
               )";
    Ok((sql, vec![top.0.into(), kinds_below.into()]))
}

/// How many accounts, and how many devices, stand right below an account.
async fn count_below(conn: &mut Conn, user: UserId) -> Result<(u64, u64), Error> {
    let sql = "SELECT CASE WHEN kind = 1 THEN 1 ELSE 0 END AS device, COUNT(*) FROM account \
               WHERE parent = ? AND deleted_ms = 0 GROUP BY device";
    let rows: Vec<(i64, i64)> = conn.all(sql, values![user.0]).await?;
    let count = |wanted| rows.iter().find(|(device, _)| *device == wanted).map_or(0, |(_, count)| count.cast_unsigned());
    Ok((count(0), count(1)))
}

/// Takes a locked account out of everything it is in. The last thing its transaction does.
pub(super) async fn close_account(conn: &mut Conn, account: &Account, what: &'static str, device: Json, now_ms: u64) -> Result<(), Error> {
    let Account { id: user, name, nickname, kind, tenant, version, parent, .. } = account;
    let mut outgoing = leave_all(conn, &[*user], LeftWhy::Removed).await?;
    let profile = forget_profile(conn, *user).await?;
    conn.execute("DELETE FROM device WHERE account = ?", values![user.0]).await?;
    forget_phone(conn, *user).await?;
    conn.execute("DELETE FROM friend WHERE account = ? OR other = ?", values![user.0, user.0]).await?;
    revoke_access(conn, *user, None, now_ms).await?;
    let sql = "UPDATE account SET name = ?, password = '', deleted_ms = ?, version = ? WHERE id = ?";
    let version = version + 1;
    conn.execute(sql, values![format!("deleted/{user}").as_str(), now_ms, version, user.0]).await?;
    let before = json!({
        "name": name, "nickname": nickname, "kind": kind, "tenant": tenant, "parent": parent, "profile": profile, "device": device,
    });
    note(conn, Noted { what, subject: format!("account:{user}"), before, after: Json::Null }).await?;
    // Of no tenant: nobody may write there any more.
    outgoing.insert(0, profile_of(*user, TenantId(0), version, *parent, nickname));
    push_outbox(conn, &outgoing, now_ms).await
}

/// A tenant for a company. [`Error::NameTaken`] when there is one of its name.
async fn open_tenant(conn: &mut Conn, name: &str) -> Result<TenantId, Error> {
    lock_counter(conn, "tenant").await?;
    if let Some((id,)) = conn.first::<(i64,)>("SELECT id FROM tenant WHERE name = ?", values![name]).await? {
        return Err(Error::NameTaken { operation: conn.operation.clone(), id: id.cast_unsigned() });
    }
    let id = next_numbers(conn, "tenant", 1).await?;
    conn.execute("INSERT INTO tenant (id, name) VALUES (?, ?)", values![id, name]).await?;
    let (subject, after) = (format!("tenant:{id}"), json!({ "name": name }));
    note(conn, Noted { what: "tenant.added", subject, before: Json::Null, after }).await?;
    Ok(TenantId(id))
}

fn check_login_name(operation: &str, name: &str) -> Result<(), Error> {
    let rule = "has 1 to 64 characters, and no slash";
    check_length(operation, "name", name, 1..=LOGIN_NAME_CHARACTERS_MAX, rule)?;
    match name.contains('/') {
        true => Err(Error::Invalid { operation: operation.to_owned(), field: "name", rule }),
        false => Ok(()),
    }
}
