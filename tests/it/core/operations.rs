//! Random operations on a shard, as edges and the directory send them.

use bytes::Bytes;
use proptest::prelude::*;
use roger::model::{GroupId, TopicId, TopicKind, UserId};
use roger::topic::frame::{
    Attach, Detach, InFrame, Input, Mark, Membership, Notice, NoticeBody, Post, Profile, Register, Watch, WirePlace,
};

use super::reference::Reference;

pub(super) const USERS: u64 = 3;
pub(super) const GROUPS: u64 = 2;
pub(super) const TENANT: u64 = 7;

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// A new frame of one of the edges.
    Frame { edge: u8, items: Vec<Item> },
    /// A frame from before, again: a repeated or late push.
    Again { back: usize },
    /// The owner commits what it has.
    Commit,
    /// The owner writes the rows that changed.
    Checkpoint,
}

/// One entry of a frame. Numbers are relative to what the topic knows, so that near misses are common.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Post {
        topic: u8,
        user: u64,
        second: bool,
        step: i64,
        behind: i64,
        text: u8,
        kind: u32,
        foreign: bool,
    },
    Mark {
        topic: u8,
        user: u64,
        second: bool,
        epoch: u64,
        step: i64,
    },
    Attach {
        topic: u8,
        user: u64,
        mark: Option<u64>,
    },
    Detach {
        topic: u8,
        user: u64,
    },
    Watch {
        topic: u8,
        user: u64,
    },
    Membership {
        group: u64,
        user: u64,
        version: u64,
        joined: bool,
    },
    Register {
        group: u64,
        user: u64,
        version: u64,
        joined: bool,
    },
    Profile {
        user: u64,
        version: u64,
        foreign: bool,
    },
    Notice {
        user: u64,
    },
    /// A topic that is none.
    Nonsense {
        packed: u64,
    },
}

/// Every topic there is: inboxes, groups, and the kinds that take nothing from clients.
pub(super) fn topic(index: u8) -> TopicId {
    let index = u64::from(index);
    match index % 8 {
        0..3 => TopicId::inbox(UserId(index % 8 + 1)),
        3..6 => TopicId::group(GroupId(index % GROUPS + 1)),
        6 => TopicId::checked(TopicKind::AlertInbox, 1).unwrap(),
        _ => TopicId::checked(TopicKind::Room, 1).unwrap(),
    }
}

fn item() -> impl Strategy<Value = Item> {
    let user = || 1..=USERS;
    prop_oneof![
        10 => (0..8u8, user(), prop::bool::weighted(0.2), prop_oneof![6 => Just(1i64), 3 => -3..=3i64], prop_oneof![6 => Just(0i64), 1 => -2..=1i64],
            0..2u8, prop_oneof![12 => Just(1u32), 1 => Just(64u32), 1 => Just(9u32)], prop::bool::weighted(0.05))
            .prop_map(|(topic, user, second, step, behind, text, kind, foreign)| Item::Post { topic, user, second, step, behind, text, kind, foreign }),
        4 => (0..8u8, user(), any::<bool>(), 0..=2u64, -3..=2i64)
            .prop_map(|(topic, user, second, epoch, step)| Item::Mark { topic, user, second, epoch, step }),
        2 => (0..8u8, user(), prop::option::of(0..9u64)).prop_map(|(topic, user, mark)| Item::Attach { topic, user, mark }),
        1 => (0..8u8, user()).prop_map(|(topic, user)| Item::Detach { topic, user }),
        1 => (0..8u8, user()).prop_map(|(topic, user)| Item::Watch { topic, user }),
        4 => (1..=GROUPS, user(), 0..12u64, prop::bool::weighted(0.6))
            .prop_map(|(group, user, version, joined)| Item::Membership { group, user, version, joined }),
        2 => (1..=GROUPS, user(), 0..12u64, any::<bool>()).prop_map(|(group, user, version, joined)| Item::Register { group, user, version, joined }),
        2 => (user(), 0..6u64, prop::bool::weighted(0.1)).prop_map(|(user, version, foreign)| Item::Profile { user, version, foreign }),
        1 => user().prop_map(|user| Item::Notice { user }),
        1 => prop_oneof![Just(0u64), Just(6), Just(14), Just(3)].prop_map(|packed| Item::Nonsense { packed }),
    ]
}

