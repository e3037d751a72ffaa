//! Changes of members: each is a version of its group, a row, an audit row, and what the group's topic and the member's inbox hear.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::dialect::Dialect;
use super::super::{Error, Store};
use super::change::{Noted, note_all};
use super::grant::{Standing, check_may_add, check_standing};
use super::group::{Group, lock_group};
use super::outbox::{Outgoing, push_outbox};
use crate::model::{GroupId, GroupKind, LeftWhy, MemberRole, TenantId, TopicId, UserId};
use crate::topic::frame::{Input, Membership, Register};

/// The most members of a group beside its owner.
pub const GROUP_MEMBERS_MAX: u64 = 5_000;

/// How many members a call changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembersChanged {
    /// Users that joined.
    pub joined: u64,
    /// Users that left.
    pub left: u64,
}

/// A change of one member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) user: UserId,
    pub(super) joined: bool,
    /// Of one that leaves.
    pub(super) why: Option<LeftWhy>,
}

impl Change {
    pub(super) fn join(user: UserId) -> Self {
        Self { user, joined: true, why: None }
    }

    pub(super) fn leave(user: UserId, why: LeftWhy) -> Self {
        Self { user, joined: false, why: Some(why) }
    }
}

/// What changes came to. What it means for the shards is still to be pushed.
#[derive(Default)]
pub(super) struct Applied {
    pub(super) changed: MembersChanged,
    /// Of the group, afterwards.
    pub(super) version: u64,
    pub(super) outgoing: Vec<Outgoing>,
}

impl Store {
    /// Makes a user a member. The author must be able to take members in. False when it was one: then nothing changes and nobody hears of it.
    pub async fn join_group(&self, group: GroupId, user: UserId, now_ms: u64) -> Result<bool, Error> {
        let operation = format!("join account {user} to group {group}");
        let changed = self.change_members(operation, group, (vec![user], Vec::new()), false, now_ms).await?;
        Ok(changed.0.joined > 0)
    }

    /// Takes a user out. The author must be able to take members in and out; the owner cannot leave. False when it was no member: then nothing changes and nobody hears of it.
    pub async fn leave_group(&self, group: GroupId, user: UserId, now_ms: u64) -> Result<bool, Error> {
        let operation = format!("remove account {user} from group {group}");
        let changed = self.change_members(operation, group, (Vec::new(), vec![user]), false, now_ms).await?;
        Ok(changed.0.left > 0)
    }

    /// Takes members in and out in one step. Of a temporary group `add` is the whole wanted membership, and `remove` must be empty. Also the
    /// version of the group afterwards. The author must be able to take members in; the owner cannot leave.
    pub async fn update_group(
        &self,
        group: GroupId,
        add: Vec<UserId>,
        remove: Vec<UserId>,
        now_ms: u64,
    ) -> Result<(MembersChanged, u64), Error> {
        let operation = format!("take {} into group {group} and {} out", add.len(), remove.len());
        self.change_members(operation, group, (add, remove), true, now_ms).await
    }

    /// Takes in, and takes out. With `whole`, what a temporary group takes in is all it is to have.
    async fn change_members(
        &self,
        operation: String,
        group: GroupId,
        (add, remove): (Vec<UserId>, Vec<UserId>),
        whole: bool,
        now_ms: u64,
    ) -> Result<(MembersChanged, u64), Error> {
        self.write(operation, move |conn| {
            Box::pin(async move {
                lock_accounts(conn, &add).await?;
                let locked = lock_group(conn, group).await?;
                let standing = check_standing(conn, &locked, Standing::Manager).await?;
                if add.iter().any(|user| remove.contains(user)) {
                    return Err(invalid(conn, "remove_ids", "must name nobody that add_ids names"));
                }
                let changes = if whole && locked.kind == GroupKind::Temporary {
                    if !remove.is_empty() {
                        return Err(invalid(conn, "remove_ids", "must be empty for a temporary group"));
                    }
                    replacing(conn, &locked, &add.into_iter().collect()).await?
                } else {
                    let leave = remove.into_iter().collect::<BTreeSet<_>>().into_iter().map(|user| Change::leave(user, LeftWhy::Removed));
                    leave.chain(add.into_iter().collect::<BTreeSet<_>>().into_iter().map(Change::join)).collect()
                };
                check_owner_stays(conn, &locked, &changes)?;
                check_may_add(conn, &locked, standing, &changes).await?;
                let Applied { changed, version, outgoing } = apply_changes(conn, &locked, &changes).await?;
                push_outbox(conn, &outgoing, now_ms).await?;
                Ok((changed, version))
            })
        })
        .await
    }

