//! Fixes of devices, and what became of every report: stored, a duplicate, or refused for a reason. What is new is held against geofences.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::conn::{Conn, Record, Value, pieces, places, values};
use super::wifi::learn_from;
use super::{Error, Store, fence};
use crate::location::frame::{Fix, FixFrame};
use crate::model::{Reason, UserId};

const STATEMENT_BYTES_MAX: usize = 1 << 20;
const DAY_MS: u64 = 86_400_000;
/// The most characters of the name of a field.
const FIELD_MAX: usize = 64;

/// What became of the reports of some frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Frames that were not in before; only they count.
    pub frames: usize,
    /// Fixes that are new.
    pub stored: u64,
    /// Fixes that were in.
    pub duplicate: u64,
    /// Reports that were refused, at the door or here.
    pub refused: u64,
    /// What the new ones tell at geofences: so many notices are on their way.
    pub crossings: u64,
}

/// What became of the reports of a device that arrived on a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fate {
    /// All that came.
    pub received: u64,
    /// New fixes.
    pub stored: u64,
    /// Fixes that were in.
    pub duplicate: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Why, by reason and field.
    pub refusals: Vec<FateRefusal>,
}

/// Reports that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FateRefusal {
    /// Why; `None` for one that this program does not know.
    pub reason: Option<Reason>,
    /// The field at fault.
    pub field: String,
    /// How many.
    pub reports: u64,
}

impl Fate {
    /// Whether every report that came is accounted for.
    pub fn adds_up(&self) -> bool {
        let refused: u64 = self.refusals.iter().map(|refusal| refusal.reports).sum();
        self.received == self.stored + self.duplicate + self.refused && refused == self.refused
    }
}

/// Device, time, source: bit by bit as they stand in columns, and so in the order of the table.
type FixKey = [i64; 3];
/// The same of a device and a day.
type DayKey = (i64, i64);

/// A table into which rows go once.
struct Table<const K: usize> {
    name: &'static str,
    columns: &'static str,
    key: [&'static str; K],
    /// What is read of a row that is there.
    read: &'static str,
}

const FRAMES: Table<2> =
    Table { name: "fix_frame", columns: "producer, number, time_ms", key: ["producer", "number"], read: "producer, number" };

/// All columns of a fix.
pub(super) const FIX_COLUMNS: &str =
    "device, fix_ms, source, arrival_ms, latitude, longitude, accuracy_m, altitude_m, speed_mps, course_deg, battery, grp, flags, scan";

const FIXES: Table<3> =
    Table { name: "fix", columns: FIX_COLUMNS, key: ["device", "fix_ms", "source"], read: "device, fix_ms, source, latitude, longitude" };

/// A row with its key, which its first values repeat.
type Row<'a, const K: usize> = ([i64; K], Vec<Value<'a>>);
/// A fix that is there: its key, and where.
type Stored = (i64, i64, i64, Option<f64>, Option<f64>);

/// Received, stored, duplicate, refused; then, for each reason, its number, the field, and how many.
type FateRow = (i64, i64, i64, i64, Option<i64>, Option<String>, Option<i64>);

impl Store {
    /// Takes in the frames that are not in yet, as one transaction, with notices of what devices did at geofences. A frame that comes again changes
    /// and counts nothing, and tells nothing.
    pub async fn take_fixes(&self, frames: Vec<FixFrame>) -> Result<Taken, Error> {
        self.take_fixes_and(frames, false).await
    }

    /// As [`Store::take_fixes`], and when they are to teach, access points are learned from good fixes.
    pub async fn take_fixes_and(&self, frames: Vec<FixFrame>, teach: bool) -> Result<Taken, Error> {
        let operation = format!("take in {} frames of fixes", frames.len());
        let fences = self.fences.clone();
        self.write(operation, move |conn| Box::pin(async move { take(conn, &fences, &frames, teach).await })).await
    }

