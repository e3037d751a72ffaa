//! A client: one installation of a user, with a store of its own that survives.

use std::collections::BTreeMap;

use bytes::Bytes;
use roger::model::{GroupId, MessageKind, Place, Reason, TopicId, UserId};
use roger::topic::frame::{Entry, NoticeBody, Post};

use super::sql::TENANT;
use super::world::{Down, Link, Up, World};

pub(super) struct Client {
    pub(super) user: u64,
    pub(super) installation: u64,
    /// Whether it says what it holds; otherwise it goes by what the fleet knows and drops repeats itself.
    says_marks: bool,
    session: Option<u64>,
    pub(super) talks: BTreeMap<u64, BTreeMap<u64, Message>>,
    pub(super) at: BTreeMap<u64, Place>,
    /// The at of each topic last acknowledged.
    acknowledged: BTreeMap<u64, Place>,
    pub(super) received: BTreeMap<u64, Vec<Entry>>,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    predecessor: u64,
    body: Bytes,
    pub(super) state: State,
    /// Its receipt said that the replica has it.
    pub(super) replica: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Receipted,
    /// The fleet said so.
    Rejected,
    /// It had a receipt, and a later message was refused because this one is not known: only durability "memory".
    Lost,
}

impl Client {
    pub(super) fn new(user: u64, installation: u64, says_marks: bool) -> Self {
        let at = BTreeMap::new();
        let talks = BTreeMap::new();
        Self { user, installation, says_marks, session: None, talks, at, acknowledged: BTreeMap::new(), received: BTreeMap::new() }
    }

    /// It is connected, has its receipts, heard everything that is on the way, and acknowledged it.
    pub(super) fn is_done(&self, world: &World) -> bool {
        let link = self.session.and_then(|session| world.links.get(&session));
        link.is_some_and(|link| link.up.is_empty() && link.down.is_empty() && !link.edge_gone)
            && self.at == self.acknowledged
            && !self.talks.values().flat_map(BTreeMap::values).any(|message| message.state == State::Pending)
    }

    /// One step; `posts` when it may write something new.
    pub(super) fn step(&mut self, world: &mut World, posts: bool) {
        let Some(session) = self.session else { return self.connect(world) };
        let link = &world.links[&session];
        if link.edge_gone && link.down.is_empty() || posts && world.chance.once_in(60) {
            return self.disconnect(world);
        }
        match world.chance.below(6) {
            0 | 1 if posts => self.post(world),
            2 => self.acknowledge(world),
            _ => {
                if let Some(down) = world.links.get_mut(&session).and_then(|link| link.down.pop_front()) {
                    self.hear(world, down);
                }
            }
        }
    }

    fn connect(&mut self, world: &mut World) {
        let (session, edge) = (world.chance.any(), world.chance.below(world.shape.edges) as usize);
        let mut link = Link { edge, ..Link::default() };
        let marks = if self.says_marks { self.at.clone() } else { BTreeMap::new() };
        link.up.push_back(Up::Hello { user: self.user, installation: self.installation, marks });
        // Everything without a receipt, in order, before anything new.
        for (topic, messages) in &self.talks {
            let pending = messages.iter().filter(|(_, message)| message.state == State::Pending);
            link.up.extend(pending.map(|(seq, message)| Up::Post(self.wire(*topic, *seq, message))));
        }
        world.note(|| format!("{}/{} connects to edge {edge} as {session}", self.user, self.installation));
        world.links.insert(session, link);
        self.session = Some(session);
    }

    fn disconnect(&mut self, world: &mut World) {
        let Some(session) = self.session.take() else { return };
        let Some(link) = world.links.get_mut(&session) else { return };
        link.client_gone = true;
        if link.edge_gone {
            world.links.remove(&session);
        }
    }

    fn wire(&self, topic: u64, client_seq: u64, message: &Message) -> Post {
        let Message { predecessor, body, .. } = message.clone();
        let (sender, installation) = (self.user, self.installation);
        Post { topic, sender, installation, client_seq, predecessor, kind: MessageKind::Text as u32, body, tenant: TENANT }
    }

    fn post(&mut self, world: &mut World) {
        let topic = if world.chance.once_in(3) {
            TopicId::inbox(UserId(world.chance.below(world.shape.users) + 1))
        } else {
            TopicId::group(GroupId(world.chance.below(world.shape.groups) + 1))
        };
        self.send(world, topic.packed());
    }

    fn send(&mut self, world: &mut World, topic: u64) {
        let talk = self.talks.entry(topic).or_default();
        let seq = talk.last_key_value().map_or(0, |(seq, _)| *seq) + 1;
        let standing = talk.iter().rfind(|(_, message)| matches!(message.state, State::Pending | State::Receipted));
        // Fixed with the number: a copy on its way must not differ.
        let predecessor = standing.map_or(0, |(seq, _)| *seq);
        let body = Bytes::from(format!("{}/{}/{seq}", self.installation, topic));
        let message = Message { predecessor, body, state: State::Pending, replica: false };
        talk.insert(seq, message.clone());
        let post = self.wire(topic, seq, &message);
        if let Some(link) = self.session.and_then(|session| world.links.get_mut(&session)) {
            link.up.push_back(Up::Post(post));
        }
    }

    fn acknowledge(&mut self, world: &mut World) {
        let Some(link) = self.session.and_then(|session| world.links.get_mut(&session)) else { return };
        for (topic, at) in &self.at {
            if self.acknowledged.insert(*topic, *at) != Some(*at) {
                link.up.push_back(Up::Mark(*topic, *at));
            }
        }
    }

    fn hear(&mut self, world: &mut World, down: Down) {
        match down {
            Down::Follow(topic, place) | Down::Gap(topic, place) => {
                let at = self.at.entry(topic).or_default();
                *at = place.max(*at);
            }
            Down::Receipt(topic, seq, replica) => {
                for (_, message) in self.talks.entry(topic).or_default().range_mut(..=seq) {
                    if message.state == State::Pending {
                        message.state = State::Receipted;
                        message.replica = replica;
                    }
                }
            }
            Down::Entry(entry) => self.take(world, entry),
        }
    }

    fn take(&mut self, world: &mut World, entry: Entry) {
        let (topic, place) = (entry.topic, entry.place());
        let at = self.at.entry(topic).or_default();
        if place <= *at {
            if self.says_marks {
                world.truth.fail(format!("{} got {topic} {place} again, holding {at}", self.installation));
            }
            return;
        }
        if *at != Place::START && place.seq > at.seq + 1 {
            world.truth.fail(format!("{} got {topic} {place} behind {at}: an untold hole", self.installation));
        }
        *at = place;
        if let Some(notice) = entry.notice().filter(|notice| notice.installation == self.installation) {
            self.rejected(world, &notice);
        }
        self.received.entry(topic).or_default().push(entry);
    }

    fn rejected(&mut self, world: &mut World, notice: &NoticeBody) {
        let talk = self.talks.entry(notice.topic).or_default();
        let Some(message) = talk.get_mut(&notice.client_seq).filter(|message| message.state != State::Rejected) else { return };
        message.state = State::Rejected;
        if notice.reason == Reason::PredecessorMissing as u32 {
            for (_, before) in talk.range_mut(notice.client_seq_high + 1..notice.client_seq) {
                if before.state == State::Receipted {
                    before.state = State::Lost;
                }
            }
        }
        // A refusal is final for the number: what was refused is said again under a new one.
        if world.chance.once_in(3) {
            self.send(world, notice.topic);
        }
    }
}
