//! What an author may touch: an account manages itself and everything below it in the tree, the root everything; operators at the command
//! line and the fleet itself are not asked.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::account::kind_of;
use super::change::Author;
use crate::model::{UserId, UserKind};

/// How deep the tree is looked at: kinds fall from parent to child, so it is no deeper than there are kinds.
pub(super) const DEPTH_MAX: usize = 8;

/// The account the unit is for; `None` for operators and the fleet, who may do anything.
pub(in crate::store) fn author(conn: &Conn) -> Option<UserId> {
    match conn.stamp.author() {
        Author::Account(user) => Some(*user),
        Author::Fleet | Author::Operator(_) => None,
    }
}

/// Of some accounts those that exist and that the author manages, itself included.
pub(in crate::store) async fn managed(conn: &mut Conn, accounts: &[UserId]) -> Result<BTreeSet<UserId>, Error> {
    let Some(author) = author(conn) else { return existing(conn, accounts).await };
    let sql = "SELECT kind FROM account WHERE id = ? AND deleted_ms = 0 AND disabled = 0";
    let kind: Option<(i64,)> = conn.first(sql, values![author.0]).await?;
    match kind {
        None => Ok(BTreeSet::new()),
        Some((kind,)) if kind == UserKind::Root as i64 => existing(conn, accounts).await,
        Some(_) => below(conn, author, accounts).await,
    }
}

/// The kind of the account the unit is for; `None` for operators and the fleet. [`Error::NotPermitted`] when it is disabled or no more.
pub(in crate::store) async fn author_kind(conn: &mut Conn) -> Result<Option<UserKind>, Error> {
    let Some(author) = author(conn) else { return Ok(None) };
    let sql = "SELECT kind FROM account WHERE id = ? AND deleted_ms = 0 AND disabled = 0";
    match conn.first::<(i64,)>(sql, values![author.0]).await? {
        Some((kind,)) => kind_of(conn, kind).map(Some),
        None => Err(not_permitted(conn)),
    }
}

/// [`Error::NotPermitted`] unless the author manages all of these accounts.
pub(in crate::store) async fn check_manages(conn: &mut Conn, accounts: &[UserId]) -> Result<(), Error> {
    let managed = managed(conn, accounts).await?;
    if accounts.iter().all(|account| managed.contains(account)) { Ok(()) } else { Err(not_permitted(conn)) }
}

/// The refusal that tells nothing.
pub(super) fn not_permitted(conn: &Conn) -> Error {
    Error::NotPermitted { operation: conn.operation.clone() }
}

impl Store {
    /// Of some accounts those who manage them: every account above each, and every root. Accounts that do not exist are left out.
    pub async fn managers_of(&self, accounts: &[UserId]) -> Result<BTreeMap<UserId, BTreeSet<UserId>>, Error> {
        let accounts: BTreeSet<UserId> = accounts.iter().copied().collect();
        self.read(format!("the managers of {} accounts", accounts.len()), move |conn| {
            Box::pin(async move { managers(conn, &accounts).await })
        })
        .await
    }
}

/// As [`Store::managers_of`].
pub(in crate::store) async fn managers(conn: &mut Conn, accounts: &BTreeSet<UserId>) -> Result<BTreeMap<UserId, BTreeSet<UserId>>, Error> {
    let sql = "SELECT id FROM account WHERE kind = ? AND deleted_ms = 0 AND disabled = 0";
    let roots: Vec<(i64,)> = conn.all(sql, values![UserKind::Root as u32]).await?;
    let roots: BTreeSet<UserId> = roots.into_iter().map(|(id,)| UserId(id.cast_unsigned())).collect();
    let mut known: BTreeMap<UserId, UserId> = BTreeMap::new();
    let mut level: Vec<UserId> = accounts.iter().copied().collect();
    for _ in 0..DEPTH_MAX {
        let found = parents(conn, &level).await?;
        let next: BTreeSet<UserId> = found.values().copied().filter(|parent| parent.0 != 0 && !known.contains_key(parent)).collect();
        known.extend(found);
        level = next.into_iter().filter(|parent| !known.contains_key(parent)).collect();
        if level.is_empty() {
            break;
        }
    }
    let above = |account: &UserId| {
        let way = std::iter::successors(known.get(account), |parent| known.get(parent));
        way.copied().filter(|parent| parent.0 != 0).chain(roots.iter().copied()).collect()
    };
    Ok(accounts.iter().filter(|account| known.contains_key(account)).map(|account| (*account, above(account))).collect())
}

async fn existing(conn: &mut Conn, accounts: &[UserId]) -> Result<BTreeSet<UserId>, Error> {
    Ok(parents(conn, accounts).await?.into_keys().collect())
}

/// Of some accounts those that are `top`, or stand below it.
async fn below(conn: &mut Conn, top: UserId, accounts: &[UserId]) -> Result<BTreeSet<UserId>, Error> {
    // Where each account's way up has led so far.
    let mut at: BTreeMap<UserId, UserId> = accounts.iter().map(|account| (*account, *account)).collect();
    let mut found = BTreeSet::new();
    for _ in 0..DEPTH_MAX {
        let here: BTreeSet<UserId> = at.values().copied().collect();
        let parents = parents(conn, &here.into_iter().collect::<Vec<_>>()).await?;
        at.retain(|account, here| {
            let Some(parent) = parents.get(here) else { return false };
            if *here == top {
                found.insert(*account);
                return false;
            }
            *here = *parent;
            parent.0 != 0
        });
        if at.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// The accounts that exist, each with its parent.
async fn parents(conn: &mut Conn, accounts: &[UserId]) -> Result<BTreeMap<UserId, UserId>, Error> {
    let mut found = BTreeMap::new();
    for piece in pieces(accounts, usize::MAX, |_| 0) {
        let sql = format!("SELECT id, parent FROM account WHERE deleted_ms = 0 AND id IN {}", places(1, piece.len()));
        let values: Vec<Value<'_>> = piece.iter().map(|account| account.0.into()).collect();
        let rows: Vec<(i64, i64)> = conn.all(AssertSqlSafe(sql), &values).await?;
        found.extend(rows.into_iter().map(|(id, parent)| (UserId(id.cast_unsigned()), UserId(parent.cast_unsigned()))));
    }
    Ok(found)
}

/// The accounts above one, itself left out.
pub(super) async fn above(conn: &mut Conn, account: UserId) -> Result<BTreeSet<UserId>, Error> {
    let mut found = BTreeSet::new();
    let mut at = account;
    for _ in 0..DEPTH_MAX {
        let Some(parent) = parents(conn, &[at]).await?.remove(&at).filter(|parent| parent.0 != 0) else { break };
        found.insert(parent);
        at = parent;
    }
    Ok(found)
}
