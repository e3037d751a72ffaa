//! Ids as types of their own, so that a group never stands where a user is meant.

use std::fmt;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// A person or radio with an account: devices and dispatchers alike. Never 0; 0 stands for the fleet itself as a sender.
    UserId
);

impl UserId {
    /// Who presses to see that SOS works: no account has this id, nobody manages it, and it is in no group, so that nobody is told but who probes.
    pub const PROBE: Self = Self(TopicId::ID_MAX);
}

id!(
    /// A group of users. Never 0.
    GroupId
);
id!(
    /// One installation of a client: chosen at random by the client once and kept. Client sequences and marks belong to it. Never 0.
    InstallationId
);
id!(
    /// One connection of an installation to an edge, random. A secret between them: calls of browsers are taken for whose they say.
    SessionId
);

impl SessionId {
    /// Half of it in hexadecimal: enough to find it in a log, not enough to speak in its name.
    pub fn for_logs(self) -> String {
        format!("{:08x}", self.0 >> 32)
    }
}

id!(
    /// The company an account belongs to; nobody sees or reaches another tenant's users and groups.
    TenantId
);

id!(
    /// A release of an app, in the order of their uploads. Never 0.
    ReleaseId
);

id!(
    /// An emergency alert, from the first press to its end; random. Never 0.
    AlertId
);

id!(
    /// A geofence, in the order in which they were made. Never 0; 0 stands for one that is to be made.
    FenceId
);

id!(
    /// A grant of the floor of a group's room: rises with each, so that what speaks for an older one is known by it. Never 0; 0 stands before the
    /// first.
    GrantNumber
);

id!(
    /// A press of the talk button, chosen by the installation that asks for the floor, another one for each press. A repeat carries the same.
    FloorRequestId
);

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKind {
    /// `u:<user>`, a user's inbox: private messages and notices to the user.
    Inbox = 1,
    /// `g:<group>`, a group.
    Group = 2,
    /// `r:<group>`, the room of a group: those whose current group it is.
    Room = 3,
    /// `su:<user>`, alerts to a user; urgent lane.
    AlertInbox = 4,
    /// `sr:<group>`, alerts to a room; urgent lane.
    AlertRoom = 5,
}

