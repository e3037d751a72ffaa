//! Reports of positions at the door: judged one by one, answered when the stream has them, counted whatever became of them.

use std::collections::BTreeMap;

use roger::broker::{Redis, Settings, StreamId, keys};
use roger::clock::Clock;
use roger::location::frame::FixFrame;
use roger::proto::status::Refused;
use roger::proto::v1::talk_cloud_location_client::TalkCloudLocationClient;
use roger::proto::v1::{self, Durability, FixFlag, Reason};
use tonic::Status;

use super::radio::Radio;
use super::stage::{Stage, hello};
use crate::support::eventually;
use crate::support::fleet::FleetOptions;

/// What becomes of a report: it is let through with flags, or refused by a field.
type Fate = Result<Vec<FixFlag>, (Reason, &'static str)>;

fn now_ms() -> u64 {
    Clock::system().now_ms()
}

fn fix(latitude: f64, longitude: f64) -> v1::Fix {
    v1::Fix { time_ms: now_ms() - 1_000, latitude, longitude, ..v1::Fix::default() }
}

fn report(report_id: u64, fix: v1::Fix) -> v1::Report {
    v1::Report { report_id, fix: Some(fix), ..v1::Report::default() }
}

/// Every way in which a report can be wrong or odd, with what becomes of it: a reason and a field, or flags.
fn odd(own: u64, other: u64) -> Vec<(v1::Report, Fate)> {
    let good = fix(45.27, 13.71);
    let of = |device_id: u64| v1::Report { device_id, ..report(0, good) };
    let battery = |percent: i32| v1::Report { battery_percent: Some(percent), ..report(0, good) };
    let year_ms = 365 * 24 * 3_600_000;
    let invalid = |field| Err((Reason::FieldInvalid, field));
    let missing = |field| Err((Reason::FieldMissing, field));
    let stranger = || Err((Reason::NotPermitted, "device_id"));
    let all = vec![
        (report(0, good), Ok(vec![])),
        (report(0, fix(f64::NAN, 13.0)), invalid("fix.latitude")),
        (report(0, fix(45.0, f64::NAN)), invalid("fix.longitude")),
        (report(0, fix(f64::INFINITY, 13.0)), invalid("fix.latitude")),
        (report(0, fix(45.0, f64::NEG_INFINITY)), invalid("fix.longitude")),
        (report(0, fix(91.0, 13.0)), invalid("fix.latitude")),
        (report(0, fix(90.0, 0.0)), Ok(vec![])),
        (report(0, fix(-90.0, 180.0)), Ok(vec![])),
        (report(0, fix(12.0, -180.0)), Ok(vec![])),
        (report(0, fix(12.0, 180.5)), invalid("fix.longitude")),
        (report(0, fix(0.0, 0.0)), missing("fix.latitude")),
        (report(0, v1::Fix { time_ms: 0, ..good }), missing("fix.time_ms")),
        (report(0, v1::Fix { time_ms: now_ms() + 3 * year_ms, ..good }), Ok(vec![FixFlag::ClockAhead])),
        (report(0, v1::Fix { time_ms: now_ms() - 9 * year_ms, ..good }), Ok(vec![FixFlag::ClockBehind])),
        (report(0, v1::Fix { speed_mps: Some(-1.0), ..good }), Ok(vec![FixFlag::SpeedIgnored])),
        (battery(-1), Ok(vec![FixFlag::BatteryIgnored])),
        (battery(100), Ok(vec![])),
        (of(own), Ok(vec![])),
        (of(other), stranger()),
        (of(u64::MAX), stranger()),
        (v1::Report::default(), missing("fix")),
    ];
    all.into_iter().enumerate().map(|(index, (report, fate))| (v1::Report { report_id: index as u64, ..report }, fate)).collect()
}

#[track_caller]
fn check(answers: &[v1::ReportAnswer], odd: &[(v1::Report, Fate)]) {
    assert_eq!(answers.len(), odd.len());
    for (answer, (report, expected)) in answers.iter().zip(odd) {
        assert_eq!(answer.report_id, report.report_id);
        let found = match answer.reason() {
            Reason::Unspecified => Ok(answer.flags().collect::<Vec<_>>()),
            reason => Err((reason, answer.field.as_str())),
        };
        assert_eq!(&found, expected, "{report:?}");
        let durability = if expected.is_ok() { Durability::Fsync } else { Durability::Unspecified };
        assert_eq!(answer.durability(), durability, "{report:?}");
    }
}

/// What stands on the stream: by device how many came, how many were let through, and how many were refused, by field.
async fn on_the_stream(stage: &Stage) -> BTreeMap<u64, (u64, u64, BTreeMap<String, u64>)> {
    let defaults = roger::config::Config::defaults().unwrap();
    let redis = Redis::new(Settings { url: stage.fleet.redis.url().to_owned(), ..Settings::from(&defaults.redis) }).unwrap();
    let mut found: BTreeMap<u64, (u64, u64, BTreeMap<String, u64>)> = BTreeMap::new();
    let entries = redis.range(&keys::fix(), StreamId::default(), StreamId(u64::MAX, u64::MAX), 1_000).await.unwrap();
    for entry in entries {
        let frame: FixFrame = entry.decode(&keys::fix()).unwrap();
        for received in frame.received {
            found.entry(received.device).or_default().0 += received.count;
        }
        for fix in frame.fixes {
            found.entry(fix.device).or_default().1 += 1;
        }
        for refused in frame.refused {
            *found.entry(refused.device).or_default().2.entry(refused.field).or_default() += refused.count;
        }
    }
    found
}

async fn call(edge: &str, request: v1::ReportGpsDataRequest) -> Result<Vec<v1::ReportAnswer>, Status> {
    let mut client = TalkCloudLocationClient::connect(edge.to_owned()).await.unwrap();
    client.report_gps_data(request).await.map(|answer| answer.into_inner().answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_report_has_its_answer_by_each_way_in() {
    let stage = Stage::with(FleetOptions { edges: 1, ..FleetOptions::default() }).await;
    let (neil, buzz) = (stage.login("neil", 1).await, stage.login("buzz", 1).await);
    let odd = odd(neil.user.0, buzz.user.0);
    let reports: Vec<v1::Report> = odd.iter().map(|(report, _)| report.clone()).collect();
    let mut radio = Radio::open(&stage.fleet.edge(0), hello(&neil, 1)).await.unwrap();
    radio.send(v1::ClientFrame { reports: reports.clone(), ..v1::ClientFrame::default() }).await;
    let answers = radio.until("answers", |heard| (heard.report_answers.len() >= odd.len()).then(|| heard.report_answers.clone())).await;
    check(&answers, &odd);
    let session_id = radio.heard.welcome.session_id;
    let by_session = v1::ReportGpsDataRequest { session_id, reports: reports.clone(), ..v1::ReportGpsDataRequest::default() };
    check(&call(&stage.fleet.edge(0), by_session).await.unwrap(), &odd);
    let by_token = v1::ReportGpsDataRequest { token: neil.token.clone(), reports, ..v1::ReportGpsDataRequest::default() };
    check(&call(&stage.fleet.edge(0), by_token).await.unwrap(), &odd);

    // Nothing of it counts for anybody else, and it adds up.
    let stream = on_the_stream(&stage).await;
    assert_eq!(stream.keys().copied().collect::<Vec<_>>(), [neil.user.0]);
    let (received, let_through, refused) = &stream[&neil.user.0];
    assert_eq!(*received, 3 * odd.len() as u64);
    assert_eq!(let_through + refused.values().sum::<u64>(), *received);
    assert_eq!(refused["fix.time_ms"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_reports_fit_into_a_call_and_no_more() {
    let stage = Stage::with(FleetOptions { edges: 1, ..FleetOptions::default() }).await;
    let neil = stage.login("neil", 1).await;
    let from_ms = now_ms() - 20_000_000;
    let reports = (0..10_002).map(|number| report(number, v1::Fix { time_ms: from_ms + number * 1_000, ..fix(45.0, 13.0) })).collect();
    let request = v1::ReportGpsDataRequest { token: neil.token.clone(), reports, ..v1::ReportGpsDataRequest::default() };
    let answers = call(&stage.fleet.edge(0), request).await.unwrap();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.reason() != Reason::Unspecified).collect();
    assert_eq!(
        refused.iter().map(|answer| (answer.report_id, answer.reason())).collect::<Vec<_>>(),
        [(10_000, Reason::TooMany), (10_001, Reason::TooMany)]
    );
    let stream = on_the_stream(&stage).await;
    assert_eq!(stream[&neil.user.0].1, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reports_without_a_token_or_with_one_that_was_called_back() {
    let stage = Stage::with(FleetOptions { edges: 1, ..FleetOptions::default() }).await;
    let edge = stage.fleet.edge(0);
    let refused = async |request: v1::ReportGpsDataRequest| {
        let request = v1::ReportGpsDataRequest { reports: vec![report(1, fix(45.0, 13.0))], ..request };
        Refused::of(&call(&edge, request).await.unwrap_err()).unwrap().reason.as_str()
    };
    let none = v1::ReportGpsDataRequest::default();
    assert_eq!(refused(none.clone()).await, "field_missing");
    assert_eq!(refused(v1::ReportGpsDataRequest { token: "v4.public.nonsense".to_owned(), ..none.clone() }).await, "token_unknown");
    assert_eq!(refused(v1::ReportGpsDataRequest { session_id: 17, ..none.clone() }).await, "unknown_session");
    let neil = stage.login("neil", 1).await;
    stage.fleet.roger(&["sessions", "revoke", "neil", "--yes"]).succeeded();
    let void = v1::ReportGpsDataRequest { token: neil.token.clone(), reports: vec![report(1, fix(45.0, 13.0))], ..none };
    eventually("the token is void", || async {
        let refused = Refused::of(&call(&edge, void.clone()).await.err()?)?;
        (refused.reason.as_str() == "token_revoked").then_some(())
    })
    .await;
}
