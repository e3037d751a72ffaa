//! A shard's state as rows: checkpoints, and the floor after a loss.

use prost::Oneof;

use super::{Feed, FloorKept, InItem, Mark, Raised, Register, Room, WirePlace, WireSpan};
use crate::model::TopicId;

/// On `floor`: a shard lost state and wants a new epoch, with everything SQL knows of it on `reply`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FloorRequest {
    #[prost(uint32, tag = "1")]
    pub shard: u32,
    #[prost(uint32, tag = "2")]
    pub shards: u32,
    /// The key of the stream for the answer.
    #[prost(string, tag = "3")]
    pub reply: String,
    /// The new epoch must be above this one.
    #[prost(uint64, tag = "4")]
    pub epoch_above: u64,
    /// For the log: why.
    #[prost(string, tag = "5")]
    pub why: String,
}

/// On the reply stream of a [`FloorRequest`]: rows, in the last frame with the epoch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FloorFrame {
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<Row>,
    /// The epoch allocated; 0 in all frames but the last.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// The directory's current memberships, registers and profiles of the shard's topics.
    #[prost(message, repeated, tag = "3")]
    pub current: Vec<InItem>,
    /// In the last frame: the epoch of the last commit in SQL. A state that ends before it is the end of a log that another server outran.
    #[prost(uint64, tag = "4")]
    pub archived: u64,
}

/// One row of a shard's state, in `{s}:state` and from SQL. Rows of one key merge by taking the later of each part.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Row {
    #[prost(oneof = "RowKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub row: Option<RowKind>,
}

impl From<RowKind> for Row {
    fn from(row: RowKind) -> Self {
        Self { row: Some(row) }
    }
}

/// The kinds of rows.
#[derive(Clone, PartialEq, Oneof)]
pub enum RowKind {
    #[prost(message, tag = "1")]
    Head(HeadRow),
    #[prost(message, tag = "2")]
    Member(MemberRow),
    #[prost(message, tag = "3")]
    Register(Register),
    #[prost(message, tag = "4")]
    Producer(ProducerRow),
    #[prost(message, tag = "5")]
    Mark(Mark),
    #[prost(message, tag = "6")]
    Feed(Feed),
    #[prost(message, tag = "7")]
    Room(Room),
    #[prost(message, tag = "8")]
    Raises(RaisesRow),
    /// Only in checkpoints: with Redis it is lost, and who asked for the floor asks again.
    #[prost(message, tag = "9")]
    Floor(FloorKept),
}

/// The head of a topic, and the profile of an inbox.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeadRow {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(message, required, tag = "2")]
    pub head: WirePlace,
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
    /// Of an inbox: its profile; version 0 for none.
    #[prost(uint64, tag = "4")]
    pub tenant: u64,
    #[prost(uint64, tag = "5")]
    pub profile_version: u64,
    /// Of an inbox: the account that manages the user; 0 for none.
    #[prost(uint64, tag = "6")]
    pub manager: u64,
    /// Of an inbox: the user's.
    #[prost(string, tag = "7")]
    pub nickname: String,
}

/// When a user was a member of a group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberRow {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// In order; the last one ends at `Place::END` for a present member.
    #[prost(message, repeated, tag = "4")]
    pub spans: Vec<WireSpan>,
    /// In a room, the last ones. Only in checkpoints: with Redis they are lost.
    #[prost(message, repeated, tag = "5")]
    pub stays: Vec<Stay>,
}

/// Somebody was in a room: UTC milliseconds, by the clock of its owner.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Stay {
    #[prost(uint64, tag = "1")]
    pub joined_ms: u64,
    /// 0 for who is still there.
    #[prost(uint64, tag = "2")]
    pub left_ms: u64,
}

/// How far the messages of an installation to a topic are decided.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ProducerRow {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    /// The highest client_seq accepted; 0 for none.
    #[prost(uint64, tag = "4")]
    pub client_seq: u64,
    /// Where that message stands; absent when only SQL knew the row.
    #[prost(message, optional, tag = "5")]
    pub place: Option<WirePlace>,
    /// The highest client_seq refused: a refusal is final for its number.
    #[prost(uint64, tag = "6")]
    pub refused: u64,
}

/// Of an inbox: the last alerts of its user and who was told. Only in checkpoints: with Redis it is lost, and an alert that is told again then is
/// told to whoever is there.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RaisesRow {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(message, repeated, tag = "2")]
    pub raised: Vec<Raised>,
}

impl RowKind {
    /// The row's field in the hash `{s}:state`, readable in redis-cli.
    pub fn key(&self) -> String {
        let topic = |packed| TopicId::from_packed(packed).map_or_else(|| packed.to_string(), |topic| topic.to_string());
        match self {
            Self::Head(row) => format!("head {}", topic(row.topic)),
            Self::Member(row) => format!("member {} {}", topic(row.topic), row.user),
            Self::Register(row) => format!("register {} {}", topic(row.topic), row.group),
            Self::Room(row) => format!("room {} {}", topic(row.topic), row.group),
            Self::Producer(row) => format!("producer {} {} {:x}", topic(row.topic), row.user, row.installation),
            Self::Mark(row) => format!("mark {} {} {:x}", topic(row.topic), row.user, row.installation),
            Self::Raises(row) => format!("raises {}", topic(row.topic)),
            Self::Floor(row) => format!("floor {}", topic(row.topic)),
            Self::Feed(row) => format!("feed {:x} {}", row.producer, row.lane),
        }
    }
}
