//! What devices do at geofences, found in the transaction that takes their fixes in: a fix that comes again tells nothing again.
//!
//! Where there is no geofence it costs a batch one statement that reads one row. Otherwise each device, each account above them, each row of
//! what is remembered and each notice is part of statements of up to 256 of its kind; of a single fix there is none. Geofences themselves are
//! remembered from batch to batch, as of the number of their last change, which that first statement reads.
//!
//! A device counts for the geofences of every account above it, and, as roots manage everything, for those of roots. One that changed hands is
//! forgotten at geofences that are no longer above it, by its first fix afterwards; nobody is told that it went out there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::AssertSqlSafe;

use super::super::Error;
use super::super::conn::{Conn, Value, pieces, places};
use super::super::dialect::Dialect;
use super::super::directory::{Outgoing, notice, push_outbox};
use super::{FenceRow, fence_of};
use crate::location::fence::{Crossing, Fences, Track, Visit, shows};
use crate::location::frame::Fix;
use crate::model::{FenceId, MessageKind, TopicId, UserId, UserKind};
use crate::topic::frame::NoticeBody;

/// How deep the tree of accounts is looked at.
const DEPTH_MAX: usize = 8;
/// The most corners that are remembered, each geofence counting for some more. Above it only what the batch needs is.
const CORNERS_KEPT: usize = 1_000_000;
/// For how many corners a geofence counts, besides its own.
const FENCE_AS_CORNERS: usize = 8;

/// What is remembered of geofences from batch to batch.
#[derive(Debug, Default)]
pub(in crate::store) struct Cache(Mutex<Arc<Known>>);

/// Geofences as of a change. At change 0 nobody has any.
#[derive(Clone, Debug, Default)]
struct Known {
    change: u64,
    /// Who has geofences, and of what kind that account is.
    owners: BTreeMap<UserId, i64>,
    /// Of some of them, which.
    fences: BTreeMap<UserId, Arc<Fences>>,
}

/// An account of the tree.
struct Place {
    parent: UserId,
    kind: i64,
    nickname: String,
}

/// Finds what the fixes, which are new and in the order of their times, tell at geofences, remembers it, and puts notices of it into the outbox:
/// the last thing of its transaction. Returns how many notices there are.
pub(in crate::store) async fn cross(conn: &mut Conn, cache: &Cache, fixes: impl Iterator<Item = &Fix>) -> Result<u64, Error> {
    let mut by_device: BTreeMap<UserId, Vec<&Fix>> = BTreeMap::new();
    for fix in fixes.filter(|fix| shows(fix)) {
        by_device.entry(UserId(fix.device)).or_default().push(fix);
    }
    if by_device.is_empty() {
        return Ok(0);
    }
    let known = cache.known(conn).await?;
    if known.owners.is_empty() {
        return Ok(0);
    }
    let devices: Vec<UserId> = by_device.keys().copied().collect();
    let tree = tree(conn, &devices, &known.owners).await?;
    let owners_of = |device: UserId| owners_above(&tree, &known.owners, device);
    let chains: BTreeMap<UserId, BTreeSet<UserId>> = devices.iter().map(|device| (*device, owners_of(*device))).collect();
    let known = cache.filled(conn, known.clone(), chains.values().flatten().copied().collect()).await?;
    let mut sets: BTreeMap<&BTreeSet<UserId>, Fences> = BTreeMap::new();
    for owners in chains.values() {
        sets.entry(owners).or_insert_with(|| {
            let all = owners.iter().filter_map(|owner| known.fences.get(owner));
            all.flat_map(|fences| fences.iter().map(|(id, watched)| (*id, watched.clone()))).collect()
        });
    }

    let watched: Vec<UserId> = devices.iter().copied().filter(|device| !sets[&chains[device]].is_empty()).collect();
    let mut tracks = tracks(conn, &devices, &watched).await?;
    let (mut keep, mut forget) = (Vec::new(), Vec::new());
    let mut told: Vec<(UserId, Crossing)> = Vec::new();
    for (device, fixes) in &by_device {
        let before = tracks.remove(device).unwrap_or_default();
        let fences = &sets[&chains[device]];
        let mut track = before.clone();
        track.keep(fences);
        if fences.is_empty() {
            track = Track::default();
        }
        for fix in fixes.iter().filter(|_| !fences.is_empty()) {
            told.extend(track.take(fix, fences).into_iter().map(|crossing| (*device, crossing)));
        }
        differ(*device, &before, &track, &mut keep, &mut forget);
    }
    write(conn, &keep, &forget).await?;

    told.sort_by_key(|(_, crossing)| crossing.fix_ms);
    let nickname = |device: &UserId| tree.get(device).map(|place| place.nickname.clone()).unwrap_or_default();
    let outgoing: Vec<Outgoing> = told.iter().map(|(device, crossing)| outgoing(*device, nickname(device), crossing)).collect();
    push_outbox(conn, &outgoing, conn.stamp.now_ms()).await?;
    Ok(outgoing.len() as u64)
}

