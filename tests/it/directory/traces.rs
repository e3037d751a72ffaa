//! Where devices are and were, over the calls of desks.

use roger::broker;
use roger::location::{Flag, gcj02};
use roger::model::{Position, PositionSource, Reason, TenantId, UserId};
use roger::proto::status::Refused;
use roger::proto::v1::location_service_client::LocationServiceClient;
use roger::proto::v1::{self, UserKind};
use roger::store::Store;
use sqlx::{Connection as _, SqliteConnection};
use tonic::transport::Channel;

use super::{Ground, Running, refused};
use crate::support::PATIENCE;
use crate::support::company::{self, Desk, Somebody};
use crate::support::redis::Redis;

const IMEIS: [&str; 2] = ["356938035643809", "490154203237518"];
pub(super) const SHARDS: u32 = 16;

/// A desk with two radios, somebody beside it, and somebody of another company.
pub(super) struct Stage {
    pub(super) redis: Redis,
    pub(super) ground: Ground,
    pub(super) running: Running,
    pub(super) locations: LocationServiceClient<Channel>,
    pub(super) store: Store,
    pub(super) tenant: TenantId,
    pub(super) root: Somebody,
    pub(super) top: Somebody,
    pub(super) desk: Somebody,
    pub(super) beside: Somebody,
    pub(super) stranger: Somebody,
    pub(super) radios: Vec<Somebody>,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let redis = Redis::start();
        let ground = Ground::new(&redis.url());
        let store = ground.store().await;
        company::root(&store).await;
        let running = ground.start(&[]).await;
        let mut calls = Desk::at(&running.url).await;
        let root = calls.root().await;
        let top = calls.account(&root, UserKind::Company, "apollo").await;
        let desk = calls.account(&top, UserKind::Dispatcher, "desk").await;
        let beside = calls.account(&top, UserKind::Dispatcher, "beside").await;
        let stranger = calls.account(&root, UserKind::Company, "soyuz").await;
        let radios = calls.radios(&top, &desk, &IMEIS).await;
        let tenant = store.account(UserId(desk.id)).await.unwrap().unwrap().tenant;
        let locations = LocationServiceClient::connect(running.url.clone()).await.unwrap();
        Self { redis, ground, running, locations, store, tenant, root, top, desk, beside, stranger, radios }
    }

    /// Puts fixes of a radio into the table: time, source, latitude, longitude, flags.
    pub(super) async fn fixes(&self, radio: usize, fixes: &[(u64, u32, f64, f64, u32)]) {
        let device = self.radios[radio].id;
        let row = |(fix_ms, source, latitude, longitude, flags): &(u64, u32, f64, f64, u32)| {
            format!("({device}, {fix_ms}, {source}, 5, {latitude}, {longitude}, 4.5, NULL, NULL, 90, 33, 0, {flags}, NULL)")
        };
        let sql = format!("INSERT INTO fix VALUES {}", fixes.iter().map(row).collect::<Vec<_>>().join(", "));
        let mut connection = SqliteConnection::connect(&self.ground.sql()).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    /// What the desk asks of both radios.
    pub(super) fn ask(&self) -> v1::GetGpsForTraceRequest {
        let device_ids = self.radios.iter().map(|radio| radio.id).collect();
        v1::GetGpsForTraceRequest { token: self.desk.token(), device_ids, to_ms: 1_000_000, ..Default::default() }
    }

    async fn page(&mut self, request: v1::GetGpsForTraceRequest) -> v1::GetGpsForTraceResponse {
        self.locations.get_gps_for_trace(request).await.unwrap().into_inner()
    }

    /// All pages of a request.
    async fn pages(&mut self, request: &v1::GetGpsForTraceRequest) -> Vec<v1::GetGpsForTraceResponse> {
        let mut pages = Vec::new();
        let mut cursor = Vec::new().into();
        loop {
            let page = self.page(v1::GetGpsForTraceRequest { cursor, ..request.clone() }).await;
            cursor = page.cursor.clone();
            pages.push(page);
            if cursor.is_empty() {
                return pages;
            }
        }
    }
}

