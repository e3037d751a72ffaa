//! Who talks in a test of faults: accounts made straight in the store, sessions of the client library, and what each of them heard.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roger::broker::{self, Redis};
use roger::client::{Body, Counts, Entry, Event, Gap, Lost, Memory, Options, Refusal, Session, Tokens as _};
use roger::clock::Clock;
use roger::config::{Config, Program, Sources};
use roger::model::{Durability, Place, PresenceState, Span, TenantId, TopicId, UserId, UserKind};
use roger::store::{NewAccount, Options as StoreOptions, Store};
use roger::token::{Claims, Signer};
use tokio::task::JoinHandle;

use crate::support::fleet::Fleet;
use crate::support::minted::Minted;
use crate::support::{PATIENCE, eventually};

/// How far apart the messages of a talker are: enough of them to be in the middle of something at any time, and few enough for a small
/// machine.
const TALK_EVERY: Duration = Duration::from_millis(4);
/// How many messages of a member may wait for a receipt.
const WINDOW: usize = 64;

/// Everybody.
pub struct Cast {
    pub store: Store,
    pub tenant: TenantId,
    clock: Clock,
    signer: Arc<Signer>,
    edges: Vec<String>,
    token_lifetime: Duration,
    members: BTreeMap<&'static str, Member>,
}

struct Member {
    user: UserId,
    tokens: Arc<Minted>,
    memory: Memory,
    session: Option<Session>,
    heard: Arc<Mutex<Heard>>,
    words: Words,
    /// Of the sessions before this one.
    before: Counts,
}

/// How many words a member said in each topic. Client sequences are given by the session, and a refused message gets another one; words
/// are counted here, and told by the text.
type Words = Arc<Mutex<BTreeMap<TopicId, u64>>>;

/// What a member heard, over all its sessions.
#[derive(Default)]
pub struct Heard {
    pub entries: Vec<Entry>,
    pub gaps: Vec<Gap>,
    /// The highest client_seq with a receipt, by topic.
    pub receipts: BTreeMap<TopicId, u64>,
    pub durabilities: BTreeSet<Durability>,
    /// Behind which and up to and including which client_seq each receipt speaks of, and how safe it says that is.
    pub safe: Vec<(TopicId, u64, u64, Durability)>,
    pub follows: BTreeSet<TopicId>,
    pub refusals: Vec<Refusal>,
    pub lost: Vec<Lost>,
    pub connections: u64,
    /// Who was told to be gone.
    pub gone: Vec<UserId>,
    pub disconnects: Vec<String>,
    pub closed: Option<String>,
}

impl Heard {
    fn take(&mut self, event: Event) {
        match event {
            Event::Entry(entry) => self.entries.push(entry),
            Event::Gap(gap) => self.gaps.push(gap),
            Event::Receipt(receipt) => {
                self.durabilities.insert(receipt.durability);
                let high = self.receipts.entry(receipt.topic).or_default();
                self.safe.push((receipt.topic, *high, receipt.client_seq, receipt.durability));
                *high = receipt.client_seq.max(*high);
            }
            Event::Refusal(refusal) => self.refusals.push(refusal),
            Event::Lost(lost) => self.lost.push(lost),
            Event::Follow { topic, following: true, .. } => drop(self.follows.insert(topic)),
            Event::Follow { topic, .. } => drop(self.follows.remove(&topic)),
            Event::Connected { .. } => self.connections += 1,
            Event::Disconnected { reason, .. } => {
                self.follows.clear();
                self.disconnects.push(format!("{reason:?}"));
            }
            Event::Closed { reason: Some(reason), text } => self.closed = Some(format!("{reason}: {text}")),
            Event::Presence(presence) if presence.state == PresenceState::Offline => self.gone.push(presence.user),
            Event::Closed { .. } | Event::Disposition { .. } | Event::Presence(_) | Event::Floor(_) => {}
        }
    }

    /// The entries of a topic.
    pub fn of(&self, topic: TopicId) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.topic == topic).cloned().collect()
    }
}

