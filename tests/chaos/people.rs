//! The fleet with its servers, and the radios.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roger::broker::{Redis, Settings};
use roger::client::Memory;
use roger::clock::Clock;
use roger::config::{Config, Program, Sources};
use roger::model::{Place, Span, TenantId, TopicId, UserId, UserKind};
use roger::store::{NewAccount, Options as StoreOptions, Store};
use roger::token::{Claims, Signer};
use roger::topic::frame::Entry;
use roger::worker::chain;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::audit::Audit;
use crate::check::Archive;
use crate::faults::Layout;
use crate::ground::Ground;
use crate::proxy::Proxy;
use crate::radio::{Character, Log, Phase, Radio};
use crate::support::fleet::{Answer, Fleet, FleetOptions, SqlServer};
use crate::support::minted::Minted;
use crate::unruly::Unruly;

const GROUP: usize = 10;
const EDGES: usize = 3;
/// The numbers of the unruly radios.
const UNRULY: [u32; 2] = [5, 15];
/// How long everybody may take to hear the rest, once nothing fails any more.
const REST: Duration = Duration::from_secs(180);
/// How often a word of the two who measure is said.
const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// Everything of a run.
pub struct People {
    pub ground: Ground,
    store: Store,
    members: Vec<(UserId, Vec<TopicId>, Arc<Mutex<Log>>)>,
    /// The two who measure: who says, and who hears.
    pub measuring: [Arc<Mutex<Log>>; 2],
    phase: watch::Sender<Phase>,
    lives: JoinSet<()>,
}

impl People {
    /// Starts everything, and waits until everybody is on the air.
    pub async fn gather(radios: u32, redis: Layout, seed: u64) -> Self {
        let overrides = vec![
            ("durability.messages", "\"replica\"".to_owned()),
            ("sql.statement_timeout_ms", "3000".to_owned()),
            // So that sessions over a silent network end within the run.
            ("edge.heartbeat_interval_ms", "2000".to_owned()),
        ];
        let fleet = Fleet::start(FleetOptions {
            edges: EDGES,
            delivery: 2,
            offline: 2,
            replicas: usize::from(redis == Layout::Sentinels),
            cluster: (redis == Layout::Cluster).then_some((3, 1)),
            sql: SqlServer::Pair,
            clocks: true,
            supervised: true,
            overrides,
            ..FleetOptions::default()
        });
        let config = Config::load(Program::Roger, &Sources { file: Some(fleet.config()), ..Sources::default() }).unwrap();
        let store = Store::open_with(&StoreOptions::from(&config.sql)).unwrap();
        store.follow_epoch(Redis::new(Settings::from(&config.redis)).unwrap().sql_epochs());
        store.migrate().await.unwrap();
        let mut proxies = Vec::new();
        for edge in fleet.edges() {
            proxies.push(Proxy::to(&edge).await);
        }
        let signer = Arc::new(Signer::load(&config.auth.secret_key_file).unwrap());
        let mut people = Self {
            ground: Ground { fleet, proxies, identities: Vec::new() },
            store,
            members: Vec::new(),
            measuring: Default::default(),
            phase: watch::channel(Phase::Listen).0,
            lives: JoinSet::new(),
        };
        let tenant = people.store.ensure_tenant("chaos").await.unwrap().id();
        let mut radios_made = Vec::new();
        for number in 0..radios + 2 {
            radios_made.push(people.radio(number, tenant, &signer, config.auth.token_lifetime, seed).await);
        }
        let measuring = radios_made.split_off(radios as usize);
        people.group("measure", tenant, measuring, true).await;
        while !radios_made.is_empty() {
            let rest = radios_made.split_off(GROUP.min(radios_made.len()));
            let name = format!("group {}", people.members.len());
            people.group(&name, tenant, std::mem::replace(&mut radios_made, rest), false).await;
        }
        while !people.store.outbox(0, 1).await.unwrap().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
        people.everybody_follows().await;
        people.turn(Phase::Talk);
        people.warm_up().await;
        people
    }

