//! Devices without a fix, placed by the access points they hear.

use roger::clock::Clock;
use roger::proto::v1::location_service_client::LocationServiceClient;
use roger::proto::v1::talk_cloud_location_client::TalkCloudLocationClient;
use roger::proto::v1::{self, PositionSource, WifiOperation};
use roger::proto::{status::Refused, v1::Reason};
use tonic::Code;

use crate::alerts::Scene;
use crate::support::eventually;
use crate::support::fleet::FleetOptions;

fn point(bssid: &str, latitude: &str, longitude: &str) -> v1::WifiPoint {
    v1::WifiPoint { bssid: bssid.to_owned(), latitude: latitude.to_owned(), longitude: longitude.to_owned(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_radio_in_a_cellar_is_where_its_access_points_are() {
    let scene = Scene::with(FleetOptions { gps: 1, ..FleetOptions::default() }).await;
    let mut locations = LocationServiceClient::connect(scene.fleet.directory()).await.unwrap();
    let (first, radio) = (scene.first.clone(), scene.radios[0].clone());
    let post = |token: String, operation: WifiOperation, points: Vec<v1::WifiPoint>| v1::PostWifiInfoRequest {
        token,
        operation: operation.into(),
        points,
    };
    let points = vec![point("00-1A-2B-3C-4D-5E", "45.273518851012345", "13.719999999999999"), point("001a2b3c4d5f", "45.2736", "13.72")];
    locations.post_wifi_info(post(first.token(), WifiOperation::Save, points.clone())).await.unwrap();
    let list = |token: String| v1::GetWifiInfoRequest { token, limit: 1, ..Default::default() };
    let listed = locations.get_wifi_info(list(scene.second.token())).await.unwrap().into_inner();
    assert_eq!((listed.points, listed.more), (vec![point("00:1a:2b:3c:4d:5e", "45.273518851012345", "13.719999999999999")], true));
    // Not for devices, not for another tenant, and what does not read is refused by name.
    let of_stranger = locations.get_wifi_info(list(scene.stranger.token())).await.unwrap().into_inner();
    assert_eq!(of_stranger, v1::GetWifiInfoResponse::default());
    assert_eq!(locations.get_wifi_info(list(radio.token())).await.unwrap_err().code(), Code::PermissionDenied);
    for (token, operation, points, reason) in [
        (first.token(), WifiOperation::Save, points.clone(), Reason::NameTaken),
        (scene.stranger.token(), WifiOperation::Delete, points.clone(), Reason::NotPermitted),
        (radio.token(), WifiOperation::Save, vec![point("00:00:00:00:00:09", "1", "1")], Reason::NotPermitted),
        (first.token(), WifiOperation::Save, vec![point("nonsense", "1", "1")], Reason::FieldInvalid),
        (first.token(), WifiOperation::Save, vec![point("00:00:00:00:00:09", "90.1", "1")], Reason::FieldInvalid),
        (first.token(), WifiOperation::Save, vec![point("00:00:00:00:00:09", "1", "1.0000000000000001")], Reason::FieldInvalid),
        (first.token(), WifiOperation::Unspecified, points.clone(), Reason::FieldInvalid),
        (first.token(), WifiOperation::Save, vec![], Reason::FieldMissing),
    ] {
        let refused = locations.post_wifi_info(post(token, operation, points)).await.unwrap_err();
        assert_eq!(v1::Reason::from(Refused::of(&refused).unwrap().reason), reason, "{refused:?}");
    }

    let heard = |bssid: &str, level_dbm| v1::AccessPoint { bssid: bssid.to_owned(), level_dbm };
    let now_ms = Clock::system().now_ms();
    let wifi = vec![heard("00:1a:2b:3c:4d:5e", -50), heard("00:1a:2b:3c:4d:5f", -75), heard("66:66:66:66:66:66", -30)];
    let report = v1::Report { time_ms: now_ms, wifi, ..v1::Report::default() };
    let mut edge = TalkCloudLocationClient::connect(scene.fleet.edge(0)).await.unwrap();
    edge.report_gps_data(v1::ReportGpsDataRequest { token: radio.token(), reports: vec![report], ..Default::default() }).await.unwrap();
    let ask = v1::GetGpsDataRequest { token: first.token(), device_ids: vec![radio.id], ..Default::default() };
    let position = eventually("the radio is placed", async || {
        let answer = LocationServiceClient::connect(scene.fleet.directory()).await.ok()?.get_gps_data(ask.clone()).await.ok()?;
        answer.into_inner().devices[0].position
    })
    .await;
    assert_eq!((position.source(), position.fix_ms), (PositionSource::Wifi, now_ms));
    assert!((position.latitude - 45.27352).abs() < 1e-4 && (position.longitude - 13.72).abs() < 1e-4 && position.accuracy_m >= 10.0);
    let mut trace = v1::GetGpsForTraceRequest { token: first.token(), device_ids: vec![radio.id], to_ms: now_ms + 1, ..Default::default() };
    assert_eq!(locations.get_gps_for_trace(trace.clone()).await.unwrap().into_inner().points, []);
    trace.wifi = true;
    let points = eventually("it is in SQL", async || {
        let answer = LocationServiceClient::connect(scene.fleet.directory()).await.ok()?.get_gps_for_trace(trace.clone()).await.ok()?;
        Some(answer.into_inner().points).filter(|points| !points.is_empty())
    })
    .await;
    assert_eq!((points.len(), points[0].source()), (1, PositionSource::Wifi));
}