/// Somebody who goes on talking in a topic.
pub struct Talker {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Talker {
    /// Ends it once everything has its receipt; how many words the member said in the topic in all.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// The store of a configuration, which is waited for while it stands still.
fn open(config: &Config) -> Store {
    let options = StoreOptions { acquire_timeout: PATIENCE, deadline: PATIENCE, ..StoreOptions::from(&config.sql) };
    Store::open_with(&options).unwrap()
}

impl Cast {
    /// For the programs of a fleet.
    pub async fn of(fleet: &Fleet) -> Self {
        let config = Config::load(Program::Roger, &Sources { file: Some(fleet.config()), ..Sources::default() }).unwrap();
        Self::new(&config, Clock::system(), fleet.edges()).await
    }

    /// Opens the store anew, after its file was replaced.
    pub fn reopen(&mut self, fleet: &Fleet) {
        let config = Config::load(Program::Roger, &Sources { file: Some(fleet.config()), ..Sources::default() }).unwrap();
        self.store = open(&config);
    }

    /// For whatever runs with `config` and has these edges.
    pub async fn new(config: &Config, clock: Clock, edges: Vec<String>) -> Self {
        let store = open(config);
        store.follow_epoch(Redis::new(broker::Settings::from(&config.redis)).unwrap().sql_epochs());
        store.migrate().await.unwrap();
        let tenant = store.ensure_tenant("faults").await.unwrap().id();
        let signer = Arc::new(Signer::load(&config.auth.secret_key_file).unwrap());
        let token_lifetime = config.auth.token_lifetime;
        Self { store, tenant, clock, signer, edges, token_lifetime, members: BTreeMap::new() }
    }

    /// Makes accounts, still off the air.
    pub async fn join<const N: usize>(&mut self, names: [&'static str; N]) {
        for name in names {
            let (kind, tenant) = (UserKind::Device, self.tenant);
            let account =
                NewAccount { name: name.to_owned(), nickname: name.to_owned(), kind, tenant, password_hash: String::new(), parent: None };
            let user = self.store.ensure_account(account, self.clock.now_ms()).await.unwrap().id();
            let memory = Memory::new();
            let claims = Claims {
                user,
                tenant,
                kind,
                installation: memory.installation,
                name: name.to_owned(),
                expires_ms: 0,
                issued_ms: 0,
                token_id: 0,
            };
            let tokens = Minted::new(self.signer.clone(), self.clock.clone(), self.token_lifetime, claims);
            let (tokens, heard) = (Arc::new(tokens), Arc::default());
            let (words, before) = (Words::default(), Counts::default());
            self.members.insert(name, Member { user, tokens, memory, session: None, heard, words, before });
        }
    }

    /// A group with these members, and nobody else.
    pub async fn group<const N: usize>(&self, name: &str, members: [&str; N]) -> TopicId {
        let topic = self.change(name, members).await;
        self.relayed().await;
        topic
    }

    /// As [`Cast::group`], in SQL alone: the directory is still to tell the shards.
    pub async fn change<const N: usize>(&self, name: &str, members: [&str; N]) -> TopicId {
        let group = self.store.ensure_group(self.tenant, name).await.unwrap().id();
        let users = members.map(|name| self.user(name));
        self.store.set_members(group, &users, self.clock.now_ms()).await.unwrap();
        TopicId::group(group)
    }

    /// Waits until the directory has told the shards of everything.
    pub async fn relayed(&self) {
        eventually("the relay", async || self.store.outbox(0, 1).await.ok()?.is_empty().then_some(())).await;
    }

    fn member(&self, name: &str) -> &Member {
        self.members.get(name).unwrap_or_else(|| panic!("no {name} in the cast"))
    }

    pub fn user(&self, name: &str) -> UserId {
        self.member(name).user
    }

    /// A token of a member, and the installation it is for.
    pub async fn token(&self, name: &str) -> (String, u64) {
        (self.member(name).tokens.token(None).await.unwrap(), self.member(name).memory.installation.0)
    }

    /// How often the fleet called a token of the member expired.
    pub fn tokens_expired(&self, name: &str) -> u64 {
        self.member(name).tokens.expired()
    }

    pub fn session(&self, name: &str) -> Session {
        self.member(name).session.clone().unwrap_or_else(|| panic!("{name} is off the air"))
    }

    pub fn heard(&self, name: &str) -> MutexGuard<'_, Heard> {
        // A check that failed elsewhere is told there.
        self.member(name).heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member comes on the air, first at the edge of that number, with what it remembers.
    pub fn on(&mut self, name: &str, edge: usize) {
        let edges: Vec<String> = self.edges[edge..].iter().chain(&self.edges[..edge]).cloned().collect();
        self.on_only(name, edges);
    }

    /// As [`Cast::on`], with these edges alone.
    pub fn on_only(&mut self, name: &str, edges: Vec<String>) {
        let member = self.members.get_mut(name).unwrap();
        let options = Options { window: WINDOW, ..Options::new(edges, member.tokens.clone(), member.memory.clone()) };
        let heard = member.heard.clone();
        let take = move |events: &mut Vec<Event>| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            events.drain(..).for_each(|event| heard.take(event));
        };
        member.session = Some(Session::open_with(options, take).unwrap());
    }