    async fn radio(&self, number: u32, tenant: TenantId, signer: &Arc<Signer>, lifetime: Duration, seed: u64) -> Radio {
        let (name, kind, memory) = (format!("radio-{number}"), UserKind::Device, Memory::new());
        let account = NewAccount { name: name.clone(), nickname: name.clone(), kind, tenant, password_hash: String::new(), parent: None };
        let user = self.store.ensure_account(account, Clock::system().now_ms()).await.unwrap().id();
        let installation = memory.installation;
        let claims = Claims { user, tenant, kind, installation, name, expires_ms: 0, issued_ms: 0, token_id: 0 };
        let character = match number % 10 {
            _ if UNRULY.contains(&number) => Character::Unruly,
            0..=2 => Character::Flapping,
            3 => Character::Sleepy,
            _ => Character::Calm,
        };
        Radio {
            user,
            topics: Vec::new(),
            character,
            log: Arc::default(),
            edges: self.ground.proxies.iter().map(Proxy::address).collect(),
            tokens: Arc::new(Minted::new(signer.clone(), Clock::system(), lifetime, claims)),
            memory,
            pace: Duration::from_secs(4),
            measures: false,
            seed: seed ^ u64::from(number) << 32,
        }
    }

    /// Makes a group of radios, and brings them on the air.
    async fn group(&mut self, name: &str, tenant: TenantId, radios: Vec<Radio>, measures: bool) {
        let group = self.store.ensure_group(tenant, name).await.unwrap().id();
        let users: Vec<UserId> = radios.iter().map(|radio| radio.user).collect();
        self.store.set_members(group, &users, Clock::system().now_ms()).await.unwrap();
        let topic = TopicId::group(group);
        for (number, mut radio) in radios.into_iter().enumerate() {
            radio.topics = vec![topic];
            if measures {
                radio.character = Character::Calm;
                radio.measures = true;
                // One says, one hears.
                radio.pace = if number == 0 { MEASURE_EVERY } else { Duration::from_secs(1 << 20) };
                self.measuring[number] = radio.log.clone();
            }
            if !measures {
                self.ground.identities.push(radio.options());
            }
            self.members.push((radio.user, radio.topics.clone(), radio.log.clone()));
            let phase = self.phase.subscribe();
            match radio.character {
                Character::Unruly => self.lives.spawn(Unruly::of(radio).live(phase)),
                _ => self.lives.spawn(radio.live(phase)),
            };
        }
    }

