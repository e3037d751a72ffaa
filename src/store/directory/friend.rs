//! Friends: both have to want it. A wish is one row; friends are two, one each way.

use std::collections::BTreeMap;

use super::super::conn::{Conn, values};
use super::super::{Error, Store};
use super::change::{Noted, note};
use super::members::lock_accounts;
use super::outbox::{Outgoing, push_outbox};
use super::scope::{author, not_permitted};
use crate::model::{FriendState, MessageKind, TopicId, UserId};
use crate::topic::frame::{Input, NoticeBody};
use serde_json::{Value as Json, json};

/// The most friends and wishes, own and others', of an account.
pub const FRIENDS_MAX: u64 = 1_000;

/// Somebody who is a friend, or is to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Friend {
    /// The other one.
    pub id: UserId,
    /// Their login name.
    pub name: String,
    /// What others see.
    pub nickname: String,
    /// How the account stands with them.
    pub state: FriendState,
}

/// `friend.state`: one asked the other.
const ASKED: i64 = 1;
/// `friend.state`: both rows are there.
const FRIENDS: i64 = 2;

impl Store {
    /// Says that an account wants another one for a friend; true when they are friends now, for the other one had asked or they were. Asking again
    /// changes nothing. [`Error::NotPermitted`] for somebody of another tenant, [`Error::Full`] when either has too many.
    pub async fn add_friend(&self, user: UserId, other: UserId, now_ms: u64) -> Result<bool, Error> {
        let operation = format!("account {user} wants account {other} for a friend");
        if user == other {
            return Err(Error::Invalid { operation, field: "user_id", rule: "must be that of somebody else" });
        }
        self.write(operation, move |conn| {
            Box::pin(async move {
                let people = lock_pair(conn, user, other).await?;
                let (Some(own_name), Some(other_name)) = (people.get(&user), people.get(&other)) else { return Err(not_permitted(conn)) };
                let outgoing = match (state(conn, user, other).await?, state(conn, other, user).await?) {
                    (FRIENDS, _) => return Ok(true),
                    (ASKED, _) => return Ok(false),
                    (_, ASKED) => {
                        let sql = "UPDATE friend SET state = 2, since_ms = ? WHERE account = ? AND other = ?";
                        conn.execute(sql, values![now_ms, other.0, user.0]).await?;
                        insert(conn, user, other, FRIENDS, now_ms).await?;
                        let kind = MessageKind::FriendAdded;
                        vec![notice(user, other, other_name, kind), notice(other, user, own_name, kind)]
                    }
                    _ => {
                        for one in [user, other] {
                            check_room(conn, one).await?;
                        }
                        insert(conn, user, other, ASKED, now_ms).await?;
                        vec![notice(other, user, own_name, MessageKind::FriendAsked)]
                    }
                };
                let friends = outgoing.len() > 1;
                let (before, after) = if friends { ("asks", "friends") } else { ("strangers", "asked") };
                let what = if friends { "friend.added" } else { "friend.asked" };
                note(conn, noted(what, user, other, before, after)).await?;
                push_outbox(conn, &outgoing, now_ms).await?;
                Ok(friends)
            })
        })
        .await
    }

    /// Ends a friendship on both sides, takes a wish back, or declines one; the other one hears of it. False when there was nothing of it.
    pub async fn remove_friend(&self, user: UserId, other: UserId, now_ms: u64) -> Result<bool, Error> {
        self.write(format!("account {user} does not want account {other} for a friend"), move |conn| {
            Box::pin(async move {
                let people = lock_pair(conn, user, other).await?;
                let before = match (state(conn, user, other).await?, state(conn, other, user).await?) {
                    (FRIENDS, _) => "friends",
                    (ASKED, _) => "asked",
                    (_, ASKED) => "asks",
                    _ => return Ok(false),
                };
                let sql = "DELETE FROM friend WHERE (account = ? AND other = ?) OR (account = ? AND other = ?)";
                conn.execute(sql, values![user.0, other.0, other.0, user.0]).await?;
                note(conn, noted("friend.removed", user, other, before, "strangers")).await?;
                let name = people.get(&user).map_or("", String::as_str);
                push_outbox(conn, &[notice(other, user, name, MessageKind::FriendRemoved)], now_ms).await?;
                Ok(true)
            })
        })
        .await
    }

