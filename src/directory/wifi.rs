//! Access points whose positions are known, as desks post and list them.

use std::collections::BTreeSet;

use super::devices::check_count;
use super::login::Desk;
use super::store_failed;
use crate::location::{Degrees, address_of, address_text};
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::{WifiChange, WifiPoint};

/// The most access points of a call, and of a page, which has so many unless told.
const POINTS_MAX: usize = 1_000;

impl Desk {
    pub(super) async fn post_wifi_info(&self, request: v1::PostWifiInfoRequest) -> Result<v1::PostWifiInfoResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        check_count(request.points.len(), POINTS_MAX, "points")?;
        let change = match request.operation() {
            v1::WifiOperation::Save => WifiChange::Save,
            v1::WifiOperation::Update => WifiChange::Update,
            v1::WifiOperation::Delete => WifiChange::Delete,
            v1::WifiOperation::Unspecified => return Err(Refused::new(Reason::FieldInvalid).field("operation")),
        };
        let mut seen = BTreeSet::new();
        let mut points = Vec::with_capacity(request.points.len());
        for point in request.points {
            let point = read(point, change == WifiChange::Delete)?;
            if !seen.insert(point.bssid) {
                return Err(Refused::new(Reason::FieldInvalid).field("points.bssid"));
            }
            points.push(point);
        }
        caller.store.change_wifi_points(caller.account.tenant, change, points).await.map_err(store_failed)?;
        Ok(v1::PostWifiInfoResponse {})
    }

    pub(super) async fn get_wifi_info(&self, request: v1::GetWifiInfoRequest) -> Result<v1::GetWifiInfoResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let after = match request.after_bssid.as_str() {
            "" => 0,
            bssid => address_of(bssid).ok_or_else(|| Refused::new(Reason::FieldInvalid).field("after_bssid"))?,
        };
        let limit = match request.limit as usize {
            0 => POINTS_MAX,
            limit if limit > POINTS_MAX => return Err(Refused::new(Reason::TooMany).field("limit")),
            limit => limit,
        };
        let points = caller.store.wifi_points(caller.account.tenant, after, limit as u32 + 1).await;
        let mut points = points.map_err(store_failed)?;
        let more = points.len() > limit;
        points.truncate(limit);
        Ok(v1::GetWifiInfoResponse { points: points.into_iter().map(told).collect(), more })
    }
}

/// Of one that is to be deleted only the address counts.
fn read(point: v1::WifiPoint, address_only: bool) -> Result<WifiPoint, Refused> {
    let invalid = |field: &'static str| Refused::new(Reason::FieldInvalid).field(field);
    let bssid = address_of(&point.bssid).ok_or_else(|| invalid("points.bssid"))?;
    if address_only {
        return Ok(WifiPoint { bssid, latitude: Degrees(0), longitude: Degrees(0), description: String::new(), learned: false });
    }
    let latitude = Degrees::parse(&point.latitude, 90).ok_or_else(|| invalid("points.latitude"))?;
    let longitude = Degrees::parse(&point.longitude, 180).ok_or_else(|| invalid("points.longitude"))?;
    Ok(WifiPoint { bssid, latitude, longitude, description: point.description, learned: false })
}

fn told(point: WifiPoint) -> v1::WifiPoint {
    v1::WifiPoint {
        bssid: address_text(point.bssid),
        latitude: point.latitude.to_string(),
        longitude: point.longitude.to_string(),
        description: point.description,
        learned: point.learned,
    }
}
