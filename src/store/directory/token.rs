//! Resume tokens and the record of logins.
//!
//! A resume token is random, stands here only as its hash, and is good for one use: whoever presents it gets the next one.

use serde_json::{Value as Json, json};

use super::super::conn::{Conn, values};
use super::super::{Error, Store};
use super::account::lock_account;
use super::change::{Noted, note};
use super::revocation::void_ms;
use crate::model::{InstallationId, UserId};

/// Whose a resume token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeToken {
    /// The account.
    pub user: UserId,
    /// The installation it was given to.
    pub installation: InstallationId,
    /// Until when it may be used, UTC milliseconds.
    pub expires_ms: u64,
}

/// What became of a presented resume token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It was good, is used up now, and the next one is in its place.
    Rotated {
        /// The next one.
        token: ResumeToken,
        /// Access tokens of its installation that were signed up to then are void; UTC milliseconds.
        void_ms: u64,
    },
    /// It was used before: the answer to that use was lost, or somebody else has the token.
    Reused(ResumeToken),
    /// Its time is over.
    Expired(ResumeToken),
    /// There is none like it, or it was revoked.
    Unknown,
}

/// A login, or an attempt at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRecord {
    /// The account.
    pub user: UserId,
    /// The installation.
    pub installation: InstallationId,
    /// When, UTC milliseconds.
    pub time_ms: u64,
    /// `ok`, or the reason of the refusal; at most 64 characters.
    pub outcome: String,
    /// From where; at most 64 characters.
    pub peer: String,
    /// What logged in, as `org.example.radio 12`, `web` or `tool`; at most 64 characters.
    pub app: String,
}

/// The longest text of a login record, in characters.
const RECORD_TEXT_MAX: usize = 64;

impl Store {
    /// Stores the hash of a new resume token, 32 bytes.
    pub async fn create_resume_token(&self, hash: [u8; 32], token: ResumeToken) -> Result<(), Error> {
        self.write(format!("create a resume token of account {}", token.user), move |conn| {
            Box::pin(async move { insert_token(conn, &hash, token).await })
        })
        .await
    }

    /// Gives an installation of an account its resume token in the place of those it had. Returns up to when signed access tokens of the
    /// installation are void, UTC milliseconds; `None`, and changes nothing, when `password_hash` is no longer the account's, or it may not
    /// log in.
    pub async fn log_in(&self, hash: [u8; 32], token: ResumeToken, password_hash: &str) -> Result<Option<u64>, Error> {
        let password_hash = password_hash.to_owned();
        self.write(format!("log account {} in", token.user), move |conn| {
            Box::pin(async move {
                let account = match lock_account(conn, token.user).await {
                    Err(Error::NoAccount { .. }) => return Ok(None),
                    account => account?,
                };
                if account.disabled || account.password_hash != password_hash {
                    return Ok(None);
                }
                revoke_tokens(conn, token.user, Some(token.installation)).await?;
                insert_token(conn, &hash, token).await?;
                void_ms(conn, token.user, token.installation).await.map(Some)
            })
        })
        .await
    }

