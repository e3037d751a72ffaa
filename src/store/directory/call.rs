//! What people do with groups by themselves: join, take others in, leave, look for one.

use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, places, values};
use super::super::{Error, Store};
use super::grant::{Standing, check_standing, standing};
use super::group::{Group, lock_group};
use super::members::{Change, MembersChanged, lock_accounts, write_changes};
use super::scope::{above, author, not_permitted};
use super::text::contains;
use crate::model::{GroupId, GroupKind, LeftWhy, UserId};

/// A group that somebody is in, or could join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundGroup {
    /// The group.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: GroupKind,
    /// The one who looks is in it.
    pub member: bool,
}

/// A call group that a friend of account ? is in; its group is `g`.
const CALL_OF_A_FRIEND: &str = "g.kind = 3 AND EXISTS (SELECT 1 FROM friend f JOIN grp_member fm ON fm.account = f.other \
                                WHERE f.account = ? AND f.state = 2 AND fm.grp = g.id AND fm.present = 1)";

impl Store {
    /// Joins a user by their own wish. [`Error::NotPermitted`] unless they are in it, a friend is and it is a call group, or it belongs to
    /// an account above them.
    pub async fn join_by_wish(&self, group: GroupId, user: UserId, now_ms: u64) -> Result<MembersChanged, Error> {
        self.write(format!("account {user} joins group {group}"), move |conn| {
            Box::pin(async move {
                lock_accounts(conn, &[user]).await?;
                let locked = lock_group(conn, group).await?;
                if !may_join(conn, &locked, user).await? {
                    return Err(not_permitted(conn));
                }
                write_changes(conn, &locked, &[Change::join(user)], now_ms).await
            })
        })
        .await
    }

    /// Takes others of the tenant into a group. The author must be one of its managers; into a call group every member may.
    pub async fn invite(&self, group: GroupId, users: &[UserId], now_ms: u64) -> Result<MembersChanged, Error> {
        let users: std::collections::BTreeSet<UserId> = users.iter().copied().collect();
        self.write(format!("invite {} to group {group}", users.len()), move |conn| {
            Box::pin(async move {
                lock_accounts(conn, &users.iter().copied().collect::<Vec<_>>()).await?;
                let locked = lock_group(conn, group).await?;
                let least = if locked.kind == GroupKind::Call { Standing::Member } else { Standing::Manager };
                check_standing(conn, &locked, least).await?;
                let changes: Vec<Change> = users.into_iter().map(Change::join).collect();
                write_changes(conn, &locked, &changes, now_ms).await
            })
        })
        .await
    }

    /// Ends the author's own membership. [`Error::NotPermitted`] when there is none, [`Error::OwnerStays`] when they own the group.
    pub async fn exit_group(&self, group: GroupId, user: UserId, now_ms: u64) -> Result<(), Error> {
        self.write(format!("account {user} leaves group {group}"), move |conn| {
            Box::pin(async move {
                let locked = lock_group(conn, group).await?;
                if locked.owner == Some(user) {
                    return Err(Error::OwnerStays { operation: conn.operation.clone(), group, user });
                }
                match write_changes(conn, &locked, &[Change::leave(user, LeftWhy::Exited)], now_ms).await? {
                    MembersChanged { left: 0, .. } => Err(not_permitted(conn)),
                    _ => Ok(()),
                }
            })
        })
        .await
    }

    /// Live groups that a user is in or could join, whose name contains a text; at most `limit`, by id.
    pub async fn search_groups(&self, user: UserId, text: &str, limit: u32) -> Result<Vec<FoundGroup>, Error> {
        let text = text.to_owned();
        self.read(format!("groups that account {user} looks for"), move |conn| {
            Box::pin(async move {
                let owners = above(conn, user).await?;
                let (contains, patterns) = contains(&["g.name"], &text);
                let owned = if owners.is_empty() { String::new() } else { format!(" OR g.owner IN {}", places(1, owners.len())) };
                let sql = format!(
                    "SELECT g.id, g.name, g.kind, COALESCE(m.present, 0) FROM grp g \
                     JOIN account a ON a.id = ? AND a.tenant = g.tenant \
                     LEFT JOIN grp_member m ON m.grp = g.id AND m.account = a.id AND m.present = 1 \
                     WHERE g.dissolved_ms = 0 AND {contains} AND (m.present = 1{owned} OR ({CALL_OF_A_FRIEND})) ORDER BY g.id LIMIT ?"
                );
                let mut values = vec![Value::from(user.0)];
                values.extend(patterns.iter().map(|pattern| Value::from(pattern.as_str())));
                values.extend(owners.iter().map(|owner| Value::from(owner.0)));
                values.extend_from_slice(values![user.0, limit]);
                let rows: Vec<(i64, String, i64, i64)> = conn.all(AssertSqlSafe(sql), &values).await?;
                let found = |(id, name, kind, member): (i64, String, i64, i64)| {
                    let known = u32::try_from(kind).ok().and_then(GroupKind::from_number);
                    let kind = known.ok_or_else(|| conn.unreadable("grp.kind", format!("{kind} is no kind")))?;
                    Ok(FoundGroup { id: GroupId(id.cast_unsigned()), name, kind, member: member != 0 })
                };
                rows.into_iter().map(found).collect()
            })
        })
        .await
    }
}

async fn may_join(conn: &mut Conn, group: &Group, user: UserId) -> Result<bool, Error> {
    // Who speaks for somebody else is an operator, or a mistake.
    if author(conn).is_some_and(|author| author != user) {
        return Ok(false);
    }
    if author(conn).is_none() || standing(conn, group).await? >= Standing::Member {
        return Ok(true);
    }
    if let Some(owner) = group.owner
        && above(conn, user).await?.contains(&owner)
    {
        return Ok(true);
    }
    let sql = format!("SELECT 1 FROM grp g WHERE g.id = ? AND {CALL_OF_A_FRIEND}");
    Ok(conn.first::<(i64,)>(AssertSqlSafe(sql), values![group.id.0, user.0]).await?.is_some())
}
