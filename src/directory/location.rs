//! The part of `location.proto` that desks ask for: where devices are, and where they were. Geofences are in `fences`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::Empty;
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::devices::check_count;
use super::login::Desk;
use super::service::refused;
use super::{store_failed, unavailable};
use crate::location::gcj02;
use crate::location::trace::{self, Point};
use crate::model::{Position, PositionSource, Reason, UserId};
use crate::proto::location::flags;
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::{TraceKey, TraceRow};

/// The most devices that one call asks about.
const ASKED_DEVICES_MAX: usize = 1_000;
/// The most devices of a trace.
const TRACED_DEVICES_MAX: usize = 16;
/// How many fixes a page of a trace holds unless told, and at most.
const TRACE_PAGE: (u32, u32) = (1_000, 10_000);
/// Within which a device stays at a stop, unless told.
const STOP_RADIUS_M: f64 = 50.0;

/// The location service.
pub(super) struct Locations(pub(super) Arc<Desk>);

/// The calls of the service: those the desk answers by a method of the same name, and those that nobody serves.
macro_rules! calls {
    ({ $($call:ident($request:ident) -> $answer:ident,)* } unserved { $($other:ident($asked:ident) -> $told:ident,)* }) => {
        #[tonic::async_trait]
        impl v1::location_service_server::LocationService for Locations {
            type ExportTraceStream = Empty<Result<v1::ExportTraceChunk, Status>>;

            async fn export_trace(&self, _: Request<v1::ExportTraceRequest>) -> Result<Response<Self::ExportTraceStream>, Status> {
                Err(refused(Refused::new(Reason::WrongDoor)))
            }

            $(
                async fn $call(&self, request: Request<v1::$request>) -> Result<Response<v1::$answer>, Status> {
                    let answer = self.0.$call(request.into_inner()).await;
                    metrics::counter!("roger_desk_calls_total", "call" => stringify!($call)).increment(1);
                    answer.map(Response::new).map_err(refused)
                }
            )*
            $(
                async fn $other(&self, _: Request<v1::$asked>) -> Result<Response<v1::$told>, Status> {
                    Err(refused(Refused::new(Reason::WrongDoor)))
                }
            )*
        }
    };
}

calls! {
    {
        get_gps_data(GetGpsDataRequest) -> GetGpsDataResponse,
        get_gps_for_trace(GetGpsForTraceRequest) -> GetGpsForTraceResponse,
        put_geofence(PutGeofenceRequest) -> PutGeofenceResponse,
        delete_geofence(DeleteGeofenceRequest) -> DeleteGeofenceResponse,
        get_geofences(GetGeofencesRequest) -> GetGeofencesResponse,
    }
    unserved {
        find_devices_within(FindDevicesWithinRequest) -> FindDevicesWithinResponse,
        get_fate(GetFateRequest) -> GetFateResponse,
        post_wifi_info(PostWifiInfoRequest) -> PostWifiInfoResponse,
        get_wifi_info(GetWifiInfoRequest) -> GetWifiInfoResponse,
    }
}

impl Desk {
    pub(super) async fn get_gps_data(&self, request: v1::GetGpsDataRequest) -> Result<v1::GetGpsDataResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        check_count(request.device_ids.len(), ASKED_DEVICES_MAX, "device_ids")?;
        let draw = drawn(request.datum)?;
        let devices = managed(&caller, request.device_ids).await?;
        let live = self.redis.live_of(&devices, self.shards).await;
        let live = live.map_err(|error| unavailable("ask where devices are", error.class(), &error))?;
        // What Redis has lost, SQL still knows.
        let unknown = devices.iter().zip(&live).filter(|(_, live)| live.position.is_none());
        let unknown: Vec<UserId> = unknown.map(|(device, _)| *device).collect();
        let newest = caller.store.newest_fixes(&unknown).await.map_err(store_failed)?;
        let positioned = devices.iter().zip(live).map(|(device, live)| {
            let stored = newest.get(device);
            let position = live.position.or_else(|| stored.map(TraceRow::position));
            let position = position.map(|position| {
                let (latitude, longitude) = draw(position.latitude, position.longitude);
                Position { latitude, longitude, ..position }.into()
            });
            let battery = live.battery.map(|(percent, _)| percent).or_else(|| stored.and_then(|row| row.battery));
            v1::DevicePosition { device_id: device.0, position, battery_percent: battery }
        });
        Ok(v1::GetGpsDataResponse { devices: positioned.collect() })
    }

    pub(super) async fn get_gps_for_trace(&self, request: v1::GetGpsForTraceRequest) -> Result<v1::GetGpsForTraceResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let wanted = Wanted::of(&request)?;
        if managed(&caller, request.device_ids).await? != wanted.devices {
            return Err(Refused::new(Reason::NotPermitted));
        }
        let Wanted { devices, cursor, limit, .. } = &wanted;
        let after = cursor.as_ref().map(|cursor| cursor.after);
        // One more than asked for, to know whether there are more.
        let rows = caller.store.trace_page(devices, request.from_ms, request.to_ms, request.wifi, after, limit + 1).await;
        let mut rows = rows.map_err(store_failed)?;
        let more = rows.len() > *limit as usize;
        rows.truncate(*limit as usize);
        Ok(wanted.answer(&rows, more))
    }
}

