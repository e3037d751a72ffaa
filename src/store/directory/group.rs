//! Groups and their members.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::account::{Ensured, kind_of};
use super::change::{Noted, note, note_all};
use super::outbox::{Outgoing, push_outbox};
use super::{check_name, lock_counter, next_numbers};
use crate::model::{GroupId, TenantId, TopicId, UserId, UserKind};
use crate::topic::frame::{Input, Membership, Register};

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// From 1.
    pub id: GroupId,
    /// Its company, which is that of all members.
    pub tenant: TenantId,
    /// Unique within the tenant.
    pub name: String,
    /// Rises with every change of a member; 0 for none so far.
    pub version: u64,
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
}

/// A group of a user, with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserGroup {
    /// The group.
    pub group: Group,
    /// The present members by id.
    pub members: Vec<GroupMember>,
}

/// How many members a call changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembersChanged {
    /// Users that joined.
    pub joined: u64,
    /// Users that left.
    pub left: u64,
}

/// A change of one member.
#[derive(Clone, Copy)]
struct Change {
    user: UserId,
    joined: bool,
}

impl Store {
    /// Creates a group without members. [`Error::NameTaken`] when the tenant has one of this name.
    pub async fn create_group(&self, tenant: TenantId, name: &str) -> Result<GroupId, Error> {
        let operation = format!("create group {name:?} of tenant {tenant}");
        match self.put_group(operation.clone(), tenant, name).await? {
            Ensured::Created(group) => Ok(group),
            Ensured::Changed(group) | Ensured::Unchanged(group) => Err(Error::NameTaken { operation, id: group.0 }),
        }
    }

    /// The group of a tenant and name, created without members if there is none.
    pub async fn ensure_group(&self, tenant: TenantId, name: &str) -> Result<Ensured<GroupId>, Error> {
        self.put_group(format!("ensure group {name:?} of tenant {tenant}"), tenant, name).await
    }

    async fn put_group(&self, operation: String, tenant: TenantId, name: &str) -> Result<Ensured<GroupId>, Error> {
        let name = name.to_owned();
        check_name(&operation, &name)?;
        self.write(operation, move |conn| {
            Box::pin(async move {
                lock_counter(conn, "grp").await?;
                let sql = "SELECT id FROM grp WHERE tenant = ? AND name = ?";
                if let Some((id,)) = conn.first::<(i64,)>(sql, values![tenant.0, name.as_str()]).await? {
                    return Ok(Ensured::Unchanged(GroupId(id.cast_unsigned())));
                }
                let id = next_numbers(conn, "grp", 1).await?;
                let sql = "INSERT INTO grp (id, tenant, name, version) VALUES (?, ?, ?, 0)";
                conn.execute(sql, values![id, tenant.0, name.as_str()]).await?;
                let (subject, after) = (format!("group:{id}"), json!({ "name": name, "tenant": tenant }));
                note(conn, Noted { what: "group.added", subject, before: Json::Null, after }).await?;
                Ok(Ensured::Created(GroupId(id)))
            })
        })
        .await
    }

    /// The group of an id.
    pub async fn group(&self, group: GroupId) -> Result<Option<Group>, Error> {
        self.read(format!("group {group}"), move |conn| Box::pin(async move { find_group(conn, group).await })).await
    }

    /// Makes a user a member. False when it was one: then nothing changes and nobody hears of it.
    pub async fn join_group(&self, group: GroupId, user: UserId, now_ms: u64) -> Result<bool, Error> {
        let operation = format!("join account {user} to group {group}");
        let changed = self.change_members(operation, group, vec![Change { user, joined: true }], now_ms).await?;
        Ok(changed.joined > 0)
    }

    /// Ends a user's membership. False when it was no member: then nothing changes and nobody hears of it.
    pub async fn leave_group(&self, group: GroupId, user: UserId, now_ms: u64) -> Result<bool, Error> {
        let operation = format!("remove account {user} from group {group}");
        let changed = self.change_members(operation, group, vec![Change { user, joined: false }], now_ms).await?;
        Ok(changed.left > 0)
    }