    /// Waits until everybody was told that they are members where they talk: what a session says before its edge knows is refused for good.
    async fn everybody_follows(&self) {
        let begun = Instant::now();
        while !self.members.iter().all(|(_, topics, log)| topics.iter().all(|topic| log.lock().unwrap().follows(*topic))) {
            assert!(begun.elapsed() < REST, "somebody is told of no membership in a fleet that nothing happened to");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until words of the one who measures are heard.
    async fn warm_up(&self) {
        let begun = Instant::now();
        while !self.heard_since(begun) {
            assert!(begun.elapsed() < REST, "nothing is heard in a fleet that nothing happened to");
            sleep(Duration::from_millis(50)).await;
        }
        // For most of the others to be on the air as well; whoever comes later hears all of it the same.
        sleep(Duration::from_secs(3)).await;
    }

    /// Whether a word was heard that was said after that moment.
    pub fn heard_since(&self, moment: Instant) -> bool {
        let first = self.measuring[0].lock().unwrap().times.iter().find(|(_, at)| *at > moment).map(|(word, _)| *word);
        first.is_some_and(|first| self.measuring[1].lock().unwrap().times.iter().rev().any(|(word, _)| *word >= first))
    }

    /// How long after it was said each word was heard that was said between the two.
    pub fn delays(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let said: BTreeMap<u64, Instant> = self.measuring[0].lock().unwrap().times.iter().copied().collect();
        let heard = self.measuring[1].lock().unwrap();
        let times = heard.times.iter().filter_map(|(word, at)| said.get(word).map(|said| (*said, *at)));
        times.filter(|(said, _)| (from..=to).contains(said)).map(|(said, at)| at.saturating_duration_since(said)).collect()
    }

    pub fn turn(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Has nobody say anything more, and waits until all that was said has its receipt and is in SQL; what it waited for when its patience
    /// was over, which is printed as well, or nothing.
    pub async fn fall_silent(&self) -> Vec<String> {
        self.turn(Phase::Listen);
        let begun = Instant::now();
        // Twice: what was refused at the last moment is said again.
        let mut looks = 0;
        while looks < 2 {
            sleep(Duration::from_millis(500)).await;
            let unsettled = self.unsettled().await;
            looks = if unsettled.is_empty() { looks + 1 } else { 0 };
            if looks == 0 && begun.elapsed() > REST {
                eprint!(" [no silence: {}]", unsettled.join("; "));
                return unsettled;
            }
        }
        Vec::new()
    }

    /// What has no receipt yet, and what SQL lacks: nothing when all that was said is at its place.
    async fn unsettled(&self) -> Vec<String> {
        let mut unsettled = Vec::new();
        for (user, topics, log) in &self.members {
            let unreceipted = log.lock().unwrap().unreceipted;
            if unreceipted > 0 {
                unsettled.push(format!("{unreceipted} messages of {user} to {} have no receipt", topics[0]));
            }
        }
        let mut command = self.ground.fleet.command(&["--json", "queues"]);
        let answer = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
        match told["shards"].as_array() {
            Some(shards) if !shards.is_empty() => {
                let open = |shard: &&serde_json::Value| ["input", "urgent", "archive_lag"].iter().any(|name| shard[*name] != 0);
                unsettled.extend(shards.iter().filter(open).map(ToString::to_string));
            }
            _ => unsettled.push(format!("roger queues says {}", String::from_utf8_lossy(&answer.stderr).trim())),
        }
        unsettled
    }

    /// Waits until what SQL has stands still and everybody has heard it, or the patience is over; whether they have.
    pub async fn everybody_heard_everything(&self) -> bool {
        let heard = async {
            let mut before = 0;
            loop {
                sleep(Duration::from_secs(1)).await;
                let Ok(archive) = self.archive().await else { continue };
                let stored: usize = archive.values().map(Vec::len).sum();
                let behind = self.members.iter().any(|(_, topics, log)| {
                    let log = log.lock().unwrap();
                    let last =
                        |topic: &TopicId| log.heard.iter().rev().find(|text| text.topic == *topic).map_or(Place::START, |text| text.place);
                    topics.iter().any(|topic| archive[topic].last().is_some_and(|stored| stored.place() > last(topic)))
                });
                if !behind && stored == before {
                    return;
                }
                before = stored;
            }
        };
        timeout(REST, heard).await.is_ok()
    }

    /// All that SQL has of the groups; why it does not say so, when the patience is over.
    pub async fn archive(&self) -> Result<Archive, String> {
        let mut archive = Archive::new();
        for topic in self.members.iter().flat_map(|(_, topics, _)| topics) {
            if !archive.contains_key(topic) {
                archive.insert(*topic, self.entries(*topic).await?);
            }
        }
        Ok(archive)
    }

    async fn entries(&self, topic: TopicId) -> Result<Vec<Entry>, String> {
        let begun = Instant::now();
        loop {
            match self.store.entries(topic, Span::new(Place::START, Place::END), usize::MAX, usize::MAX).await {
                Ok(entries) => return Ok(entries),
                Err(error) if begun.elapsed() > REST => return Err(chain(&error)),
                Err(_) => {}
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// What `roger audit` says.
    pub fn audit(&self) -> Audit {
        let Answer { code, stdout, stderr } = self.ground.fleet.roger(&["audit"]);
        Audit { code, stdout, stderr }
    }

    /// Ends all lives; what became of each.
    pub async fn over(mut self) -> Vec<(UserId, Vec<TopicId>, Log)> {
        while self.lives.join_next().await.is_some() {}
        self.members.into_iter().map(|(user, topics, log)| (user, topics, std::mem::take(&mut *log.lock().unwrap()))).collect()
    }
}