    /// What became of the reports of a device that arrived on a day, counted from 1970-01-01, UTC; `None` when there were none.
    pub async fn fate(&self, device: UserId, day: u64) -> Result<Option<Fate>, Error> {
        self.read(format!("read the fate of the reports of {device}"), move |conn| {
            Box::pin(async move {
                // One statement: two might see two states.
                let sql = "SELECT f.received, f.stored, f.duplicate, f.refused, r.reason, r.field, r.reports FROM fix_fate f \
                           LEFT JOIN fix_refused r ON r.device = f.device AND r.day = f.day WHERE f.device = ? AND f.day = ? \
                           ORDER BY r.reason, r.field";
                let rows: Vec<FateRow> = conn.all(sql, values![device.0, day]).await?;
                let mut fate: Option<Fate> = None;
                for (received, stored, duplicate, refused, reason, field, reports) in rows {
                    let fate = fate.get_or_insert_with(|| Fate {
                        received: received.cast_unsigned(),
                        stored: stored.cast_unsigned(),
                        duplicate: duplicate.cast_unsigned(),
                        refused: refused.cast_unsigned(),
                        refusals: Vec::new(),
                    });
                    if let (Some(reason), Some(field), Some(reports)) = (reason, field, reports) {
                        let reason = u32::try_from(reason).ok().and_then(Reason::from_number);
                        fate.refusals.push(FateRefusal { reason, field, reports: reports.cast_unsigned() });
                    }
                }
                Ok(fate)
            })
        })
        .await
    }

    /// Forgets the frames that were taken in before `before_ms` (UTC): none of them comes again. Returns how many there were.
    pub async fn purge_fix_frames(&self, before_ms: u64) -> Result<u64, Error> {
        self.write("forget old frames of fixes".to_owned(), move |conn| {
            Box::pin(async move { conn.execute("DELETE FROM fix_frame WHERE time_ms < ?", values![before_ms]).await })
        })
        .await
    }
}

async fn take(conn: &mut Conn, fences: &fence::Cache, frames: &[FixFrame], teach: bool) -> Result<Taken, Error> {
    let frames = new_frames(conn, frames).await?;
    let mut counts = Counts::default();
    let mut wanted: BTreeMap<FixKey, Wanted<'_>> = BTreeMap::new();
    for frame in &frames {
        let day = (frame.arrival_ms / DAY_MS).cast_signed();
        for received in &frame.received {
            counts.of(received.device.cast_signed(), day).received += received.count;
        }
        for refused in &frame.refused {
            counts.refuse((refused.device.cast_signed(), day), refused.reason, &refused.field, refused.count);
        }
        for fix in &frame.fixes {
            let key = [fix.device.cast_signed(), fix.fix_ms.cast_signed(), fix.source.into()];
            match wanted.get(&key) {
                Some(first) => counts.again((key[0], day), place(first.fix) == place(fix)),
                None => {
                    let scan = fix.scan.as_ref().map(prost::Message::encode_to_vec);
                    wanted.insert(key, Wanted { fix, arrival_ms: frame.arrival_ms, scan });
                }
            }
        }
    }
    let rows: Vec<Row<'_, 3>> = wanted.iter().map(|(key, wanted)| (*key, wanted.values())).collect();
    let there: Vec<Stored> = insert_new(conn, &FIXES, rows, |(device, fix_ms, source, ..): &Stored| [*device, *fix_ms, *source]).await?;
    let there: BTreeMap<FixKey, _> = there.into_iter().map(|(a, b, c, latitude, longitude)| ([a, b, c], latitude.zip(longitude))).collect();
    for (key, Wanted { fix, arrival_ms, .. }) in &wanted {
        let day = (arrival_ms / DAY_MS).cast_signed();
        match there.get(key) {
            Some(stored) => counts.again((key[0], day), *stored == place(fix)),
            None => counts.of(key[0], day).stored += 1,
        }
    }
    if teach {
        let is_new = |(key, _): &(&FixKey, &Wanted<'_>)| !there.contains_key(*key);
        learn_from(conn, wanted.iter().filter(is_new).map(|(_, wanted)| wanted.fix)).await?;
    }
    counts.write(conn).await?;
    let new = wanted.iter().filter(|(key, _)| !there.contains_key(*key)).map(|(_, wanted)| wanted.fix);
    let crossings = fence::cross(conn, fences, new).await?;
    Ok(Taken { crossings, ..counts.sum(frames.len()) })
}

/// Where a fix says that the device was; `None` when it was not placed.
fn place(fix: &Fix) -> Option<(f64, f64)> {
    (fix.source != 0).then_some((fix.latitude, fix.longitude))
}

/// A fix that is to be stored.
struct Wanted<'a> {
    fix: &'a Fix,
    arrival_ms: u64,
    scan: Option<Vec<u8>>,
}