    /// A member goes off the air and remembers.
    pub async fn off(&mut self, name: &str) {
        let member = self.members.get_mut(name).unwrap();
        let session = member.session.take().unwrap();
        let counts = session.counts();
        member.before.repeats += counts.repeats;
        member.before.holes += counts.holes;
        member.memory = session.close().await;
        member.heard.lock().unwrap().follows.clear();
    }

    /// Waits until a member follows a topic.
    pub async fn follows(&self, name: &str, topic: TopicId) {
        eventually(&format!("{name} follows {topic}"), async || self.heard(name).follows.contains(&topic).then_some(())).await;
    }

    /// A member says so many words, and waits for all receipts.
    pub async fn say(&self, name: &'static str, topic: TopicId, count: u64) {
        let (session, words) = (self.session(name), self.member(name).words.clone());
        for _ in 0..count {
            speak(&session, &words, name, topic).await;
        }
        receipted(name, &session).await;
    }

    /// A member goes on talking until it is told to stop.
    pub fn talk(&self, name: &'static str, topic: TopicId) -> Talker {
        let (session, words) = (self.session(name), self.member(name).words.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let stop = stop.clone();
            async move {
                let (mut last, mut pace) = (0, tokio::time::interval(TALK_EVERY));
                pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                while !stop.load(Ordering::Relaxed) {
                    pace.tick().await;
                    last = speak(&session, &words, name, topic).await;
                }
                receipted(name, &session).await;
                last
            }
        });
        Talker { stop, task }
    }

    /// The highest number of a member's messages in a topic that has its receipt.
    pub fn receipted(&self, name: &str, topic: TopicId) -> u64 {
        self.heard(name).receipts.get(&topic).copied().unwrap_or(0)
    }

    /// The client_seqs of a member's messages in a topic that are on a replica, as their receipts say, but for those that were refused.
    pub fn replicated(&self, name: &str, topic: TopicId) -> BTreeSet<u64> {
        let heard = self.heard(name);
        let safe = heard.safe.iter().filter(|(of, .., durability)| *of == topic && *durability == Durability::Replica);
        let refused: BTreeSet<u64> =
            heard.refusals.iter().filter_map(|refusal| refusal.message.filter(|(of, _)| *of == topic)).map(|(_, seq)| seq).collect();
        safe.flat_map(|(_, from, to, _)| from + 1..=*to).filter(|seq| !refused.contains(seq)).collect()
    }

    /// Panics when anybody was told that one of these is gone.
    #[track_caller]
    pub fn nobody_was_told_gone(&self, names: &[&str]) {
        let users: Vec<UserId> = names.iter().map(|name| self.user(name)).collect();
        for name in self.members.keys() {
            let gone: Vec<_> = self.heard(name).gone.iter().filter(|user| users.contains(user)).map(|user| self.name_of(*user)).collect();
            assert!(gone.is_empty(), "{name} was told that these are gone: {gone:?}");
        }
    }