fn outgoing(device: UserId, nickname: String, crossing: &Crossing) -> Outgoing {
    let Crossing { at, event, fix_ms } = crossing;
    let body = NoticeBody {
        fence: at.fence.id.0,
        name: at.fence.name.clone(),
        user: device.0,
        nickname,
        event: *event as u32,
        time_ms: *fix_ms,
        ..NoticeBody::default()
    };
    notice(TopicId::inbox(at.owner), MessageKind::FenceCrossed, body)
}

impl Cache {
    /// Who has geofences now. A change that is committed while the batch goes on is seen by it or by the next one: what is read behind the number
    /// of a change is as of that change or of a later one, and then the number differs next time.
    async fn known(&self, conn: &mut Conn) -> Result<Arc<Known>, Error> {
        let (change,): (i64,) = conn.one("SELECT value FROM counter WHERE name = 'fence_change'", &[]).await?;
        let change = change.cast_unsigned();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.change == change {
            return Ok(known);
        }
        let sql =
            "SELECT DISTINCT a.id, a.kind FROM fence f JOIN account a ON a.id = f.account WHERE f.deleted_ms = 0 AND a.deleted_ms = 0";
        let rows: Vec<(i64, i64)> = conn.all(sql, &[]).await?;
        let owners = rows.into_iter().map(|(id, kind)| (UserId(id.cast_unsigned()), kind)).collect();
        Ok(self.keep(Known { change, owners, fences: BTreeMap::new() }))
    }

    /// The same with the geofences of these owners.
    async fn filled(&self, conn: &mut Conn, known: Arc<Known>, needed: BTreeSet<UserId>) -> Result<Arc<Known>, Error> {
        let missing: Vec<UserId> = needed.iter().copied().filter(|owner| !known.fences.contains_key(owner)).collect();
        if missing.is_empty() {
            return Ok(known);
        }
        let mut more = Known::clone(&known);
        more.fences.extend(fences(conn, &missing).await?.into_iter().map(|(owner, fences)| (owner, Arc::new(fences))));
        let weight =
            |fences: &Fences| -> usize { fences.values().map(|watched| watched.fence.shape.corners() as usize + FENCE_AS_CORNERS).sum() };
        if more.fences.values().map(|fences| weight(fences)).sum::<usize>() > CORNERS_KEPT {
            more.fences.retain(|owner, _| needed.contains(owner));
        }
        Ok(self.keep(more))
    }

    fn keep(&self, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known.clone();
        known
    }
}

