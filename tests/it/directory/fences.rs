//! Geofences over the calls of desks: each account has its own, and nobody else's.

use roger::model::Reason;
use roger::proto::status::Refused;
use roger::proto::v1::geofence::Shape;
use roger::proto::v1::location_service_client::LocationServiceClient;
use roger::proto::v1::{self, UserKind};
use tonic::transport::Channel;

use super::{Ground, refused};
use crate::support::company::{self, Desk, Somebody};
use crate::support::redis::Redis;

fn circle() -> v1::Geofence {
    let shape = Some(Shape::Circle(v1::Circle { latitude: 45.27, longitude: 13.71, radius_m: 200.0 }));
    v1::Geofence { fence_id: 0, name: "yard".into(), shape, enter: true, leave: false, stay_ms: 60_000 }
}

fn polygon(corners: &[(f64, f64)]) -> v1::Geofence {
    let corners = corners.iter().map(|(latitude, longitude)| v1::Corner { latitude: *latitude, longitude: *longitude }).collect();
    v1::Geofence { shape: Some(Shape::Polygon(v1::Polygon { corners })), ..circle() }
}

fn put(who: &Somebody, fence: v1::Geofence) -> v1::PutGeofenceRequest {
    v1::PutGeofenceRequest { token: who.token(), fence: Some(fence) }
}

fn delete(who: &Somebody, fence_id: u64) -> v1::DeleteGeofenceRequest {
    v1::DeleteGeofenceRequest { token: who.token(), fence_id }
}

async fn page(locations: &mut LocationServiceClient<Channel>, who: &Somebody, after_fence_id: u64, limit: u32) -> v1::GetGeofencesResponse {
    let request = v1::GetGeofencesRequest { token: who.token(), after_fence_id, limit };
    locations.get_geofences(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_has_its_own_and_what_breaks_a_rule_is_refused_by_name() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    company::root(&ground.store().await).await;
    let running = ground.start(&[]).await;
    let mut calls = Desk::at(&running.url).await;
    let root = calls.root().await;
    let top = calls.account(&root, UserKind::Company, "apollo").await;
    let desk = calls.account(&top, UserKind::Dispatcher, "desk").await;
    let beside = calls.account(&top, UserKind::Dispatcher, "beside").await;
    let stranger = calls.account(&root, UserKind::Company, "soyuz").await;
    let radio = calls.radios(&top, &desk, &["356938035643809"]).await.remove(0);
    let mut locations = LocationServiceClient::connect(running.url.clone()).await.unwrap();

    let mut made = Vec::new();
    let across = [(10.0, 170.0), (10.0, -170.0), (20.0, -170.0)];
    for fence in [circle(), polygon(&across), v1::Geofence { leave: true, stay_ms: 0, ..circle() }] {
        let fence_id = locations.put_geofence(put(&desk, fence.clone())).await.unwrap().into_inner().fence_id;
        made.push(v1::Geofence { fence_id, ..fence });
    }
    assert_eq!(page(&mut locations, &desk, 0, 0).await, v1::GetGeofencesResponse { fences: made.clone(), more: false });
    assert_eq!(page(&mut locations, &desk, 0, 2).await, v1::GetGeofencesResponse { fences: made[..2].to_vec(), more: true });
    assert_eq!(
        page(&mut locations, &desk, made[1].fence_id, 2).await,
        v1::GetGeofencesResponse { fences: made[2..].to_vec(), more: false }
    );

    // What is another's, even of an account below, is as what does not exist.
    for (other, fence_id) in [(&beside, 1), (&stranger, 1), (&top, 1), (&root, 1), (&radio, 1), (&desk, 99)] {
        let foreign = put(other, v1::Geofence { fence_id, ..circle() });
        assert_eq!(refused(locations.put_geofence(foreign).await), Reason::NotPermitted.into(), "{}", other.name);
        assert_eq!(refused(locations.delete_geofence(delete(other, fence_id)).await), Reason::NotPermitted.into(), "{}", other.name);
    }
    for other in [&beside, &stranger, &top, &root] {
        assert_eq!(page(&mut locations, other, 0, 0).await, v1::GetGeofencesResponse::default());
    }
    // Not for devices.
    assert_eq!(refused(locations.put_geofence(put(&radio, circle())).await), Reason::NotPermitted.into());
    let list = v1::GetGeofencesRequest { token: radio.token(), ..Default::default() };
    assert_eq!(refused(locations.get_geofences(list).await), Reason::NotPermitted.into());

    made[0] = v1::Geofence { fence_id: made[0].fence_id, name: "a place of another name".into(), ..polygon(&across) };
    locations.put_geofence(put(&desk, made[0].clone())).await.unwrap();
    locations.delete_geofence(delete(&desk, made[1].fence_id)).await.unwrap();
    assert_eq!(refused(locations.delete_geofence(delete(&desk, made[1].fence_id)).await), Reason::NotPermitted.into());
    made.remove(1);
    assert_eq!(page(&mut locations, &desk, 0, 0).await.fences, made);

    let invalid = |field: &'static str| Refused::new(Reason::FieldInvalid).field(field);
    let missing = |field: &'static str| Refused::new(Reason::FieldMissing).field(field);
    let of_radius = |radius_m| Shape::Circle(v1::Circle { latitude: 0.0, longitude: 0.0, radius_m });
    for (fence, expected) in [
        (None, missing("fence")),
        (Some(v1::Geofence { shape: None, ..circle() }), missing("fence.shape")),
        (Some(v1::Geofence { name: String::new(), ..circle() }), invalid("fence.name")),
        (Some(v1::Geofence { name: "x".repeat(101), ..circle() }), invalid("fence.name")),
        (Some(v1::Geofence { shape: Some(of_radius(9.0)), ..circle() }), invalid("fence.circle.radius_m")),
        (Some(polygon(&across[..2])), invalid("fence.polygon.corners")),
        (Some(polygon(&[(80.0, 0.0), (80.0, 120.0), (80.0, -120.0)])), invalid("fence.polygon.corners")),
        (Some(polygon(&[(80.0, 0.0), (f64::NAN, 1.0), (80.0, 2.0)])), invalid("fence.polygon.corners.latitude")),
    ] {
        let request = v1::PutGeofenceRequest { token: desk.token(), fence };
        assert_eq!(refused(locations.put_geofence(request).await), expected);
    }
    let many = v1::GetGeofencesRequest { token: desk.token(), limit: 1_001, ..Default::default() };
    assert_eq!(refused(locations.get_geofences(many).await), Refused::new(Reason::TooMany).field("limit"));
    let nobody = v1::DeleteGeofenceRequest { token: String::new(), fence_id: 1 };
    assert_eq!(refused(locations.delete_geofence(nobody).await), missing("token"));
    running.stop().await;
}
