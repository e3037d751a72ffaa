//! What an author may do with a group.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;

use super::super::Error;
use super::super::conn::{Conn, Value, pieces, places, values};
use super::group::{Group, role_of};
use super::members::Change;
use super::scope::{author, managed, not_permitted};
use crate::model::{GroupKind, MemberRole, UserId};

/// What an author is to a group. Who manages the account a group belongs to is as good as its owner, and operators are as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Stranger,
    Member,
    Manager,
    Owner,
}

/// What the author is to a group.
pub(super) async fn standing(conn: &mut Conn, group: &Group) -> Result<Standing, Error> {
    let Some(author) = author(conn) else { return Ok(Standing::Owner) };
    if let Some(owner) = group.owner
        && managed(conn, &[owner]).await?.contains(&owner)
    {
        return Ok(Standing::Owner);
    }
    let sql = "SELECT m.role FROM grp_member m JOIN account a ON a.id = m.account \
               WHERE m.grp = ? AND m.account = ? AND m.present = 1 AND a.deleted_ms = 0 AND a.disabled = 0";
    let Some((role,)) = conn.first::<(i64,)>(sql, values![group.id.0, author.0]).await? else { return Ok(Standing::Stranger) };
    Ok(match role_of(conn, role)? {
        MemberRole::Member => Standing::Member,
        MemberRole::Manager => Standing::Manager,
        MemberRole::Owner => Standing::Owner,
    })
}

/// [`Error::NotPermitted`] unless the author is at least so much to a group.
pub(super) async fn check_standing(conn: &mut Conn, group: &Group, least: Standing) -> Result<Standing, Error> {
    let standing = standing(conn, group).await?;
    if standing >= least { Ok(standing) } else { Err(not_permitted(conn)) }
}

/// [`Error::NotPermitted`] unless the author is a member of a group, or may change it.
pub(super) async fn check_sees(conn: &mut Conn, group: &Group) -> Result<(), Error> {
    check_standing(conn, group, Standing::Member).await.map(drop)
}

/// [`Error::NotPermitted`] unless the author may take those in that are to join and are no members. Into a dispatcher's group its owner takes whom
/// they manage; managers, and members of a call group, take anybody of the tenant, which is checked for all.
pub(super) async fn check_may_add(conn: &mut Conn, group: &Group, standing: Standing, changes: &[Change]) -> Result<(), Error> {
    if author(conn).is_none() || standing < Standing::Owner || group.kind == GroupKind::Call {
        return Ok(());
    }
    let joining: Vec<UserId> = changes.iter().filter(|change| change.joined).map(|change| change.user).collect();
    let managed = managed(conn, &joining).await?;
    let mut rest: BTreeSet<UserId> = joining.into_iter().filter(|user| !managed.contains(user) && group.owner != Some(*user)).collect();
    for piece in pieces(&rest.clone().into_iter().collect::<Vec<_>>(), usize::MAX, |_| 0) {
        let sql = format!("SELECT account FROM grp_member WHERE grp = ? AND present = 1 AND account IN {}", places(1, piece.len()));
        let mut values = vec![Value::from(group.id.0)];
        values.extend(piece.iter().map(|user| Value::from(user.0)));
        for (user,) in conn.all::<(i64,)>(AssertSqlSafe(sql), &values).await? {
            rest.remove(&UserId(user.cast_unsigned()));
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(not_permitted(conn)) }
}
