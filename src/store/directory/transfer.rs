//! Devices that change hands, and accounts that leave everything they are in.
//!
//! Locks are taken in one order, so that no two calls wait for each other: accounts by id, groups by id, the outbox.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::account::profile_of;
use super::change::{Noted, note_all};
use super::group::{Group, lock_group};
use super::members::{Change, apply_changes, lock_accounts};
use super::outbox::{Outgoing, notice, push_outbox};
use super::scope::{check_manages, not_permitted};
use crate::model::{GroupId, Imei, LeftWhy, MessageKind, TenantId, TopicId, UserId, UserKind};
use crate::topic::frame::NoticeBody;

/// A device as it is before it changes hands.
struct Handed {
    user: UserId,
    imei: String,
    nickname: String,
    tenant: TenantId,
    version: u64,
    parent: UserId,
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
    let leaves = leave_all(conn, &users, LeftWhy::Transferred).await?;
    for piece in pieces(&users, usize::MAX, |_| 0) {
        let sql = format!("UPDATE account SET parent = ?, version = version + 1 WHERE id IN {}", places(1, piece.len()));
        let mut bound = vec![Value::from(receiver.0)];
        bound.extend(piece.iter().map(|user| Value::from(user.0)));
        conn.execute(AssertSqlSafe(sql), &bound).await?;
    }
    let notes = devices.iter().map(|Handed { user, imei, .. }| {
        let state = |manager: UserId| json!({ "imei": imei, "manager": manager });
        let (before, after) = (state(sender), state(receiver));
        Noted { what: "device.transferred", subject: format!("account:{user}"), before, after }
    });
    note_all(conn, &notes.collect::<Vec<_>>()).await?;

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

/// Takes locked accounts out of all groups they are in, whatever their kinds, and returns what the outbox is to say of it. A group that one
/// of them owns goes to the account above, so that somebody can dissolve it.
pub(super) async fn leave_all(conn: &mut Conn, users: &[UserId], why: LeftWhy) -> Result<Vec<Outgoing>, Error> {
    let mut outgoing = Vec::new();
    for (group, members) in memberships(conn, users).await? {
        let mut locked = lock_group(conn, group).await?;
        if let Some(owner) = locked.owner.filter(|owner| members.contains(owner)) {
            locked.owner = inherit(conn, &locked, owner).await?;
        }
        let changes: Vec<Change> = members.into_iter().map(|user| Change::leave(user, why)).collect();
        outgoing.extend(apply_changes(conn, &locked, &changes).await?.outgoing);
    }
    Ok(outgoing)
}

/// Gives a locked group to the account above its owner; returns to whom.
async fn inherit(conn: &mut Conn, group: &Group, owner: UserId) -> Result<Option<UserId>, Error> {
    let (parent,): (i64,) = conn.one("SELECT parent FROM account WHERE id = ?", values![owner.0]).await?;
    let heir = parent.cast_unsigned();
    conn.execute("UPDATE grp SET owner = ? WHERE id = ?", values![heir, group.id.0]).await?;
    let state = |owner: u64| json!({ "name": group.name, "owner": owner });
    let (before, after) = (state(owner.0), state(heir));
    note_all(conn, &[Noted { what: "group.inherited", subject: format!("group:{}", group.id), before, after }]).await?;
    Ok((heir != 0).then_some(UserId(heir)))
}

/// Of some accounts, by group, those that are members.
async fn memberships(conn: &mut Conn, users: &[UserId]) -> Result<BTreeMap<GroupId, BTreeSet<UserId>>, Error> {
    let mut found: BTreeMap<GroupId, BTreeSet<UserId>> = BTreeMap::new();
    for piece in pieces(users, usize::MAX, |_| 0) {
        let sql = format!("SELECT grp, account FROM grp_member WHERE present = 1 AND account IN {}", places(1, piece.len()));
        let bound: Vec<Value<'_>> = piece.iter().map(|user| Value::from(user.0)).collect();
        for (group, user) in conn.all::<(i64, i64)>(AssertSqlSafe(sql), &bound).await? {
            found.entry(GroupId(group.cast_unsigned())).or_default().insert(UserId(user.cast_unsigned()));
        }
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
