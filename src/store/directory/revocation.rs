//! Access that was called back: resume tokens are deleted, and access tokens signed up to a moment are void.
//!
//! A row of `token_revocation` stands for an installation, or (as 0) for all that have no row of their own. Moments only rise, so rows may
//! be written elsewhere in any order, any number of times. Whoever logs in later gets a token that is signed behind that moment, whatever
//! the clocks of the fleet say; and whatever calls tokens back does so behind what was called back before, and so behind that token.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::account::{ACCOUNT_COLUMNS, Account, AccountRecord, account_of, lock_account};
use super::change::{Noted, note};
use super::scope::check_manages;
use super::token::{LoginRecord, ResumeToken, lock, records_of};
use crate::model::{InstallationId, UserId};

/// Stands for all installations of an account that have no row of their own.
const ALL: InstallationId = InstallationId(0);

/// Whose tokens are called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Those of one installation.
    Installation(InstallationId),
    /// Those of all but this one.
    AllBut(Option<InstallationId>),
}

/// What is void of an account's access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    /// The account.
    pub user: UserId,
    /// For installations, and for 0 that stands for all others: up to when signed tokens are void, UTC milliseconds.
    pub void_ms: Vec<(InstallationId, u64)>,
}

/// By what an account can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The resume tokens that are good, at most [`ACCESS_TOKENS_MAX`], those that last longest first.
    pub resume_tokens: Vec<ResumeToken>,
    /// The last logins, newest first.
    pub logins: Vec<LoginRecord>,
}

/// The most resume tokens that are listed of an account.
pub const ACCESS_TOKENS_MAX: u32 = 1_000;

