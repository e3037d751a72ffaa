//! Contact details of accounts, and what else may be changed of one.

use serde_json::{Value as Json, json};

use super::super::conn::{Conn, values};
use super::super::{Error, Store};
use super::account::{Account, lock_account, profile_of, renaming};
use super::change::{Noted, note};
use super::outbox::{Outgoing, push_outbox};
use super::revocation::revoke_access;
use super::scope::{author, check_manages};
use super::{check_length, check_name};
use crate::model::UserId;

/// Contact details. Each may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AccountProfile {
    /// At most 254 characters.
    pub email: String,
    /// At most 32 characters.
    pub phone: String,
    /// At most 255 characters.
    pub address: String,
    /// Whom to ask for; at most 128 characters.
    pub contact: String,
    /// At most 1,000 characters.
    pub remark: String,
}

/// What to change of an account; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct AccountUpdate {
    /// What others see, 1 to 100 characters.
    pub nickname: Option<String>,
    /// All of it.
    pub profile: Option<AccountProfile>,
    /// Whether it may not log in.
    pub disabled: Option<bool>,
}

impl AccountProfile {
    /// [`Error::Invalid`] when a part is too long: SQLite does not check it.
    pub(super) fn check(&self, operation: &str) -> Result<(), Error> {
        let Self { email, phone, address, contact, remark } = self;
        check_length(operation, "profile.email", email, 0..=254, "has at most 254 characters")?;
        check_length(operation, "profile.phone", phone, 0..=32, "has at most 32 characters")?;
        check_length(operation, "profile.address", address, 0..=255, "has at most 255 characters")?;
        check_length(operation, "profile.contact", contact, 0..=128, "has at most 128 characters")?;
        check_length(operation, "profile.remark", remark, 0..=1_000, "has at most 1,000 characters")
    }
}

impl Store {
    /// Changes an account, and tells its inbox of another nickname. Forbidding it to log in voids its tokens.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage it, [`Error::Invalid`] for what is too long, or to disable oneself.
    pub async fn update_account(&self, user: UserId, update: AccountUpdate, now_ms: u64) -> Result<(), Error> {
        let operation = format!("update account {user}");
        if let Some(nickname) = &update.nickname {
            check_name(&operation, nickname).map_err(|_| super::bad_nickname(&operation))?;
        }
        if let Some(profile) = &update.profile {
            profile.check(&operation)?;
        }
        self.write(operation, move |conn| {
            Box::pin(async move {
                check_manages(conn, &[user]).await?;
                let found = lock_account(conn, user).await?;
                if let Some(profile) = &update.profile {
                    let before = profile_row(conn, user).await?;
                    if before != *profile {
                        put_profile(conn, user, profile).await?;
                        let (before, after) = (json!(before), json!(profile));
                        note(conn, Noted { what: "account.profile_changed", subject: format!("account:{user}"), before, after }).await?;
                    }
                }
                if let Some(disabled) = update.disabled {
                    set_disabled(conn, &found, disabled).await?;
                }
                let outgoing = match &update.nickname {
                    Some(nickname) => set_nickname(conn, &found, nickname).await?,
                    None => Vec::new(),
                };
                push_outbox(conn, &outgoing, now_ms).await
            })
        })
        .await
    }
}

/// Gives a locked account another nickname; what its inbox hears of it.
pub(super) async fn set_nickname(conn: &mut Conn, found: &Account, nickname: &str) -> Result<Vec<Outgoing>, Error> {
    let Account { id: user, name, nickname: before, tenant, version, parent, .. } = found;
    if before == nickname {
        return Ok(Vec::new());
    }
    let version = version + 1;
    conn.execute("UPDATE account SET nickname = ?, version = ? WHERE id = ?", values![nickname, version, user.0]).await?;
    let state = |nickname: &str| json!({ "name": name, "nickname": nickname });
    let (before, after) = (state(before), state(nickname));
    note(conn, Noted { what: "account.renamed", subject: format!("account:{user}"), before, after }).await?;
    Ok(vec![profile_of(*user, *tenant, version, *parent, nickname), renaming(*user, nickname)])
}

/// Forbids a locked account to log in, which calls its tokens back; or allows it again.
pub(super) async fn set_disabled(conn: &mut Conn, found: &Account, disabled: bool) -> Result<(), Error> {
    let user = found.id;
    if author(conn) == Some(user) {
        let operation = conn.operation.clone();
        return Err(Error::Invalid { operation, field: "disabled", rule: "is not for oneself to say" });
    }
    if found.disabled != disabled {
        conn.execute("UPDATE account SET disabled = ? WHERE id = ?", values![disabled, user.0]).await?;
        let what = if disabled { "account.disabled" } else { "account.enabled" };
        let state = |disabled: bool| json!({ "name": found.name, "disabled": disabled });
        let (before, after) = (state(!disabled), state(disabled));
        note(conn, Noted { what, subject: format!("account:{user}"), before, after }).await?;
        if disabled {
            revoke_access(conn, user, None, conn.stamp.now_ms()).await?;
        }
    }
    Ok(())
}

/// The contact details of an account; empty ones when none were given.
pub(super) async fn profile_row(conn: &mut Conn, user: UserId) -> Result<AccountProfile, Error> {
    let sql = "SELECT email, phone, address, contact, remark FROM account_profile WHERE account = ?";
    let row: Option<(String, String, String, String, String)> = conn.first(sql, values![user.0]).await?;
    let profile = |(email, phone, address, contact, remark)| AccountProfile { email, phone, address, contact, remark };
    Ok(row.map(profile).unwrap_or_default())
}

/// Stores contact details, which were checked.
pub(super) async fn put_profile(conn: &mut Conn, user: UserId, profile: &AccountProfile) -> Result<(), Error> {
    let set = "email = new.email, phone = new.phone, address = new.address, contact = new.contact, remark = new.remark";
    let sql = format!(
        "INSERT INTO account_profile (account, email, phone, address, contact, remark) VALUES (?, ?, ?, ?, ?, ?){}",
        conn.dialect().on_conflict("account", set)
    );
    let AccountProfile { email, phone, address, contact, remark } = profile;
    let values = values![user.0, email.as_str(), phone.as_str(), address.as_str(), contact.as_str(), remark.as_str()];
    conn.execute(sqlx::AssertSqlSafe(sql), values).await.map(drop)
}

/// Removes the contact details of an account that is no more.
pub(super) async fn forget_profile(conn: &mut Conn, user: UserId) -> Result<Json, Error> {
    let before = profile_row(conn, user).await?;
    conn.execute("DELETE FROM account_profile WHERE account = ?", values![user.0]).await?;
    Ok(if before == AccountProfile::default() { Json::Null } else { json!(before) })
}
