//! Groups, as they are read. Those that were dissolved are found by nobody.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::account::kind_of;
use super::grant::check_sees;
use crate::model::{GroupId, GroupKind, MemberRole, TenantId, UserId, UserKind};

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// From 1.
    pub id: GroupId,
    /// Its company, which is that of all members.
    pub tenant: TenantId,
    /// Unique among the live groups of the owner; of those without an owner, within the tenant. Temporary ones are all called alike.
    pub name: String,
    /// Rises with every change of a member, and of the name; 0 for none so far.
    pub version: u64,
    /// What it is for.
    pub kind: GroupKind,
    /// The account it belongs to; `None` when only operators may change it.
    pub owner: Option<UserId>,
}

/// A present member of a group, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The account.
    pub id: UserId,
    /// Its login name.
    pub name: String,
    /// What others see.
    pub nickname: String,
    /// Radio or dispatcher.
    pub kind: UserKind,
    /// What it may do in the group.
    pub role: MemberRole,
}

/// A group of a user, with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserGroup {
    /// The group.
    pub group: Group,
    /// The present members by id.
    pub members: Vec<GroupMember>,
}

/// Some groups, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPage {
    /// The groups.
    pub groups: Vec<UserGroup>,
    /// There are more behind the last one.
    pub more: bool,
}

pub(super) type GroupRow = (i64, i64, String, i64, i64, i64);
type SizedRow = (i64, i64, String, i64, i64, i64, i64);

/// Of `grp g`, as [`group_of`] takes them.
pub(super) const GROUP_COLUMNS: &str = "g.id, g.tenant, g.name, g.version, g.kind, g.owner";

impl Store {
    /// The group of an id.
    pub async fn group(&self, group: GroupId) -> Result<Option<Group>, Error> {
        self.read(format!("group {group}"), move |conn| Box::pin(async move { find_group(conn, group).await })).await
    }

    /// A group with its members, for an author that is one of them or may change it. [`Error::NotPermitted`] or [`Error::NoGroup`] for others.
    pub async fn group_with_members(&self, group: GroupId) -> Result<UserGroup, Error> {
        self.read(format!("members of group {group}"), move |conn| {
            Box::pin(async move {
                let found = find_group(conn, group).await?;
                let group = found.ok_or_else(|| Error::NoGroup { operation: conn.operation.clone(), group })?;
                check_sees(conn, &group).await?;
                let members = members_of(conn, std::slice::from_ref(&group)).await?.remove(&group.id).unwrap_or_default();
                Ok(UserGroup { group, members })
            })
        })
        .await
    }

    /// The groups a user is a member of, by id, behind `after`, each with all its members: at most `limit` (from 1), and only as many as have
    /// `members_max` members together; one that alone has more is a page of its own.
    pub async fn groups_of(&self, user: UserId, after: Option<GroupId>, limit: u32, members_max: usize) -> Result<GroupPage, Error> {
        self.read(format!("groups of account {user}"), move |conn| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT {GROUP_COLUMNS}, (SELECT COUNT(*) FROM grp_member n WHERE n.grp = g.id AND n.present = 1) \
                     FROM grp_member m JOIN grp g ON g.id = m.grp \
                     WHERE m.account = ? AND m.present = 1 AND m.grp > ? AND g.dissolved_ms = 0 ORDER BY m.grp LIMIT ?"
                );
                // One more than asked for, to know whether there are more.
                let values = values![user.0, after.unwrap_or_default().0, u64::from(limit) + 1];
                let mut rows: Vec<SizedRow> = conn.all(AssertSqlSafe(sql), values).await?;
                let sizes: Vec<usize> = rows.iter().map(|row| usize::try_from(row.6).unwrap_or_default()).collect();
                let fitting = fitting(&sizes, limit as usize, members_max);
                let more = rows.len() > fitting;
                rows.truncate(fitting);
                let groups = rows
                    .into_iter()
                    .map(|(id, tenant, name, version, kind, owner, _)| group_of(conn, (id, tenant, name, version, kind, owner)));
                let groups = groups.collect::<Result<Vec<Group>, Error>>()?;
                let mut members = members_of(conn, &groups).await?;
                let with_members = |group: Group| UserGroup { members: members.remove(&group.id).unwrap_or_default(), group };
                Ok(GroupPage { groups: groups.into_iter().map(with_members).collect(), more })
            })
        })
        .await
    }
}