    /// Waits until so many more messages of a member have their receipts.
    pub async fn more_receipts(&self, name: &str, topic: TopicId, more: u64) {
        let wanted = self.receipted(name, topic) + more;
        eventually(&format!("receipt {wanted} of {name}"), async || (self.receipted(name, topic) >= wanted).then_some(())).await;
    }

    /// How many words a member said in a topic.
    pub fn words(&self, name: &str, topic: TopicId) -> u64 {
        self.member(name).words.lock().unwrap().get(&topic).copied().unwrap_or(0)
    }

    /// Waits until a member has heard this word of `sender`.
    pub async fn hears(&self, name: &str, topic: TopicId, sender: &str, word: u64) {
        let (from, text) = (self.user(sender), said(sender, word));
        let is_it = |entry: &Entry| entry.topic == topic && entry.sender == from && entry.body == Body::Text(text.clone().into());
        let found = |heard: &Heard| heard.entries.iter().rev().any(is_it);
        let what = format!("{name} hears {word} of {sender} in {topic}");
        eventually(&what, async || found(&self.heard(name)).then_some(())).await;
    }

    /// The whole of a topic in SQL.
    pub async fn archived(&self, topic: TopicId) -> Vec<roger::topic::frame::Entry> {
        self.store.entries(topic, Span::new(Place::START, Place::END), usize::MAX, usize::MAX).await.unwrap()
    }

    /// Whom a sender is, by name.
    pub fn name_of(&self, user: UserId) -> &'static str {
        self.members.iter().find(|(_, member)| member.user == user).map_or("the fleet", |(name, _)| name)
    }

    /// Panics unless what each member heard in a topic came once and in order, with its right text, and nothing was missing unsaid.
    #[track_caller]
    pub fn check(&self, topic: TopicId) {
        self.check_only(topic, |_| true);
    }

    /// As [`Cast::check`], but looks at no words of places that do not `count`.
    #[track_caller]
    pub fn check_only(&self, topic: TopicId, count: impl Fn(Place) -> bool) {
        for (name, member) in &self.members {
            let now = member.session.as_ref().map(Session::counts).unwrap_or_default();
            let (repeats, holes) = (member.before.repeats + now.repeats, member.before.holes + now.holes);
            assert_eq!((repeats, holes), (0, 0), "repeats and holes of {name}");
            let heard = self.heard(name);
            assert_eq!(heard.closed, None, "{name}");
            let mut at = Place::START;
            let mut words: BTreeMap<UserId, u64> = BTreeMap::new();
            for entry in heard.entries.iter().filter(|entry| entry.topic == topic) {
                assert!(entry.place > at, "{name} heard {} behind {at}", entry.place);
                at = entry.place;
                let Body::Text(text) = &entry.body else { continue };
                // One's own words come without their text when the session no longer has it.
                if !count(at) || entry.sender == member.user && text.is_empty() {
                    continue;
                }
                let (last, word) = (words.entry(entry.sender).or_default(), word(text));
                let sender = self.name_of(entry.sender);
                assert!(word > *last, "{name} heard word {word} of {sender} behind {last}, at {at}");
                assert_eq!(*text, said(sender, word), "heard by {name} at {at}");
                *last = word;
            }
        }
    }
}

/// What a member says as its word of that number.
pub fn said(name: &str, word: u64) -> String {
    format!("{name} says {word}")
}

/// The number of the word that a text is.
pub fn word(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).unwrap();
    text.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("not a word: {text:?}"))
}

/// Says the next word; its number.
async fn speak(session: &Session, words: &Words, name: &'static str, topic: TopicId) -> u64 {
    let word = {
        let mut words = words.lock().unwrap();
        let word = words.entry(topic).or_default();
        *word += 1;
        *word
    };
    within(&format!("room for word {word} of {name}"), session.send(topic, said(name, word))).await.unwrap();
    word
}

async fn receipted(name: &str, session: &Session) {
    within(&format!("the receipts of {name}"), session.flush()).await.unwrap();
}

/// What a future gives; panics when that takes longer than anything may.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    // Twice, as a session may sit out a whole patience of its own.
    tokio::time::timeout(PATIENCE * 2, future).await.unwrap_or_else(|_| panic!("waited {:?} in vain: {what}", PATIENCE * 2))
}