    /// Makes exactly these users, and the owner, the members: the missing join, the others leave.
    pub async fn set_members(&self, group: GroupId, members: &[UserId], now_ms: u64) -> Result<MembersChanged, Error> {
        let wanted: BTreeSet<UserId> = members.iter().copied().collect();
        self.write(format!("set the members of group {group}"), move |conn| {
            Box::pin(async move {
                lock_accounts(conn, &wanted.iter().copied().collect::<Vec<_>>()).await?;
                let locked = lock_group(conn, group).await?;
                let standing = check_standing(conn, &locked, Standing::Manager).await?;
                let changes = replacing(conn, &locked, &wanted).await?;
                check_may_add(conn, &locked, standing, &changes).await?;
                write_changes(conn, &locked, &changes, now_ms).await
            })
        })
        .await
    }
}

fn invalid(conn: &Conn, field: &'static str, rule: &'static str) -> Error {
    Error::Invalid { operation: conn.operation.clone(), field, rule }
}

fn check_owner_stays(conn: &Conn, group: &Group, changes: &[Change]) -> Result<(), Error> {
    match group.owner {
        Some(user) if changes.iter().any(|change| !change.joined && change.user == user) => {
            Err(Error::OwnerStays { operation: conn.operation.clone(), group: group.id, user })
        }
        _ => Ok(()),
    }
}

/// Locks accounts until the transaction ends: whoever hands one to another manager, or deletes it, waits, and then finds it in its groups.
pub(super) async fn lock_accounts(conn: &mut Conn, users: &[UserId]) -> Result<(), Error> {
    // SQLite has one writer anyway.
    if conn.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let users: BTreeSet<UserId> = users.iter().copied().collect();
    for piece in pieces(&users.into_iter().collect::<Vec<_>>(), usize::MAX, |_| 0) {
        let sql = format!("UPDATE account SET version = version WHERE id IN {}", places(1, piece.len()));
        let values: Vec<Value<'_>> = piece.iter().map(|user| user.0.into()).collect();
        conn.execute(AssertSqlSafe(sql), &values).await?;
    }
    Ok(())
}

/// What makes these users, and the owner, the members. Who is a member and wanted has no part in it.
pub(super) async fn replacing(conn: &mut Conn, group: &Group, wanted: &BTreeSet<UserId>) -> Result<Vec<Change>, Error> {
    let present = present_members(conn, group.id).await?;
    let leave = present.iter().filter(|user| !wanted.contains(user) && group.owner != Some(**user));
    let mut changes: Vec<Change> = leave.map(|user| Change::leave(*user, LeftWhy::Removed)).collect();
    changes.extend(wanted.difference(&present).map(|user| Change::join(*user)));
    Ok(changes)
}

pub(super) async fn present_members(conn: &mut Conn, group: GroupId) -> Result<BTreeSet<UserId>, Error> {
    let rows: Vec<(i64,)> = conn.all("SELECT account FROM grp_member WHERE grp = ? AND present = 1", values![group.0]).await?;
    Ok(rows.into_iter().map(|(user,)| UserId(user.cast_unsigned())).collect())
}

/// Writes those of the changes that change something, and what it means for the shards: the last thing a transaction does.
pub(super) async fn write_changes(conn: &mut Conn, group: &Group, wanted: &[Change], now_ms: u64) -> Result<MembersChanged, Error> {
    let applied = apply_changes(conn, group, wanted).await?;
    push_outbox(conn, &applied.outgoing, now_ms).await?;
    Ok(applied.changed)
}

/// Writes those of the changes that change something: each takes the next version of the group, which must be locked. No user is named twice.
pub(super) async fn apply_changes(conn: &mut Conn, group: &Group, wanted: &[Change]) -> Result<Applied, Error> {
    let (mut changes, mut names) = (Vec::new(), BTreeMap::new());
    for piece in pieces(wanted, usize::MAX, |_| 0) {
        names.extend(check_accounts(conn, group, piece).await?);
        let present = present_among(conn, group.id, piece).await?;
        changes.extend(piece.iter().copied().filter(|change| change.joined != present.contains(&change.user)));
    }
    if changes.is_empty() {
        return Ok(Applied { version: group.version, ..Applied::default() });
    }
    let last = group.version + changes.len() as u64;
    conn.execute("UPDATE grp SET version = ? WHERE id = ?", values![last, group.id.0]).await?;

    let versions: Vec<(u64, Change)> = (group.version + 1..).zip(changes).collect();
    let set = "version = new.version, present = new.present, role = new.role";
    let conflict = conn.dialect().on_conflict("grp, account", set);
    for piece in pieces(&versions, usize::MAX, |_| 0) {
        let sql = format!("INSERT INTO grp_member (grp, account, version, present, role) VALUES {}{conflict}", places(piece.len(), 5));
        // Who comes back comes back as a mere member.
        let role = |user| if group.owner == Some(user) { MemberRole::Owner } else { MemberRole::Member };
        let row = |(version, change): &(u64, Change)| -> [Value<'static>; 5] {
            [group.id.0.into(), change.user.0.into(), (*version).into(), change.joined.into(), (role(change.user) as u32).into()]
        };
        conn.execute(AssertSqlSafe(sql), &piece.iter().flat_map(row).collect::<Vec<_>>()).await?;
    }
    let joined = versions.iter().filter(|(_, change)| change.joined).count() as u64;
    if joined > 0 {
        check_size(conn, group).await?;
    }
    let noted: Vec<Noted> = versions.iter().map(|(_, change)| noted_of(group, *change, names.get(&change.user))).collect();
    note_all(conn, &noted).await?;
    let outgoing: Vec<Outgoing> = versions.iter().flat_map(|(version, change)| outgoing_of(group, *version, *change)).collect();
    Ok(Applied { changed: MembersChanged { joined, left: versions.len() as u64 - joined }, version: last, outgoing })
}

