//! Where devices were, as desks ask for it: in pages, and as a file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::caller::Caller;
use super::devices::check_count;
use super::location::{Draw, drawn, managed};
use super::login::Desk;
use super::service::refused;
use super::store_failed;
use crate::location::trace::{self, Point, Stop};
use crate::location::{Export, ExportFormat, TraceKey, TraceRow};
use crate::model::{PositionSource, Reason, UserId};
use crate::proto::location::flags;
use crate::proto::status::Refused;
use crate::proto::v1;

/// The most devices of a trace.
const TRACED_DEVICES_MAX: usize = 16;
/// How many fixes a page of a trace holds unless told, and at most.
const TRACE_PAGE: (u32, u32) = (1_000, 10_000);
/// Within which a device stays at a stop, unless told.
const STOP_RADIUS_M: f64 = 50.0;
/// How many pieces of a file wait for who fetches it.
const PIECES: usize = 2;
/// How large a piece of a file is at most, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// A file in pieces.
pub(super) type Pieces = ReceiverStream<Result<v1::ExportTraceChunk, Status>>;

impl Desk {
    pub(super) async fn get_gps_for_trace(&self, request: v1::GetGpsForTraceRequest) -> Result<v1::GetGpsForTraceResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let mut wanted = Wanted::of(&request)?;
        if managed(&caller, request.device_ids).await? != wanted.devices {
            return Err(Refused::new(Reason::NotPermitted));
        }
        let (rows, more) = wanted.page(&caller).await?;
        Ok(wanted.answer(&rows, more))
    }

    /// The file is made while it is fetched. What was checked holds for all of it; an error of SQL ends it with a status.
    pub(super) async fn export_trace(&self, request: v1::ExportTraceRequest) -> Result<Pieces, Refused> {
        let format = request.format();
        let Some(trace) = request.trace else { return Err(Refused::new(Reason::FieldMissing).field("trace")) };
        let caller = self.caller(&trace.token).await?;
        let format = match format {
            v1::TraceFormat::Gpx => ExportFormat::Gpx,
            v1::TraceFormat::Geojson => ExportFormat::GeoJson,
            v1::TraceFormat::Unspecified => return Err(Refused::new(Reason::FieldInvalid).field("format")),
        };
        let all = Wanted::of(&v1::GetGpsForTraceRequest { cursor: Vec::new().into(), limit: 0, ..trace })?;
        let devices = caller.store.devices(&all.devices).await.map_err(store_failed)?;
        if devices.iter().map(|device| device.id).collect::<BTreeSet<_>>().len() != all.devices.len() {
            return Err(Refused::new(Reason::NotPermitted));
        }
        let (sender, pieces) = mpsc::channel(PIECES);
        let named: Vec<(UserId, String)> = devices.into_iter().map(|device| (device.id, device.nickname)).collect();
        tokio::spawn(async move {
            if let Err(error) = export(&caller, &all, named, format, &sender).await {
                // Whoever went away is not told.
                let _gone = sender.send(Err(refused(error))).await;
            }
        });
        Ok(ReceiverStream::new(pieces))
    }
}

/// Writes a file, device by device and page by page, until it is done or nobody fetches it any more.
async fn export(
    caller: &Caller,
    all: &Wanted,
    devices: Vec<(UserId, String)>,
    format: ExportFormat,
    pieces: &mpsc::Sender<Result<v1::ExportTraceChunk, Status>>,
) -> Result<(), Refused> {
    let mut file = Export::new(format);
    for (device, name) in devices {
        file.device(device.0, &name);
        let mut wanted = Wanted { devices: vec![device], cursor: None, limit: TRACE_PAGE.1, ..all.clone() };
        loop {
            let (rows, more) = wanted.page(caller).await?;
            let made = wanted.made(&rows);
            let drawn: Vec<TraceRow> = made.kept.iter().map(|at| wanted.drawn(&rows[*at])).collect();
            let gaps: Vec<u64> = made.gaps.iter().map(|(_, gap)| gap.end).collect();
            let stops: Vec<Stop> = made.stops.iter().map(|(_, stop)| *stop).collect();
            file.page(&drawn, &gaps, &stops);
            wanted.cursor = rows.last().map(|last| Cursor { after: last.key, last_ms: made.last_ms });
            if !send(file.take(), pieces).await {
                return Ok(());
            }
            if !more {
                break;
            }
        }
    }
    file.end();
    send(file.take(), pieces).await;
    Ok(())
}

