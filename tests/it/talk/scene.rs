//! A company that talks: two groups of radios, the dispatcher whose they are, and another one who is a member of the first.

use std::collections::BTreeMap;

use roger::model::{GroupId, TopicId, UserId};
use roger::proto::v1;
use roger::store::Store;
use serde_json::{Value, json};

use crate::messages::{Heard, Radio, hello};
use crate::support::company::{self, Desk, Somebody};
use crate::support::fleet::{Fleet, FleetOptions, SqlServer};

pub const LIST: &str = "janusImUrlList";
const RADIOS: [&str; 4] = ["490154203237518", "356938035643809", "352099001761481", "260531793113837"];

pub struct Scene {
    pub fleet: Fleet,
    /// Who owns both groups.
    pub first: Somebody,
    /// A dispatcher who is a member of `air`.
    pub second: Somebody,
    pub radios: Vec<Somebody>,
    /// A device of another company.
    pub stranger: Somebody,
    /// The first three radios.
    pub air: u64,
    /// The last three radios.
    pub ground: u64,
}

impl Scene {
    pub async fn with(options: FleetOptions) -> Self {
        // A machine that stands still for a moment takes the floor from nobody; a test of that says so itself.
        let patient = [("floor.prepare_ms", "10000"), ("floor.vanish_ms", "10000"), ("janus.request_timeout_ms", "5000")];
        let patient = patient.map(|(key, value)| (key, value.to_owned()));
        let overrides = patient.into_iter().chain(options.overrides).collect();
        let fleet = Fleet::start(FleetOptions { janus: 1, overrides, ..options });
        let url = match &fleet.mariadb {
            Some(server) => server.fleet_url(),
            None => format!("sqlite:{}", fleet.folder().join("roger.db").display()),
        };
        company::root(&Store::open(&url).unwrap()).await;
        let mut desk = Desk::at(&fleet.directory()).await;
        let root = desk.root().await;
        let company = desk.account(&root, v1::UserKind::Company, "apollo").await;
        let first = desk.account(&company, v1::UserKind::Dispatcher, "first").await;
        let second = desk.account(&company, v1::UserKind::Dispatcher, "second").await;
        let radios = desk.radios(&company, &first, &RADIOS[..3]).await;
        let other = desk.account(&root, v1::UserKind::Company, "soyuz").await;
        let their_desk = desk.account(&other, v1::UserKind::Dispatcher, "stranger").await;
        let stranger = desk.radios(&other, &their_desk, &RADIOS[3..]).await.remove(0);
        let air = desk.group(&first, "air", &[&radios[0], &radios[1], &radios[2]]).await;
        let ground = desk.group(&first, "ground", &[&radios[1], &radios[2]]).await;
        fleet.roger(&["member", "add", "air", "second", "--tenant", "apollo"]).succeeded();
        Self { fleet, first, second, radios, stranger, air, ground }
    }

    pub fn on_mariadb() -> FleetOptions {
        FleetOptions { sql: SqlServer::MariaDb, ..FleetOptions::default() }
    }

    /// A session of somebody.
    pub async fn on(&self, edge: usize, who: &Somebody) -> Radio {
        let mut radio = Radio::open(&self.fleet.edge(edge), hello(&who.login, 7)).await.unwrap();
        radio.follows(TopicId::inbox(UserId(who.id))).await;
        radio
    }

    /// Goes into the room of a group, or out of any.
    pub async fn enter(&self, edge: usize, radio: &mut Radio, group: u64) {
        if group != 0 {
            // Whoever was just made a member may have to wait for the word of it.
            radio.follows(TopicId::group(GroupId(group))).await;
        }
        radio.enter(&self.fleet.edge(edge), group).await.unwrap();
        if group != 0 {
            radio.follows(TopicId::room(GroupId(group))).await;
        }
    }

    /// What Janus does when a burst is recorded.
    pub fn push(&self, items: &[String]) {
        let args: Vec<&str> = ["RPUSH", LIST].into_iter().chain(items.iter().map(String::as_str)).collect();
        self.fleet.redis.cli(&args);
    }

    /// The dead letters: each item with its reason.
    pub fn letters(&self) -> Vec<(String, String)> {
        let letters = self.fleet.roger(&["dead", "list", "--limit", "100000", "--raw", "--json"]).succeeded().json();
        let text = |letter: &Value, field: &str| letter[field].as_str().unwrap_or_default().to_owned();
        let item = |letter: &Value| String::from_utf8(hex::decode(text(letter, "payload")).unwrap()).unwrap();
        letters.as_array().unwrap().iter().map(|letter| (item(letter), text(letter, "reason"))).collect()
    }
}

/// A recorded burst in the shape of the plug-in; its number makes it this one.
pub fn burst(speaker: u64, group: u64, number: usize) -> Value {
    let text = |number: u64| Value::from(number.to_string());
    let seconds = text(1_700_000_000 + number as u64);
    let file_path = format!("group1/M00/{number}.mp3");
    json!({ "uid": text(speaker), "m_type": "ptt", "md5": "md5", "grp_id": text(group), "file_path": file_path, "timestamp": seconds, "duration": "1500" })
}

/// The same in an envelope.
pub fn enveloped(burst: &Value) -> Value {
    json!({ "msg_type": 1, "ip": "10.0.0.5", "ptt_msg": burst })
}

/// The talk that was heard in a topic, in order.
pub fn talk(heard: &Heard, topic: TopicId) -> Vec<v1::TalkNotice> {
    let of = |entry: &v1::Entry| match &entry.notice {
        Some(v1::entry::Notice::Talk(notice)) if entry.topic?.to_model()? == topic => Some(notice.clone()),
        _ => None,
    };
    heard.entries.iter().filter_map(of).collect()
}

/// The files of that talk.
pub fn files(heard: &Heard, topic: TopicId) -> Vec<String> {
    talk(heard, topic).into_iter().map(|notice| notice.file).collect()
}

/// Whatever was heard of talk, by file: how often, and where.
pub fn all(heard: &Heard) -> BTreeMap<String, Vec<TopicId>> {
    let mut all: BTreeMap<String, Vec<TopicId>> = BTreeMap::new();
    for entry in &heard.entries {
        if let Some(v1::entry::Notice::Talk(notice)) = &entry.notice {
            all.entry(notice.file.clone()).or_default().push(entry.topic.unwrap().to_model().unwrap());
        }
    }
    all
}
