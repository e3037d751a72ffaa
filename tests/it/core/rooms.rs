//! Rooms over several shards: whatever way the forwards between them take, nobody is in two rooms, and in the end each room has whom the
//! inboxes say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use roger::model::{GroupId, MessageKind, Place, Span, TopicId, UserId};
use roger::topic::frame::{Connection, Enter, InFrame, Input, Lane, LogFrame, Microphone, Outcome, Output, Presence, Register, Spoken};
use roger::topic::{Batch, Followers, Shard};

pub(super) const SHARDS: u32 = 4;
pub(super) const USERS: u64 = 3;
pub(super) const GROUPS: u64 = 3;
/// A dispatcher of all groups, who goes into rooms like everybody.
pub(super) const DESK: u64 = 1;

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// A user wants to be in a room; 0 for none.
    Enter { user: u64, group: u64 },
    /// The directory makes somebody a member, or no longer one.
    Register { user: u64, group: u64, joined: bool },
    /// A recording ends in a room.
    Say { group: u64 },
    /// A frame on its way from one shard to another arrives.
    Arrive { which: usize },
    /// One that arrived before arrives again: its pusher did not hear that it had.
    Again { which: usize },
    /// The owner of a shard dies; the next one folds the log, and pushes again what it may owe.
    Die { shard: u32 },
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (1..=USERS, 0..=GROUPS).prop_map(|(user, group)| Operation::Enter { user, group }),
        3 => (1..=USERS, 1..=GROUPS, prop::bool::weighted(0.7))
            .prop_map(|(user, group, joined)| Operation::Register { user, group, joined }),
        4 => (1..=GROUPS).prop_map(|group| Operation::Say { group }),
        12 => (0..64usize).prop_map(|which| Operation::Arrive { which }),
        2 => (0..64usize).prop_map(|which| Operation::Again { which }),
        1 => (0..SHARDS).prop_map(|shard| Operation::Die { shard }),
    ]
}

/// From a shard to a lane of another.
type Way = (u32, u32, Lane);

