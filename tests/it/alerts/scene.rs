//! A company with two desks, three radios of the first one, and somebody of another company; and what they see of alerts.

use std::collections::BTreeMap;

use roger::clock::Clock;
use roger::model::{GroupId, TopicId, UserId};
use roger::proto::v1::emergency_service_client::EmergencyServiceClient;
use roger::proto::v1::{self, AlertEvent};
use roger::store::Store;
use tonic::Status;

use crate::messages::{Heard, Radio, hello};
use crate::support::company::{self, Desk, Somebody};
use crate::support::fleet::{Fleet, FleetOptions, SqlServer};

const RADIOS: [&str; 3] = ["356938035643809", "490154203237518", "352099001761481"];

pub struct Scene {
    pub fleet: Fleet,
    pub desk: Desk,
    pub company: Somebody,
    pub first: Somebody,
    pub second: Somebody,
    pub radios: Vec<Somebody>,
    pub stranger: Somebody,
    pub store: Store,
}

impl Scene {
    pub async fn start() -> Self {
        Self::with(FleetOptions { sos: 1, ..FleetOptions::default() }).await
    }

    pub async fn with(options: FleetOptions) -> Self {
        let fleet = Fleet::start(options);
        let url = match &fleet.mariadb {
            Some(server) => server.fleet_url(),
            None => format!("sqlite:{}", fleet.folder().join("roger.db").display()),
        };
        let store = Store::open(&url).unwrap();
        company::root(&store).await;
        let mut desk = Desk::at(&fleet.directory()).await;
        let root = desk.root().await;
        let company = desk.account(&root, v1::UserKind::Company, "apollo").await;
        let first = desk.account(&company, v1::UserKind::Dispatcher, "first").await;
        let second = desk.account(&company, v1::UserKind::Dispatcher, "second").await;
        let radios = desk.radios(&company, &first, &RADIOS).await;
        let other = desk.account(&root, v1::UserKind::Company, "soyuz").await;
        let stranger = desk.account(&other, v1::UserKind::Dispatcher, "stranger").await;
        Self { fleet, desk, company, first, second, radios, stranger, store }
    }

    /// The same over MariaDB.
    pub fn on_mariadb() -> FleetOptions {
        FleetOptions { sos: 1, sql: SqlServer::MariaDb, ..FleetOptions::default() }
    }

    /// A session of somebody, as soon as their alerts would come.
    pub async fn on(&self, edge: usize, who: &Somebody) -> Radio {
        let mut radio = Radio::open(&self.fleet.edge(edge), hello(&who.login, 7)).await.unwrap();
        radio.follows(TopicId::alert_inbox(UserId(who.id))).await;
        radio
    }

    /// Moves somebody into the room of a group; as soon as the room's alerts would come.
    pub async fn enter(&self, edge: usize, radio: &mut Radio, group: u64) {
        radio.enter(&self.fleet.edge(edge), group).await.unwrap();
        if group != 0 {
            radio.follows(TopicId::alert_room(GroupId(group))).await;
        }
    }

    async fn emergency(&self, edge: usize) -> EmergencyServiceClient<tonic::transport::Channel> {
        EmergencyServiceClient::connect(self.fleet.edge(edge)).await.unwrap()
    }

    /// A press by a session.
    pub async fn press(&self, edge: usize, radio: &Radio, press_id: u64, report: Option<v1::Report>) -> v1::Durability {
        let session_id = radio.heard.welcome.session_id;
        let request = v1::ImSosPublishRequest { session_id, press_id, report, text: "help".to_owned(), ..Default::default() };
        self.emergency(edge).await.im_sos_publish(request).await.unwrap().into_inner().durability()
    }

    pub async fn cancel(&self, edge: usize, radio: &Radio, press_id: u64) {
        let session_id = radio.heard.welcome.session_id;
        let request = v1::ImSosPublishRequest { session_id, press_id, cancel: true, ..Default::default() };
        self.emergency(edge).await.im_sos_publish(request).await.unwrap();
    }

    pub async fn acknowledge(&self, edge: usize, radio: &Radio, alert_id: u64) -> Result<(), Status> {
        let session_id = radio.heard.welcome.session_id;
        let request = v1::AcknowledgeAlertRequest { session_id, alert_id };
        self.emergency(edge).await.acknowledge_alert(request).await.map(drop)
    }

    pub async fn close(&self, edge: usize, radio: &Radio, alert_id: u64, false_alarm: bool, remark: &str) -> Result<(), Status> {
        let session_id = radio.heard.welcome.session_id;
        let request = v1::CloseAlertRequest { session_id, alert_id, false_alarm, remark: remark.to_owned() };
        self.emergency(edge).await.close_alert(request).await.map(drop)
    }

    /// The lines of the file of texts.
    pub fn texts(&self) -> Vec<roger::sms::Text> {
        let lines = std::fs::read_to_string(self.fleet.folder().join("sms.jsonl")).unwrap_or_default();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A fix, made a second ago.
pub fn at(latitude: f64, longitude: f64) -> v1::Report {
    let fix = v1::Fix { time_ms: Clock::system().now_ms() - 1_000, latitude, longitude, ..v1::Fix::default() };
    v1::Report { fix: Some(fix), ..v1::Report::default() }
}

/// What was heard of alerts, in order, with the topics it came in.
pub fn alerts(heard: &Heard) -> Vec<(TopicId, v1::AlertNotice)> {
    let of = |entry: &v1::Entry| match &entry.notice {
        Some(v1::entry::Notice::Alert(notice)) => Some((entry.topic?.to_model()?, notice.clone())),
        _ => None,
    };
    heard.entries.iter().filter_map(of).collect()
}

/// The events of one alert, each number once; panics when a number was told with two events.
pub fn events(heard: &Heard, alert: u64) -> Vec<AlertEvent> {
    let mut events: BTreeMap<u64, AlertEvent> = BTreeMap::new();
    for (topic, notice) in alerts(heard).iter().filter(|(_, notice)| notice.alert_id == alert) {
        let event = notice.event();
        assert_eq!(*events.entry(notice.number).or_insert(event), event, "number {} in {topic}", notice.number);
    }
    events.into_values().collect()
}

/// Waits for an event of any alert in a topic.
pub async fn hears(radio: &mut Radio, topic: TopicId, event: AlertEvent) -> v1::AlertNotice {
    let found =
        |heard: &Heard| alerts(heard).into_iter().find(|(at, notice)| *at == topic && notice.event() == event).map(|(_, notice)| notice);
    radio.until(&format!("{event:?} in {topic}"), found).await
}
