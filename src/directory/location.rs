//! The part of `location.proto` that desks ask for: where devices are, what became of their reports, and the way to the rest of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::devices::check_count;
use super::login::Desk;
use super::service::refused;
use super::trace::Pieces;
use super::{store_failed, unavailable};
use crate::location::trace::distance_m;
use crate::location::{TraceRow, gcj02};
use crate::model::{Position, Reason, TenantId, UserId, UserKind};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::FateRefusal;

/// The most devices that one call asks about.
const ASKED_DEVICES_MAX: usize = 1_000;
/// The largest distance, metres.
const RADIUS_MAX_M: f64 = 500_000.0;
/// How many devices near a place are told at most, and so unless told.
const NEAR_MAX: u32 = 1_000;

/// The location service.
pub(super) struct Locations(pub(super) Arc<Desk>);

/// The calls of the service, each answered by the desk's method of the same name.
macro_rules! calls {
    ($($call:ident($request:ident) -> $answer:ident,)*) => {
        #[tonic::async_trait]
        impl v1::location_service_server::LocationService for Locations {
            type ExportTraceStream = Pieces;

            async fn export_trace(&self, request: Request<v1::ExportTraceRequest>) -> Result<Response<Self::ExportTraceStream>, Status> {
                let answer = self.0.export_trace(request.into_inner()).await;
                metrics::counter!("roger_desk_calls_total", "call" => "export_trace").increment(1);
                answer.map(Response::new).map_err(refused)
            }

            $(
                async fn $call(&self, request: Request<v1::$request>) -> Result<Response<v1::$answer>, Status> {
                    let answer = self.0.$call(request.into_inner()).await;
                    metrics::counter!("roger_desk_calls_total", "call" => stringify!($call)).increment(1);
                    answer.map(Response::new).map_err(refused)
                }
            )*
        }
    };
}

calls! {
    get_gps_data(GetGpsDataRequest) -> GetGpsDataResponse,
    find_devices_within(FindDevicesWithinRequest) -> FindDevicesWithinResponse,
    get_gps_for_trace(GetGpsForTraceRequest) -> GetGpsForTraceResponse,
    get_fate(GetFateRequest) -> GetFateResponse,
    post_wifi_info(PostWifiInfoRequest) -> PostWifiInfoResponse,
    get_wifi_info(GetWifiInfoRequest) -> GetWifiInfoResponse,
    put_geofence(PutGeofenceRequest) -> PutGeofenceResponse,
    delete_geofence(DeleteGeofenceRequest) -> DeleteGeofenceResponse,
    get_geofences(GetGeofencesRequest) -> GetGeofencesResponse,
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

    /// Asks only Redis: a device of which nothing came since that was emptied is not found.
    pub(super) async fn find_devices_within(
        &self,
        request: v1::FindDevicesWithinRequest,
    ) -> Result<v1::FindDevicesWithinResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let v1::FindDevicesWithinRequest { latitude, longitude, radius_m, limit, .. } = request;
        let within = |value: f64, most: f64| value.is_finite() && (-most..=most).contains(&value);
        let in_range = [
            ("latitude", within(latitude, 90.0)),
            ("longitude", within(longitude, 180.0)),
            ("radius_m", within(radius_m, RADIUS_MAX_M) && radius_m > 0.0),
        ];
        if let Some((field, _)) = in_range.into_iter().find(|(_, in_range)| !in_range) {
            return Err(Refused::new(Reason::FieldInvalid).field(field));
        }
        let limit = match limit {
            0 => NEAR_MAX,
            limit if limit > NEAR_MAX => return Err(Refused::new(Reason::TooMany).field("limit")),
            limit => limit,
        };
        let failed = |error: crate::broker::Error| unavailable("ask which devices are near", error.class(), &error);
        let mut near = Vec::new();
        for tenant in tenants(&caller).await? {
            near.extend(self.redis.near(tenant, (latitude, longitude), radius_m).await.map_err(failed)?);
        }
        let live = self.redis.live_of(&near, self.shards).await.map_err(failed)?;
        let mut placed: Vec<(f64, v1::DevicePosition)> = near
            .into_iter()
            .zip(live)
            .filter_map(|(device, live)| {
                let position = live.position?;
                let distance_m = distance_m((latitude, longitude), (position.latitude, position.longitude));
                let battery_percent = live.battery.map(|(percent, _)| percent);
                let told = v1::DevicePosition { device_id: device.0, position: Some(position.into()), battery_percent };
                (distance_m <= radius_m).then_some((distance_m, told))
            })
            .collect();
        placed.sort_by(|(a, one), (b, other)| a.total_cmp(b).then(one.device_id.cmp(&other.device_id)));
        let mut devices = Vec::new();
        for placed in placed.chunks(ASKED_DEVICES_MAX) {
            let own: BTreeSet<UserId> =
                managed(&caller, placed.iter().map(|(_, told)| told.device_id).collect()).await?.into_iter().collect();
            let own = placed.iter().filter(|(_, told)| own.contains(&UserId(told.device_id)));
            devices.extend(own.map(|(distance_m, told)| v1::DeviceNear { device: Some(*told), distance_m: *distance_m }));
            if devices.len() > limit as usize {
                break;
            }
        }
        let more = devices.len() > limit as usize;
        devices.truncate(limit as usize);
        Ok(v1::FindDevicesWithinResponse { devices, more })
    }

    pub(super) async fn get_fate(&self, request: v1::GetFateRequest) -> Result<v1::GetFateResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let Some(device) = managed(&caller, vec![request.device_id]).await?.pop() else {
            return Err(Refused::new(Reason::NotPermitted));
        };
        let fate = caller.store.fate(device, u64::from(request.day)).await.map_err(store_failed)?.unwrap_or_default();
        let refused = |refusal: FateRefusal| v1::RefusedReports {
            reason: refusal.reason.map(v1::Reason::from).unwrap_or_default().into(),
            field: refusal.field,
            count: refusal.reports,
        };
        Ok(v1::GetFateResponse {
            received: fate.received,
            stored: fate.stored,
            duplicate: fate.duplicate,
            refused: fate.refused,
            refusals: fate.refusals.into_iter().map(refused).collect(),
        })
    }
}

/// The tenants with devices that the caller may manage: all for a root, else its own.
async fn tenants(caller: &Caller) -> Result<Vec<TenantId>, Refused> {
    if caller.account.kind != UserKind::Root {
        return Ok(vec![caller.account.tenant]);
    }
    let tenants = caller.store.tenants().await.map_err(store_failed)?;
    Ok(tenants.into_iter().map(|tenant| tenant.id).collect())
}

/// Of some accounts the devices that the caller manages, by id.
pub(super) async fn managed(caller: &Caller, ids: Vec<u64>) -> Result<Vec<UserId>, Refused> {
    let ids: Vec<UserId> = ids.into_iter().map(UserId).collect();
    let devices = caller.store.devices(&ids).await.map_err(store_failed)?;
    let devices: BTreeSet<UserId> = devices.into_iter().map(|device| device.id).collect();
    Ok(devices.into_iter().collect())
}

/// From degrees north and east to how they are drawn.
pub(super) type Draw = fn(f64, f64) -> (f64, f64);

/// How a datum draws a place.
pub(super) fn drawn(datum: i32) -> Result<Draw, Refused> {
    match v1::Datum::try_from(datum) {
        Ok(v1::Datum::Unspecified | v1::Datum::Wgs84) => Ok(|latitude, longitude| (latitude, longitude)),
        Ok(v1::Datum::Gcj02) => Ok(gcj02),
        Err(_) => Err(Refused::new(Reason::FieldInvalid).field("datum")),
    }
}