/// How many groups of these sizes fit on a page.
fn fitting(sizes: &[usize], limit: usize, members_max: usize) -> usize {
    let mut members = 0;
    let full = sizes.iter().take(limit).position(|size| {
        members += size;
        members > members_max
    });
    full.map_or(limit.min(sizes.len()), |at| at.max(1))
}

pub(super) fn group_of(conn: &Conn, (id, tenant, name, version, kind, owner): GroupRow) -> Result<Group, Error> {
    let known = u32::try_from(kind).ok().and_then(GroupKind::from_number);
    Ok(Group {
        id: GroupId(id.cast_unsigned()),
        tenant: TenantId(tenant.cast_unsigned()),
        name,
        version: version.cast_unsigned(),
        kind: known.ok_or_else(|| conn.unreadable("grp.kind", format!("{kind} is no kind")))?,
        owner: (owner != 0).then_some(UserId(owner.cast_unsigned())),
    })
}

pub(super) fn role_of(conn: &Conn, role: i64) -> Result<MemberRole, Error> {
    let known = u32::try_from(role).ok().and_then(MemberRole::from_number);
    known.ok_or_else(|| conn.unreadable("grp_member.role", format!("{role} is no role")))
}

pub(super) async fn find_group(conn: &mut Conn, group: GroupId) -> Result<Option<Group>, Error> {
    let sql = format!("SELECT {GROUP_COLUMNS} FROM grp g WHERE g.id = ? AND g.dissolved_ms = 0");
    let row: Option<GroupRow> = conn.first(AssertSqlSafe(sql), values![group.0]).await?;
    row.map(|row| group_of(conn, row)).transpose()
}

/// The group, locked until the transaction ends, so that changes of its members get their versions one after the other. Whoever takes
/// accounts in locks these before ([`super::members::lock_accounts`]), and pushes to the outbox behind all locks: so no two wait for each other.
pub(super) async fn lock_group(conn: &mut Conn, group: GroupId) -> Result<Group, Error> {
    conn.execute("UPDATE grp SET version = version WHERE id = ?", values![group.0]).await?;
    match find_group(conn, group).await? {
        Some(group) => Ok(group),
        None => Err(Error::NoGroup { operation: conn.operation.clone(), group }),
    }
}

/// The present members of some groups. Who is in several is asked for once.
pub(super) async fn members_of(conn: &mut Conn, groups: &[Group]) -> Result<BTreeMap<GroupId, Vec<GroupMember>>, Error> {
    let mut roles: Vec<(GroupId, UserId, MemberRole)> = Vec::new();
    for piece in pieces(groups, usize::MAX, |_| 0) {
        let sql = format!(
            "SELECT grp, account, role FROM grp_member WHERE present = 1 AND grp IN {} ORDER BY grp, account",
            places(1, piece.len())
        );
        let values: Vec<Value<'_>> = piece.iter().map(|group| group.id.0.into()).collect();
        for (group, user, role) in conn.all::<(i64, i64, i64)>(AssertSqlSafe(sql), &values).await? {
            roles.push((GroupId(group.cast_unsigned()), UserId(user.cast_unsigned()), role_of(conn, role)?));
        }
    }
    let users: BTreeSet<UserId> = roles.iter().map(|(_, user, _)| *user).collect();
    let mut people = BTreeMap::new();
    for piece in pieces(&users.into_iter().collect::<Vec<_>>(), usize::MAX, |_| 0) {
        let sql = format!("SELECT id, name, nickname, kind FROM account WHERE id IN {}", places(1, piece.len()));
        let values: Vec<Value<'_>> = piece.iter().map(|user| user.0.into()).collect();
        for (id, name, nickname, kind) in conn.all::<(i64, String, String, i64)>(AssertSqlSafe(sql), &values).await? {
            people.insert(UserId(id.cast_unsigned()), (name, nickname, kind_of(conn, kind)?));
        }
    }
    let mut members: BTreeMap<GroupId, Vec<GroupMember>> = BTreeMap::new();
    for (group, id, role) in roles {
        let Some((name, nickname, kind)) = people.get(&id).cloned() else { continue };
        members.entry(group).or_default().push(GroupMember { id, name, nickname, kind, role });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_groups_or_its_members() {
        let check = |sizes: &[usize], limit, expected| assert_eq!(fitting(sizes, limit, 10_000), expected, "{sizes:?}");
        check(&[], 100, 0);
        check(&[1, 1, 1], 2, 2);
        check(&[9_000, 1_000, 1], 100, 2);
        check(&[20_000, 1], 100, 1);
        check(&[1, 20_000], 100, 1);
    }
}
