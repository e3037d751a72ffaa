//! Which devices are near, what became of reports, and traces as files.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use roger::broker;
use roger::location::frame::{Fix, FixFrame, Received, Refused as Denied};
use roger::location::trace::distance_m;
use roger::model::{Reason, TenantId, UserId};
use roger::proto::status::Refused;
use roger::proto::v1;
use tonic::Status;

use super::refused;
use super::traces::{SHARDS, Stage};
use crate::support::PATIENCE;

fn redis(stage: &Stage) -> broker::Redis {
    let settings = broker::Settings {
        url: stage.redis.url(),
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        replication: roger::broker::Replication::none(),
    };
    broker::Redis::new(settings).unwrap()
}

/// Puts a radio somewhere, as gps does.
async fn place(stage: &Stage, radio: usize, fix_ms: u64, latitude: f64, longitude: f64) {
    let device = stage.radios[radio].id;
    let fix = Fix { device, tenant: stage.tenant.0, fix_ms, source: 1, latitude, longitude, ..Fix::default() };
    redis(stage).note_fixes(&[fix], SHARDS).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_near_a_place_are_found_over_the_date_line_and_around_the_poles_and_only_by_who_manages_them() {
    let mut stage = Stage::new().await;
    let [one, two] = [stage.radios[0].id, stage.radios[1].id];
    let ask = |latitude: f64, longitude: f64, radius_m: f64| v1::FindDevicesWithinRequest {
        token: stage.desk.token(),
        latitude,
        longitude,
        radius_m,
        limit: 0,
    };
    let mut locations = stage.locations.clone();
    let mut found = async |request: v1::FindDevicesWithinRequest| {
        let answer = locations.find_devices_within(request).await.unwrap().into_inner();
        let devices = answer.devices.iter().map(|near| (near.device.unwrap().device_id, near.distance_m.round()));
        (devices.collect::<Vec<_>>(), answer.more)
    };
    // On the equator a degree is 111,195 m.
    place(&stage, 0, 10, 0.0, 179.9).await;
    place(&stage, 1, 10, 0.0, -179.8).await;
    assert_eq!(found(ask(0.0, 180.0, 12_000.0)).await, (vec![(one, 11_120.0)], false));
    assert_eq!(found(ask(0.0, 180.0, 30_000.0)).await, (vec![(one, 11_120.0), (two, 22_239.0)], false));
    assert_eq!(found(ask(0.0, -180.0, 30_000.0)).await.0.len(), 2);
    assert_eq!(found(v1::FindDevicesWithinRequest { limit: 1, ..ask(0.0, -179.9, 30_000.0) }).await, (vec![(two, 11_120.0)], true));
    assert_eq!(found(ask(0.0, 0.0, 500_000.0)).await, (vec![], false));
    // One beyond the latitudes that Redis takes, one within them, on the other side of the pole.
    place(&stage, 0, 20, 89.0, 10.0).await;
    place(&stage, 1, 20, 85.0, -170.0).await;
    assert_eq!(found(ask(89.5, -170.0, 170_000.0)).await, (vec![(one, 166_793.0)], false));
    assert_eq!(found(ask(87.0, -170.0, 250_000.0)).await, (vec![(two, 222_390.0)], false));
    assert_eq!(found(ask(87.0, -170.0, 450_000.0)).await, (vec![(two, 222_390.0), (one, 444_780.0)], false));

    for (token, expected) in [(stage.beside.token(), 0), (stage.stranger.token(), 0), (stage.root.token(), 2), (stage.top.token(), 2)] {
        assert_eq!(found(v1::FindDevicesWithinRequest { token, ..ask(87.0, -170.0, 450_000.0) }).await.0.len(), expected);
    }
    for (request, field) in [
        (ask(90.5, 0.0, 1.0), "latitude"),
        (ask(f64::NAN, 0.0, 1.0), "latitude"),
        (ask(0.0, f64::INFINITY, 1.0), "longitude"),
        (ask(0.0, 0.0, 0.0), "radius_m"),
        (ask(0.0, 0.0, 500_001.0), "radius_m"),
    ] {
        assert_eq!(refused(stage.locations.find_devices_within(request).await), Refused::new(Reason::FieldInvalid).field(field));
    }
    let many = v1::FindDevicesWithinRequest { limit: 1_001, ..ask(0.0, 0.0, 1.0) };
    assert_eq!(refused(stage.locations.find_devices_within(many).await), Refused::new(Reason::TooMany).field("limit"));
    stage.running.stop().await;
}

/// Against looking at every device, where the earth is hardest to search: at the date line, near the poles, and where they meet.
#[tokio::test(flavor = "multi_thread")]
async fn the_search_misses_nobody_anywhere() {
    let server = crate::support::redis::Redis::start();
    let redis = crate::worker::handle(&server);
    let mut random = StdRng::seed_from_u64(7);
    let mut spot = || {
        let latitude: f64 = match random.random_range(0..3) {
            0 => random.random_range(75.0..=90.0),
            1 => random.random_range(-90.0..=-75.0),
            _ => random.random_range(-75.0..=75.0),
        };
        let longitude: f64 = match random.random_range(0..3) {
            0 => random.random_range(175.0..=180.0),
            1 => random.random_range(-180.0..=-175.0),
            _ => random.random_range(-180.0..=180.0),
        };
        (latitude, longitude)
    };
    let spots: Vec<(f64, f64)> = (0..3_000).map(|_| spot()).collect();
    let fixes = spots.iter().enumerate().map(|(device, (latitude, longitude))| Fix {
        device: device as u64,
        tenant: 1,
        fix_ms: 1,
        source: 1,
        latitude: *latitude,
        longitude: *longitude,
        ..Fix::default()
    });
    redis.note_fixes(&fixes.collect::<Vec<_>>(), SHARDS).await.unwrap();
    let mut found = 0;
    for search in 0..200 {
        let (place, radius_m) = (spot(), [1_000.0, 50_000.0, 200_000.0, 500_000.0][search % 4]);
        let near = redis.near(TenantId(1), place, radius_m).await.unwrap();
        for (device, spot) in spots.iter().enumerate().filter(|(_, spot)| distance_m(place, **spot) <= radius_m) {
            assert!(near.contains(&UserId(device as u64)), "{spot:?} is within {radius_m} m of {place:?}");
            found += 1;
        }
        let far = near.iter().filter(|device| distance_m(place, spots[device.0 as usize]) > 1.02 * radius_m + 20.0);
        assert_eq!(far.count(), 0, "far from {place:?}");
    }
    assert!(found > 1_000, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_reports_is_told_to_who_manages_the_device() {
    let mut stage = Stage::new().await;
    let device = stage.radios[0].id;
    let fix = |fix_ms| Fix { device, tenant: 1, fix_ms, source: 1, latitude: 1.0, longitude: 2.0, ..Fix::default() };
    let denied = Denied { device, reason: Reason::FieldMissing as u32, field: "fix.time_ms".to_owned(), count: 3 };
    let frame = FixFrame {
        producer: 1,
        number: 1,
        arrival_ms: 20_000 * 86_400_000,
        fixes: vec![fix(1), fix(2), fix(1)],
        refused: vec![denied],
        received: vec![Received { device, count: 6 }],
    };
    stage.store.take_fixes(vec![frame]).await.unwrap();
    let ask = |day| v1::GetFateRequest { token: stage.desk.token(), device_id: device, day };
    let refusals = vec![v1::RefusedReports { reason: v1::Reason::FieldMissing.into(), field: "fix.time_ms".to_owned(), count: 3 }];
    let expected = v1::GetFateResponse { received: 6, stored: 2, duplicate: 1, refused: 3, refusals };
    assert_eq!(stage.locations.get_fate(ask(20_000)).await.unwrap().into_inner(), expected);
    assert_eq!(stage.locations.get_fate(ask(20_001)).await.unwrap().into_inner(), v1::GetFateResponse::default());
    for token in [stage.beside.token(), stage.stranger.token()] {
        let request = v1::GetFateRequest { token, ..ask(20_000) };
        assert_eq!(refused(stage.locations.get_fate(request).await), Reason::NotPermitted.into());
    }
    stage.running.stop().await;
}

async fn file(stage: &mut Stage, request: v1::ExportTraceRequest) -> Result<Vec<u8>, Status> {
    let mut pieces = stage.locations.export_trace(request).await?.into_inner();
    let mut file = Vec::new();
    while let Some(piece) = pieces.message().await? {
        file.extend_from_slice(&piece.data);
    }
    Ok(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_as_a_file_has_every_fix_of_every_page() {
    let mut stage = Stage::new().await;
    // More than two pages, with a gap on the border of the first one.
    let at = |fix_ms: u64| (fix_ms, 1, 45.0, 13.0 + fix_ms as f64 / 1_000_000.0, 0);
    let times: Vec<u64> = (1..=10_000).chain(20_000..=32_345).collect();
    for times in times.chunks(2_000) {
        stage.fixes(0, &times.iter().map(|fix_ms| at(*fix_ms)).collect::<Vec<_>>()).await;
    }
    stage.fixes(1, &[at(7)]).await;
    let trace = v1::GetGpsForTraceRequest { gap_ms: 5_000, ..stage.ask() };
    let wanted = |format: v1::TraceFormat| v1::ExportTraceRequest { trace: Some(trace.clone()), format: format.into() };
    let gpx = gpx::read(&file(&mut stage, wanted(v1::TraceFormat::Gpx)).await.unwrap()[..]).unwrap();
    let segments = |at: usize| gpx.tracks[at].segments.iter().map(|segment| segment.points.len()).collect::<Vec<_>>();
    assert_eq!((gpx.tracks.len(), segments(0), segments(1)), (2, vec![10_000, 12_346], vec![1]));
    let points = gpx.tracks[0].segments.iter().flat_map(|segment| &segment.points);
    for (point, time) in points.zip(&times) {
        assert_eq!((point.point().y(), point.point().x()), (45.0, 13.0 + *time as f64 / 1_000_000.0));
    }
    let json = file(&mut stage, wanted(v1::TraceFormat::Geojson)).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let features = json["features"].as_array().unwrap();
    assert_eq!(features.iter().filter(|feature| feature["properties"]["device_id"] == stage.radios[0].id).count(), times.len());
    assert_eq!(features.len(), times.len() + 1);

    for token in [stage.beside.token(), stage.stranger.token()] {
        let trace = Some(v1::GetGpsForTraceRequest { token, ..trace.clone() });
        let request = v1::ExportTraceRequest { trace, format: v1::TraceFormat::Gpx.into() };
        assert_eq!(refused(stage.locations.export_trace(request).await), Reason::NotPermitted.into());
    }
    let plain = v1::ExportTraceRequest { trace: Some(trace.clone()), format: 0 };
    assert_eq!(refused(stage.locations.export_trace(plain).await), Refused::new(Reason::FieldInvalid).field("format"));
    let empty = v1::ExportTraceRequest { trace: None, format: v1::TraceFormat::Gpx.into() };
    assert_eq!(refused(stage.locations.export_trace(empty).await), Refused::new(Reason::FieldMissing).field("trace"));
    stage.running.stop().await;
}
