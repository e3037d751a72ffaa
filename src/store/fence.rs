//! Geofences, as accounts want them; what devices do at them is found in `watch`, as fixes are taken in.

mod watch;

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

pub(super) use watch::{Cache, cross};

use super::conn::{Conn, values};
use super::directory::{Noted, check_manages, lock_counter, next_numbers, note};
use super::{Error, Store};
use crate::location::fence::{Broken, Fence};
use crate::model::{FenceId, UserId, UserKind};

/// The most geofences of an account.
pub const FENCES_MAX: u64 = 1_000;
/// The most corners of all polygons of an account: each of its devices' fixes may be held against all of them.
pub const FENCE_CORNERS_MAX: u64 = 20_000;

/// Bits of the column `tell`.
const ENTER: u32 = 1;
const LEAVE: u32 = 2;

/// Id, name, shape, what is told, after how long inside.
type FenceRow = (i64, String, Vec<u8>, i64, i64);

impl Store {
    /// Makes a geofence of an account, or changes the one whose id it has. What was remembered of devices at it stays: one that is inside of
    /// what it was, and not of what it is, goes out with its next fix.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a field that breaks its rule; [`Error::NotPermitted`] unless the author manages the account, which is no device, and
    /// the geofence is the account's; [`Error::Full`] above [`FENCES_MAX`] geofences or [`FENCE_CORNERS_MAX`] corners.
    pub async fn put_fence(&self, account: UserId, fence: Fence) -> Result<FenceId, Error> {
        let operation = format!("geofence {} of account {account}", fence.id);
        let watched = fence.watched(account);
        let watched = watched.map_err(|Broken { field, rule }| Error::Invalid { operation: operation.clone(), field, rule })?;
        self.write(operation, move |conn| {
            Box::pin(async move {
                let mut fence = watched.fence;
                // One at a time, so that two do not both find room for the last one.
                lock_counter(conn, "fence").await?;
                check_owner(conn, account).await?;
                let before = if fence.id.0 == 0 { None } else { Some(own(conn, account, fence.id).await?) };
                check_room(conn, account, &fence).await?;
                if before.is_none() {
                    fence.id = FenceId(next_numbers(conn, "fence", 1).await?);
                }
                let shape = serde_json::to_vec(&fence.shape).map_err(|source| conn.unreadable("fence.shape", source))?;
                let tell = if fence.enter { ENTER } else { 0 } | if fence.leave { LEAVE } else { 0 };
                let set = "name = new.name, shape = new.shape, corners = new.corners, tell = new.tell, stay_ms = new.stay_ms";
                let conflict = conn.dialect().on_conflict("id", set);
                let sql = format!(
                    "INSERT INTO fence (id, account, name, shape, corners, tell, stay_ms, deleted_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 0){conflict}"
                );
                let (name, corners) = (fence.name.as_str(), fence.shape.corners());
                let bound = values![fence.id.0, account.0, name, shape.as_slice(), corners, tell, fence.stay_ms];
                conn.execute(AssertSqlSafe(sql), bound).await?;
                let what = if before.is_some() { "fence.changed" } else { "fence.added" };
                changed(conn, what, account, fence.id, before.as_ref(), Some(&fence)).await?;
                Ok(fence.id)
            })
        })
        .await
    }

    /// Deletes a geofence of an account: nothing more is told of it. Its id is never used again.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless the author manages the account, which is no device, and the geofence is the account's.
    pub async fn delete_fence(&self, account: UserId, id: FenceId) -> Result<(), Error> {
        self.write(format!("delete geofence {id} of account {account}"), move |conn| {
            Box::pin(async move {
                lock_counter(conn, "fence").await?;
                check_owner(conn, account).await?;
                let before = own(conn, account, id).await?;
                let now_ms = conn.stamp.now_ms().max(1);
                conn.execute("UPDATE fence SET deleted_ms = ? WHERE id = ?", values![now_ms, id.0]).await?;
                changed(conn, "fence.removed", account, id, Some(&before), None).await
            })
        })
        .await
    }