impl Wanted<'_> {
    fn values(&self) -> Vec<Value<'_>> {
        let fix = self.fix;
        let (latitude, longitude) = place(fix).unzip();
        vec![
            fix.device.into(),
            fix.fix_ms.into(),
            fix.source.into(),
            self.arrival_ms.into(),
            latitude.into(),
            longitude.into(),
            fix.accuracy_m.map(f64::from).into(),
            fix.altitude_m.map(f64::from).into(),
            fix.speed_mps.map(f64::from).into(),
            fix.course_deg.map(f64::from).into(),
            fix.battery.into(),
            fix.group.into(),
            fix.flags.into(),
            self.scan.as_deref().into(),
        ]
    }
}

/// Notes the frames that are not in yet, and returns them. Another program that has one of them in hand is waited for.
async fn new_frames<'a>(conn: &mut Conn, frames: &'a [FixFrame]) -> Result<Vec<&'a FixFrame>, Error> {
    let key = |frame: &FixFrame| [frame.producer.cast_signed(), frame.number.cast_signed()];
    let mut seen = BTreeSet::new();
    let mut frames: Vec<&FixFrame> = frames.iter().filter(|frame| seen.insert(key(frame))).collect();
    let now_ms = conn.stamp.now_ms();
    // In the order of the keys, so that two programs do not wait for each other.
    let rows = seen.into_iter().map(|key| (key, vec![key[0].into(), key[1].into(), now_ms.into()])).collect();
    let known: Vec<(i64, i64)> = insert_new(conn, &FRAMES, rows, |(producer, number): &(i64, i64)| [*producer, *number]).await?;
    let known: BTreeSet<[i64; 2]> = known.into_iter().map(|(producer, number)| [producer, number]).collect();
    frames.retain(|frame| !known.contains(&key(frame)));
    Ok(frames)
}

/// Inserts the rows whose keys are free, and returns those that stand under the others. A row of this very transaction counts as free only once:
/// keys must differ.
async fn insert_new<R: Record, const K: usize>(
    conn: &mut Conn,
    table: &Table<K>,
    rows: Vec<Row<'_, K>>,
    key_of: impl Fn(&R) -> [i64; K],
) -> Result<Vec<R>, Error> {
    let one = format!("({})", table.key.map(|column| format!("{column} = ?")).join(" AND "));
    let mut found = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        // Rows of pieces of which some were there: which ones is known then, but another writer may come between.
        let mut again = Vec::new();
        for piece in pieces(&rest, STATEMENT_BYTES_MAX, |(_, values)| values.iter().map(Value::bytes).sum()) {
            let columns = piece.first().map_or(0, |(_, values)| values.len());
            let (name, places) = (table.name, places(piece.len(), columns));
            let sql = format!("{} {name} ({}) VALUES {places}", conn.dialect().insert_ignore(), table.columns);
            let values: Vec<Value<'_>> = piece.iter().flat_map(|(_, values)| values.iter().cloned()).collect();
            conn.control("SAVEPOINT piece").await?;
            let inserted = conn.execute(AssertSqlSafe(sql), &values).await?;
            if inserted < piece.len() as u64 {
                conn.control("ROLLBACK TO SAVEPOINT piece").await?;
                let sql = format!("SELECT {} FROM {name} WHERE {}", table.read, vec![one.as_str(); piece.len()].join(" OR "));
                let keys: Vec<Value<'_>> = piece.iter().flat_map(|(key, _)| key.map(Value::from)).collect();
                let there: Vec<R> = conn.all(AssertSqlSafe(sql), &keys).await?;
                let known: BTreeSet<[i64; K]> = there.iter().map(&key_of).collect();
                again.extend(piece.iter().filter(|(key, _)| !known.contains(key)).cloned());
                found.extend(there);
            }
            conn.control("RELEASE SAVEPOINT piece").await?;
        }
        rest = again;
    }
    Ok(found)
}