impl Store {
    /// The account behind an access token of an installation that was signed at `issued_ms`. `None` when it is disabled or deleted, or the
    /// token was called back.
    pub async fn caller(&self, user: UserId, installation: InstallationId, issued_ms: u64) -> Result<Option<Account>, Error> {
        self.read(format!("account {user} as a caller"), move |conn| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT {ACCOUNT_COLUMNS} FROM account \
                     LEFT JOIN token_revocation AS own ON own.account = account.id AND own.installation = ? \
                     LEFT JOIN token_revocation AS whole ON whole.account = account.id AND whole.installation = 0 \
                     WHERE id = ? AND deleted_ms = 0 AND disabled = 0 AND COALESCE(own.before_ms, whole.before_ms, 0) < ?"
                );
                let values = values![installation.0, user.0, issued_ms];
                let row: Option<AccountRecord> = conn.first(AssertSqlSafe(sql), values).await?;
                row.map(|row| account_of(conn, row)).transpose()
            })
        })
        .await
    }

    /// Calls tokens of an account back: resume tokens are deleted, access tokens signed until now are void.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage the account.
    pub async fn revoke(&self, user: UserId, revoked: Revoked) -> Result<(), Error> {
        self.write(format!("revoke tokens of account {user}"), move |conn| {
            Box::pin(async move {
                check_manages(conn, &[user]).await?;
                let now_ms = conn.stamp.now_ms();
                match revoked {
                    Revoked::Installation(installation) => revoke_installation(conn, user, installation, now_ms).await,
                    Revoked::AllBut(keep) => revoke_access(conn, user, keep, now_ms).await,
                }
            })
        })
        .await
    }

    /// Sets the password of an account, and calls the tokens of all its installations but `keep` back. With `old_hash` only if that is
    /// its hash now; false when it is not.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage the account.
    pub async fn change_password(
        &self,
        user: UserId,
        hash: &str,
        old_hash: Option<&str>,
        keep: Option<InstallationId>,
    ) -> Result<bool, Error> {
        let (hash, old_hash) = (hash.to_owned(), old_hash.map(str::to_owned));
        self.write(format!("change the password of account {user}"), move |conn| {
            Box::pin(async move {
                check_manages(conn, &[user]).await?;
                let before = lock_account(conn, user).await?;
                if old_hash.is_some_and(|old_hash| old_hash != before.password_hash) {
                    return Ok(false);
                }
                put_password(conn, &before, &hash, keep).await?;
                Ok(true)
            })
        })
        .await
    }

    /// By what an account can be used at `now_ms`, with its last `logins` logins.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage the account.
    pub async fn access(&self, user: UserId, now_ms: u64, logins: u32) -> Result<Access, Error> {
        self.read(format!("access to account {user}"), move |conn| {
            Box::pin(async move {
                check_manages(conn, &[user]).await?;
                let sql = "SELECT installation, expires_ms FROM resume_token WHERE account = ? AND used = 0 AND expires_ms > ? \
                           ORDER BY expires_ms DESC LIMIT ?";
                let rows: Vec<(i64, i64)> = conn.all(sql, values![user.0, now_ms, ACCESS_TOKENS_MAX]).await?;
                let token = |(installation, expires_ms): (i64, i64)| ResumeToken {
                    user,
                    installation: InstallationId(installation.cast_unsigned()),
                    expires_ms: expires_ms.cast_unsigned(),
                };
                Ok(Access { resume_tokens: rows.into_iter().map(token).collect(), logins: records_of(conn, user, logins).await? })
            })
        })
        .await
    }

    /// What is void of one account's tokens.
    pub async fn revocations_of(&self, user: UserId) -> Result<Revocations, Error> {
        self.read(format!("revocations of account {user}"), move |conn| {
            Box::pin(async move {
                let mut rows = rows_of(conn, &[(user.0.cast_signed(),)]).await?;
                Ok(Revocations { user, void_ms: rows.remove(&user).unwrap_or_default() })
            })
        })
        .await
    }

    /// The accounts above `after`, by id, of which tokens signed at `since_ms` or later are void; at most `limit`.
    pub async fn revocations(&self, after: UserId, since_ms: u64, limit: u32) -> Result<Vec<Revocations>, Error> {
        self.read("revocations".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT DISTINCT account FROM token_revocation WHERE account > ? AND before_ms >= ? ORDER BY account LIMIT ?";
                let accounts: Vec<(i64,)> = conn.all(sql, values![after.0, since_ms, limit]).await?;
                let rows = rows_of(conn, &accounts).await?;
                Ok(rows.into_iter().map(|(user, void_ms)| Revocations { user, void_ms }).collect())
            })
        })
        .await
    }

    /// Forgets what voids no token signed at `since_ms` or later. Returns how many rows there were.
    pub async fn purge_revocations(&self, since_ms: u64) -> Result<u64, Error> {
        self.write("purge revocations".to_owned(), move |conn| {
            Box::pin(async move {
                let whole = "DELETE FROM token_revocation WHERE installation = 0 AND before_ms < ?";
                let purged = conn.execute(whole, values![since_ms]).await?;
                // A row of an installation may be what keeps it out of the row of all.
                let own = "DELETE FROM token_revocation WHERE installation <> 0 AND before_ms < ? AND account NOT IN \
                           (SELECT account FROM (SELECT account FROM token_revocation WHERE installation = 0) AS whole)";
                Ok(purged + conn.execute(own, values![since_ms]).await?)
            })
        })
        .await
    }
}

/// Calls the tokens of all installations of an account but `keep` back, within a transaction: for whoever closes or hands over an account.
/// The row of the account is locked from then on.
pub(super) async fn revoke_access(conn: &mut Conn, user: UserId, keep: Option<InstallationId>, now_ms: u64) -> Result<(), Error> {
    lock(conn, user).await?;
    let kept = keep.unwrap_or(ALL);
    if keep.is_some() && row(conn, user, kept).await?.is_none() {
        // A row of its own keeps the row of all from it.
        let void_ms = row(conn, user, ALL).await?.unwrap_or(0);
        raise(conn, user, kept, void_ms).await?;
    }
    let sql = "DELETE FROM resume_token WHERE account = ? AND installation <> ?";
    let tokens = conn.execute(sql, values![user.0, kept.0]).await?;
    let (last,): (Option<i64>,) = conn.one("SELECT MAX(before_ms) FROM token_revocation WHERE account = ?", values![user.0]).await?;
    let now_ms = now_ms.max(last.map_or(0, |last| last.cast_unsigned() + 1));
    raise(conn, user, ALL, now_ms).await?;
    let sql = "UPDATE token_revocation SET before_ms = ? WHERE account = ? AND installation <> ? AND installation <> 0 AND before_ms < ?";
    conn.execute(sql, values![now_ms, user.0, kept.0, now_ms]).await?;
    let kept = keep.map(|keep| format!("{:x}", keep.0));
    let (before, after) = (json!({ "resume_tokens": tokens }), json!({ "kept": kept, "void_ms": now_ms }));
    note(conn, Noted { what: "tokens.revoked", subject: format!("account:{user}"), before, after }).await
}