    /// Makes exactly these users the members: the missing join, the others leave.
    pub async fn set_members(&self, group: GroupId, members: &[UserId], now_ms: u64) -> Result<MembersChanged, Error> {
        let wanted: BTreeSet<UserId> = members.iter().copied().collect();
        self.write(format!("set the members of group {group}"), move |conn| {
            Box::pin(async move {
                let locked = lock_group(conn, group).await?;
                let sql = "SELECT account FROM grp_member WHERE grp = ? AND present = 1 ORDER BY account";
                let present: Vec<(i64,)> = conn.all(sql, values![group.0]).await?;
                let leaves = present.into_iter().map(|(user,)| UserId(user.cast_unsigned())).filter(|user| !wanted.contains(user));
                let mut changes: Vec<Change> = leaves.map(|user| Change { user, joined: false }).collect();
                changes.extend(wanted.iter().map(|user| Change { user: *user, joined: true }));
                write_changes(conn, &locked, &changes, now_ms).await
            })
        })
        .await
    }

    async fn change_members(&self, operation: String, group: GroupId, changes: Vec<Change>, now_ms: u64) -> Result<MembersChanged, Error> {
        self.write(operation, move |conn| {
            Box::pin(async move {
                let locked = lock_group(conn, group).await?;
                write_changes(conn, &locked, &changes, now_ms).await
            })
        })
        .await
    }

    /// The groups a user is a member of, by id, behind `after`, at most `limit`, each with all its members.
    pub async fn groups_of(&self, user: UserId, after: Option<GroupId>, limit: u32) -> Result<Vec<UserGroup>, Error> {
        self.read(format!("groups of account {user}"), move |conn| {
            Box::pin(async move {
                let sql = "SELECT g.id, g.tenant, g.name, g.version FROM grp_member m JOIN grp g ON g.id = m.grp \
                           WHERE m.account = ? AND m.present = 1 AND m.grp > ? ORDER BY m.grp LIMIT ?";
                let rows: Vec<(i64, i64, String, i64)> = conn.all(sql, values![user.0, after.unwrap_or_default().0, limit]).await?;
                let groups: Vec<Group> = rows.into_iter().map(group_of).collect();
                let mut members = members_of(conn, &groups).await?;
                let with_members = |group: Group| UserGroup { members: members.remove(&group.id).unwrap_or_default(), group };
                Ok(groups.into_iter().map(with_members).collect())
            })
        })
        .await
    }
}

pub(super) fn group_of((id, tenant, name, version): (i64, i64, String, i64)) -> Group {
    Group { id: GroupId(id.cast_unsigned()), tenant: TenantId(tenant.cast_unsigned()), name, version: version.cast_unsigned() }
}

async fn find_group(conn: &mut Conn, group: GroupId) -> Result<Option<Group>, Error> {
    let sql = "SELECT id, tenant, name, version FROM grp WHERE id = ?";
    let row: Option<(i64, i64, String, i64)> = conn.first(sql, values![group.0]).await?;
    Ok(row.map(group_of))
}

/// The group, locked until the transaction ends, so that changes of its members get their versions one after the other.
pub(super) async fn lock_group(conn: &mut Conn, group: GroupId) -> Result<Group, Error> {
    conn.execute("UPDATE grp SET version = version WHERE id = ?", values![group.0]).await?;
    match find_group(conn, group).await? {
        Some(group) => Ok(group),
        None => Err(Error::NoGroup { operation: conn.operation.clone(), group }),
    }
}

/// Writes those of the changes that change something: each takes the next version of the group.
async fn write_changes(conn: &mut Conn, group: &Group, wanted: &[Change], now_ms: u64) -> Result<MembersChanged, Error> {
    let (mut changes, mut names) = (Vec::new(), BTreeMap::new());
    for piece in pieces(wanted, usize::MAX, |_| 0) {
        names.extend(check_accounts(conn, group, piece).await?);
        let present = present_among(conn, group.id, piece).await?;
        changes.extend(piece.iter().copied().filter(|change| change.joined != present.contains(&change.user)));
    }
    if changes.is_empty() {
        return Ok(MembersChanged::default());
    }
    let last = group.version + changes.len() as u64;
    conn.execute("UPDATE grp SET version = ? WHERE id = ?", values![last, group.id.0]).await?;

    let versions: Vec<(u64, Change)> = (group.version + 1..).zip(changes).collect();
    let set = "version = new.version, present = new.present";
    let conflict = conn.dialect().on_conflict("grp, account", set);
    for piece in pieces(&versions, usize::MAX, |_| 0) {
        let sql = format!("INSERT INTO grp_member (grp, account, version, present) VALUES {}{conflict}", places(piece.len(), 4));
        let row = |(version, change): &(u64, Change)| -> [Value<'static>; 4] {
            [group.id.0.into(), change.user.0.into(), (*version).into(), change.joined.into()]
        };
        conn.execute(AssertSqlSafe(sql), &piece.iter().flat_map(row).collect::<Vec<_>>()).await?;
    }
    let noted: Vec<Noted> = versions.iter().map(|(_, change)| noted_of(group, *change, names.get(&change.user))).collect();
    note_all(conn, &noted).await?;
    let outgoing: Vec<Outgoing> = versions.iter().flat_map(|(version, change)| outgoing_of(group, *version, *change)).collect();
    push_outbox(conn, &outgoing, now_ms).await?;

    let joined = versions.iter().filter(|(_, change)| change.joined).count() as u64;
    Ok(MembersChanged { joined, left: versions.len() as u64 - joined })
}