fn keys(pages: &[v1::GetGpsForTraceResponse]) -> Vec<(u64, u64, i32)> {
    pages.iter().flat_map(|page| &page.points).map(|point| (point.fix_ms, point.device_id, point.source)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_tell_every_fix_once_and_gaps_between_them_too() {
    let mut stage = Stage::new().await;
    let [one, two] = [stage.radios[0].id, stage.radios[1].id];
    let at = |fix_ms: u64| (fix_ms, 1, 45.0, 13.0 + fix_ms as f64 / 1_000.0, 0);
    stage.fixes(0, &[at(10), at(20), at(30), at(90), (20, 2, 45.1, 13.0, 0), (40, 0, 0.0, 0.0, 0)]).await;
    stage.fixes(1, &[at(10), at(20), at(25), at(31), at(500)]).await;
    let mut expected = vec![(10, one, 1), (20, one, 1), (20, one, 2), (30, one, 1), (90, one, 1)];
    expected.extend([(10, two, 1), (20, two, 1), (25, two, 1), (31, two, 1), (500, two, 1)]);
    expected.sort_unstable();
    let ask = v1::GetGpsForTraceRequest { wifi: true, gap_ms: 50, ..stage.ask() };
    for limit in 1..=11 {
        let pages = stage.pages(&v1::GetGpsForTraceRequest { limit, ..ask.clone() }).await;
        assert_eq!(keys(&pages), expected, "pages of {limit}");
        assert_eq!(pages.len(), expected.len().div_ceil(limit as usize));
        let mut gaps: Vec<_> = pages.iter().flat_map(|page| &page.gaps).map(|gap| (gap.device_id, gap.from_ms, gap.to_ms)).collect();
        gaps.sort_unstable();
        assert_eq!(gaps, [(one, 30, 90), (two, 31, 500)], "pages of {limit}");
    }
    expected.retain(|(fix_ms, _, source)| (20..90).contains(fix_ms) && *source == 1);
    let pages = stage.pages(&v1::GetGpsForTraceRequest { from_ms: 20, to_ms: 90, ..stage.ask() }).await;
    assert_eq!(keys(&pages), expected);
    stage.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_stops_fewer_points_and_the_wanted_datum() {
    let mut stage = Stage::new().await;
    let ahead = Flag::ClockAhead.bit();
    // Straight on in the east of Beijing, then half a minute in one place.
    let mut fixes: Vec<_> = (1..10_u64).map(|step| (step * 1_000, 1, 39.9, 116.4 + step as f64 / 1_000.0, 0)).collect();
    fixes.extend((10..40_u64).map(|second| (second * 1_000, 1, 39.9, 116.42, if second == 39 { ahead } else { 0 })));
    stage.fixes(0, &fixes).await;
    let ask = v1::GetGpsForTraceRequest {
        tolerance_m: 5.0,
        stop_ms: 20_000,
        datum: v1::Datum::Gcj02.into(),
        device_ids: vec![stage.radios[0].id; 2],
        ..stage.ask()
    };
    let page = stage.page(ask.clone()).await;
    let times: Vec<u64> = page.points.iter().map(|point| point.fix_ms).collect();
    assert_eq!((times.first(), times.last(), times.len() < 5), (Some(&1_000), Some(&39_000), true), "{times:?}");
    let first = 116.4 + 1.0 / 1_000.0;
    let (latitude, longitude) = gcj02(39.9, first);
    let expected = v1::TracePoint {
        device_id: stage.radios[0].id,
        fix_ms: 1_000,
        arrival_ms: 5,
        latitude,
        longitude,
        source: v1::PositionSource::Gps.into(),
        accuracy_m: Some(4.5),
        course_deg: Some(90.0),
        battery_percent: Some(33),
        ..Default::default()
    };
    assert_eq!(page.points[0], expected);
    assert_eq!(page.points.last().unwrap().flags, [v1::FixFlag::ClockAhead as i32]);
    let (latitude, longitude) = gcj02(39.9, 116.42);
    let stop = v1::TraceStop { device_id: stage.radios[0].id, from_ms: 10_000, to_ms: 39_000, latitude, longitude };
    assert_eq!((page.stops, page.gaps.len()), (vec![stop], 0));
    let plain = v1::GetGpsForTraceRequest { tolerance_m: 0.0, stop_ms: 0, datum: 0, ..ask };
    let page = stage.page(plain).await;
    assert_eq!((page.points.len(), page.stops.len(), page.points[0].longitude), (39, 0, first));
    stage.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_its_bound_is_refused_by_name() {
    let mut stage = Stage::new().await;
    let ask = stage.ask();
    let invalid = |field: &'static str| Refused::new(Reason::FieldInvalid).field(field);
    let many = |field: &'static str| Refused::new(Reason::TooMany).field(field);
    let missing = |field: &'static str| Refused::new(Reason::FieldMissing).field(field);
    let of = |change: fn(&mut v1::GetGpsForTraceRequest)| {
        let mut request = ask.clone();
        change(&mut request);
        request
    };
    for (request, expected) in [
        (of(|ask| ask.device_ids.clear()), missing("device_ids")),
        (of(|ask| ask.device_ids = vec![1; 17]), many("device_ids")),
        (of(|ask| ask.to_ms = 0), missing("to_ms")),
        (of(|ask| ask.from_ms = ask.to_ms), invalid("to_ms")),
        (of(|ask| ask.limit = 10_001), many("limit")),
        (of(|ask| ask.tolerance_m = -1.0), invalid("tolerance_m")),
        (of(|ask| ask.tolerance_m = f64::NAN), invalid("tolerance_m")),
        (of(|ask| ask.stop_radius_m = f64::INFINITY), invalid("stop_radius_m")),
        (of(|ask| ask.datum = 3), invalid("datum")),
        (of(|ask| ask.cursor = vec![1; 33].into()), invalid("cursor")),
        (of(|ask| ask.cursor = vec![3; 33].into()), invalid("cursor")),
        (of(|ask| ask.cursor = vec![1; 7].into()), invalid("cursor")),
    ] {
        // 33 bytes of 1 would be a cursor of two devices; of one it is none.
        let devices = if request.cursor.len() == 33 && request.cursor[0] == 1 { 1 } else { request.device_ids.len() };
        let request = v1::GetGpsForTraceRequest { device_ids: request.device_ids[..devices].to_vec(), ..request };
        assert_eq!(refused(stage.locations.get_gps_for_trace(request).await), expected);
    }
    let ask = |device_ids| v1::GetGpsDataRequest { token: stage.desk.token(), device_ids, datum: 0 };
    assert_eq!(refused(stage.locations.get_gps_data(ask(vec![])).await), missing("device_ids"));
    assert_eq!(refused(stage.locations.get_gps_data(ask(vec![1; 1_001])).await), many("device_ids"));
    stage.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_manage_a_device_sees_neither_trace_nor_place() {
    let mut stage = Stage::new().await;
    stage.fixes(0, &[(10, 1, 45.0, 13.0, 0)]).await;
    for token in [stage.beside.token(), stage.stranger.token()] {
        let trace = v1::GetGpsForTraceRequest { token: token.clone(), ..stage.ask() };
        assert_eq!(refused(stage.locations.get_gps_for_trace(trace).await), Reason::NotPermitted.into());
        let data = v1::GetGpsDataRequest { token, device_ids: stage.ask().device_ids, datum: 0 };
        assert_eq!(stage.locations.get_gps_data(data).await.unwrap().into_inner().devices, []);
    }
    // One that is not the desk's spoils the whole trace.
    for foreign in [stage.stranger.id, 999] {
        let mut trace = stage.ask();
        trace.device_ids.push(foreign);
        assert_eq!(refused(stage.locations.get_gps_for_trace(trace).await), Reason::NotPermitted.into());
    }
    let data = v1::GetGpsDataRequest { token: String::new(), device_ids: vec![1], datum: 0 };
    assert_eq!(refused(stage.locations.get_gps_data(data).await), Refused::new(Reason::FieldMissing).field("token"));
    stage.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_device_is_comes_from_redis_and_else_from_sql() {
    let mut stage = Stage::new().await;
    let [one, two] = [stage.radios[0].id, stage.radios[1].id];
    stage.fixes(0, &[(10, 1, 39.9, 116.4, 0)]).await;
    let ask = |datum: v1::Datum| v1::GetGpsDataRequest { token: stage.desk.token(), device_ids: vec![two, one, 999], datum: datum.into() };
    let stored = Position {
        latitude: 39.9,
        longitude: 116.4,
        fix_ms: 10,
        accuracy_m: 4.5,
        speed_mps: None,
        course_deg: Some(90.0),
        source: PositionSource::Gps,
    };
    let told = |position: Position| v1::DevicePosition { device_id: one, position: Some(position.into()), battery_percent: Some(33) };
    let nothing = v1::DevicePosition { device_id: two, ..Default::default() };
    let devices = stage.locations.get_gps_data(ask(v1::Datum::Wgs84)).await.unwrap().into_inner().devices;
    assert_eq!(devices, [told(stored), nothing]);

    let settings = broker::Settings {
        url: stage.redis.url(),
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        replication: roger::broker::Replication::none(),
    };
    let live = Position { latitude: 39.8, fix_ms: 20, source: PositionSource::Wifi, ..stored };
    broker::Redis::new(settings).unwrap().note_position(UserId(one), SHARDS, &live).await.unwrap();
    let devices = stage.locations.get_gps_data(ask(v1::Datum::Gcj02)).await.unwrap().into_inner().devices;
    let (latitude, longitude) = gcj02(39.8, 116.4);
    let drawn = v1::DevicePosition { battery_percent: None, ..told(Position { latitude, longitude, ..live }) };
    assert_eq!(devices, [drawn, nothing]);
    stage.running.stop().await;
}
