//! An edge: sessions in, frames to the shards, receipts and entries back.

use std::collections::{BTreeMap, BTreeSet};

use roger::model::{GroupId, MessageKind, Place, TopicId, UserId};
use roger::topic::frame::{Attach, Attached, Detach, Entry, Input, Mark, OutFrame, Output, Page, ReplayRequest};
use roger::topic::{Cursor, Offer};

use super::pair::Program;
use super::sql::shard;
use super::uplink::Uplink;
use super::world::{Down, Planted, Up, World};

/// Entries on the wire to a client before its sessions take no more.
const WIRE_MAX: usize = 6;

pub(super) struct Edge {
    pub(super) id: usize,
    pub(super) asleep: bool,
    shards: Vec<Side>,
    out_at: u64,
    page_at: u64,
    pub(super) sessions: BTreeMap<u64, Session>,
}

/// What the edge knows of one shard.
struct Side {
    up: Uplink,
    seen: (u64, u64),
    /// Epoch and token of the newest owner, its nonce, and its last counter.
    owner: (u64, u64),
    nonce: u64,
    counter: u64,
    /// Something came since the last look.
    heard: bool,
}

#[derive(Default)]
pub(super) struct Session {
    user: u64,
    installation: u64,
    marks: BTreeMap<u64, Place>,
    topics: BTreeMap<u64, Followed>,
    /// The groups of the user's register, as of `register`, and the notices behind it.
    groups: BTreeSet<u64>,
    register: Place,
}

struct Followed {
    cursor: Cursor,
    refused: bool,
}

impl Edge {
    pub(super) fn new(id: usize, world: &mut World) -> Self {
        let boot = world.chance.any();
        let side = |_| Side { up: Uplink::new(boot, id), seen: (0, 0), owner: (0, 0), nonce: 0, counter: 0, heard: false };
        let shards = (0..world.shape.shards).map(side).collect();
        world.beating.insert(id);
        world.begins(Program::Edge(id));
        let (outs, pages) = (world.redis.outs.entry(id).or_default(), world.redis.pages.entry(id).or_default());
        // What its predecessor did not read is for sessions that are gone.
        let (out_at, page_at) = (outs.last(), pages.last());
        outs.trim(out_at);
        pages.trim(page_at);
        Self { id, asleep: false, shards, out_at, page_at, sessions: BTreeMap::new() }
    }

    /// Dies with everything; a new one stands up in its place. A frame in flight may still land.
    pub(super) fn kill(&mut self, world: &mut World) {
        for (shard, side) in self.shards.iter_mut().enumerate() {
            side.up.cut(world, shard);
        }
        world.links.retain(|_, link| {
            link.edge_gone |= link.edge == self.id;
            !(link.edge_gone && link.client_gone)
        });
        *self = Self::new(self.id, world);
    }

    pub(super) fn step(&mut self, world: &mut World) {
        match world.chance.below(10) {
            0..3 => self.hear_client(world),
            3 | 4 => {
                for (shard, side) in self.shards.iter_mut().enumerate() {
                    side.up.push(world, shard, side.seen);
                }
            }
            5..8 => self.read_out(world),
            _ => self.read_page(world),
        }
    }

    /// One step while Redis answers nobody.
    pub(super) fn step_unanswered(&mut self, world: &mut World) {
        if world.chance.once_in(2) {
            return self.hear_client(world);
        }
        for (shard, side) in self.shards.iter_mut().enumerate() {
            side.up.push_unanswered(world, shard, side.seen);
        }
    }

    fn shard(&self, topic: u64) -> usize {
        shard(topic, self.shards.len() as u32)
    }

    fn queue(&mut self, topic: u64, input: Input) {
        let shard = self.shard(topic);
        self.shards[shard].up.queue(input, None);
    }

    /// The last commit of a shard whose effect it saw.
    pub(super) fn seen(&self, shard: usize) -> (u64, u64) {
        self.shards[shard].seen
    }

