//! Which node an account uses. The only place where that stands: who asks is answered from here, and nothing else is kept that could drift.
//!
//! An account without a node of its own uses that of the nearest account above it that has one; a device so follows its dispatcher.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::change::{Noted, note};
use super::outbox::{Outgoing, push_outbox};
use super::scope::{DEPTH_MAX, check_manages, managed};
use crate::model::{MessageKind, TopicId, UserId};
use crate::topic::frame::{Input, NoticeBody};

/// The longest name of a node, in characters.
pub const NODE_CHARACTERS_MAX: usize = 64;

impl Store {
    /// The node of an account; `None` for the default one, and for an account that is not there.
    pub async fn node_of(&self, user: UserId) -> Result<Option<String>, Error> {
        self.read(format!("node of account {user}"), move |conn| Box::pin(async move { node_above(conn, user).await })).await
    }

    /// As [`Store::node_of`], by login name.
    pub async fn node_of_name(&self, name: &str) -> Result<Option<String>, Error> {
        let name = name.to_owned();
        self.read("node of an account by name".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT id FROM account WHERE name = ? AND deleted_ms = 0";
                match conn.first::<(i64,)>(sql, values![name.as_str()]).await? {
                    Some((id,)) => node_above(conn, UserId(id.cast_unsigned())).await,
                    None => Ok(None),
                }
            })
        })
        .await
    }

    /// As [`Store::node_of`], by the IMEI of a device.
    pub async fn node_of_imei(&self, imei: &str) -> Result<Option<String>, Error> {
        let imei = imei.to_owned();
        self.read("node of a device by IMEI".to_owned(), move |conn| {
            Box::pin(async move {
                match conn.first::<(i64,)>("SELECT account FROM device WHERE imei = ?", values![imei.as_str()]).await? {
                    Some((account,)) => node_above(conn, UserId(account.cast_unsigned())).await,
                    None => Ok(None),
                }
            })
        })
        .await
    }

    /// Gives an account a node of its own, and tells it and everybody below it that follows. Returns how many are told; 0 when it is the
    /// account's own node already.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage the account.
    pub async fn move_account(&self, user: UserId, node: &str, now_ms: u64) -> Result<u64, Error> {
        let node = node.to_owned();
        let operation = format!("move account {user} to node {node:?}");
        if !(1..=NODE_CHARACTERS_MAX).contains(&node.chars().count()) {
            return Err(Error::BadName { operation, characters: node.chars().count() });
        }
        self.write(operation, move |conn| {
            Box::pin(async move {
                check_manages(conn, &[user]).await?;
                // Locked: of two moves at a time the second finds what the first did.
                conn.execute("UPDATE account SET version = version WHERE id = ?", values![user.0]).await?;
                let before = own_node(conn, user).await?.map(|(_, node)| node).unwrap_or_default();
                if before.as_deref() == Some(node.as_str()) {
                    return Ok(0);
                }
                let insert = conn.dialect().on_conflict("account", "node = new.node");
                let sql = format!("INSERT INTO account_node (account, node) VALUES (?, ?){insert}");
                conn.execute(AssertSqlSafe(sql), values![user.0, node.as_str()]).await?;
                let was = before.map_or(Json::Null, |before| json!({ "node": before }));
                let (subject, after) = (format!("account:{user}"), json!({ "node": node }));
                note(conn, Noted { what: "account.moved", subject, before: was, after }).await?;
                let told = followers(conn, user).await?;
                let notice = |user: &UserId| {
                    let topic = TopicId::inbox(*user);
                    let body = NoticeBody { name: node.clone(), ..NoticeBody::default() };
                    Outgoing { topic, kind: "server", input: Input::Notice(body.into_notice(topic, MessageKind::ServerChanged)) }
                };
                let outgoing: Vec<Outgoing> = told.iter().map(notice).collect();
                push_outbox(conn, &outgoing, now_ms).await?;
                Ok(told.len() as u64)
            })
        })
        .await
    }

    /// Whether the author manages an account: itself, or one below it. False for one that is not there.
    pub async fn manages(&self, user: UserId) -> Result<bool, Error> {
        self.read(format!("whether account {user} is managed"), move |conn| {
            Box::pin(async move { Ok(managed(conn, &[user]).await?.contains(&user)) })
        })
        .await
    }
}

/// The parent of an account that exists, and its own node.
async fn own_node(conn: &mut Conn, user: UserId) -> Result<Option<(UserId, Option<String>)>, Error> {
    let sql = "SELECT a.parent, COALESCE(n.node, '') FROM account a LEFT JOIN account_node n ON n.account = a.id \
               WHERE a.id = ? AND a.deleted_ms = 0";
    let row: Option<(i64, String)> = conn.first(sql, values![user.0]).await?;
    Ok(row.map(|(parent, node)| (UserId(parent.cast_unsigned()), (!node.is_empty()).then_some(node))))
}

/// The node of the nearest account from `user` upwards that has one.
async fn node_above(conn: &mut Conn, user: UserId) -> Result<Option<String>, Error> {
    let mut at = user;
    for _ in 0..DEPTH_MAX {
        match own_node(conn, at).await? {
            Some((_, Some(node))) => return Ok(Some(node)),
            Some((parent, None)) if parent.0 != 0 => at = parent,
            _ => break,
        }
    }
    Ok(None)
}

/// The account, and all below it that have no node of their own, nor anybody between.
async fn followers(conn: &mut Conn, user: UserId) -> Result<BTreeSet<UserId>, Error> {
    let mut all = BTreeSet::from([user]);
    let mut level = vec![user];
    for _ in 0..DEPTH_MAX {
        let mut next = Vec::new();
        for piece in pieces(&level, usize::MAX, |_| 0) {
            let sql = format!(
                "SELECT a.id FROM account a LEFT JOIN account_node n ON n.account = a.id \
                 WHERE a.deleted_ms = 0 AND n.node IS NULL AND a.parent IN {}",
                places(1, piece.len())
            );
            let parents: Vec<Value<'_>> = piece.iter().map(|user| user.0.into()).collect();
            let rows: Vec<(i64,)> = conn.all(AssertSqlSafe(sql), &parents).await?;
            next.extend(rows.into_iter().map(|(id,)| UserId(id.cast_unsigned())));
        }
        if next.is_empty() {
            break;
        }
        all.extend(next.iter().copied());
        level = next;
    }
    Ok(all)
}
