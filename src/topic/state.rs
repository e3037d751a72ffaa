//! The state of a shard: the fold of its outcomes.
//!
//! Everything here follows from the outcomes in the shard's log, so a new owner rebuilds it from a checkpoint and the log behind it. What
//! is not durable, who follows a topic right now, is in [`super::follow`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::frame::{
    Entry, Feed, Forward, HeadRow, Lane, LogFrame, Mark, Outcome, ProducerRow, Profile, Raised, RaisesRow, Refusal, Register, Room,
    RowKind, is_lasting_producer,
};
use super::member::Member;
use super::recent::{Recent, fingerprint};
use super::talk::Held;
use crate::floor::Limits;
use crate::model::{GroupId, InstallationId, Place, TenantId, TopicId, UserId};

/// How many of an installation's last messages in a topic are remembered with their content, to tell a repeat from a reused sequence.
const RECENT_MAX: usize = 64;
/// How many messages of an inbox are remembered until somebody acknowledges them, to tell their senders.
const UNDELIVERED_MAX: usize = 1_024;
/// How many alerts of a user are remembered with who was told, so that one that is told again goes to the same ones.
const RAISED_MAX: usize = 8;

/// A shard: the topics that hash to one number, in one epoch.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    pub(super) epoch: u64,
    pub(super) commit: u64,
    pub(super) topics: HashMap<TopicId, Topic>,
    pub(super) feeds: HashMap<(u64, u32), Feed>,
    /// The bounds of floors.
    pub(super) limits: Limits,
    /// Rooms whose floor somebody has or waits for.
    pub(super) busy_floors: BTreeSet<TopicId>,
    dirty: HashSet<RowKey>,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topic {
    /// The place of the last entry.
    pub(super) head: Place,
    pub(super) time_ms: u64,
    pub(super) tenant: TenantId,
    pub(super) profile_version: u64,
    /// Of an inbox: the account that manages the user; 0 for none.
    pub(super) manager: UserId,
    /// Of an inbox: what others see of the user.
    pub(super) nickname: String,
    pub(super) members: HashMap<UserId, Member>,
    pub(super) groups: BTreeMap<GroupId, Register>,
    pub(super) rooms: BTreeMap<GroupId, Room>,
    pub(super) producers: HashMap<(UserId, InstallationId), Producer>,
    pub(super) marks: HashMap<UserId, Vec<(InstallationId, Place)>>,
    /// Of an inbox: messages nobody acknowledged yet. A hint: a new owner knows only what its log still shows.
    pub(super) undelivered: VecDeque<Undelivered>,
    /// Of an inbox: the last alerts of its user, and who is told of them.
    pub(super) raised: VecDeque<Raised>,
    /// Of a room: its media server is away. A hint: a new owner is told anew.
    pub(super) media_away: bool,
    /// Of a room, once somebody asked for it.
    pub(super) floor: Option<Box<Held>>,
}

impl Topic {
    /// The head and its time only rise. A later epoch may have given a lower seq its place anew; the floor is the highest seq of any.
    fn raise_head(&mut self, head: Place, time_ms: u64) {
        self.head = Place::new(self.head.epoch.max(head.epoch), self.head.seq.max(head.seq));
        self.time_ms = self.time_ms.max(time_ms);
    }

    /// The first decision on an alert stands.
    fn remember(&mut self, raised: Raised) {
        if self.raised.iter().any(|known| known.alert == raised.alert) {
            return;
        }
        if self.raised.len() == RAISED_MAX {
            self.raised.pop_front();
        }
        self.raised.push_back(raised);
    }

    /// Takes a profile in; one that is not newer changes nothing.
    fn learn(&mut self, profile: &Profile) {
        let Profile { topic: _, tenant, version, manager, nickname } = profile;
        if *version > self.profile_version {
            (self.tenant, self.profile_version, self.manager) = (TenantId(*tenant), *version, UserId(*manager));
            self.nickname.clone_from(nickname);
        }
    }
}