    fn hear_client(&mut self, world: &mut World) {
        let waiting: Vec<u64> = world
            .links
            .iter()
            .filter(|(_, link)| link.edge == self.id && !link.edge_gone && (link.client_gone || !link.up.is_empty()))
            .map(|(id, _)| *id)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let id = waiting[world.chance.below(waiting.len() as u64) as usize];
        let link = world.links.get_mut(&id).unwrap();
        match link.up.pop_front() {
            Some(Up::Hello { user, installation, marks }) => {
                self.sessions.insert(id, Session { user, installation, marks, ..Session::default() });
                self.follow(id, TopicId::inbox(UserId(user)).packed());
            }
            Some(Up::Post(post)) => {
                let (topic, seq) = (post.topic, post.client_seq);
                if world.faults.planted == Some(Planted::ReceiptBeforePush) {
                    link.down.push_back(Down::Receipt(topic, seq, false));
                }
                let shard = self.shard(topic);
                self.shards[shard].up.queue(Input::Post(post), Some((id, topic, seq)));
            }
            Some(Up::Mark(topic, place)) => {
                let Some(session) = self.sessions.get(&id) else { return };
                let mark = Mark { topic, user: session.user, installation: session.installation, place: place.into() };
                self.queue(topic, Input::Mark(mark));
            }
            None => {
                world.links.remove(&id);
                for topic in self.sessions.remove(&id).into_iter().flat_map(|session| session.topics.into_keys()) {
                    self.queue(topic, Input::Detach(Detach { topic, session: id }));
                }
            }
        }
    }

    fn follow(&mut self, id: u64, topic: u64) {
        let session = self.sessions.get_mut(&id).unwrap();
        let mark = session.marks.get(&topic).copied();
        let new = || Followed { cursor: Cursor::new(mark), refused: false };
        session.topics.entry(topic).or_insert_with(new);
        self.attach(id, topic);
    }

    fn attach(&mut self, id: u64, topic: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(followed) = session.topics.get(&topic) else { return };
        let mark = followed.cursor.mark().map(Into::into);
        let attach = Attach { topic, user: session.user, installation: session.installation, session: id, mark };
        self.queue(topic, Input::Attach(attach));
    }

    /// Every session of a shard attaches again: the owner is new, or something was lost on the way.
    fn attach_again(&mut self, index: usize) {
        let (mut all, shards) = (Vec::new(), self.shards.len() as u32);
        for (id, session) in &mut self.sessions {
            for (topic, followed) in session.topics.iter_mut().filter(|(topic, _)| shard(**topic, shards) == index) {
                followed.cursor.detach();
                all.push((*id, *topic));
            }
        }
        all.into_iter().for_each(|(id, topic)| self.attach(id, topic));
    }

    /// Nothing waits to be read or pushed.
    pub(super) fn is_done(&self, world: &World) -> bool {
        let untold = world.redis.outs.get(&self.id).is_some_and(|outs| outs.behind(self.out_at).any(|(_, frame)| !frame.items.is_empty()));
        !untold && !self.unread(world) && self.shards.iter().all(|side| side.up.is_done())
    }

    /// Whether pages wait to be read.
    pub(super) fn unread(&self, world: &World) -> bool {
        world.redis.pages.get(&self.id).is_some_and(|pages| pages.behind(self.page_at).next().is_some())
    }

    /// The timers: a shard that fell silent, requests without answer, groups that were refused although the register names them.
    pub(super) fn look_around(&mut self, world: &mut World) {
        for index in 0..self.shards.len() {
            if !std::mem::take(&mut self.shards[index].heard) {
                self.attach_again(index);
            }
        }
        // While pages wait to be read the answer may be among them: asking again would only make more of them.
        let unread = self.unread(world);
        let mut again = Vec::new();
        for (id, session) in &mut self.sessions {
            for (topic, followed) in &mut session.topics {
                if (followed.refused || followed.cursor.ended()) && session.groups.contains(&(topic >> 3)) {
                    again.push((*id, *topic));
                }
                if !unread {
                    followed.cursor.forget_request();
                }
            }
        }
        again.into_iter().for_each(|(id, topic)| self.attach(id, topic));
        let all: Vec<_> = self.sessions.iter().flat_map(|(id, session)| session.topics.keys().map(|topic| (*id, *topic))).collect();
        all.into_iter().for_each(|(id, topic)| self.pump(world, id, topic));
    }