/// Of some accounts the devices that the caller manages, by id.
async fn managed(caller: &Caller, ids: Vec<u64>) -> Result<Vec<UserId>, Refused> {
    let ids: Vec<UserId> = ids.into_iter().map(UserId).collect();
    let devices = caller.store.devices(&ids).await.map_err(store_failed)?;
    let devices: BTreeSet<UserId> = devices.into_iter().map(|device| device.id).collect();
    Ok(devices.into_iter().collect())
}

/// From degrees north and east to how they are drawn.
type Draw = fn(f64, f64) -> (f64, f64);

/// How a datum draws a place.
fn drawn(datum: i32) -> Result<Draw, Refused> {
    match v1::Datum::try_from(datum) {
        Ok(v1::Datum::Unspecified | v1::Datum::Wgs84) => Ok(|latitude, longitude| (latitude, longitude)),
        Ok(v1::Datum::Gcj02) => Ok(gcj02),
        Err(_) => Err(Refused::new(Reason::FieldInvalid).field("datum")),
    }
}

/// What is asked of a trace, checked.
struct Wanted {
    /// By id, each once.
    devices: Vec<UserId>,
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
        Ok(Self { devices, cursor, limit, tolerance_m, stop_ms, stop_radius_m, gap_ms, draw })
    }

    /// A page of rows with what is made of them. A gap between two pages is told in the second one.
    fn answer(&self, rows: &[TraceRow], more: bool) -> v1::GetGpsForTraceResponse {
        let mut answer = v1::GetGpsForTraceResponse::default();
        let mut stays = BTreeSet::new();
        let mut last_ms = self.cursor.as_ref().map_or_else(|| vec![0; self.devices.len()], |cursor| cursor.last_ms.clone());
        let mut by_device: BTreeMap<UserId, Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            by_device.entry(row.key.device).or_default().push(at);
        }
        for (device, last_ms) in self.devices.iter().zip(&mut last_ms) {
            let Some(places) = by_device.get(device) else { continue };
            let points: Vec<Point> = places.iter().map(|at| point(&rows[*at])).collect();
            stays.extend(trace::simplify(&points, self.tolerance_m).into_iter().map(|at| places[at]));
            answer.stops.extend(trace::stops(&points, self.stop_ms, self.stop_radius_m).into_iter().map(|stop| {
                let (latitude, longitude) = (self.draw)(stop.latitude, stop.longitude);
                v1::TraceStop { device_id: device.0, from_ms: stop.from_ms, to_ms: stop.to_ms, latitude, longitude }
            }));
            let before = Some(*last_ms).filter(|last_ms| *last_ms > 0);
            let times_ms: Vec<u64> = before.into_iter().chain(points.iter().map(|point| point.time_ms)).collect();
            let gap = |gap: std::ops::Range<u64>| v1::TraceGap { device_id: device.0, from_ms: gap.start, to_ms: gap.end };
            answer.gaps.extend(trace::gaps(&times_ms, self.gap_ms).into_iter().map(gap));
            *last_ms = times_ms.last().copied().unwrap_or_default();
        }
        answer.points = stays.into_iter().map(|at| self.told(&rows[at])).collect();
        if let Some(last) = rows.last().filter(|_| more) {
            answer.cursor = Cursor { after: last.key, last_ms }.encode().into();
        }
        answer
    }

    fn told(&self, row: &TraceRow) -> v1::TracePoint {
        let (latitude, longitude) = (self.draw)(row.latitude, row.longitude);
        v1::TracePoint {
            device_id: row.key.device.0,
            fix_ms: row.key.fix_ms,
            arrival_ms: row.arrival_ms,
            latitude,
            longitude,
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
}

fn point(row: &TraceRow) -> Point {
    Point { time_ms: row.key.fix_ms, latitude: row.latitude, longitude: row.longitude }
}

/// Where a page of a trace ended. As bytes: fix time and device of its last row, 8 bytes each, the highest first, and its source, 1 byte; then
/// of each device by id the time of its last fix so far, 8 bytes, 0 for none.
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