/// All shards, and the frames between them.
pub(super) struct World {
    pub(super) shards: Vec<Shard>,
    pub(super) logs: Vec<Vec<LogFrame>>,
    /// In the order in which they were pushed, which a stream keeps.
    ways: BTreeMap<Way, VecDeque<InFrame>>,
    /// What arrived last on each way.
    arrived: BTreeMap<Way, InFrame>,
    number: u64,
    version: u64,
    /// Who was in the room at each message, by place.
    said: BTreeMap<GroupId, Vec<BTreeSet<u64>>>,
    presences: Vec<Presence>,
    /// The clock of all owners.
    pub(super) now_ms: u64,
    /// What was decided for the media server, repeats included.
    pub(super) microphones: Vec<Microphone>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::new(1)).collect(),
            logs: vec![Vec::new(); SHARDS as usize],
            ways: BTreeMap::new(),
            arrived: BTreeMap::new(),
            number: 0,
            version: 0,
            said: BTreeMap::new(),
            presences: Vec::new(),
            now_ms: 1,
            microphones: Vec::new(),
        }
    }

    /// An input of an edge or the directory.
    pub(super) fn push(&mut self, topic: TopicId, input: Input) {
        self.number += 1;
        let frame = InFrame { producer: 77, number: self.number, items: vec![input.into()], ..InFrame::default() };
        self.step(topic.shard(SHARDS), Lane::of(topic), frame);
    }

    fn step(&mut self, shard: u32, lane: Lane, frame: InFrame) {
        let (mut batch, mut followers) = (Batch::default(), Followers::default());
        let state = &mut self.shards[shard as usize];
        state.step(&mut batch, &mut followers, lane, frame, self.now_ms).unwrap();
        self.commit(shard, batch);
        self.check_one_room();
    }

    /// What an owner decided goes into its log, and on its ways.
    pub(super) fn commit(&mut self, shard: u32, mut batch: Batch) {
        if let Some(frame) = self.shards[shard as usize].seal(&mut batch, self.now_ms) {
            self.forward(shard, &frame);
            self.logs[shard as usize].push(frame);
        }
    }

    fn forward(&mut self, shard: u32, frame: &LogFrame) {
        self.microphones.extend(super::talk::microphones(frame));
        for ((target, lane), mut frame) in super::forwards(shard, SHARDS, frame) {
            // Presence goes to whoever is there, and leaves nothing behind.
            frame.items.retain(|item| match &item.input {
                Some(Input::Presence(presence)) => {
                    self.presences.push(presence.clone());
                    false
                }
                _ => true,
            });
            if !frame.items.is_empty() {
                self.ways.entry((shard, target, lane)).or_default().push_back(frame);
            }
        }
    }

    fn arrive(&mut self, which: usize) {
        let ways: Vec<_> = self.ways.iter().filter(|(_, way)| !way.is_empty()).map(|(way, _)| *way).collect();
        let Some(way) = ways.get(which % ways.len().max(1)) else { return };
        let frame = self.ways.get_mut(way).unwrap().pop_front().unwrap();
        self.arrived.insert(*way, frame.clone());
        self.step(way.1, way.2, frame);
    }

    pub(super) fn take(&mut self, operation: &Operation) {
        match *operation {
            Operation::Enter { user, group } => {
                let topic = TopicId::inbox(UserId(user));
                self.push(topic, Input::Enter(Enter { topic: topic.packed(), group, session: 1, request: 1 }));
            }
            Operation::Register { user, group, joined } => {
                self.version += 1;
                let topic = TopicId::inbox(UserId(user));
                let register = Register { topic: topic.packed(), group, version: self.version, joined, ..Register::default() };
                self.push(topic, Input::Register(register));
            }
            Operation::Say { group } => {
                let topic = TopicId::room(GroupId(group));
                let here = (1..=USERS).filter(|user| self.is_in(*user, group)).collect();
                let said = self.said.entry(GroupId(group)).or_default();
                said.push(here);
                let body = format!("{group} {}", said.len()).into();
                self.push(topic, Input::Spoken(Spoken { topic: topic.packed(), desks: vec![DESK], body, ..Spoken::default() }));
            }
            Operation::Arrive { which } => self.arrive(which),
            Operation::Again { which } => {
                let ways: Vec<_> = self.arrived.keys().copied().collect();
                let Some(way) = ways.get(which % ways.len().max(1)) else { return };
                let frame = self.arrived[way].clone();
                self.step(way.1, way.2, frame);
            }
            Operation::Die { shard } => {
                let mut next = Shard::new(1);
                next.fold_all(self.logs[shard as usize].iter().cloned());
                self.shards[shard as usize] = next;
                // Everything it ever forwarded, since nothing says what arrived.
                self.ways.retain(|(from, ..), _| *from != shard);
                for frame in self.logs[shard as usize].clone() {
                    self.forward(shard, &frame);
                }
                let mut batch = Batch::default();
                self.shards[shard as usize].resume_floors(&mut batch, self.now_ms);
                self.commit(shard, batch);
            }
        }
    }

    /// What the owner of a room says to somebody who asks to follow it: what they may see, and whether they are in.
    fn ask(&self, user: u64, group: u64) -> Option<(Vec<Span>, bool)> {
        let topic = TopicId::room(GroupId(group));
        match super::attach(&self.shards[topic.shard(SHARDS) as usize], topic, UserId(user), Some(Place::START)) {
            Output::Attached(attached) => Some((attached.gaps.into_iter().map(Span::from).collect(), attached.live)),
            _ => None,
        }
    }

    /// What somebody may see of a room.
    pub(super) fn sees(&self, user: u64, group: u64) -> Vec<Span> {
        self.ask(user, group).map(|(spans, _)| spans).unwrap_or_default()
    }

    pub(super) fn is_in(&self, user: u64, group: u64) -> bool {
        self.ask(user, group).is_some_and(|(_, live)| live)
    }

    fn rooms_of(&self, user: u64) -> Vec<u64> {
        (1..=GROUPS).filter(|group| self.is_in(user, *group)).collect()
    }

    fn check_one_room(&self) {
        for user in 1..=USERS {
            let rooms = self.rooms_of(user);
            assert!(rooms.len() <= 1, "user {user} is in the rooms {rooms:?}");
        }
    }

    /// The room that the user's inbox says.
    pub(super) fn room_of(&self, user: u64) -> (u64, Vec<u64>) {
        let topic = TopicId::inbox(UserId(user));
        match super::attach(&self.shards[topic.shard(SHARDS) as usize], topic, UserId(user), None) {
            Output::Attached(attached) => (attached.room, attached.groups),
            other => panic!("{other:?}"),
        }
    }

    /// The talk that came to the inbox of the dispatcher, in its order.
    fn at_desk(&self) -> Vec<String> {
        let inbox = TopicId::inbox(UserId(DESK));
        let outcomes = self.logs[inbox.shard(SHARDS) as usize].iter().flat_map(|frame| &frame.outcomes);
        let talk = |outcome: &Outcome| match outcome {
            Outcome::Entry(entry) if entry.topic == inbox.packed() && entry.kind == MessageKind::Talk as u32 => {
                Some(String::from_utf8(entry.body.to_vec()).unwrap())
            }
            _ => None,
        };
        outcomes.filter_map(|item| talk(item.outcome.as_ref()?)).collect()
    }

    /// Lets everything arrive.
    pub(super) fn settle(&mut self) {
        while self.ways.values().any(|way| !way.is_empty()) {
            self.arrive(0);
        }
    }
}