    fn read_out(&mut self, world: &mut World) {
        let Some((id, frame)) = world.redis.outs.get(&self.id).and_then(|outs| outs.behind(self.out_at).next().cloned()) else { return };
        self.out_at = id;
        world.redis.outs.get_mut(&self.id).unwrap().trim(id);
        self.hear_shard(world, frame);
    }

    fn hear_shard(&mut self, world: &mut World, frame: OutFrame) {
        let side = &mut self.shards[frame.shard as usize];
        let owner = (frame.epoch, frame.token);
        if owner < side.owner {
            return;
        }
        side.heard = true;
        if owner > side.owner || frame.owner != side.nonce {
            (side.owner, side.nonce, side.counter, side.up.answer) = (owner, frame.owner, frame.counter, true);
            self.attach_again(frame.shard as usize);
        } else if frame.counter <= side.counter {
            return;
        } else {
            let jumped = frame.counter != side.counter + 1;
            side.counter = frame.counter;
            if jumped {
                self.attach_again(frame.shard as usize);
            }
        }
        for item in &frame.items {
            world.note(|| format!("edge {} hears {:?}", self.id, item.output));
        }
        let side = &mut self.shards[frame.shard as usize];
        side.seen = side.seen.max((frame.epoch, frame.commit));
        for output in frame.items.into_iter().filter_map(|item| item.output) {
            match output {
                Output::Entry(entry) => self.offer(world, &entry),
                Output::Attached(attached) => self.attached(world, &attached),
                Output::Refused(refused) => {
                    let session = self.sessions.get_mut(&refused.session);
                    if let Some(followed) = session.and_then(|session| session.topics.get_mut(&refused.topic)) {
                        followed.refused = true;
                        followed.cursor.detach();
                    }
                }
                Output::Departed(departed) => {
                    for id in self.sessions_on(departed.topic) {
                        let session = self.sessions.get_mut(&id).unwrap();
                        if session.user == departed.user {
                            session.topics.get_mut(&departed.topic).unwrap().cursor.depart(departed.place.into());
                            self.pump(world, id, departed.topic);
                            // The user may be back already: the register in the inbox is another shard's and knows no order with this.
                            self.attach(id, departed.topic);
                        }
                    }
                }
                Output::Watched(_) | Output::Delivered(_) | Output::Page(_) | Output::Displace(_) => {}
                Output::FloorTold(_) | Output::FloorNow(_) | Output::Seated(_) => {}
                Output::Entered(_) | Output::Presence(_) | Output::Positions(_) | Output::Raised(_) | Output::Acted(_) => {}
            }
        }
    }

    fn sessions_on(&self, topic: u64) -> Vec<u64> {
        self.sessions.iter().filter(|(_, session)| session.topics.contains_key(&topic)).map(|(id, _)| *id).collect()
    }

    fn offer(&mut self, world: &mut World, entry: &Entry) {
        for id in self.sessions_on(entry.topic) {
            let room = world.links.get(&id).is_some_and(|link| link.down.len() < WIRE_MAX);
            let followed = self.sessions.get_mut(&id).unwrap().topics.get_mut(&entry.topic).unwrap();
            match followed.cursor.offer(entry.clone(), room) {
                Offer::Deliver(entry) => self.pass(world, id, entry),
                Offer::Hole => self.attach(id, entry.topic),
                Offer::Repeat | Offer::Later => {}
            }
            self.pump(world, id, entry.topic);
        }
    }

