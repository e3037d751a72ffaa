//! Access points whose positions are known, each of one tenant: what desks posted, and what was learned from devices with a good fix.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

use super::conn::{Conn, Value, pieces, places, values};
use super::directory::{Noted, author, author_kind, note};
use super::{Error, Store};
use crate::location::frame::{Fix, FixFrame};
use crate::location::wifi::{Heard, Learned, is_made_up, learn, place};
use crate::location::{Degrees, Flag, address_text};
use crate::model::{PositionSource, TenantId, UserKind};

/// How many points one row of the record of changes names.
const NOTED_POINTS: usize = 100;
const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// How many of the strongest access points of a report count.
const STRONGEST: usize = 16;
/// Up to which accuracy, metres, a fix teaches.
const TEACHES_M: f32 = 20.0;

/// An access point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WifiPoint {
    /// The six bytes of its address as a number, the first one the highest.
    pub bssid: u64,
    /// Degrees north, -90 to 90.
    pub latitude: Degrees,
    /// Degrees east, -180 to 180.
    pub longitude: Degrees,
    /// At most 200 characters.
    pub description: String,
    /// Not posted by anybody.
    pub learned: bool,
}

/// What to do with access points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WifiChange {
    /// They are new; one that was learned is taken over.
    Save,
    /// They are known.
    Update,
    /// They are known, and are to be forgotten.
    Delete,
}

impl WifiChange {
    fn what(self) -> &'static str {
        match self {
            Self::Save => "wifi.saved",
            Self::Update => "wifi.updated",
            Self::Delete => "wifi.deleted",
        }
    }
}

/// Where somebody was (degrees north and east), and at which level they heard it (dBm).
type Lesson = ((f64, f64), i32);
/// Tenant and address.
type Key = (u64, u64);
type Row = (i64, i64, i64, String, f64);
type PlaceRow = (i64, i64, i64, f64);

