//! Where devices were: pages of fixes, and the newest one of each.

use std::collections::BTreeMap;

use super::conn::{Conn, values};
use super::{Error, Store};
use crate::location::{Flag, TraceKey, TraceRow};
use crate::model::{GroupId, PositionSource, UserId};

/// What a page asks of each device, for `EXPLAIN` too: one bounded range of the primary key. The values: device, first and end of the times,
/// highest source, first of the times again, source behind which the first of the times begins, limit.
pub const TRACE_SQL: &str = "SELECT fix_ms, source, arrival_ms, latitude, longitude, accuracy_m, altitude_m, speed_mps, course_deg, battery, grp, \
     flags FROM fix WHERE device = ? AND fix_ms >= ? AND fix_ms < ? AND source BETWEEN 1 AND ? AND (fix_ms > ? OR source > ?) \
     ORDER BY fix_ms, source LIMIT ?";

/// Two rows, as one time may have a row of each source.
const NEWEST_SQL: &str = "SELECT fix_ms, source, arrival_ms, latitude, longitude, accuracy_m, altitude_m, speed_mps, course_deg, battery, grp, \
     flags FROM fix WHERE device = ? AND source BETWEEN 1 AND 2 AND flags & ? = 0 ORDER BY fix_ms DESC, source DESC LIMIT 2";

type Columns = (i64, i64, i64, Option<f64>, Option<f64>, Option<f64>, Option<f64>, Option<f64>, Option<f64>, Option<i64>, i64, i64);

impl Store {
    /// The fixes of devices that were made from `from_ms` up to, and without, `to_ms`, in the order of their keys: at most `limit` behind
    /// `after`. With `wifi` also those that access points placed.
    ///
    /// Reads of each device at most `limit` rows that count; rows without a place in between are passed over.
    pub async fn trace_page(
        &self,
        devices: &[UserId],
        from_ms: u64,
        to_ms: u64,
        wifi: bool,
        after: Option<TraceKey>,
        limit: u32,
    ) -> Result<Vec<TraceRow>, Error> {
        let mut devices = devices.to_vec();
        devices.sort_unstable();
        devices.dedup();
        let highest = if wifi { PositionSource::Wifi } else { PositionSource::Gps } as u32;
        // What lies before the range does not move its beginning.
        let after = after.filter(|after| after.fix_ms >= from_ms);
        let (from, to) = (after.map_or(from_ms, |after| after.fix_ms), signed(to_ms));
        self.read_old(format!("trace of {} devices", devices.len()), move |conn| {
            Box::pin(async move {
                let mut rows = Vec::new();
                for device in devices {
                    let told = after.map_or(0, |after| told_of(device, after));
                    let first = signed(from);
                    let found = conn.all(TRACE_SQL, values![device.0, first, to, highest, first, told, limit]).await?;
                    for columns in found {
                        rows.push(row(conn, device, columns)?);
                    }
                }
                rows.sort_unstable_by_key(|row| row.key);
                rows.truncate(limit as usize);
                Ok(rows)
            })
        })
        .await
    }

    /// Of each device the newest fix whose clock was not ahead; devices without one are left out. Of two at one time the better one, by
    /// satellites.
    pub async fn newest_fixes(&self, devices: &[UserId]) -> Result<BTreeMap<UserId, TraceRow>, Error> {
        let devices = devices.to_vec();
        self.read(format!("newest fixes of {} devices", devices.len()), move |conn| {
            Box::pin(async move {
                let mut newest = BTreeMap::new();
                for device in devices {
                    let found = conn.all(NEWEST_SQL, values![device.0, Flag::ClockAhead.bit()]).await?;
                    let rows = found.into_iter().map(|columns| row(conn, device, columns)).collect::<Result<Vec<TraceRow>, Error>>()?;
                    let last = rows.iter().map(|row| row.key.fix_ms).max();
                    let best = rows.into_iter().filter(|row| Some(row.key.fix_ms) == last).min_by_key(|row| row.key.source);
                    newest.extend(best.map(|best| (device, best)));
                }
                Ok(newest)
            })
        })
        .await
    }
}

/// The source up to which `device` was told at the time of `after`; 0 when nothing of it was.
fn told_of(device: UserId, after: TraceKey) -> u32 {
    match device.cmp(&after.device) {
        std::cmp::Ordering::Less => PositionSource::Wifi as u32,
        std::cmp::Ordering::Equal => after.source as u32,
        std::cmp::Ordering::Greater => 0,
    }
}

/// A time as it stands in a column. No fix is later than what a column holds.
fn signed(time_ms: u64) -> i64 {
    i64::try_from(time_ms).unwrap_or(i64::MAX)
}

fn row(conn: &Conn, device: UserId, columns: Columns) -> Result<TraceRow, Error> {
    let (fix_ms, source, arrival_ms, latitude, longitude, accuracy_m, altitude_m, speed_mps, course_deg, battery, group, flags) = columns;
    let lacking = |column| conn.unreadable(column, "a placed fix has none that this program knows");
    let single = |value: Option<f64>| value.map(|value| value as f32);
    let source = u32::try_from(source).ok().and_then(PositionSource::from_number).ok_or_else(|| lacking("fix.source"))?;
    Ok(TraceRow {
        key: TraceKey { fix_ms: fix_ms.cast_unsigned(), device, source },
        arrival_ms: arrival_ms.cast_unsigned(),
        latitude: latitude.ok_or_else(|| lacking("fix.latitude"))?,
        longitude: longitude.ok_or_else(|| lacking("fix.longitude"))?,
        accuracy_m: single(accuracy_m),
        altitude_m: single(altitude_m),
        speed_mps: single(speed_mps),
        course_deg: single(course_deg),
        battery: battery.and_then(|percent| u32::try_from(percent).ok()),
        group: GroupId(group.cast_unsigned()),
        flags: flags as u32,
    })
}
