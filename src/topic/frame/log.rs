//! What a shard decided: its log.

use prost::Oneof;

use super::{Entry, FloorKept, InItem, Input, Mark, Membership, Profile, Register, WirePlace};
use crate::model::{InstallationId, TopicId, UserId};

/// On `{s}:log`: one commit, under the id `<epoch>-<commit>`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogFrame {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(uint64, tag = "2")]
    pub commit: u64,
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
    #[prost(message, repeated, tag = "4")]
    pub outcomes: Vec<LogItem>,
    /// The last frames of producers that this commit took in.
    #[prost(message, repeated, tag = "5")]
    pub feeds: Vec<Feed>,
}

/// One entry of a [`LogFrame`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogItem {
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub outcome: Option<Outcome>,
}

impl From<Outcome> for LogItem {
    fn from(outcome: Outcome) -> Self {
        Self { outcome: Some(outcome) }
    }
}

impl LogFrame {
    /// The messages that got their places, each by topic, installation and `client_seq`.
    pub fn messages(&self) -> impl Iterator<Item = (TopicId, u64, u64)> {
        self.outcomes.iter().filter_map(|item| match &item.outcome {
            Some(Outcome::Entry(entry)) if entry.sender != 0 => {
                Some((TopicId::from_packed(entry.topic)?, entry.installation, entry.client_seq))
            }
            _ => None,
        })
    }
}

/// What a step decided. The state of a shard is the fold of its outcomes.
#[derive(Clone, PartialEq, Oneof)]
pub enum Outcome {
    #[prost(message, tag = "1")]
    Entry(Entry),
    #[prost(message, tag = "2")]
    Mark(Mark),
    #[prost(message, tag = "3")]
    Membership(MembershipAt),
    #[prost(message, tag = "4")]
    Register(Register),
    #[prost(message, tag = "5")]
    Profile(Profile),
    #[prost(message, tag = "6")]
    Forward(Forward),
    #[prost(message, tag = "7")]
    Room(Room),
    #[prost(message, tag = "8")]
    Raised(Raised),
    #[prost(message, tag = "9")]
    Floor(FloorKept),
}

/// Of an inbox: who is told of an alert of its user.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Raised {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub alert: u64,
    /// The groups whose rooms are told: that of the room the user was in or on the way to; without one, all of the user's.
    #[prost(uint64, repeated, tag = "3")]
    pub rooms: Vec<u64>,
    /// The account that managed the user; 0 for none.
    #[prost(uint64, tag = "4")]
    pub manager: u64,
    /// Of the user, at that moment.
    #[prost(string, tag = "5")]
    pub nickname: String,
}

/// In a user's inbox: whether the user is in the room of a group, since `version` of the user's rooms. At most one of a user's is joined.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Room {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub group: u64,
    #[prost(uint64, tag = "3")]
    pub version: u64,
    #[prost(bool, tag = "4")]
    pub joined: bool,
    /// The rooms of both sides know it.
    #[prost(bool, tag = "5")]
    pub settled: bool,
}

/// A membership took effect behind the place.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MembershipAt {
    #[prost(message, required, tag = "1")]
    pub membership: Membership,
    #[prost(message, required, tag = "2")]
    pub place: WirePlace,
    /// In a room: when, UTC milliseconds.
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
}

/// An input for another shard: pushed after the commit, known there by (this shard, epoch, commit).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Forward {
    /// For a topic of the other shard.
    #[prost(message, required, tag = "1")]
    pub item: InItem,
}

/// A message that was refused after its receipt: its number is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it was to go.
    pub topic: TopicId,
    /// Who sent it.
    pub sender: UserId,
    /// With what.
    pub installation: InstallationId,
    /// Its number.
    pub client_seq: u64,
}

impl Forward {
    /// The refusal that this tells the sender of, if it does.
    pub fn refusal(&self) -> Option<Refusal> {
        let Some(Input::Notice(notice)) = &self.item.input else { return None };
        let sender = TopicId::from_packed(notice.topic)?.inbox_of()?;
        let body = notice.rejected()?;
        let (topic, installation) = (TopicId::from_packed(body.topic)?, InstallationId(body.installation));
        Some(Refusal { topic, sender, installation, client_seq: body.client_seq })
    }
}

/// The last frame of a producer on a lane.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Feed {
    #[prost(fixed64, tag = "1")]
    pub producer: u64,
    #[prost(uint32, tag = "2")]
    pub lane: u32,
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// When it came, so that producers long gone can be forgotten.
    #[prost(uint64, tag = "4")]
    pub time_ms: u64,
}