proptest! {
    #![proptest_config(super::config(300))]

    #[test]
    fn nobody_is_in_two_rooms_and_rooms_hold_whom_the_inboxes_say(operations in prop::collection::vec(operation(), 1..80)) {
        let mut world = World::new();
        operations.iter().for_each(|operation| world.take(operation));
        world.settle();
        for user in 1..=USERS {
            let (room, groups) = world.room_of(user);
            prop_assert_eq!(world.rooms_of(user), if room == 0 { vec![] } else { vec![room] }, "user {}", user);
            prop_assert!(room == 0 || groups.contains(&room), "user {} is in room {} of {:?}", user, room, groups);
            // What was said in a room is for exactly those who were in it at that moment.
            for (group, messages) in &world.said {
                let sees = world.ask(user, group.0).map(|(spans, _)| spans).unwrap_or_default();
                for (at, here) in messages.iter().enumerate() {
                    let visible = sees.iter().any(|span| span.contains(Place::new(1, at as u64 + 1)));
                    prop_assert_eq!(visible, here.contains(&user), "user {} and message {} of room {}", user, at + 1, group);
                }
            }
        }
        // A dispatcher hears all talk once: in the room, or else in the inbox.
        let mut at_desk = world.at_desk();
        let elsewhere = |(group, messages): (&GroupId, &Vec<BTreeSet<u64>>)| {
            let missed = messages.iter().enumerate().filter(|(_, here)| !here.contains(&DESK)).map(|(at, _)| format!("{group} {}", at + 1));
            missed.collect::<Vec<_>>()
        };
        let mut missed: Vec<String> = world.said.iter().flat_map(elsewhere).collect();
        at_desk.sort();
        missed.sort();
        prop_assert_eq!(at_desk, missed);
    }
}

#[test]
fn the_groups_and_who_manages_a_user_hear_that_they_came_and_went() {
    let mut world = World::new();
    let inbox = TopicId::inbox(UserId(1));
    let profile = roger::topic::frame::Profile { topic: inbox.packed(), tenant: 1, version: 1, manager: 9, nickname: "Neil".into() };
    world.push(inbox, Input::Profile(profile));
    for (group, joined) in [(1, true), (2, true), (3, true), (3, false)] {
        world.take(&Operation::Register { user: 1, group, joined });
    }
    world.take(&Operation::Enter { user: 1, group: 2 });
    world.presences.clear();
    let connect = |world: &mut World, online| {
        world.push(inbox, Input::Connection(Connection { topic: inbox.packed(), online }));
        let told = std::mem::take(&mut world.presences);
        told.into_iter().map(|told| (TopicId::from_packed(told.topic).unwrap().to_string(), told.state, told.room, told.nickname)).collect()
    };
    let told: Vec<(String, u32, u64, String)> = connect(&mut world, true);
    let expected = [("g:1", 2, 2), ("g:2", 3, 2), ("u:9", 2, 2)];
    assert_eq!(told, expected.map(|(topic, state, room)| (topic.to_owned(), state, room, "Neil".to_owned())));
    // The nickname is the one of that moment, and not the one of some login.
    let profile = roger::topic::frame::Profile { topic: inbox.packed(), tenant: 1, version: 2, manager: 9, nickname: "Buzz".into() };
    world.push(inbox, Input::Profile(profile));
    let told: Vec<(String, u32, u64, String)> = connect(&mut world, false);
    assert_eq!(told, [("g:1", 1), ("g:2", 1), ("u:9", 1)].map(|(topic, state)| (topic.to_owned(), state, 2, "Buzz".to_owned())));
}