/// What one installation sent to a topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Producer {
    /// The highest client_seq accepted.
    pub(super) high: u64,
    /// Where it stands.
    pub(super) place: Place,
    /// The highest client_seq refused. A refusal is final for its number: the sender was told, so a copy on a slower way must not be
    /// accepted after all.
    pub(super) refused: u64,
    /// The last client sequences accepted with the fingerprints of their contents, without a hole; current if the last one is `high`.
    pub(super) recent: Recent<RECENT_MAX>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Undelivered {
    pub(super) place: Place,
    pub(super) sender: UserId,
    pub(super) installation: InstallationId,
    pub(super) client_seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum RowKey {
    Head(TopicId),
    Member(TopicId, UserId),
    Register(TopicId, GroupId),
    Room(TopicId, GroupId),
    Producer(TopicId, UserId, InstallationId),
    Mark(TopicId, UserId, InstallationId),
    Raises(TopicId),
    Floor(TopicId),
    Feed(u64, u32),
}

impl Shard {
    /// A shard without topics, in `epoch`, before its first commit.
    pub fn new(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// The epoch in which it gives places.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of its last commit in this epoch.
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// How many topics it holds.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    /// Starts a new epoch: the heads stay as the floors from which sequences go on.
    pub fn begin_epoch(&mut self, epoch: u64) {
        debug_assert!(epoch > self.epoch, "epochs only rise");
        self.epoch = epoch;
        self.commit = 0;
    }

    /// The place behind which the next entry of `topic` will stand, in terms of the present epoch.
    pub fn head(&self, topic: TopicId) -> Place {
        Place::new(self.epoch, self.topics.get(&topic).map_or(0, |topic| topic.head.seq))
    }

    /// Takes in a commit from the log; one that is already in changes nothing.
    pub fn fold(&mut self, frame: &LogFrame) {
        if (frame.epoch, frame.commit) <= (self.epoch, self.commit) {
            return;
        }
        for feed in &frame.feeds {
            self.note_feed(*feed);
        }
        for outcome in frame.outcomes.iter().filter_map(|item| item.outcome.as_ref()) {
            self.apply(outcome);
        }
        self.epoch = frame.epoch;
        self.commit = frame.commit;
    }

    pub(super) fn note_feed(&mut self, feed: Feed) {
        let known = self.feeds.entry((feed.producer, feed.lane)).or_insert(feed);
        if (feed.number, feed.time_ms) > (known.number, known.time_ms) {
            *known = feed;
        }
        self.dirty.insert(RowKey::Feed(feed.producer, feed.lane));
    }

    /// Forgets edges that were not heard since `before_ms`; returns the fields of `{s}:state` to delete.
    pub fn forget_feeds(&mut self, before_ms: u64) -> Vec<String> {
        let gone: Vec<_> =
            self.feeds.values().filter(|feed| feed.time_ms < before_ms && !is_lasting_producer(feed.producer)).copied().collect();
        for feed in &gone {
            self.feeds.remove(&(feed.producer, feed.lane));
            self.dirty.remove(&RowKey::Feed(feed.producer, feed.lane));
        }
        gone.into_iter().map(|feed| RowKind::Feed(feed).key()).collect()
    }

    /// Changes the state as one outcome says. An outcome that is in already changes nothing, so a log may be folded over rows that are
    /// newer than the position they were read with: a checkpoint need not be one atomic write.
    pub(super) fn apply(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Entry(entry) => self.apply_entry(entry),
            Outcome::Mark(mark) => self.apply_mark(mark),
            Outcome::Membership(at) => {
                let Some(topic) = TopicId::from_packed(at.membership.topic) else { return };
                let user = UserId(at.membership.user);
                let member = self.topics.entry(topic).or_default().members.entry(user).or_default();
                if !member.change(&at.membership, at.place.into(), at.time_ms) {
                    return;
                }
                self.dirty.insert(RowKey::Member(topic, user));
            }
            Outcome::Register(register) => {
                let Some(topic) = TopicId::from_packed(register.topic) else { return };
                self.apply_register(topic, register.clone());
            }
            Outcome::Profile(profile) => {
                let Some(id) = TopicId::from_packed(profile.topic) else { return };
                self.topics.entry(id).or_default().learn(profile);
                self.dirty.insert(RowKey::Head(id));
            }
            Outcome::Room(room) => {
                let Some(id) = TopicId::from_packed(room.topic) else { return };
                self.apply_room(id, *room);
            }
            Outcome::Raised(raised) => {
                let Some(id) = TopicId::from_packed(raised.topic) else { return };
                self.topics.entry(id).or_default().remember(raised.clone());
                self.dirty.insert(RowKey::Raises(id));
            }
            Outcome::Floor(kept) => {
                let Some(id) = TopicId::from_packed(kept.topic) else { return };
                self.apply_floor(id, kept);
            }
            Outcome::Forward(forward) => self.apply_refusal(forward),
        }
    }

    fn apply_entry(&mut self, entry: &Entry) {
        let Some(id) = TopicId::from_packed(entry.topic) else { return };
        let topic = self.topics.entry(id).or_default();
        topic.raise_head(entry.place(), entry.time_ms);
        self.dirty.insert(RowKey::Head(id));
        if entry.client_seq == 0 {
            return;
        }
        let (sender, installation) = (UserId(entry.sender), InstallationId(entry.installation));
        let producer = topic.producers.entry((sender, installation)).or_default();
        if entry.client_seq > producer.high {
            if producer.recent.last().is_some_and(|last| last != producer.high) {
                // A row told of messages whose contents are not known: what is remembered must have no holes.
                producer.recent.clear();
            }
            (producer.high, producer.place) = (entry.client_seq, entry.place());
        }
        producer.recent.note(entry.client_seq, fingerprint(entry.kind, &entry.body));
        self.dirty.insert(RowKey::Producer(id, sender, installation));
        if id.inbox_of().is_some() {
            if topic.undelivered.len() == UNDELIVERED_MAX {
                topic.undelivered.pop_front();
            }
            topic.undelivered.push_back(Undelivered { place: entry.place(), sender, installation, client_seq: entry.client_seq });
        }
    }

    fn apply_refusal(&mut self, forward: &Forward) {
        let Some(Refusal { topic: id, sender, installation, client_seq }) = forward.refusal() else { return };
        let producer = self.topics.entry(id).or_default().producers.entry((sender, installation)).or_default();
        producer.refused = producer.refused.max(client_seq);
        self.dirty.insert(RowKey::Producer(id, sender, installation));
    }

    fn apply_register(&mut self, topic: TopicId, register: Register) {
        let group = GroupId(register.group);
        let groups = &mut self.topics.entry(topic).or_default().groups;
        if groups.get(&group).is_none_or(|known| register.version > known.version) {
            groups.insert(group, register);
        }
        self.dirty.insert(RowKey::Register(topic, group));
    }

    fn apply_room(&mut self, topic: TopicId, room: Room) {
        let group = GroupId(room.group);
        let rooms = &mut self.topics.entry(topic).or_default().rooms;
        if rooms.get(&group).is_none_or(|known| (room.version, room.settled) > (known.version, known.settled)) {
            rooms.insert(group, room);
        }
        self.dirty.insert(RowKey::Room(topic, group));
    }

    fn apply_mark(&mut self, mark: &Mark) {
        let Some(id) = TopicId::from_packed(mark.topic) else { return };
        let (user, installation, place) = (UserId(mark.user), InstallationId(mark.installation), Place::from(mark.place));
        let topic = self.topics.entry(id).or_default();
        let marks = topic.marks.entry(user).or_default();
        match marks.iter_mut().find(|(known, _)| *known == installation) {
            Some((_, at)) => *at = place.max(*at),
            None => marks.push((installation, place)),
        }
        while topic.undelivered.front().is_some_and(|first| first.place <= place) {
            topic.undelivered.pop_front();
        }
        self.dirty.insert(RowKey::Mark(id, user, installation));
    }

    /// Merges a row from a checkpoint or from SQL: of each part the later one stays, so the order of merging does not matter.
    pub fn merge(&mut self, row: RowKind) {
        let Some(id) = topic_of(&row) else {
            if let RowKind::Feed(feed) = row {
                self.note_feed(feed);
            }
            return;
        };
        let topic = self.topics.entry(id).or_default();
        match row {
            RowKind::Head(row) => {
                topic.raise_head(row.head.into(), row.time_ms);
                let HeadRow { topic: packed, tenant, profile_version: version, manager, nickname, .. } = row;
                topic.learn(&Profile { topic: packed, tenant, version, manager, nickname });
                self.dirty.insert(RowKey::Head(id));
            }
            RowKind::Member(row) => {
                let user = UserId(row.user);
                topic.members.entry(user).or_default().merge(row);
                self.dirty.insert(RowKey::Member(id, user));
            }
            RowKind::Register(row) => self.apply_register(id, row),
            RowKind::Room(row) => self.apply_room(id, row),
            RowKind::Producer(row) => {
                let key = (UserId(row.user), InstallationId(row.installation));
                let producer = topic.producers.entry(key).or_default();
                if row.client_seq > producer.high {
                    producer.high = row.client_seq;
                    producer.place = row.place.unwrap_or_default().into();
                }
                producer.refused = producer.refused.max(row.refused);
                self.dirty.insert(RowKey::Producer(id, key.0, key.1));
            }
            RowKind::Mark(row) => self.apply_mark(&row),
            RowKind::Raises(row) => {
                row.raised.into_iter().for_each(|raised| topic.remember(raised));
                self.dirty.insert(RowKey::Raises(id));
            }
            RowKind::Floor(row) => self.apply_floor(id, &row),
            RowKind::Feed(_) => {}
        }
    }

    pub(super) fn mark_dirty(&mut self, key: RowKey) {
        self.dirty.insert(key);
    }

    /// The rows that changed since the last call, for the next checkpoint.
    pub fn take_dirty(&mut self) -> Vec<RowKind> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().filter_map(|key| self.row(key)).collect()
    }

    /// Whether a checkpoint would write anything.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    fn row(&self, key: RowKey) -> Option<RowKind> {
        let topic = |id: TopicId| self.topics.get(&id);
        Some(match key {
            RowKey::Head(id) => {
                let Topic { head, time_ms, tenant, profile_version, manager, nickname, .. } = topic(id)?;
                RowKind::Head(HeadRow {
                    topic: id.packed(),
                    head: (*head).into(),
                    time_ms: *time_ms,
                    tenant: tenant.0,
                    profile_version: *profile_version,
                    manager: manager.0,
                    nickname: nickname.clone(),
                })
            }
            RowKey::Member(id, user) => RowKind::Member(topic(id)?.members.get(&user)?.row(id, user)),
            RowKey::Register(id, group) => RowKind::Register(topic(id)?.groups.get(&group)?.clone()),
            RowKey::Room(id, group) => RowKind::Room(*topic(id)?.rooms.get(&group)?),
            RowKey::Producer(id, user, installation) => {
                let producer = topic(id)?.producers.get(&(user, installation))?;
                RowKind::Producer(ProducerRow {
                    topic: id.packed(),
                    user: user.0,
                    installation: installation.0,
                    client_seq: producer.high,
                    place: Some(producer.place.into()),
                    refused: producer.refused,
                })
            }
            RowKey::Mark(id, user, installation) => {
                let (_, place) = topic(id)?.marks.get(&user)?.iter().find(|(known, _)| *known == installation)?;
                RowKind::Mark(Mark { topic: id.packed(), user: user.0, installation: installation.0, place: (*place).into() })
            }
            RowKey::Raises(id) => RowKind::Raises(RaisesRow { topic: id.packed(), raised: topic(id)?.raised.iter().cloned().collect() }),
            RowKey::Floor(id) => RowKind::Floor(topic(id)?.floor.as_ref()?.row()),
            RowKey::Feed(producer, lane) => RowKind::Feed(*self.feeds.get(&(producer, lane))?),
        })
    }

    /// The number of the last frame taken in from a producer on a lane; 0 for none.
    pub(super) fn feed_number(&self, producer: u64, lane: Lane) -> u64 {
        self.feeds.get(&(producer, lane as u32)).map_or(0, |feed| feed.number)
    }

    /// The state without what is only remembered as a hint, for comparing two ways to the same state.
    pub fn facts(&self) -> BTreeMap<String, RowKind> {
        let mut all = self.clone();
        for (id, topic) in &self.topics {
            all.dirty.insert(RowKey::Head(*id));
            all.dirty.extend(topic.members.keys().map(|user| RowKey::Member(*id, *user)));
            all.dirty.extend(topic.groups.keys().map(|group| RowKey::Register(*id, *group)));
            all.dirty.extend(topic.rooms.keys().map(|group| RowKey::Room(*id, *group)));
            all.dirty.extend(topic.producers.keys().map(|(user, installation)| RowKey::Producer(*id, *user, *installation)));
            if !topic.raised.is_empty() {
                all.dirty.insert(RowKey::Raises(*id));
            }
            if topic.floor.is_some() {
                all.dirty.insert(RowKey::Floor(*id));
            }
            for (user, marks) in &topic.marks {
                all.dirty.extend(marks.iter().map(|(installation, _)| RowKey::Mark(*id, *user, *installation)));
            }
        }
        all.dirty.extend(self.feeds.keys().map(|(producer, lane)| RowKey::Feed(*producer, *lane)));
        all.take_dirty().into_iter().map(|row| (row.key(), row)).collect()
    }
}

fn topic_of(row: &RowKind) -> Option<TopicId> {
    TopicId::from_packed(match row {
        RowKind::Head(row) => row.topic,
        RowKind::Member(row) => row.topic,
        RowKind::Register(row) => row.topic,
        RowKind::Room(row) => row.topic,
        RowKind::Producer(row) => row.topic,
        RowKind::Mark(row) => row.topic,
        RowKind::Raises(row) => row.topic,
        RowKind::Floor(row) => row.topic,
        RowKind::Feed(_) => return None,
    })
}
