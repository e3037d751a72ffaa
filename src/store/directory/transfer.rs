//! Devices that change hands, and accounts that leave everything they are in.
//!
//! Locks are taken in one order, so that no two calls wait for each other: accounts by id, groups by id, the outbox.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::account::profile_of;
use super::change::{Noted, note_all};
use super::outbox::{Outgoing, notice, push_outbox};
use super::scope::{check_manages, not_permitted};
use crate::model::{GroupId, Imei, LeftWhy, MemberRole, MessageKind, TenantId, TopicId, UserId, UserKind};
use crate::topic::frame::{Input, Membership, NoticeBody, Register};

/// What it means that accounts left all their groups.
pub(super) struct Leaving {
    /// For the outbox: of each leave the group first, then the user.
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) notes: Vec<Noted>,
}

/// A device as it is before it changes hands.
struct Handed {
    user: UserId,
    imei: String,
    nickname: String,
    tenant: TenantId,
    version: u64,
    parent: UserId,
}

/// A group that somebody leaves, with those who do.
struct Left {
    group: GroupId,
    name: String,
    kind: u32,
    version: u64,
    owner: UserId,
    users: Vec<UserId>,
}

impl Store {
    /// Hands devices from one account to another of the same tenant: all, or none. They leave all groups, and with these their room; a
    /// group that one of them owns becomes that of the account it is taken from. Returns how many devices it was; one named twice counts
    /// once.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless the author manages both accounts, these are two of one tenant, the receiver may have devices, and every
    /// IMEI is that of a device of the sender.
    pub async fn transfer_devices(&self, imeis: Vec<Imei>, sender: UserId, receiver: UserId, now_ms: u64) -> Result<u64, Error> {
        let imeis: Vec<Imei> = imeis.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        self.write(format!("transfer {} devices from account {sender} to {receiver}", imeis.len()), move |conn| {
            Box::pin(async move {
                // Found first, to know what to lock; what is judged was read under the locks.
                let found = by_imei(conn, &imeis).await?;
                let mut locked: Vec<UserId> = found.iter().map(|device| device.user).chain([sender, receiver]).collect();
                locked.sort_unstable();
                lock_accounts(conn, &locked).await?;
                check_manages(conn, &[sender, receiver]).await?;
                let tenant = check_receiver(conn, receiver).await?;
                let devices = by_imei(conn, &imeis).await?;
                let all_there = devices.len() == imeis.len() && devices.iter().all(|device| locked.binary_search(&device.user).is_ok());
                let all_his = devices.iter().all(|device| device.parent == sender && device.tenant == tenant);
                if !all_there || !all_his || sender == receiver {
                    return Err(not_permitted(conn));
                }
                hand_over(conn, &devices, sender, receiver, now_ms).await?;
                Ok(devices.len() as u64)
            })
        })
        .await
    }
}

async fn hand_over(conn: &mut Conn, devices: &[Handed], sender: UserId, receiver: UserId, now_ms: u64) -> Result<(), Error> {
    let users: Vec<UserId> = devices.iter().map(|device| device.user).collect();
    let Leaving { outgoing: leaves, mut notes } = leave_all(conn, &users, LeftWhy::Transferred).await?;
    for piece in pieces(&users, usize::MAX, |_| 0) {
        let sql = format!("UPDATE account SET parent = ?, version = version + 1 WHERE id IN {}", places(1, piece.len()));
        let mut bound = vec![Value::from(receiver.0)];
        bound.extend(piece.iter().map(|user| Value::from(user.0)));
        conn.execute(AssertSqlSafe(sql), &bound).await?;
    }
    notes.extend(devices.iter().map(|Handed { user, imei, .. }| {
        let state = |manager: UserId| json!({ "imei": imei, "manager": manager });
        let (before, after) = (state(sender), state(receiver));
        Noted { what: "device.transferred", subject: format!("account:{user}"), before, after }
    }));
    note_all(conn, &notes).await?;

    let of = |device: &Handed| profile_of(device.user, device.tenant, device.version + 1, receiver, &device.nickname);
    let mut outgoing: Vec<Outgoing> = devices.iter().map(of).collect();
    outgoing.extend(leaves);
    for Handed { user, nickname, .. } in devices {
        let body = NoticeBody { user: user.0, nickname: nickname.clone(), from: sender.0, to: receiver.0, ..NoticeBody::default() };
        let told = [*user, sender, receiver].map(|told| notice(TopicId::inbox(told), MessageKind::Transferred, body.clone()));
        outgoing.extend(told);
    }
    push_outbox(conn, &outgoing, now_ms).await
}

