//! What goes into a shard.

use bytes::Bytes;
use prost::Oneof;

use super::{MediaIs, Microphone, MicrophoneIs, Press, Roll, Seat, Spoken, Unseat, WirePlace};

/// On `{s}:in` and `{s}:urgent`: everything one producer had for the shard since its last round trip.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InFrame {
    /// Random per start of an edge; a constant for a shard that forwards and for the directory. The owner drops a frame whose number
    /// is not above the last one of its producer and lane, so a repeated push is harmless. 0 for frames without a number, which a script
    /// pushes together with what they tell of.
    #[prost(fixed64, tag = "1")]
    pub producer: u64,
    /// Rises per producer, shard and lane; gaps are legal.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// The edge that pushed it, to which answers go; empty for other producers.
    #[prost(string, tag = "3")]
    pub edge: String,
    /// The latest commit of this shard the producer has seen the effect of: an owner that stands behind it has lost a tail.
    #[prost(message, optional, tag = "4")]
    pub seen: Option<WirePlace>,
    #[prost(message, repeated, tag = "5")]
    pub items: Vec<InItem>,
}

/// One entry of an [`InFrame`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct InItem {
    #[prost(oneof = "Input", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23")]
    pub input: Option<Input>,
}

impl From<Input> for InItem {
    fn from(input: Input) -> Self {
        Self { input: Some(input) }
    }
}

/// What goes into a shard.
#[derive(Clone, PartialEq, Oneof)]
pub enum Input {
    #[prost(message, tag = "1")]
    Post(Post),
    #[prost(message, tag = "2")]
    Mark(Mark),
    #[prost(message, tag = "3")]
    Attach(Attach),
    #[prost(message, tag = "4")]
    Detach(Detach),
    #[prost(message, tag = "5")]
    Watch(Watch),
    #[prost(message, tag = "6")]
    Membership(Membership),
    #[prost(message, tag = "7")]
    Register(Register),
    #[prost(message, tag = "8")]
    Profile(Profile),
    #[prost(message, tag = "9")]
    Notice(Notice),
    #[prost(message, tag = "10")]
    Connection(Connection),
    #[prost(message, tag = "11")]
    Enter(Enter),
    #[prost(message, tag = "12")]
    Move(Move),
    #[prost(message, tag = "13")]
    Presence(Presence),
    #[prost(message, tag = "14")]
    Moved(Moved),
    #[prost(message, tag = "15")]
    Raise(Raise),
    #[prost(message, tag = "16")]
    Spoken(Spoken),
    #[prost(message, tag = "17")]
    Press(Press),
    #[prost(message, tag = "18")]
    Microphone(Microphone),
    #[prost(message, tag = "19")]
    MicrophoneIs(MicrophoneIs),
    #[prost(message, tag = "20")]
    Seat(Seat),
    #[prost(message, tag = "21")]
    Unseat(Unseat),
    #[prost(message, tag = "22")]
    Roll(Roll),
    #[prost(message, tag = "23")]
    MediaIs(MediaIs),
}

/// A message for a topic. A repeat is known by (topic, sender, installation, client_seq).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Post {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub sender: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    #[prost(uint64, tag = "4")]
    pub client_seq: u64,
    /// The client_seq that must have been accepted before; 0 for none.
    #[prost(uint64, tag = "5")]
    pub predecessor: u64,
    #[prost(uint32, tag = "6")]
    pub kind: u32,
    #[prost(bytes = "bytes", tag = "7")]
    pub body: Bytes,
    /// The sender's tenant, as its token says.
    #[prost(uint64, tag = "8")]
    pub tenant: u64,
}

/// An acknowledgement: the installation holds everything up to and including the place.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Mark {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    #[prost(message, required, tag = "4")]
    pub place: WirePlace,
}

/// A session wants to follow a topic. The owner answers `Attached` or `Refused`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attach {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    #[prost(fixed64, tag = "4")]
    pub session: u64,
    /// What the client holds; absent for what the owner knows of the installation, or of the user for a new one.
    #[prost(message, optional, tag = "5")]
    pub mark: Option<WirePlace>,
}

/// A session no longer follows or watches a topic.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Detach {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
}

/// A session is about to write to an inbox it does not follow. The owner answers `Watched` and from then on sends `Delivered`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Watch {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    #[prost(fixed64, tag = "4")]
    pub session: u64,
    #[prost(uint64, tag = "5")]
    pub tenant: u64,
}

/// Into a group's topic: a user joined or left, as the directory has it in `version` of the group. Into that of a room: a user came or went,
/// as their inbox has it in `version` of the user's rooms.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Membership {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(uint64, tag = "3")]
    pub version: u64,
    #[prost(bool, tag = "4")]
    pub joined: bool,
}

/// Into a user's inbox: the user joined or left a group. The inbox is the register of a user's topics.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Register {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub group: u64,
    #[prost(uint64, tag = "3")]
    pub version: u64,
    #[prost(bool, tag = "4")]
    pub joined: bool,
    #[prost(string, tag = "5")]
    pub name: String,
    /// A `GroupKind`; 0 when not said.
    #[prost(uint32, tag = "6")]
    pub kind: u32,
    /// Of one that left: a `LeftWhy`; 0 when not said.
    #[prost(uint32, tag = "7")]
    pub why: u32,
}

/// Into a user's inbox: who may write there, and whom the user is to others. An inbox without a profile takes nothing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Profile {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub tenant: u64,
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// The account that manages the user; 0 for none.
    #[prost(uint64, tag = "4")]
    pub manager: u64,
    #[prost(string, tag = "5")]
    pub nickname: String,
}

/// Into a user's inbox: the user's first session was opened, or the last one ended. Pushed by the script that opens or ends it, in a frame
/// without a number, so it comes once.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Connection {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(bool, tag = "2")]
    pub online: bool,
}

/// Into a user's inbox: a session wants the user in the room of a group, or in none. The owner answers `Entered`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Enter {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    /// 0 for none.
    #[prost(uint64, tag = "2")]
    pub group: u64,
    #[prost(fixed64, tag = "3")]
    pub session: u64,
    /// Tells the requests of a session apart.
    #[prost(uint64, tag = "4")]
    pub request: u64,
}

/// Into the topic of the room that a user leaves, and from there into that of the next one, which answers the inbox with `Moved`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Move {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    /// Of the user's rooms.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// The group whose room is next; 0 for none.
    #[prost(uint64, tag = "4")]
    pub next: u64,
    /// Whether the topic is that of the next room.
    #[prost(bool, tag = "5")]
    pub arrives: bool,
}

/// Into a user's inbox: the user has left the one room and is in the next.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Moved {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    /// Of the user's rooms.
    #[prost(uint64, tag = "2")]
    pub version: u64,
}

/// Into the inbox of who pressed SOS: decide who is told, tell them, and answer with `Raised`. A repeat is told to the same ones.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Raise {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub alert: u64,
    /// The first entry of the alert: an `AlertBody`.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
}

/// Into a group's topic, or the inbox of who manages the user, for whoever follows it right now; it leaves no entry.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Presence {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    /// A `PresenceState`.
    #[prost(uint32, tag = "3")]
    pub state: u32,
    /// The group in whose room the user is; 0 for none.
    #[prost(uint64, tag = "4")]
    pub room: u64,
    #[prost(string, tag = "5")]
    pub nickname: String,
}

/// An entry the fleet itself writes to a topic; a repeat is known by its frame's number.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Notice {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// A `NoticeBody`.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
}