    /// The geofences of an account behind `after` by id, at most `limit`.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless the author manages the account, which is no device.
    pub async fn fences(&self, account: UserId, after: FenceId, limit: u32) -> Result<Vec<Fence>, Error> {
        self.read(format!("geofences of account {account}"), move |conn| {
            Box::pin(async move {
                check_owner(conn, account).await?;
                let sql =
                    "SELECT id, name, shape, tell, stay_ms FROM fence WHERE account = ? AND deleted_ms = 0 AND id > ? ORDER BY id LIMIT ?";
                let rows: Vec<FenceRow> = conn.all(sql, values![account.0, after.0, limit]).await?;
                rows.into_iter().map(|row| fence_of(conn, row)).collect()
            })
        })
        .await
    }
}

fn not_permitted(conn: &Conn) -> Error {
    Error::NotPermitted { operation: conn.operation.clone() }
}

async fn check_owner(conn: &mut Conn, account: UserId) -> Result<(), Error> {
    check_manages(conn, &[account]).await?;
    let (kind,): (i64,) = conn.one("SELECT kind FROM account WHERE id = ?", values![account.0]).await?;
    if kind > UserKind::Device as i64 { Ok(()) } else { Err(not_permitted(conn)) }
}

/// A geofence of an account; what is another's, or was deleted, is not there.
async fn own(conn: &mut Conn, account: UserId, id: FenceId) -> Result<Fence, Error> {
    let sql = "SELECT id, name, shape, tell, stay_ms FROM fence WHERE id = ? AND account = ? AND deleted_ms = 0";
    let row: Option<FenceRow> = conn.first(sql, values![id.0, account.0]).await?;
    row.map_or_else(|| Err(not_permitted(conn)), |row| fence_of(conn, row))
}

/// Whether an account may have this geofence beside its others.
async fn check_room(conn: &mut Conn, account: UserId, fence: &Fence) -> Result<(), Error> {
    let sql = "SELECT corners FROM fence WHERE account = ? AND deleted_ms = 0 AND id <> ?";
    let others: Vec<(i64,)> = conn.all(sql, values![account.0, fence.id.0]).await?;
    let corners: u64 = others.iter().map(|(corners,)| corners.cast_unsigned()).sum();
    let full = |what, max| Err(Error::Full { operation: conn.operation.clone(), what, max });
    if others.len() as u64 >= FENCES_MAX {
        return full("geofences of an account", FENCES_MAX);
    }
    if corners + u64::from(fence.shape.corners()) > FENCE_CORNERS_MAX {
        return full("corners of the geofences of an account", FENCE_CORNERS_MAX);
    }
    Ok(())
}

/// Notes a change, and has whoever remembers geofences read them again.
async fn changed(
    conn: &mut Conn,
    what: &'static str,
    account: UserId,
    id: FenceId,
    before: Option<&Fence>,
    after: Option<&Fence>,
) -> Result<(), Error> {
    next_numbers(conn, "fence_change", 1).await?;
    let state = |fence: Option<&Fence>| fence.map_or(Json::Null, |fence| json!({ "account": account, "fence": fence }));
    note(conn, Noted { what, subject: format!("fence:{id}"), before: state(before), after: state(after) }).await
}

fn fence_of(conn: &Conn, (id, name, shape, tell, stay_ms): FenceRow) -> Result<Fence, Error> {
    let shape = serde_json::from_slice(&shape).map_err(|source| conn.unreadable("fence.shape", source))?;
    let tells = |bit: u32| tell & i64::from(bit) != 0;
    let (enter, leave) = (tells(ENTER), tells(LEAVE));
    Ok(Fence { id: FenceId(id.cast_unsigned()), name, shape, enter, leave, stay_ms: stay_ms.cast_unsigned() })
}
