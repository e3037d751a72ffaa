//! The directory's store and the shards together, in random stories: at every instant each device has exactly one manager, and every message
//! goes to exactly those who are members, or in the room, at its moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use roger::directory::{MEMBERSHIPS_PRODUCER, REGISTERS_PRODUCER};
use roger::model::{GroupId, Imei, InstallationId, MessageKind, Place, SessionId, Span, TopicId, UserId, UserKind};
use roger::store::{Error, NewAccount, NewDevice, NewGroup, OutboxRow, Store, Tie};
use roger::topic::frame::{Enter, InFrame, Input, Lane, Notice, Output, Post, RowKind};
use roger::topic::{Batch, Followers, Shard};

const SHARDS: u32 = 4;
const DESKS: usize = 2;
const IMEIS: [&str; 4] = ["356938035643809", "490154203237518", "990000000000002", "990000000000010"];

/// What happens next. Sets of devices are bits.
#[derive(Clone, Debug)]
enum Operation {
    /// A desk changes its group: those of the bits that are its own come in, others go.
    Update {
        desk: usize,
        add: u8,
        remove: u8,
    },
    /// A desk makes a temporary group of its own devices, in the place of the one it has.
    Temporary {
        desk: usize,
        members: u8,
    },
    /// The session of a desk is over.
    Dissolve {
        desk: usize,
    },
    Rename {
        desk: usize,
        name: u8,
    },
    /// Devices go from one desk to the other: all of them, or none when one is not the sender's.
    Transfer {
        from: usize,
        devices: u8,
    },
    /// The relay brings what this many operations decided.
    Relay {
        operations: usize,
    },
    /// A device writes to one of the groups.
    Say {
        device: usize,
        group: usize,
    },
    /// A device wants to be in the room of one of the groups.
    Enter {
        device: usize,
        group: usize,
    },
    /// A recording ends in the room of one of the groups.
    Talk {
        group: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let (desk, device, group) = (|| 0..DESKS, || 0..IMEIS.len(), || 0..8usize);
    prop_oneof![
        3 => (desk(), 0..16u8, 0..16u8).prop_map(|(desk, add, remove)| Operation::Update { desk, add, remove: remove & !add }),
        2 => (desk(), 0..16u8).prop_map(|(desk, members)| Operation::Temporary { desk, members }),
        1 => desk().prop_map(|desk| Operation::Dissolve { desk }),
        1 => (desk(), 0..4u8).prop_map(|(desk, name)| Operation::Rename { desk, name }),
        3 => (desk(), 1..16u8).prop_map(|(from, devices)| Operation::Transfer { from, devices }),
        6 => (0..4usize).prop_map(|operations| Operation::Relay { operations }),
        6 => (device(), group()).prop_map(|(device, group)| Operation::Say { device, group }),
        3 => (device(), group()).prop_map(|(device, group)| Operation::Enter { device, group }),
        3 => group().prop_map(|group| Operation::Talk { group }),
    ]
}

/// What should be, in the plainest words.
#[derive(Default)]
struct Model {
    /// The desk of each device.
    manager: BTreeMap<UserId, usize>,
    /// Every group that ever was, with its members as the directory has them.
    members: BTreeMap<GroupId, BTreeSet<UserId>>,
    /// The same as the shards have been told.
    told: BTreeMap<GroupId, BTreeSet<UserId>>,
    /// What is on its way: up to which row of the outbox, and the members then.
    on_its_way: VecDeque<(u64, BTreeMap<GroupId, BTreeSet<UserId>>)>,
    temporary: [Option<GroupId>; DESKS],
    /// Who was there at each message, by topic.
    heard: BTreeMap<TopicId, Vec<BTreeSet<UserId>>>,
}

struct World {
    store: Store,
    desks: Vec<UserId>,
    devices: Vec<UserId>,
    normal: Vec<GroupId>,
    shards: Vec<Shard>,
    number: u64,
    said: BTreeMap<(UserId, TopicId), u64>,
    sessions: u64,
    /// Where messages stand, by topic.
    places: BTreeMap<TopicId, Vec<Place>>,
    model: Model,
    _folder: tempfile::TempDir,
}

fn bits<T: Copy>(all: &[T], bits: u8) -> Vec<T> {
    all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, one)| *one).collect()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::open(&format!("sqlite:{}", folder.path().join("people.db").display()));
        store.migrate().await.unwrap();
        let tenant = store.ensure_tenant("apollo").await.unwrap().id();
        let mut desks = Vec::new();
        for name in ["first", "second"] {
            let (name, nickname, kind) = (name.to_owned(), name.to_owned(), UserKind::Dispatcher);
            let account = NewAccount { name, nickname, kind, tenant, password_hash: String::new(), parent: None };
            desks.push(store.create_account(account, 0).await.unwrap());
        }
        let device = |imei: &str| NewDevice {
            imei: imei.parse().unwrap(),
            model: String::new(),
            nickname: imei.to_owned(),
            activated_ms: 0,
            sold_ms: 0,
            password_hash: String::new(),
        };
        let imported = store.import_devices(desks[0], IMEIS.into_iter().map(device).collect(), 0).await.unwrap();
        let devices: Vec<UserId> = imported.into_iter().map(Option::unwrap).collect();
        let mut world = Self {
            store,
            desks,
            devices,
            normal: Vec::new(),
            shards: (0..SHARDS).map(|_| Shard::new(1)).collect(),
            number: 0,
            said: BTreeMap::new(),
            sessions: 0,
            places: BTreeMap::new(),
            model: Model::default(),
            _folder: folder,
        };
        world.model.manager = world.devices.iter().map(|device| (*device, 0)).collect();
        for desk in 0..DESKS {
            let owner = world.desks[desk];
            let wanted = NewGroup::Normal { name: format!("patrol {desk}") };
            let (group, _) = world.store.create_group_of(owner, wanted, Vec::new(), 0).await.unwrap();
            world.normal.push(group);
            world.model.members.insert(group, [owner].into());
        }
        world.note().await;
        world
    }

    fn groups(&self) -> Vec<GroupId> {
        self.model.members.keys().copied().collect()
    }

    /// What the directory has now is on its way to the shards.
    async fn note(&mut self) {
        let last = self.store.outbox_last().await.unwrap();
        self.model.on_its_way.push_back((last, self.model.members.clone()));
    }

    async fn take(&mut self, operation: &Operation) {
        let own = |model: &Model, desk: usize, devices: Vec<UserId>| -> Vec<UserId> {
            devices.into_iter().filter(|device| model.manager[device] == desk).collect()
        };
        match *operation {
            Operation::Update { desk, add, remove } => {
                let (group, add) = (self.normal[desk], own(&self.model, desk, bits(&self.devices, add)));
                let remove = bits(&self.devices, remove);
                self.store.update_group(group, add.clone(), remove.clone(), 0).await.unwrap();
                let members = self.model.members.get_mut(&group).unwrap();
                members.retain(|member| !remove.contains(member));
                members.extend(add);
            }
            Operation::Temporary { desk, members } => {
                self.sessions += 1;
                let tie = Tie { installation: InstallationId(7), session: SessionId(self.sessions) };
                let members = own(&self.model, desk, bits(&self.devices, members));
                let owner = self.desks[desk];
                let (group, _) = self.store.create_group_of(owner, NewGroup::Temporary(tie), members.clone(), 0).await.unwrap();
                if let Some(known) = self.model.temporary[desk] {
                    assert_eq!(group, known, "a desk has one temporary group");
                }
                self.model.temporary[desk] = Some(group);
                self.model.members.insert(group, members.into_iter().chain([owner]).collect());
            }
            Operation::Dissolve { desk } => {
                let gone = self.store.dissolve_temporary(self.desks[desk], InstallationId(7), None, 0).await.unwrap();
                assert_eq!(gone, self.model.temporary[desk].take());
                if let Some(group) = gone {
                    self.model.members.insert(group, BTreeSet::new());
                }
            }
            Operation::Rename { desk, name } => {
                self.store.rename_group(self.normal[desk], &format!("patrol {desk} {name}"), 0).await.unwrap();
            }
            Operation::Transfer { from, devices } => {
                let moving = bits(&self.devices, devices);
                let imeis: Vec<Imei> = bits(&IMEIS, devices).into_iter().map(|imei| imei.parse().unwrap()).collect();
                let (sender, receiver) = (self.desks[from], self.desks[1 - from]);
                let transferred = self.store.transfer_devices(imeis, sender, receiver, 0).await;
                if moving.iter().all(|device| self.model.manager[device] == from) {
                    assert_eq!(transferred.unwrap(), moving.len() as u64);
                    for device in moving {
                        self.model.manager.insert(device, 1 - from);
                        self.model.members.values_mut().for_each(|members| {
                            members.remove(&device);
                        });
                    }
                } else {
                    assert!(matches!(transferred, Err(Error::NotPermitted { .. })), "{transferred:?}");
                }
            }
            Operation::Relay { operations } => return self.relay(operations).await,
            Operation::Say { device, group } => {
                let groups = self.groups();
                return self.say(self.devices[device], groups[group % groups.len()]);
            }
            Operation::Enter { device, group } => {
                let groups = self.groups();
                let (inbox, group) = (TopicId::inbox(self.devices[device]), groups[group % groups.len()]);
                self.push(inbox, Input::Enter(Enter { topic: inbox.packed(), group: group.0, session: 1, request: 1 }));
                return;
            }
            Operation::Talk { group } => {
                let groups = self.groups();
                let room = TopicId::room(groups[group % groups.len()]);
                let here = self.devices.iter().copied().filter(|device| self.ask(room, *device).is_some_and(|(_, live)| live)).collect();
                self.model.heard.entry(room).or_default().push(here);
                let notice = Notice { topic: room.packed(), kind: MessageKind::Text as u32, ..Notice::default() };
                self.push(room, Input::Notice(notice));
                let place = self.head(room);
                self.places.entry(room).or_default().push(place);
                return;
            }
        }
        self.note().await;
        self.check_managers().await;
    }

    /// A message gets its place exactly when its sender is a member as the shards were told; all members of that moment hear it.
    fn say(&mut self, sender: UserId, group: GroupId) {
        let topic = TopicId::group(group);
        let last = self.said.get(&(sender, topic)).copied().unwrap_or(0);
        let (installation, client_seq) = (sender.0 * 10, last + 1);
        let post = Post { topic: topic.packed(), sender: sender.0, installation, client_seq, predecessor: 0, kind: 1, ..Post::default() };
        let before = self.head(topic);
        self.push(topic, Input::Post(post));
        self.said.insert((sender, topic), client_seq);
        let members = self.model.told.get(&group).cloned().unwrap_or_default();
        let accepted = self.head(topic) > before;
        assert_eq!(accepted, members.contains(&sender), "a message of {sender} to {topic}");
        if accepted {
            let place = self.head(topic);
            self.places.entry(topic).or_default().push(place);
            self.model.heard.entry(topic).or_default().push(members);
        }
    }

    fn head(&self, topic: TopicId) -> Place {
        self.shards[topic.shard(SHARDS) as usize].head(topic)
    }

    /// Pushes what the first operations on their way decided, as the relay does: groups first, then people.
    async fn relay(&mut self, operations: usize) {
        let mut upto = 0;
        for _ in 0..operations {
            let Some((last, members)) = self.model.on_its_way.pop_front() else { break };
            (upto, self.model.told) = (last, members);
        }
        let rows = self.store.outbox(0, 10_000).await.unwrap();
        let rows = rows.into_iter().filter(|row| row.id <= upto);
        let of_people = |row: &OutboxRow| match row.item.input {
            Some(Input::Register(_)) => true,
            Some(Input::Notice(_)) => row.topic.inbox_of().is_some(),
            _ => false,
        };
        let (people, groups): (Vec<OutboxRow>, Vec<OutboxRow>) = rows.partition(of_people);
        for (producer, rows) in [(MEMBERSHIPS_PRODUCER, groups), (REGISTERS_PRODUCER, people)] {
            for row in rows {
                let frame = InFrame { producer, number: row.id, items: vec![row.item], ..InFrame::default() };
                self.step(row.topic.shard(SHARDS), frame);
            }
        }
        self.store.outbox_done(upto).await.unwrap();
    }

    fn push(&mut self, topic: TopicId, input: Input) {
        self.number += 1;
        let frame = InFrame { producer: 77, number: self.number, items: vec![input.into()], ..InFrame::default() };
        self.step(topic.shard(SHARDS), frame);
    }

    /// A frame, and everything that it makes shards forward to each other.
    fn step(&mut self, shard: u32, frame: InFrame) {
        let mut due = VecDeque::from([(shard, frame)]);
        while let Some((shard, frame)) = due.pop_front() {
            let (mut batch, mut followers) = (Batch::default(), Followers::default());
            let state = &mut self.shards[shard as usize];
            state.step(&mut batch, &mut followers, Lane::Normal, frame, 1).unwrap();
            if let Some(log) = state.seal(&mut batch, 1) {
                due.extend(super::forwards(shard, SHARDS, &log).into_iter().map(|((shard, _), frame)| (shard, frame)));
            }
        }
    }

    /// What the owner of a topic lets a user see, and whether they are a member.
    fn ask(&self, topic: TopicId, user: UserId) -> Option<(Vec<Span>, bool)> {
        match super::attach(&self.shards[topic.shard(SHARDS) as usize], topic, user, Some(Place::START)) {
            Output::Attached(attached) => Some((attached.gaps.into_iter().map(Span::from).collect(), attached.live)),
            _ => None,
        }
    }

    /// Each device has one manager, and it is the one of the model.
    async fn check_managers(&self) {
        let mut managed = BTreeMap::new();
        for (number, desk) in self.desks.iter().enumerate() {
            for device in self.store.devices_below(*desk, false, UserId(0), 100).await.unwrap() {
                assert_eq!(managed.insert(device.id, number), None, "device {} has two managers", device.id);
            }
        }
        assert_eq!(managed, self.model.manager);
    }

    /// Everything the shards say, once they know everything, against the model.
    async fn check(&mut self) {
        self.relay(usize::MAX).await;
        let everybody: Vec<UserId> = self.devices.iter().chain(&self.desks).copied().collect();
        for (group, members) in &self.model.members {
            let stored = self.store.group_with_members(*group).await.map(|group| group.members).unwrap_or_default();
            assert_eq!(stored.iter().map(|member| member.id).collect::<BTreeSet<_>>(), *members, "members of {group} in SQL");
            for user in &everybody {
                let live = self.ask(TopicId::group(*group), *user).is_some_and(|(_, live)| live);
                assert_eq!(live, members.contains(user), "user {user} in group {group}");
            }
        }
        for (topic, messages) in &self.model.heard {
            for user in &everybody {
                let sees = self.ask(*topic, *user).map(|(spans, _)| spans).unwrap_or_default();
                for (at, members) in messages.iter().enumerate() {
                    // Group topics hold renames too: places are counted by what was said.
                    let place = self.place_of(*topic, at);
                    let visible = sees.iter().any(|span| span.contains(place));
                    assert_eq!(visible, members.contains(user), "user {user} and message {} of {topic}", at + 1);
                }
            }
        }
        for device in &self.devices {
            let facts = self.shards[TopicId::inbox(*device).shard(SHARDS) as usize].facts();
            let Some(RowKind::Head(head)) = facts.get(&format!("head {}", TopicId::inbox(*device))) else { panic!("no inbox of {device}") };
            assert_eq!(head.manager, self.desks[self.model.manager[device]].0, "the manager of {device} as its inbox knows");
        }
    }

    /// Where the message of that number stands.
    fn place_of(&self, topic: TopicId, at: usize) -> Place {
        let place = self.places.get(&topic).and_then(|places| places.get(at));
        *place.unwrap_or_else(|| panic!("no message {at} in {topic}"))
    }
}

proptest! {
    #![proptest_config(super::config(40))]

    #[test]
    fn devices_have_one_manager_and_messages_go_to_the_members_of_their_moment(
        operations in prop::collection::vec(operation(), 1..50),
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let mut world = World::new().await;
            for operation in &operations {
                world.take(operation).await;
            }
            world.check().await;
        });
    }
}