/// The same for one installation.
async fn revoke_installation(conn: &mut Conn, user: UserId, installation: InstallationId, now_ms: u64) -> Result<(), Error> {
    lock(conn, user).await?;
    let sql = "DELETE FROM resume_token WHERE account = ? AND installation = ?";
    let tokens = conn.execute(sql, values![user.0, installation.0]).await?;
    let now_ms = now_ms.max(void_ms(conn, user, installation).await? + 1);
    raise(conn, user, installation, now_ms).await?;
    let before = json!({ "installation": format!("{:x}", installation.0), "resume_tokens": tokens });
    let after = json!({ "void_ms": now_ms });
    note(conn, Noted { what: "tokens.revoked", subject: format!("account:{user}"), before, after }).await
}

/// Sets the password of a locked account and calls back what was got with the one before.
pub(super) async fn put_password(conn: &mut Conn, before: &Account, hash: &str, keep: Option<InstallationId>) -> Result<(), Error> {
    let user = before.id;
    conn.execute("UPDATE account SET password = ? WHERE id = ?", values![hash, user.0]).await?;
    let state = |hash: &str| json!({ "name": before.name, "password": !hash.is_empty() });
    let (was, is) = (state(&before.password_hash), state(hash));
    note(conn, Noted { what: "account.password_set", subject: format!("account:{user}"), before: was, after: is }).await?;
    revoke_access(conn, user, keep, conn.stamp.now_ms()).await
}

/// Up to when signed tokens of an installation are void; 0 for none.
pub(super) async fn void_ms(conn: &mut Conn, user: UserId, installation: InstallationId) -> Result<u64, Error> {
    match row(conn, user, installation).await? {
        Some(void_ms) => Ok(void_ms),
        None => Ok(row(conn, user, ALL).await?.unwrap_or(0)),
    }
}

async fn row(conn: &mut Conn, user: UserId, installation: InstallationId) -> Result<Option<u64>, Error> {
    let sql = "SELECT before_ms FROM token_revocation WHERE account = ? AND installation = ?";
    let row: Option<(i64,)> = conn.first(sql, values![user.0, installation.0]).await?;
    Ok(row.map(|(before_ms,)| before_ms.cast_unsigned()))
}

/// Writes a row, or raises it. The account is locked.
async fn raise(conn: &mut Conn, user: UserId, installation: InstallationId, void_ms: u64) -> Result<(), Error> {
    match row(conn, user, installation).await? {
        None => {
            let sql = "INSERT INTO token_revocation (account, installation, before_ms) VALUES (?, ?, ?)";
            conn.execute(sql, values![user.0, installation.0, void_ms]).await.map(drop)
        }
        Some(known) if known < void_ms => {
            let sql = "UPDATE token_revocation SET before_ms = ? WHERE account = ? AND installation = ?";
            conn.execute(sql, values![void_ms, user.0, installation.0]).await.map(drop)
        }
        Some(_) => Ok(()),
    }
}

async fn rows_of(conn: &mut Conn, accounts: &[(i64,)]) -> Result<BTreeMap<UserId, Vec<(InstallationId, u64)>>, Error> {
    let mut found: BTreeMap<UserId, Vec<(InstallationId, u64)>> = BTreeMap::new();
    for piece in pieces(accounts, usize::MAX, |_| 0) {
        let sql = format!("SELECT account, installation, before_ms FROM token_revocation WHERE account IN {}", places(1, piece.len()));
        let values: Vec<Value<'_>> = piece.iter().map(|(account,)| Value::from(*account)).collect();
        for (user, installation, before_ms) in conn.all::<(i64, i64, i64)>(AssertSqlSafe(sql), &values).await? {
            let row = (InstallationId(installation.cast_unsigned()), before_ms.cast_unsigned());
            found.entry(UserId(user.cast_unsigned())).or_default().push(row);
        }
    }
    Ok(found)
}
