//! Desks that watch where their devices are.

use std::time::{Duration, Instant};

use roger::clock::Clock;
use roger::proto::v1::talk_cloud_location_client::TalkCloudLocationClient;
use roger::proto::v1::{self, PositionSource};
use tonic::Status;
use tonic::transport::Channel;

use crate::alerts::{Scene, report_at};
use crate::messages::{Radio, hello};
use crate::support::PATIENCE;
use crate::support::company::Somebody;
use crate::support::fleet::FleetOptions;

async fn location(scene: &Scene, edge: usize) -> TalkCloudLocationClient<Channel> {
    TalkCloudLocationClient::connect(scene.fleet.edge(edge)).await.unwrap()
}

pub(super) async fn watch(scene: &Scene, edge: usize, radio: &Radio, on: bool) -> Result<(), Status> {
    let request = v1::WatchPositionsRequest { session_id: radio.heard.welcome.session_id, on };
    location(scene, edge).await.watch_positions(request).await.map(drop)
}

pub(super) async fn report(scene: &Scene, who: &Somebody, report: v1::Report) {
    let request = v1::ReportGpsDataRequest { token: who.token(), reports: vec![report], ..Default::default() };
    let answers = location(scene, 0).await.report_gps_data(request).await.unwrap().into_inner().answers;
    assert_eq!(answers[0].reason, 0, "{answers:?}");
}

/// Reads until the last position of a device is at this latitude.
pub(super) async fn sees(desk: &mut Radio, who: &Somebody, latitude: f64) -> v1::DevicePosition {
    let last = |positions: &[v1::DevicePosition]| positions.iter().rfind(|told| told.device_id == who.id).copied();
    let there = |told: &v1::DevicePosition| told.position.is_some_and(|position| position.latitude == latitude);
    desk.until(&format!("{} at {latitude}", who.name), |heard| last(&heard.positions).filter(there)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_sees_its_own_devices_move_and_nobody_elses() {
    let options = FleetOptions { gps: 1, ..FleetOptions::default() };
    let mut scene = Scene::with(options).await;
    let (radio, other) = (scene.radios[0].clone(), scene.radios[1].clone());
    let (first, second, company) = (scene.first.clone(), scene.second.clone(), scene.company.clone());
    let mut desks = Vec::new();
    for (edge, who) in [(0, &first), (1, &second), (1, &company), (0, &scene.stranger)] {
        let desk = scene.on(edge, who).await;
        watch(&scene, edge, &desk, true).await.unwrap();
        desks.push(desk);
    }
    let [mut first_desk, mut second_desk, mut company_desk, mut stranger] = <[Radio; 4]>::try_from(desks).ok().unwrap();
    let again = scene.desk.log_in(&first.name, &first.password, 8).await;
    let mut deaf = Radio::open(&scene.fleet.edge(0), hello(&again, 8)).await.unwrap();
    let device = scene.on(0, &radio).await;
    assert!(watch(&scene, 0, &device, true).await.is_err(), "not for devices");

    report(&scene, &radio, v1::Report { battery_percent: Some(60), ..report_at(45.0, 13.0) }).await;
    let told = sees(&mut first_desk, &radio, 45.0).await;
    assert_eq!((told.battery_percent, told.position.unwrap().source()), (Some(60), PositionSource::Gps));
    sees(&mut company_desk, &radio, 45.0).await;

    // A late fix and one whose clock is ahead say nothing of now; the next good one does.
    let now_ms = Clock::system().now_ms();
    for fix_ms in [now_ms - 3_600_000, now_ms + 3_600_000] {
        let fix = v1::Fix { time_ms: fix_ms, latitude: 1.0, longitude: 1.0, ..v1::Fix::default() };
        report(&scene, &radio, v1::Report { fix: Some(fix), ..v1::Report::default() }).await;
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    report(&scene, &radio, report_at(46.0, 13.0)).await;
    sees(&mut first_desk, &radio, 46.0).await;
    sees(&mut company_desk, &radio, 46.0).await;
    assert!(first_desk.heard.positions.iter().all(|told| told.position.unwrap().latitude != 1.0));

    // Given to the other desk: from a moment later on it is that one's to see.
    let (imeis, sender_id, receiver_id) = (vec![radio.name.clone()], first.id, second.id);
    let transfer = v1::MultiTransDeviceRequest { token: company.token(), imeis, sender_id, receiver_id };
    scene.desk.web.multi_trans_device(transfer).await.unwrap();
    let begun = Instant::now();
    while second_desk.heard.positions.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the other desk never sees it");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        report(&scene, &radio, report_at(46.5, 13.0)).await;
        second_desk.beat().await;
    }
    // From here on nobody can take it for the first one's any more. Of one radio a desk is told once a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    report(&scene, &radio, report_at(47.0, 13.0)).await;
    sees(&mut second_desk, &radio, 47.0).await;
    sees(&mut company_desk, &radio, 47.0).await;
    // What is told of the other radio comes behind whatever would have been told of this one.
    report(&scene, &other, report_at(48.0, 13.0)).await;
    sees(&mut first_desk, &other, 48.0).await;
    let latitudes = |desk: &Radio| -> Vec<f64> {
        let all = desk.heard.positions.iter().map(|told| told.position.unwrap().latitude);
        all.filter(|latitude| *latitude != 46.5).collect()
    };
    assert_eq!(latitudes(&first_desk), [45.0, 46.0, 48.0]);
    assert_eq!(latitudes(&second_desk), [47.0]);
    assert_eq!(latitudes(&company_desk)[..3], [45.0, 46.0, 47.0]);

    // Whoever stops watching, belongs elsewhere or never asked, is told nothing.
    watch(&scene, 0, &first_desk, false).await.unwrap();
    report(&scene, &other, report_at(49.0, 13.0)).await;
    sees(&mut company_desk, &other, 49.0).await;
    for desk in [&mut first_desk, &mut stranger, &mut deaf] {
        desk.beat().await;
    }
    assert_eq!(latitudes(&first_desk), [45.0, 46.0, 48.0]);
    assert_eq!((latitudes(&stranger), latitudes(&deaf)), (vec![], vec![]));
}