    /// The friends of an account, and wishes either way, by the other one's id, behind `after`, at most `limit`.
    pub async fn friends_of(&self, user: UserId, after: UserId, limit: u32) -> Result<Vec<Friend>, Error> {
        self.read(format!("friends of account {user}"), move |conn| {
            Box::pin(async move {
                let sql = "SELECT a.id, a.name, a.nickname, p.state FROM \
                           (SELECT other AS id, state FROM friend WHERE account = ? AND other > ? UNION ALL \
                            SELECT account AS id, 3 AS state FROM friend WHERE other = ? AND state = 1 AND account > ?) p \
                           JOIN account a ON a.id = p.id AND a.deleted_ms = 0 ORDER BY a.id LIMIT ?";
                let values = values![user.0, after.0, user.0, after.0, limit];
                let rows: Vec<(i64, String, String, i64)> = conn.all(sql, values).await?;
                let friend = |(id, name, nickname, state): (i64, String, String, i64)| {
                    let state = match state {
                        FRIENDS => FriendState::Friends,
                        ASKED => FriendState::Asked,
                        _ => FriendState::Asks,
                    };
                    Friend { id: UserId(id.cast_unsigned()), name, nickname, state }
                };
                Ok(rows.into_iter().map(friend).collect())
            })
        })
        .await
    }
}

/// Locks two accounts, so that of two that ask each other the second finds the wish of the first. The nicknames of those that are live, and of the
/// author's tenant.
async fn lock_pair(conn: &mut Conn, user: UserId, other: UserId) -> Result<BTreeMap<UserId, String>, Error> {
    lock_accounts(conn, &[user, other]).await?;
    if author(conn).is_some_and(|author| author != user) {
        return Err(not_permitted(conn));
    }
    let sql = "SELECT a.id, a.nickname FROM account a JOIN account me ON me.id = ? AND me.tenant = a.tenant \
               WHERE a.id IN (?, ?) AND a.deleted_ms = 0";
    let rows: Vec<(i64, String)> = conn.all(sql, values![user.0, user.0, other.0]).await?;
    Ok(rows.into_iter().map(|(id, nickname)| (UserId(id.cast_unsigned()), nickname)).collect())
}

/// What stands in the row; 0 when there is none.
async fn state(conn: &mut Conn, account: UserId, other: UserId) -> Result<i64, Error> {
    let sql = "SELECT state FROM friend WHERE account = ? AND other = ?";
    let row: Option<(i64,)> = conn.first(sql, values![account.0, other.0]).await?;
    Ok(row.map_or(0, |(state,)| state))
}

async fn insert(conn: &mut Conn, account: UserId, other: UserId, state: i64, now_ms: u64) -> Result<(), Error> {
    let sql = "INSERT INTO friend (account, other, state, since_ms) VALUES (?, ?, ?, ?)";
    conn.execute(sql, values![account.0, other.0, state, now_ms]).await.map(drop)
}

async fn check_room(conn: &mut Conn, user: UserId) -> Result<(), Error> {
    let sql = "SELECT (SELECT COUNT(*) FROM friend WHERE account = ?) + (SELECT COUNT(*) FROM friend WHERE other = ? AND state = 1)";
    let (count,): (i64,) = conn.one(sql, values![user.0, user.0]).await?;
    if count.cast_unsigned() >= FRIENDS_MAX {
        return Err(Error::Full { operation: conn.operation.clone(), what: "friends and wishes of an account", max: FRIENDS_MAX });
    }
    Ok(())
}

fn noted(what: &'static str, user: UserId, other: UserId, before: &str, after: &str) -> Noted {
    let state = |state: &str| if state == "strangers" { Json::Null } else { json!({ "other": other, "state": state }) };
    Noted { what, subject: format!("account:{user}"), before: state(before), after: state(after) }
}

/// What the inbox of `to` hears of `about`.
fn notice(to: UserId, about: UserId, nickname: &str, kind: MessageKind) -> Outgoing {
    let topic = TopicId::inbox(to);
    let body = NoticeBody { user: about.0, nickname: nickname.to_owned(), ..NoticeBody::default() };
    Outgoing { topic, kind: "notice", input: Input::Notice(body.into_notice(topic, kind)) }
}