async fn check_size(conn: &mut Conn, group: &Group) -> Result<(), Error> {
    let sql = "SELECT COUNT(*) FROM grp_member WHERE grp = ? AND present = 1 AND account <> ?";
    let (members,): (i64,) = conn.one(sql, values![group.id.0, group.owner.unwrap_or_default().0]).await?;
    if members.cast_unsigned() > GROUP_MEMBERS_MAX {
        return Err(Error::Full { operation: conn.operation.clone(), what: "members of a group", max: GROUP_MEMBERS_MAX });
    }
    Ok(())
}

fn noted_of(group: &Group, Change { user, joined, why }: Change, name: Option<&String>) -> Noted {
    let subject = format!("group:{}", group.id);
    let mut member = json!({ "group": group.name, "account": user, "name": name });
    if let Some(why) = why {
        member["why"] = json!(why);
    }
    let (what, before, after) = if joined { ("member.joined", Json::Null, member) } else { ("member.left", member, Json::Null) };
    Noted { what, subject, before, after }
}

/// What the shards hear of a change: the group first, so that a user who knows of a group may write there.
fn outgoing_of(group: &Group, version: u64, change: Change) -> [Outgoing; 2] {
    let Change { user, joined, why } = change;
    let topic = TopicId::group(group.id);
    let membership = Membership { topic: topic.packed(), user: user.0, version, joined };
    [Outgoing { topic, kind: "membership", input: Input::Membership(membership) }, register_of(group, version, user, why)]
}

/// What the inbox of a user hears of a group it is in, or left.
pub(super) fn register_of(group: &Group, version: u64, user: UserId, left: Option<LeftWhy>) -> Outgoing {
    let (topic, name) = (TopicId::inbox(user), group.name.clone());
    let (joined, kind, why) = (left.is_none(), group.kind as u32, left.map_or(0, |why| why as u32));
    let register = Register { topic: topic.packed(), group: group.id.0, version, joined, name, kind, why };
    Outgoing { topic, kind: "register", input: Input::Register(register) }
}

/// Those that are to join must exist and belong to the group's tenant. Returns the names of all.
async fn check_accounts(conn: &mut Conn, group: &Group, changes: &[Change]) -> Result<BTreeMap<UserId, String>, Error> {
    let sql = format!("SELECT id, tenant, name, deleted_ms FROM account WHERE id IN {}", places(1, changes.len()));
    let values: Vec<Value<'_>> = changes.iter().map(|change| change.user.0.into()).collect();
    let rows: Vec<(i64, i64, String, i64)> = conn.all(AssertSqlSafe(sql), &values).await?;
    let live = rows.iter().filter(|row| row.3 == 0);
    let tenants: BTreeMap<u64, u64> = live.map(|(id, tenant, ..)| (id.cast_unsigned(), tenant.cast_unsigned())).collect();
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
    Ok(rows.into_iter().map(|(id, _, name, _)| (UserId(id.cast_unsigned()), name)).collect())
}

async fn present_among(conn: &mut Conn, group: GroupId, changes: &[Change]) -> Result<BTreeSet<UserId>, Error> {
    let sql = format!("SELECT account FROM grp_member WHERE grp = ? AND present = 1 AND account IN {}", places(1, changes.len()));
    let mut values = vec![Value::from(group.0)];
    values.extend(changes.iter().map(|change| Value::from(change.user.0)));
    let rows: Vec<(i64,)> = conn.all(AssertSqlSafe(sql), &values).await?;
    Ok(rows.into_iter().map(|(user,)| UserId(user.cast_unsigned())).collect())
}