fn noted_of(group: &Group, Change { user, joined }: Change, name: Option<&String>) -> Noted {
    let member = json!({ "group": group.name, "account": user, "name": name });
    let (what, before, after) = if joined { ("member.joined", Json::Null, member) } else { ("member.left", member, Json::Null) };
    Noted { what, subject: format!("group:{}", group.id), before, after }
}

/// What the shards hear of a change: the group first, so that a user who knows of a group may write there.
fn outgoing_of(group: &Group, version: u64, change: Change) -> [Outgoing; 2] {
    let Change { user, joined } = change;
    let (topic, inbox) = (TopicId::group(group.id), TopicId::inbox(user));
    let membership = Membership { topic: topic.packed(), user: user.0, version, joined };
    let (packed, name) = (inbox.packed(), group.name.clone());
    let register = Register { topic: packed, group: group.id.0, version, joined, name, ..Register::default() };
    [
        Outgoing { topic, kind: "membership", input: Input::Membership(membership) },
        Outgoing { topic: inbox, kind: "register", input: Input::Register(register) },
    ]
}

/// Those that are to join must exist and belong to the group's tenant. Returns the names of all.
async fn check_accounts(conn: &mut Conn, group: &Group, changes: &[Change]) -> Result<BTreeMap<UserId, String>, Error> {
    let sql = format!("SELECT id, tenant, name FROM account WHERE id IN {}", places(1, changes.len()));
    let values: Vec<Value<'_>> = changes.iter().map(|change| change.user.0.into()).collect();
    let rows: Vec<(i64, i64, String)> = conn.all(AssertSqlSafe(sql), &values).await?;
    let tenants: BTreeMap<u64, u64> = rows.iter().map(|(id, tenant, _)| (id.cast_unsigned(), tenant.cast_unsigned())).collect();
    for Change { user, .. } in changes.iter().copied().filter(|change| change.joined) {
        let operation = conn.operation.clone();
        match tenants.get(&user.0) {
            None => return Err(Error::NoAccount { operation, user }),
            Some(has) if TenantId(*has) != group.tenant => {
                return Err(Error::OtherTenant { operation, user, has: TenantId(*has), wanted: group.tenant });
            }
            Some(_) => {}
        }
    }
    Ok(rows.into_iter().map(|(id, _, name)| (UserId(id.cast_unsigned()), name)).collect())
}

async fn present_among(conn: &mut Conn, group: GroupId, changes: &[Change]) -> Result<BTreeSet<UserId>, Error> {
    let sql = format!("SELECT account FROM grp_member WHERE grp = ? AND present = 1 AND account IN {}", places(1, changes.len()));
    let mut values = vec![Value::from(group.0)];
    values.extend(changes.iter().map(|change| Value::from(change.user.0)));
    let rows: Vec<(i64,)> = conn.all(AssertSqlSafe(sql), &values).await?;
    Ok(rows.into_iter().map(|(user,)| UserId(user.cast_unsigned())).collect())
}

/// The present members of some groups.
async fn members_of(conn: &mut Conn, groups: &[Group]) -> Result<BTreeMap<GroupId, Vec<GroupMember>>, Error> {
    let mut members: BTreeMap<GroupId, Vec<GroupMember>> = BTreeMap::new();
    for piece in pieces(groups, usize::MAX, |_| 0) {
        let sql = format!(
            "SELECT m.grp, a.id, a.name, a.nickname, a.kind FROM grp_member m JOIN account a ON a.id = m.account \
             WHERE m.present = 1 AND m.grp IN {} ORDER BY m.grp, a.id",
            places(1, piece.len())
        );
        let values: Vec<Value<'_>> = piece.iter().map(|group| group.id.0.into()).collect();
        for (group, id, name, nickname, kind) in conn.all::<(i64, i64, String, String, i64)>(AssertSqlSafe(sql), &values).await? {
            let member = GroupMember { id: UserId(id.cast_unsigned()), name, nickname, kind: kind_of(conn, kind)? };
            members.entry(GroupId(group.cast_unsigned())).or_default().push(member);
        }
    }
    Ok(members)
}