impl Store {
    /// Saves, updates or deletes access points of a tenant, which is the author's: all or none. No address may come twice.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] for a device, and for one to update or delete that is not known; [`Error::NameTaken`] for one to save that somebody
    /// has posted; [`Error::Invalid`] for a description that is too long.
    pub async fn change_wifi_points(&self, tenant: TenantId, change: WifiChange, points: Vec<WifiPoint>) -> Result<(), Error> {
        let operation = format!("{} {} access points of tenant {tenant}", change.what(), points.len());
        if points.iter().any(|point| point.description.chars().count() > 200) {
            return Err(Error::Invalid { operation, field: "points.description", rule: "has at most 200 characters" });
        }
        self.write(operation, move |conn| {
            Box::pin(async move {
                if author_kind(conn).await? == Some(UserKind::Device) {
                    return Err(Error::NotPermitted { operation: conn.operation.clone() });
                }
                for points in points.chunks(NOTED_POINTS) {
                    let bssids: Vec<u64> = points.iter().map(|point| point.bssid).collect();
                    let before = points_of(conn, tenant, &bssids).await?;
                    for point in points {
                        match (change, before.get(&point.bssid)) {
                            (WifiChange::Save, Some(known)) if !known.learned => {
                                return Err(Error::NameTaken { operation: conn.operation.clone(), id: point.bssid });
                            }
                            (WifiChange::Update | WifiChange::Delete, None) => {
                                return Err(Error::NotPermitted { operation: conn.operation.clone() });
                            }
                            _ => {}
                        }
                    }
                    match change {
                        WifiChange::Save | WifiChange::Update => put(conn, tenant, points).await?,
                        WifiChange::Delete => delete(conn, tenant, &bssids).await?,
                    }
                    let after = if change == WifiChange::Delete { Json::Null } else { told(points.iter()) };
                    let before = if before.is_empty() { Json::Null } else { told(before.values()) };
                    note(conn, Noted { what: change.what(), subject: format!("tenant:{tenant}"), before, after }).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The access points of a tenant behind an address, by address; at most `limit`. [`Error::NotPermitted`] for a device.
    pub async fn wifi_points(&self, tenant: TenantId, after_bssid: u64, limit: u32) -> Result<Vec<WifiPoint>, Error> {
        self.read(format!("access points of tenant {tenant}"), move |conn| {
            Box::pin(async move {
                if author_kind(conn).await? == Some(UserKind::Device) {
                    return Err(Error::NotPermitted { operation: conn.operation.clone() });
                }
                let sql = "SELECT bssid, latitude_e15, longitude_e15, description, weight FROM wifi_point WHERE tenant = ? AND bssid > ? \
                           ORDER BY bssid LIMIT ?";
                let rows: Vec<Row> = conn.all(sql, values![tenant.0, after_bssid, limit]).await?;
                Ok(rows.into_iter().map(point).collect())
            })
        })
        .await
    }

    /// Places those of some fixes that nothing placed and that heard access points of their tenant whose positions are known; the others stay as they
    /// are. Returns how many were placed.
    pub async fn place_by_wifi(&self, frames: &mut [FixFrame]) -> Result<usize, Error> {
        let unplaced = |fix: &&Fix| fix.source == 0 && fix.scan.as_ref().is_some_and(|scan| !scan.wifi.is_empty());
        let keys: BTreeSet<Key> =
            frames.iter().flat_map(|frame| &frame.fixes).filter(unplaced).flat_map(heard).map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Ok(0);
        }
        let known = self
            .read(format!("where {} access points are", keys.len()), move |conn| Box::pin(async move { places_of(conn, &keys).await }))
            .await?;
        let mut placed = 0;
        for fix in frames.iter_mut().flat_map(|frame| &mut frame.fixes).filter(|fix| unplaced(&&**fix)) {
            let near = heard(fix).filter_map(|(key, level_dbm)| {
                let (Learned { latitude, longitude, .. }, _) = *known.get(&key)?;
                Some(Heard { level_dbm, latitude, longitude })
            });
            if let Some(at) = place(&near.collect::<Vec<_>>()) {
                (fix.latitude, fix.longitude, fix.accuracy_m) = (at.latitude, at.longitude, Some(at.accuracy_m));
                fix.source = PositionSource::Wifi as u32;
                placed += 1;
            }
        }
        Ok(placed)
    }
}

/// The strongest access points that a fix heard, each once, with their levels.
fn heard(fix: &Fix) -> impl Iterator<Item = (Key, i32)> + use<> {
    let mut wifi = fix.scan.as_ref().map(|scan| scan.wifi.clone()).unwrap_or_default();
    wifi.sort_by_key(|heard| (std::cmp::Reverse(heard.level_dbm), heard.address));
    let (tenant, mut seen) = (fix.tenant, BTreeSet::new());
    wifi.into_iter()
        .filter(move |heard| seen.insert(heard.address))
        .take(STRONGEST)
        .map(move |heard| ((tenant, heard.address), heard.level_dbm))
}

/// Learns where access points are from fixes that are good and new. What somebody posted is left as it is. Within the transaction that takes the
/// fixes in, so that none teaches twice.
pub(super) async fn learn_from(conn: &mut Conn, fixes: impl Iterator<Item = &Fix>) -> Result<(), Error> {
    let good = |fix: &&Fix| {
        let is_exact = fix.accuracy_m.is_some_and(|accuracy_m| accuracy_m > 0.0 && accuracy_m <= TEACHES_M);
        fix.source == PositionSource::Gps as u32 && is_exact && fix.flags & Flag::ClockAhead.bit() == 0
    };
    let mut lessons: BTreeMap<Key, Vec<Lesson>> = BTreeMap::new();
    for fix in fixes.filter(good) {
        for (key, level_dbm) in heard(fix).filter(|((_, bssid), _)| !is_made_up(*bssid)) {
            lessons.entry(key).or_default().push(((fix.latitude, fix.longitude), level_dbm));
        }
    }
    let known = places_of(conn, &lessons.keys().copied().collect()).await?;
    let now_ms = conn.stamp.now_ms();
    let mut rows: Vec<[Value<'_>; 8]> = Vec::new();
    for (key, lessons) in lessons {
        let before = known.get(&key);
        if before.is_some_and(|(_, posted)| *posted) {
            continue;
        }
        let taught = lessons.into_iter().fold(before.map(|(known, _)| *known), |known, (at, level)| Some(learn(known, at, level)));
        let Some(Learned { latitude, longitude, weight }) = taught else { continue };
        let (latitude, longitude) = (Degrees::of(latitude).0, Degrees::of(longitude).0);
        rows.push([key.0.into(), key.1.into(), latitude.into(), longitude.into(), "".into(), 0_u64.into(), weight.into(), now_ms.into()]);
    }
    write(
        conn,
        &rows,
        "latitude_e15 = new.latitude_e15, longitude_e15 = new.longitude_e15, weight = new.weight, changed_ms = new.changed_ms",
    )
    .await
}

async fn write(conn: &mut Conn, rows: &[[Value<'_>; 8]], set: &str) -> Result<(), Error> {
    let conflict = conn.dialect().on_conflict("tenant, bssid", set);
    for piece in pieces(rows, STATEMENT_BYTES_MAX, |row| row.iter().map(Value::bytes).sum()) {
        let columns = "tenant, bssid, latitude_e15, longitude_e15, description, account, weight, changed_ms";
        let sql = format!("INSERT INTO wifi_point ({columns}) VALUES {}{conflict}", places(piece.len(), 8));
        conn.execute(AssertSqlSafe(sql), piece.as_flattened()).await?;
    }
    Ok(())
}

async fn put(conn: &mut Conn, tenant: TenantId, points: &[WifiPoint]) -> Result<(), Error> {
    let (account, now_ms) = (author(conn).unwrap_or_default().0, conn.stamp.now_ms());
    let row = points.iter().map(|WifiPoint { bssid, latitude, longitude, description, .. }| {
        let (latitude, longitude, description) = (latitude.0.into(), longitude.0.into(), description.as_str().into());
        [tenant.0.into(), (*bssid).into(), latitude, longitude, description, account.into(), 0.0.into(), now_ms.into()]
    });
    let rows: Vec<[Value<'_>; 8]> = row.collect();
    let set = ["latitude_e15", "longitude_e15", "description", "account", "weight", "changed_ms"];
    write(conn, &rows, &set.map(|column| format!("{column} = new.{column}")).join(", ")).await
}

async fn delete(conn: &mut Conn, tenant: TenantId, bssids: &[u64]) -> Result<(), Error> {
    let sql = format!("DELETE FROM wifi_point WHERE tenant = ? AND bssid IN {}", places(1, bssids.len()));
    let values: Vec<Value<'_>> = std::iter::once(tenant.0.into()).chain(bssids.iter().map(|bssid| (*bssid).into())).collect();
    conn.execute(AssertSqlSafe(sql), &values).await.map(drop)
}

async fn points_of(conn: &mut Conn, tenant: TenantId, bssids: &[u64]) -> Result<BTreeMap<u64, WifiPoint>, Error> {
    let columns = "bssid, latitude_e15, longitude_e15, description, weight";
    let sql = format!("SELECT {columns} FROM wifi_point WHERE tenant = ? AND bssid IN {}", places(1, bssids.len()));
    let values: Vec<Value<'_>> = std::iter::once(tenant.0.into()).chain(bssids.iter().map(|bssid| (*bssid).into())).collect();
    let rows: Vec<Row> = conn.all(AssertSqlSafe(sql), &values).await?;
    Ok(rows.into_iter().map(point).map(|point| (point.bssid, point)).collect())
}

/// Where access points are, and whether somebody posted that.
async fn places_of(conn: &mut Conn, keys: &BTreeSet<Key>) -> Result<BTreeMap<Key, (Learned, bool)>, Error> {
    let mut by_tenant: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (tenant, bssid) in keys {
        by_tenant.entry(*tenant).or_default().push(*bssid);
    }
    let mut found = BTreeMap::new();
    for (tenant, bssids) in by_tenant {
        for piece in pieces(&bssids, usize::MAX, |_| 0) {
            let sql = format!(
                "SELECT bssid, latitude_e15, longitude_e15, weight FROM wifi_point WHERE tenant = ? AND bssid IN {}",
                places(1, piece.len())
            );
            let values: Vec<Value<'_>> = std::iter::once(tenant.into()).chain(piece.iter().map(|bssid| (*bssid).into())).collect();
            let rows: Vec<PlaceRow> = conn.all(AssertSqlSafe(sql), &values).await?;
            found.extend(rows.into_iter().map(|(bssid, latitude, longitude, weight)| {
                let (latitude, longitude) = (Degrees(latitude).degrees(), Degrees(longitude).degrees());
                ((tenant, bssid.cast_unsigned()), (Learned { latitude, longitude, weight }, weight == 0.0))
            }));
        }
    }
    Ok(found)
}

fn point((bssid, latitude, longitude, description, weight): Row) -> WifiPoint {
    let (latitude, longitude) = (Degrees(latitude), Degrees(longitude));
    WifiPoint { bssid: bssid.cast_unsigned(), latitude, longitude, description, learned: weight > 0.0 }
}

/// Points as they stand in the record of changes.
fn told<'a>(points: impl Iterator<Item = &'a WifiPoint>) -> Json {
    let one = |point: &WifiPoint| {
        let (latitude, longitude) = (point.latitude.to_string(), point.longitude.to_string());
        json!({ "bssid": address_text(point.bssid), "latitude": latitude, "longitude": longitude, "description": point.description })
    };
    points.map(one).collect()
}