/// Locks accounts, given by id, until the transaction ends: what is read of them from then on stays so.
pub(super) async fn lock_accounts(conn: &mut Conn, users: &[UserId]) -> Result<(), Error> {
    for piece in pieces(users, usize::MAX, |_| 0) {
        let sql = format!("UPDATE account SET version = version WHERE id IN {}", places(1, piece.len()));
        conn.execute(AssertSqlSafe(sql), &piece.iter().map(|user| Value::from(user.0)).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Takes locked accounts out of all groups they are in, whatever their kinds. A group that one of them owns goes to the account above, so
/// that somebody can dissolve it.
pub(super) async fn leave_all(conn: &mut Conn, users: &[UserId], why: LeftWhy) -> Result<Leaving, Error> {
    let groups = groups_left(conn, users).await?;
    let parents = parents_and_names(conn, users).await?;
    let mut leaving = Leaving { outgoing: Vec::new(), notes: Vec::new() };
    let mut rows: Vec<[Value<'static>; 5]> = Vec::new();
    for Left { group, name, kind, version, owner, users } in &groups {
        let mut version = *version;
        for user in users {
            version += 1;
            rows.push([group.0.into(), user.0.into(), version.into(), false.into(), (MemberRole::Member as u32).into()]);
            let (topic, inbox) = (TopicId::group(*group), TopicId::inbox(*user));
            let membership = Membership { topic: topic.packed(), user: user.0, version, joined: false };
            leaving.outgoing.push(Outgoing { topic, kind: "membership", input: Input::Membership(membership) });
            let register = Register {
                topic: inbox.packed(),
                group: group.0,
                version,
                joined: false,
                name: name.clone(),
                kind: *kind,
                why: why as u32,
            };
            leaving.outgoing.push(Outgoing { topic: inbox, kind: "register", input: Input::Register(register) });
            let account = parents.get(user).map(|(_, name)| name);
            let before = json!({ "group": name, "account": user, "name": account });
            leaving.notes.push(Noted { what: "member.left", subject: format!("group:{group}"), before, after: Json::Null });
        }
        let heir = parents.get(owner).map_or(*owner, |(parent, _)| *parent);
        if heir != *owner {
            let (before, after) = (json!({ "name": name, "owner": owner }), json!({ "name": name, "owner": heir }));
            leaving.notes.push(Noted { what: "group.inherited", subject: format!("group:{group}"), before, after });
        }
        let sql = "UPDATE grp SET version = ?, owner = ? WHERE id = ?";
        conn.execute(sql, values![version, heir.0, group.0]).await?;
    }
    let set = "version = new.version, present = new.present, role = new.role";
    let conflict = conn.dialect().on_conflict("grp, account", set);
    for piece in pieces(&rows, usize::MAX, |_| 0) {
        let sql = format!("INSERT INTO grp_member (grp, account, version, present, role) VALUES {}{conflict}", places(piece.len(), 5));
        conn.execute(AssertSqlSafe(sql), piece.as_flattened()).await?;
    }
    Ok(leaving)
}

/// The groups that some accounts are in, locked, by id.
async fn groups_left(conn: &mut Conn, users: &[UserId]) -> Result<Vec<Left>, Error> {
    let ids: Vec<GroupId> = memberships(conn, users).await?.into_keys().collect();
    for piece in pieces(&ids, usize::MAX, |_| 0) {
        let sql = format!("UPDATE grp SET version = version WHERE id IN {}", places(1, piece.len()));
        conn.execute(AssertSqlSafe(sql), &piece.iter().map(|group| Value::from(group.0)).collect::<Vec<_>>()).await?;
    }
    // Read again under the locks: meanwhile somebody may have been taken out.
    let mut members = memberships(conn, users).await?;
    let mut groups = Vec::with_capacity(ids.len());
    for piece in pieces(&ids, usize::MAX, |_| 0) {
        let sql = format!("SELECT id, name, kind, version, owner FROM grp WHERE id IN {} ORDER BY id", places(1, piece.len()));
        let bound: Vec<Value<'_>> = piece.iter().map(|group| Value::from(group.0)).collect();
        for (id, name, kind, version, owner) in conn.all::<(i64, String, i64, i64, i64)>(AssertSqlSafe(sql), &bound).await? {
            let (group, owner) = (GroupId(id.cast_unsigned()), UserId(owner.cast_unsigned()));
            let (kind, version) = (u32::try_from(kind).unwrap_or(0), version.cast_unsigned());
            let users = members.remove(&group).unwrap_or_default();
            groups.push(Left { group, name, kind, version, owner, users });
        }
    }
    groups.retain(|group| !group.users.is_empty());
    Ok(groups)
}

/// Of some accounts, by group, those that are members.
async fn memberships(conn: &mut Conn, users: &[UserId]) -> Result<BTreeMap<GroupId, Vec<UserId>>, Error> {
    let mut found: BTreeMap<GroupId, Vec<UserId>> = BTreeMap::new();
    for piece in pieces(users, usize::MAX, |_| 0) {
        let sql = format!("SELECT grp, account FROM grp_member WHERE present = 1 AND account IN {}", places(1, piece.len()));
        let bound: Vec<Value<'_>> = piece.iter().map(|user| Value::from(user.0)).collect();
        for (group, user) in conn.all::<(i64, i64)>(AssertSqlSafe(sql), &bound).await? {
            found.entry(GroupId(group.cast_unsigned())).or_default().push(UserId(user.cast_unsigned()));
        }
    }
    for users in found.values_mut() {
        users.sort_unstable();
    }
    Ok(found)
}

async fn parents_and_names(conn: &mut Conn, users: &[UserId]) -> Result<BTreeMap<UserId, (UserId, String)>, Error> {
    let mut found = BTreeMap::new();
    for piece in pieces(users, usize::MAX, |_| 0) {
        let sql = format!("SELECT id, parent, name FROM account WHERE id IN {}", places(1, piece.len()));
        let bound: Vec<Value<'_>> = piece.iter().map(|user| Value::from(user.0)).collect();
        let rows: Vec<(i64, i64, String)> = conn.all(AssertSqlSafe(sql), &bound).await?;
        found.extend(rows.into_iter().map(|(id, parent, name)| (UserId(id.cast_unsigned()), (UserId(parent.cast_unsigned()), name))));
    }
    Ok(found)
}

/// The devices of some IMEIs, by id; those that do not exist are left out.
async fn by_imei(conn: &mut Conn, imeis: &[Imei]) -> Result<Vec<Handed>, Error> {
    let mut devices = Vec::with_capacity(imeis.len());
    for piece in pieces(imeis, usize::MAX, |_| 0) {
        let sql = format!(
            "SELECT a.id, d.imei, a.nickname, a.tenant, a.version, a.parent FROM device d JOIN account a ON a.id = d.account \
             WHERE a.deleted_ms = 0 AND d.imei IN {}",
            places(1, piece.len())
        );
        let bound: Vec<Value<'_>> = piece.iter().map(|imei| Value::from(imei.as_str())).collect();
        let rows: Vec<(i64, String, String, i64, i64, i64)> = conn.all(AssertSqlSafe(sql), &bound).await?;
        devices.extend(rows.into_iter().map(|(user, imei, nickname, tenant, version, parent)| Handed {
            user: UserId(user.cast_unsigned()),
            imei,
            nickname,
            tenant: TenantId(tenant.cast_unsigned()),
            version: version.cast_unsigned(),
            parent: UserId(parent.cast_unsigned()),
        }));
    }
    devices.sort_unstable_by_key(|device| device.user);
    Ok(devices)
}

/// The tenant of who is to get devices; refuses devices, and roots, whose tenant nobody works in.
pub(super) async fn check_receiver(conn: &mut Conn, receiver: UserId) -> Result<TenantId, Error> {
    let sql = "SELECT kind, tenant FROM account WHERE id = ? AND deleted_ms = 0";
    match conn.first::<(i64, i64)>(sql, values![receiver.0]).await? {
        Some((kind, tenant)) if kind > UserKind::Device as i64 && kind < UserKind::Root as i64 => Ok(TenantId(tenant.cast_unsigned())),
        _ => Err(not_permitted(conn)),
    }
}