#[derive(Default)]
struct Count {
    received: u64,
    stored: u64,
    duplicate: u64,
    refused: u64,
}

/// What one transaction adds to the fates.
#[derive(Default)]
struct Counts {
    fates: BTreeMap<DayKey, Count>,
    refused: BTreeMap<(DayKey, u32, String), u64>,
}

impl Counts {
    fn of(&mut self, device: i64, day: i64) -> &mut Count {
        self.fates.entry((device, day)).or_default()
    }

    fn refuse(&mut self, key: DayKey, reason: u32, field: &str, count: u64) {
        self.of(key.0, key.1).refused += count;
        *self.refused.entry((key, reason, field.chars().take(FIELD_MAX).collect())).or_default() += count;
    }

    /// A fix whose key is taken.
    fn again(&mut self, key: DayKey, same_place: bool) {
        if same_place {
            self.of(key.0, key.1).duplicate += 1;
        } else {
            self.refuse(key, Reason::FixConflict as u32, "fix", 1);
        }
    }

    fn sum(&self, frames: usize) -> Taken {
        self.fates.values().fold(Taken { frames, ..Taken::default() }, |taken, count| Taken {
            stored: taken.stored + count.stored,
            duplicate: taken.duplicate + count.duplicate,
            refused: taken.refused + count.refused,
            ..taken
        })
    }

    async fn write(&self, conn: &mut Conn) -> Result<(), Error> {
        let add =
            |columns: &[&str]| columns.iter().map(|column| format!("{column} = {column} + new.{column}")).collect::<Vec<_>>().join(", ");
        let fates: Vec<[Value<'_>; 6]> = (self.fates.iter())
            .map(|((device, day), count)| {
                let Count { received, stored, duplicate, refused } = *count;
                [(*device).into(), (*day).into(), received.into(), stored.into(), duplicate.into(), refused.into()]
            })
            .collect();
        let columns = "device, day, received, stored, duplicate, refused";
        let set = add(&["received", "stored", "duplicate", "refused"]);
        let conflict = conn.dialect().on_conflict("device, day", &set);
        for piece in pieces(&fates, STATEMENT_BYTES_MAX, |row| row.iter().map(Value::bytes).sum()) {
            let sql = format!("INSERT INTO fix_fate ({columns}) VALUES {}{conflict}", places(piece.len(), 6));
            conn.execute(AssertSqlSafe(sql), piece.as_flattened()).await?;
        }
        let refused: Vec<[Value<'_>; 5]> = (self.refused.iter())
            .map(|(((device, day), reason, field), count)| {
                [(*device).into(), (*day).into(), (*reason).into(), field.as_str().into(), (*count).into()]
            })
            .collect();
        let conflict = conn.dialect().on_conflict("device, day, reason, field", &add(&["reports"]));
        for piece in pieces(&refused, STATEMENT_BYTES_MAX, |row| row.iter().map(Value::bytes).sum()) {
            let sql = format!("INSERT INTO fix_refused (device, day, reason, field, reports) VALUES {}{conflict}", places(piece.len(), 5));
            conn.execute(AssertSqlSafe(sql), piece.as_flattened()).await?;
        }
        Ok(())
    }
}