/// A whole history.
pub(super) fn history(length: usize) -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        8 => (0..2u8, prop::collection::vec(item(), 0..6)).prop_map(|(edge, items)| Operation::Frame { edge, items }),
        1 => (0..6usize).prop_map(|back| Operation::Again { back }),
        4 => Just(Operation::Commit),
        1 => Just(Operation::Checkpoint),
    ];
    prop::collection::vec(operation, 1..length)
}

impl Item {
    /// The input it stands for, given what the reference has by now.
    pub(super) fn input(&self, reference: &Reference) -> Input {
        let log = |topic: TopicId| reference.topics.get(&topic).map_or(0, |topic| topic.log.len());
        let installation = |user: u64, second: bool| user * 10 + u64::from(second);
        let tenant = |foreign: bool| if foreign { TENANT + 1 } else { TENANT };
        match *self {
            Self::Post { topic: index, user, second, step, behind, text, kind, foreign } => {
                let (topic, installation) = (topic(index), installation(user, second));
                let known = reference.topics.get(&topic);
                let high = known.map_or(0, |topic| topic.high(user, installation));
                let decided = known.map_or(0, |topic| topic.refused(user, installation)).max(high);
                Input::Post(Post {
                    topic: topic.packed(),
                    sender: user,
                    installation,
                    client_seq: decided.saturating_add_signed(step),
                    predecessor: high.saturating_add_signed(behind),
                    kind,
                    body: Bytes::copy_from_slice(&[b'a' + text]),
                    tenant: tenant(foreign),
                })
            }
            Self::Mark { topic: index, user, second, epoch, step } => {
                let topic = topic(index);
                let place = WirePlace { epoch, seq: (log(topic) as u64).saturating_add_signed(step) };
                Input::Mark(Mark { topic: topic.packed(), user, installation: installation(user, second), place })
            }
            Self::Attach { topic: index, user, mark } => {
                let mark = mark.map(|seq| WirePlace { epoch: 1, seq });
                Input::Attach(Attach { topic: topic(index).packed(), user, installation: user * 10, session: user, mark })
            }
            Self::Detach { topic: index, user } => Input::Detach(Detach { topic: topic(index).packed(), session: user }),
            Self::Watch { topic: index, user } => {
                Input::Watch(Watch { topic: topic(index).packed(), user, installation: user * 10, session: user, tenant: TENANT })
            }
            Self::Membership { group, user, version, joined } => {
                Input::Membership(Membership { topic: TopicId::group(GroupId(group)).packed(), user, version, joined })
            }
            Self::Register { group, user, version, joined } => {
                let name = format!("group {group}");
                Input::Register(Register {
                    topic: TopicId::inbox(UserId(user)).packed(),
                    group,
                    version,
                    joined,
                    name,
                    ..Register::default()
                })
            }
            Self::Profile { user, version, foreign } => Input::Profile(Profile {
                topic: TopicId::inbox(UserId(user)).packed(),
                tenant: tenant(foreign),
                version,
                ..Profile::default()
            }),
            Self::Notice { user } => {
                let body = prost::Message::encode_to_vec(&NoticeBody::default()).into();
                Input::Notice(Notice { topic: TopicId::inbox(UserId(user)).packed(), kind: 66, body })
            }
            Self::Nonsense { packed } => Input::Detach(Detach { topic: packed, session: 1 }),
        }
    }
}

/// The next frame of an edge.
pub(super) fn frame(edge: u8, number: u64, inputs: &[Input]) -> InFrame {
    let items = inputs.iter().cloned().map(Into::into).collect();
    InFrame { producer: 100 + u64::from(edge), number, edge: format!("edge{edge}"), seen: None, items }
}