    /// Whose a resume token is, if it could be used at `now_ms`.
    pub async fn resume_token(&self, hash: [u8; 32], now_ms: u64) -> Result<Option<ResumeToken>, Error> {
        self.read("look at a resume token".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT account, resume_token.installation, expires_ms FROM resume_token JOIN account ON account.id = account \
                           WHERE hash = ? AND used = 0 AND expires_ms > ? AND disabled = 0 AND deleted_ms = 0";
                let row: Option<TokenRow> = conn.first(sql, values![&hash[..], now_ms]).await?;
                Ok(row.map(token_of))
            })
        })
        .await
    }

    /// Uses a resume token up and puts the next one in its place. Of several calls with one token only one gets
    /// [`Rotation::Rotated`].
    pub async fn rotate_resume_token(&self, hash: [u8; 32], next: [u8; 32], now_ms: u64, expires_ms: u64) -> Result<Rotation, Error> {
        self.write("rotate a resume token".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT account, installation, expires_ms FROM resume_token WHERE hash = ?";
                let Some(row) = conn.first::<TokenRow>(sql, values![&hash[..]]).await? else { return Ok(Rotation::Unknown) };
                let token = token_of(row);
                // Whoever calls tokens back meanwhile finds the next one, or this one is gone.
                lock(conn, token.user).await?;
                let take = "UPDATE resume_token SET used = 1 WHERE hash = ? AND used = 0 AND expires_ms > ?";
                if conn.execute(take, values![&hash[..], now_ms]).await? > 0 {
                    let token = ResumeToken { expires_ms, ..token };
                    insert_token(conn, &next, token).await?;
                    return Ok(Rotation::Rotated { token, void_ms: void_ms(conn, token.user, token.installation).await? });
                }
                if conn.first::<TokenRow>(sql, values![&hash[..]]).await?.is_none() {
                    return Ok(Rotation::Unknown);
                }
                Ok(if token.expires_ms <= now_ms { Rotation::Expired(token) } else { Rotation::Reused(token) })
            })
        })
        .await
    }

    /// Revokes the resume tokens of an account, or of one of its installations. Returns how many there were, used ones included.
    pub async fn revoke_resume_tokens(&self, user: UserId, installation: Option<InstallationId>) -> Result<u64, Error> {
        self.write(format!("revoke resume tokens of account {user}"), move |conn| {
            Box::pin(async move { revoke_tokens(conn, user, installation).await })
        })
        .await
    }

    /// Removes the resume tokens whose time was over at `now_ms`. Returns how many there were.
    pub async fn purge_resume_tokens(&self, now_ms: u64) -> Result<u64, Error> {
        self.write("purge resume tokens".to_owned(), move |conn| {
            Box::pin(async move { conn.execute("DELETE FROM resume_token WHERE expires_ms <= ?", values![now_ms]).await })
        })
        .await
    }

    /// Records a login.
    pub async fn record_login(&self, record: LoginRecord) -> Result<(), Error> {
        self.write(format!("record a login of account {}", record.user), move |conn| {
            Box::pin(async move {
                let sql = "INSERT INTO login_record (account, installation, time_ms, outcome, peer, app) VALUES (?, ?, ?, ?, ?, ?)";
                let cut = |text: &str| text.chars().take(RECORD_TEXT_MAX).collect::<String>();
                let (outcome, peer, app) = (cut(&record.outcome), cut(&record.peer), cut(&record.app));
                let LoginRecord { user, installation, time_ms, .. } = record;
                let values = values![user.0, installation.0, time_ms, outcome.as_str(), peer.as_str(), app.as_str()];
                conn.execute(sql, values).await.map(drop)
            })
        })
        .await
    }

    /// The last logins of an account, newest first.
    pub async fn login_records(&self, user: UserId, limit: u32) -> Result<Vec<LoginRecord>, Error> {
        self.read(format!("login records of account {user}"), move |conn| Box::pin(async move { records_of(conn, user, limit).await }))
            .await
    }
}

type TokenRow = (i64, i64, i64);

fn token_of((user, installation, expires_ms): TokenRow) -> ResumeToken {
    ResumeToken {
        user: UserId(user.cast_unsigned()),
        installation: InstallationId(installation.cast_unsigned()),
        expires_ms: expires_ms.cast_unsigned(),
    }
}

/// Locks the row of an account, whatever it is like.
pub(super) async fn lock(conn: &mut Conn, user: UserId) -> Result<(), Error> {
    conn.execute("UPDATE account SET version = version WHERE id = ?", values![user.0]).await.map(drop)
}

/// The last logins of an account, newest first.
pub(super) async fn records_of(conn: &mut Conn, user: UserId, limit: u32) -> Result<Vec<LoginRecord>, Error> {
    let sql = "SELECT installation, time_ms, outcome, peer, app FROM login_record WHERE account = ? ORDER BY id DESC LIMIT ?";
    let rows: Vec<(i64, i64, String, String, String)> = conn.all(sql, values![user.0, limit]).await?;
    let record = |(installation, time_ms, outcome, peer, app): (i64, i64, String, String, String)| LoginRecord {
        user,
        installation: InstallationId(installation.cast_unsigned()),
        time_ms: time_ms.cast_unsigned(),
        outcome,
        peer,
        app,
    };
    Ok(rows.into_iter().map(record).collect())
}

/// Removes the resume tokens of an account, or of one of its installations; how many there were.
async fn revoke_tokens(conn: &mut Conn, user: UserId, installation: Option<InstallationId>) -> Result<u64, Error> {
    let revoked = match installation {
        Some(installation) => {
            let sql = "DELETE FROM resume_token WHERE account = ? AND installation = ?";
            conn.execute(sql, values![user.0, installation.0]).await?
        }
        None => conn.execute("DELETE FROM resume_token WHERE account = ?", values![user.0]).await?,
    };
    if revoked > 0 {
        let of = installation.map(|installation| format!("{:x}", installation.0));
        let before = json!({ "installation": of, "resume_tokens": revoked });
        note(conn, Noted { what: "tokens.revoked", subject: format!("account:{user}"), before, after: Json::Null }).await?;
    }
    Ok(revoked)
}

async fn insert_token(conn: &mut Conn, hash: &[u8; 32], token: ResumeToken) -> Result<(), Error> {
    let sql = "INSERT INTO resume_token (hash, account, installation, expires_ms, used) VALUES (?, ?, ?, ?, 0)";
    conn.execute(sql, values![&hash[..], token.user.0, token.installation.0, token.expires_ms]).await.map(drop)
}