/// False when nobody fetches.
async fn send(ready: Vec<u8>, pieces: &mpsc::Sender<Result<v1::ExportTraceChunk, Status>>) -> bool {
    let ready = bytes::Bytes::from(ready);
    for at in (0..ready.len()).step_by(PIECE_BYTES) {
        let data = ready.slice(at..ready.len().min(at + PIECE_BYTES));
        if pieces.send(Ok(v1::ExportTraceChunk { data })).await.is_err() {
            return false;
        }
    }
    true
}

/// What is asked of a trace, checked.
#[derive(Clone)]
struct Wanted {
    /// By id, each once.
    devices: Vec<UserId>,
    /// From when on, and up to when without it, UTC milliseconds.
    times_ms: Range<u64>,
    wifi: bool,
    cursor: Option<Cursor>,
    limit: u32,
    tolerance_m: f64,
    stop_ms: u64,
    stop_radius_m: f64,
    gap_ms: u64,
    draw: Draw,
}

impl Wanted {
    fn of(request: &v1::GetGpsForTraceRequest) -> Result<Self, Refused> {
        let invalid = |field: &'static str| Refused::new(Reason::FieldInvalid).field(field);
        check_count(request.device_ids.len(), TRACED_DEVICES_MAX, "device_ids")?;
        let devices: BTreeSet<UserId> = request.device_ids.iter().copied().map(UserId).collect();
        let devices: Vec<UserId> = devices.into_iter().collect();
        if request.to_ms == 0 {
            return Err(Refused::new(Reason::FieldMissing).field("to_ms"));
        }
        if request.to_ms <= request.from_ms {
            return Err(invalid("to_ms"));
        }
        let cursor = match &request.cursor[..] {
            [] => None,
            bytes => Some(Cursor::decode(bytes, devices.len()).ok_or_else(|| invalid("cursor"))?),
        };
        let (usual, most) = TRACE_PAGE;
        let limit = match request.limit {
            0 => usual,
            limit if limit > most => return Err(Refused::new(Reason::TooMany).field("limit")),
            limit => limit,
        };
        let metres = |value: f64, field| if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(invalid(field)) };
        let tolerance_m = metres(request.tolerance_m, "tolerance_m")?;
        let stop_radius_m = metres(request.stop_radius_m, "stop_radius_m")?;
        let stop_radius_m = if stop_radius_m == 0.0 { STOP_RADIUS_M } else { stop_radius_m };
        let (stop_ms, gap_ms, draw) = (request.stop_ms, request.gap_ms, drawn(request.datum)?);
        let (times_ms, wifi) = (request.from_ms..request.to_ms, request.wifi);
        Ok(Self { devices, times_ms, wifi, cursor, limit, tolerance_m, stop_ms, stop_radius_m, gap_ms, draw })
    }

    /// The rows of a page, and whether there are more.
    async fn page(&mut self, caller: &Caller) -> Result<(Vec<TraceRow>, bool), Refused> {
        let after = self.cursor.as_ref().map(|cursor| cursor.after);
        // One more than asked for, to know whether there are more.
        let rows = caller.store.trace_page(&self.devices, self.times_ms.start, self.times_ms.end, self.wifi, after, self.limit + 1).await;
        let mut rows = rows.map_err(store_failed)?;
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        Ok((rows, more))
    }

    /// What is made of the rows of a page. A gap between two pages is told in the second one.
    fn made(&self, rows: &[TraceRow]) -> Made {
        let mut made = Made::default();
        let mut kept = BTreeSet::new();
        made.last_ms = self.cursor.as_ref().map_or_else(|| vec![0; self.devices.len()], |cursor| cursor.last_ms.clone());
        let mut by_device: BTreeMap<UserId, Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            by_device.entry(row.key.device).or_default().push(at);
        }
        for (device, last_ms) in self.devices.iter().zip(&mut made.last_ms) {
            let Some(places) = by_device.get(device) else { continue };
            let points: Vec<Point> = places.iter().map(|at| point(&rows[*at])).collect();
            kept.extend(trace::simplify(&points, self.tolerance_m).into_iter().map(|at| places[at]));
            made.stops.extend(trace::stops(&points, self.stop_ms, self.stop_radius_m).into_iter().map(|stop| {
                let (latitude, longitude) = (self.draw)(stop.latitude, stop.longitude);
                (*device, Stop { latitude, longitude, ..stop })
            }));
            let before = Some(*last_ms).filter(|last_ms| *last_ms > 0);
            let times_ms: Vec<u64> = before.into_iter().chain(points.iter().map(|point| point.time_ms)).collect();
            made.gaps.extend(trace::gaps(&times_ms, self.gap_ms).into_iter().map(|gap| (*device, gap)));
            *last_ms = times_ms.last().copied().unwrap_or_default();
        }
        made.kept = kept.into_iter().collect();
        made
    }

    fn answer(&self, rows: &[TraceRow], more: bool) -> v1::GetGpsForTraceResponse {
        let Made { kept, stops, gaps, last_ms } = self.made(rows);
        let stop = |(device, stop): (UserId, Stop)| {
            let Stop { from_ms, to_ms, latitude, longitude } = stop;
            v1::TraceStop { device_id: device.0, from_ms, to_ms, latitude, longitude }
        };
        let gap = |(device, gap): (UserId, Range<u64>)| v1::TraceGap { device_id: device.0, from_ms: gap.start, to_ms: gap.end };
        let cursor = rows.last().filter(|_| more).map(|last| Cursor { after: last.key, last_ms }.encode().into());
        v1::GetGpsForTraceResponse {
            points: kept.into_iter().map(|at| told(self.drawn(&rows[at]))).collect(),
            stops: stops.into_iter().map(stop).collect(),
            gaps: gaps.into_iter().map(gap).collect(),
            cursor: cursor.unwrap_or_default(),
        }
    }

    fn drawn(&self, row: &TraceRow) -> TraceRow {
        let (latitude, longitude) = (self.draw)(row.latitude, row.longitude);
        TraceRow { latitude, longitude, ..*row }
    }
}