    fn attached(&mut self, world: &mut World, attached: &Attached) {
        let (id, topic) = (attached.session, attached.topic);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(followed) = session.topics.get_mut(&topic) else { return };
        let first = followed.cursor.mark().is_none();
        followed.refused = false;
        if !followed.cursor.attach(attached) {
            return self.attach(id, topic);
        }
        if first {
            say(world, id, Down::Follow(topic, followed.cursor.at()));
        }
        if topic == TopicId::inbox(UserId(session.user)).packed() {
            session.groups = attached.groups.iter().copied().collect();
            session.register = attached.head.into();
            // The former ones too: something may be left to fetch.
            for group in attached.groups.iter().chain(&attached.former) {
                let group = TopicId::group(GroupId(*group)).packed();
                let again = |followed: &Followed| !followed.cursor.attached() || followed.cursor.is_leaving();
                if self.sessions[&id].topics.get(&group).is_none_or(again) {
                    self.follow(id, group);
                }
            }
        }
        self.pump(world, id, topic);
    }

    fn pass(&mut self, world: &mut World, id: u64, entry: Entry) {
        let session = self.sessions.get_mut(&id).unwrap();
        // Older notices are history: the register of the answer to the attach already has them.
        if let Some(notice) = entry.notice().filter(|notice| notice.group != 0 && entry.place() > session.register) {
            if entry.kind == MessageKind::Joined as u32 {
                session.groups.insert(notice.group);
                // Even if it is followed: a departure may be on its way.
                self.follow(id, TopicId::group(GroupId(notice.group)).packed());
            } else {
                session.groups.remove(&notice.group);
            }
        }
        say(world, id, Down::Entry(entry));
    }

    /// Tells what is passed over, and asks for what is missing.
    fn pump(&mut self, world: &mut World, id: u64, topic: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(followed) = session.topics.get_mut(&topic) else { return };
        while let Some(span) = followed.cursor.skip() {
            say(world, id, Down::Gap(topic, span.upto));
        }
        if world.links.get(&id).is_none_or(|link| link.down.len() >= WIRE_MAX) {
            return;
        }
        let request = world.chance.any();
        if let Some(span) = followed.cursor.ask(request) {
            let edge = self.id.to_string();
            if world.reaches() {
                let asked = ReplayRequest {
                    topic,
                    session: id,
                    edge,
                    span: span.into(),
                    entries_max: 3,
                    bytes_max: 0,
                    request,
                    ..ReplayRequest::default()
                };
                world.redis.replay.push_back(asked);
            }
        }
    }

    fn read_page(&mut self, world: &mut World) {
        let Some((at, frame)) = world.redis.pages.get(&self.id).and_then(|pages| pages.behind(self.page_at).next().cloned()) else {
            return;
        };
        self.page_at = at;
        world.redis.pages.get_mut(&self.id).unwrap().trim(at);
        for item in frame.items {
            let Some(Output::Page(page)) = item.output else { continue };
            self.page(world, page);
        }
    }

    fn page(&mut self, world: &mut World, page: Page) {
        let (id, topic) = (page.session, page.topic);
        let lost: Vec<Place> = page.lost.iter().map(|lost| lost.upto.into()).collect();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(followed) = session.topics.get_mut(&topic) else { return };
        let before = followed.cursor.at();
        let passed = followed.cursor.page(page);
        let taken = followed.cursor.at() > before;
        // In its place: entries kept meanwhile, which lie behind, come in the same breath.
        let mut lost = lost.into_iter().filter(|_| taken).peekable();
        for entry in passed {
            while let Some(upto) = lost.next_if(|upto| entry.place() > *upto) {
                say(world, id, Down::Gap(topic, upto));
            }
            self.pass(world, id, entry);
        }
        for upto in lost {
            say(world, id, Down::Gap(topic, upto));
        }
        self.pump(world, id, topic);
    }
}

fn say(world: &mut World, session: u64, down: Down) {
    world.note(|| format!("to {session}: {down:?}"));
    if let Some(link) = world.links.get_mut(&session) {
        link.down.push_back(down);
    }
}