/// The geofences of some accounts. One that cannot be read is passed over: fixes matter more.
async fn fences(conn: &mut Conn, owners: &[UserId]) -> Result<BTreeMap<UserId, Fences>, Error> {
    let mut found: BTreeMap<UserId, Fences> = owners.iter().map(|owner| (*owner, Fences::new())).collect();
    for piece in pieces(owners, usize::MAX, |_| 0) {
        let columns = "id, name, shape, tell, stay_ms, account";
        let sql = format!("SELECT {columns} FROM fence WHERE deleted_ms = 0 AND account IN {}", places(1, piece.len()));
        let rows: Vec<(i64, String, Vec<u8>, i64, i64, i64)> = conn.all(AssertSqlSafe(sql), &ids(piece)).await?;
        for (id, name, shape, tell, stay_ms, owner) in rows {
            let (row, owner): (FenceRow, _) = ((id, name, shape, tell, stay_ms), UserId(owner.cast_unsigned()));
            match fence_of(conn, row).map(|fence| fence.watched(owner)) {
                Ok(Ok(watched)) => {
                    found.entry(owner).or_default().insert(watched.fence.id, Arc::new(watched));
                }
                Ok(Err(broken)) => tracing::error!(fence.id = id, field = broken.field, "a geofence breaks a rule and tells nothing"),
                Err(error) => {
                    tracing::error!(fence.id = id, error = &error as &dyn std::error::Error, "a geofence is unreadable and tells nothing");
                }
            }
        }
    }
    Ok(found)
}

/// The devices and the accounts above them, and the roots among the owners; those that do not exist are left out.
async fn tree(conn: &mut Conn, devices: &[UserId], owners: &BTreeMap<UserId, i64>) -> Result<BTreeMap<UserId, Place>, Error> {
    let mut tree: BTreeMap<UserId, Place> = BTreeMap::new();
    let roots = owners.iter().filter(|(_, kind)| **kind == UserKind::Root as i64).map(|(root, _)| *root);
    let mut ahead: BTreeSet<UserId> = devices.iter().copied().chain(roots).collect();
    for _ in 0..DEPTH_MAX {
        let here: Vec<UserId> = std::mem::take(&mut ahead).into_iter().collect();
        for piece in pieces(&here, usize::MAX, |_| 0) {
            let sql = format!("SELECT id, parent, kind, nickname FROM account WHERE deleted_ms = 0 AND id IN {}", places(1, piece.len()));
            for (id, parent, kind, nickname) in conn.all::<(i64, i64, i64, String)>(AssertSqlSafe(sql), &ids(piece)).await? {
                let parent = UserId(parent.cast_unsigned());
                ahead.insert(parent);
                tree.insert(UserId(id.cast_unsigned()), Place { parent, kind, nickname });
            }
        }
        ahead.retain(|account| account.0 != 0 && !tree.contains_key(account));
        if ahead.is_empty() {
            break;
        }
    }
    Ok(tree)
}

/// Whose geofences a device counts for. Accounts that are no devices count for none.
fn owners_above(tree: &BTreeMap<UserId, Place>, owners: &BTreeMap<UserId, i64>, device: UserId) -> BTreeSet<UserId> {
    let Some(place) = tree.get(&device).filter(|place| place.kind == UserKind::Device as i64) else { return BTreeSet::new() };
    let above = std::iter::successors(Some(place.parent), |at| tree.get(at).map(|place| place.parent)).take(DEPTH_MAX);
    let roots = owners.keys().copied().filter(|owner| tree.get(owner).is_some_and(|place| place.kind == UserKind::Root as i64));
    above.filter(|account| owners.contains_key(account) && tree.contains_key(account)).chain(roots).collect()
}