impl TopicKind {
    const ALL: [(Self, &'static str); 5] =
        [(Self::Inbox, "u"), (Self::Group, "g"), (Self::Room, "r"), (Self::AlertInbox, "su"), (Self::AlertRoom, "sr")];

    /// Whether topics of this kind live on the urgent lane. A topic belongs to one lane for life.
    pub fn urgent(self) -> bool {
        matches!(self, Self::AlertInbox | Self::AlertRoom)
    }
}

/// A topic: a log with its own sequence. Packed as `id << 3 | kind`, which is also its form in frames; written `g:17`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u64);

impl TopicId {
    /// Ids of 2^61 and above do not fit; see [`TopicId::checked`].
    pub const ID_MAX: u64 = (1 << 61) - 1;

    /// The topic of `kind` for `id`, if `id` is 1 to [`TopicId::ID_MAX`].
    pub fn checked(kind: TopicKind, id: u64) -> Option<Self> {
        (1..=Self::ID_MAX).contains(&id).then_some(Self(id << 3 | kind as u64))
    }

    /// The inbox of a user.
    pub fn inbox(user: UserId) -> Self {
        Self(user.0 << 3 | TopicKind::Inbox as u64)
    }

    /// A group's topic.
    pub fn group(group: GroupId) -> Self {
        Self(group.0 << 3 | TopicKind::Group as u64)
    }

    /// The topic of a group's room.
    pub fn room(group: GroupId) -> Self {
        Self(group.0 << 3 | TopicKind::Room as u64)
    }

    /// Alerts to a user.
    pub fn alert_inbox(user: UserId) -> Self {
        Self(user.0 << 3 | TopicKind::AlertInbox as u64)
    }

    /// Alerts to the room of a group.
    pub fn alert_room(group: GroupId) -> Self {
        Self(group.0 << 3 | TopicKind::AlertRoom as u64)
    }

    /// The form in frames; `None` when it names no kind or the id 0.
    pub fn from_packed(packed: u64) -> Option<Self> {
        ((1..=5).contains(&(packed & 7)) && packed >> 3 != 0).then_some(Self(packed))
    }

    /// The form in frames: `id << 3 | kind`.
    pub fn packed(self) -> u64 {
        self.0
    }

    /// What the topic is for.
    pub fn kind(self) -> TopicKind {
        TopicKind::ALL[(self.0 & 7) as usize - 1].0
    }

    /// The id of the user or group.
    pub fn id(self) -> u64 {
        self.0 >> 3
    }

    /// The user whose inbox this is.
    pub fn inbox_of(self) -> Option<UserId> {
        (self.kind() == TopicKind::Inbox).then_some(UserId(self.id()))
    }

    /// The group whose topic this is.
    pub fn group_of(self) -> Option<GroupId> {
        (self.kind() == TopicKind::Group).then_some(GroupId(self.id()))
    }

    /// The group whose room this is.
    pub fn room_of(self) -> Option<GroupId> {
        (self.kind() == TopicKind::Room).then_some(GroupId(self.id()))
    }

    /// The shard that owns the topic: a stable hash (XXH3 of the packed form, little endian) modulo the number of shards. Alerts to a user
    /// belong to the shard of the inbox, alerts to a room to that of the room: who is in the room changes for both in one step.
    pub fn shard(self, shards: u32) -> u32 {
        let kind = match self.kind() {
            TopicKind::AlertInbox => TopicKind::Inbox,
            TopicKind::AlertRoom => TopicKind::Room,
            kind => kind,
        };
        let hashed = self.id() << 3 | kind as u64;
        (xxhash_rust::xxh3::xxh3_64(&hashed.to_le_bytes()) % u64::from(shards)) as u32
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", TopicKind::ALL[(self.0 & 7) as usize - 1].1, self.id())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no topic.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a topic: write u:USER or g:GROUP with a number above 0")]
pub struct TopicParseError(String);

impl FromStr for TopicId {
    type Err = TopicParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once(':').and_then(|(prefix, id)| {
            let (kind, _) = TopicKind::ALL.into_iter().find(|(_, name)| *name == prefix)?;
            Self::checked(kind, id.parse().ok()?)
        });
        parsed.ok_or_else(|| TopicParseError(text.to_owned()))
    }
}

impl serde::Serialize for TopicId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TopicId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_reads_back_as_written() {
        for (text, kind, id) in [("u:7", TopicKind::Inbox, 7), ("g:1", TopicKind::Group, 1), ("sr:900", TopicKind::AlertRoom, 900)] {
            let topic: TopicId = text.parse().unwrap();
            assert_eq!((topic.kind(), topic.id(), topic.to_string().as_str()), (kind, id, text));
            assert_eq!(TopicId::from_packed(topic.packed()), Some(topic));
        }
        for bad in ["", "u", "u:", "u:0", "x:1", "g:-1", "g:99999999999999999999"] {
            assert!(bad.parse::<TopicId>().is_err(), "{bad:?} was taken for a topic");
        }
    }

    /// The shard of a topic is part of what is stored: a changed hash would look for state where it is not.
    #[test]
    fn the_shard_hash_never_changes() {
        let shards: Vec<u32> = (1..=8).map(|id| TopicId::inbox(UserId(id)).shard(16)).collect();
        assert_eq!(shards, [7, 11, 14, 6, 8, 5, 12, 6]);
        for id in 1..=8 {
            assert_eq!(TopicId::alert_inbox(UserId(id)).shard(16), TopicId::inbox(UserId(id)).shard(16));
            assert_eq!(TopicId::alert_room(GroupId(id)).shard(16), TopicId::room(GroupId(id)).shard(16));
        }
    }
}