/// What is made of a page.
#[derive(Default)]
struct Made {
    /// Which rows are told, in their order.
    kept: Vec<usize>,
    stops: Vec<(UserId, Stop)>,
    gaps: Vec<(UserId, Range<u64>)>,
    /// As in [`Cursor`], behind the page.
    last_ms: Vec<u64>,
}

fn told(row: TraceRow) -> v1::TracePoint {
    v1::TracePoint {
        device_id: row.key.device.0,
        fix_ms: row.key.fix_ms,
        arrival_ms: row.arrival_ms,
        latitude: row.latitude,
        longitude: row.longitude,
        source: v1::PositionSource::from(row.key.source).into(),
        accuracy_m: row.accuracy_m,
        altitude_m: row.altitude_m,
        speed_mps: row.speed_mps,
        course_deg: row.course_deg,
        battery_percent: row.battery,
        group_id: row.group.0,
        flags: flags(row.flags),
    }
}

fn point(row: &TraceRow) -> Point {
    Point { time_ms: row.key.fix_ms, latitude: row.latitude, longitude: row.longitude }
}

/// Where a page of a trace ended. As bytes: fix time and device of its last row, 8 bytes each, the highest first, and its source, 1 byte; then
/// of each device by id the time of its last fix so far, 8 bytes, 0 for none.
#[derive(Clone)]
struct Cursor {
    after: TraceKey,
    /// For gaps between pages.
    last_ms: Vec<u64>,
}

impl Cursor {
    fn encode(&self) -> Vec<u8> {
        let TraceKey { fix_ms, device, source } = self.after;
        let mut bytes = [fix_ms.to_be_bytes(), device.0.to_be_bytes()].concat();
        bytes.push(source as u8);
        bytes.extend(self.last_ms.iter().flat_map(|last_ms| last_ms.to_be_bytes()));
        bytes
    }

    /// `None` for bytes that are no cursor of so many devices.
    fn decode(bytes: &[u8], devices: usize) -> Option<Self> {
        let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
        let (fix_ms, rest) = bytes.split_first_chunk()?;
        let (device, rest) = rest.split_first_chunk()?;
        let (source, rest) = rest.split_first()?;
        let source = PositionSource::from_number(u32::from(*source))?;
        let (last_ms, excess) = rest.as_chunks::<8>();
        if last_ms.len() != devices || !excess.is_empty() {
            return None;
        }
        let after = TraceKey { fix_ms: number(fix_ms), device: UserId(number(device)), source };
        Some(Self { after, last_ms: last_ms.iter().map(number).collect() })
    }
}