/// What is remembered of devices, locked until the transaction ends: of two programs that have fixes of one device, the second waits. So those
/// that are `watched` have a row to lock, from their first fix on.
async fn tracks(conn: &mut Conn, devices: &[UserId], watched: &[UserId]) -> Result<BTreeMap<UserId, Track>, Error> {
    let mut found = read(conn, devices).await?;
    let new: Vec<UserId> = watched.iter().copied().filter(|device| !found.contains_key(device)).collect();
    for piece in pieces(&new, usize::MAX, |_| 0) {
        let insert = conn.dialect().insert_ignore();
        let sql = format!("{insert} fence_state (device, fence, fix_ms, stayed) VALUES {}", places(piece.len(), 4));
        let bound: Vec<Value<'_>> = piece.iter().flat_map(|device| [device.0.into(), 0_u64.into(), 0_u64.into(), 0_u64.into()]).collect();
        conn.execute(AssertSqlSafe(sql), &bound).await?;
    }
    if !new.is_empty() {
        found.extend(read(conn, &new).await?);
    }
    Ok(found)
}

async fn read(conn: &mut Conn, devices: &[UserId]) -> Result<BTreeMap<UserId, Track>, Error> {
    let mut found: BTreeMap<UserId, Track> = BTreeMap::new();
    let lock = if conn.dialect() == Dialect::MySql { " FOR UPDATE" } else { "" };
    for piece in pieces(devices, usize::MAX, |_| 0) {
        let sql = format!("SELECT device, fence, fix_ms, stayed FROM fence_state WHERE device IN {}{lock}", places(1, piece.len()));
        for (device, fence, fix_ms, stayed) in conn.all::<(i64, i64, i64, i64)>(AssertSqlSafe(sql), &ids(piece)).await? {
            let track = found.entry(UserId(device.cast_unsigned())).or_default();
            match fence {
                0 => track.fix_ms = fix_ms.cast_unsigned(),
                fence => {
                    let visit = Visit { since_ms: fix_ms.cast_unsigned(), stayed: stayed != 0 };
                    track.visits.insert(FenceId(fence.cast_unsigned()), visit);
                }
            }
        }
    }
    Ok(found)
}

/// A row of the table: device, fence, time, whether it was told that the device stays.
type StateRow = [u64; 4];

/// The rows that are to be written, and the keys of those that are to go, so that `before` becomes `after`.
fn differ(device: UserId, before: &Track, after: &Track, keep: &mut Vec<StateRow>, forget: &mut Vec<[u64; 2]>) {
    match after.fix_ms {
        same if same == before.fix_ms => {}
        0 => forget.push([device.0, 0]),
        fix_ms => keep.push([device.0, 0, fix_ms, 0]),
    }
    let gone = before.visits.keys().filter(|fence| !after.visits.contains_key(fence));
    forget.extend(gone.map(|fence| [device.0, fence.0]));
    let new = after.visits.iter().filter(|(fence, visit)| before.visits.get(fence) != Some(visit));
    keep.extend(new.map(|(fence, visit)| [device.0, fence.0, visit.since_ms, visit.stayed.into()]));
}

async fn write(conn: &mut Conn, keep: &[StateRow], forget: &[[u64; 2]]) -> Result<(), Error> {
    let conflict = conn.dialect().on_conflict("device, fence", "fix_ms = new.fix_ms, stayed = new.stayed");
    for piece in pieces(keep, usize::MAX, |_| 0) {
        let sql = format!("INSERT INTO fence_state (device, fence, fix_ms, stayed) VALUES {}{conflict}", places(piece.len(), 4));
        let bound: Vec<Value<'_>> = piece.as_flattened().iter().map(|value| Value::from(*value)).collect();
        conn.execute(AssertSqlSafe(sql), &bound).await?;
    }
    for piece in pieces(forget, usize::MAX, |_| 0) {
        let one = vec!["(device = ? AND fence = ?)"; piece.len()].join(" OR ");
        let bound: Vec<Value<'_>> = piece.as_flattened().iter().map(|value| Value::from(*value)).collect();
        conn.execute(AssertSqlSafe(format!("DELETE FROM fence_state WHERE {one}")), &bound).await?;
    }
    Ok(())
}

fn ids(accounts: &[UserId]) -> Vec<Value<'static>> {
    accounts.iter().map(|account| account.0.into()).collect()
}
