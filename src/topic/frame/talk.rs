//! Talk: the floor of a room, its microphones, and what was recorded.

use bytes::Bytes;

/// Into the topic of a room: what somebody does at the talk button.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Press {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    /// Which press it is, chosen by the client; not needed to be still there.
    #[prost(fixed64, tag = "4")]
    pub request: u64,
    #[prost(enumeration = "PressKind", tag = "5")]
    pub kind: i32,
    /// Of who asks: the level that the fleet gives the account.
    #[prost(uint32, tag = "6")]
    pub level: u32,
    #[prost(bool, tag = "7")]
    pub emergency: bool,
    /// Of who asks: what others see of them.
    #[prost(string, tag = "8")]
    pub name: String,
}

/// What is done at the talk button.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum PressKind {
    /// Asks for the floor.
    Ask = 1,
    /// Gives it back, or asks no longer.
    Release = 2,
    /// Is still there. Leaves no trace in the log.
    Alive = 3,
}

/// From the shard of a room to whoever works its media server, on `{s}:media`: a microphone is to be opened and recorded, or closed. A repeat, and
/// what is older than what was done already, is known by its grant.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Microphone {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    #[prost(uint64, tag = "4")]
    pub grant: u64,
    #[prost(bool, tag = "5")]
    pub open: bool,
}

/// Into the topic of a room: its media server opened the microphone of a grant, or could not, or lost it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MicrophoneIs {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub grant: u64,
    #[prost(bool, tag = "3")]
    pub open: bool,
}

/// Into the topic of a room: its media server is away, or there again. To hear it twice changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MediaIs {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(bool, tag = "2")]
    pub away: bool,
}

/// Into the topic of a room, and from there to whoever works its media server: an installation wants to hear and talk, or no longer. Answered by
/// `Seated`, at once for who is not in the room.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Seat {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    /// Where the answer goes.
    #[prost(fixed64, tag = "4")]
    pub session: u64,
    /// Tells the requests of a session apart; not 0.
    #[prost(uint64, tag = "5")]
    pub request: u64,
    /// Plain RTP: where the client sends from, and receives. Without this and without an offer it gives its seat back.
    #[prost(string, tag = "6")]
    pub rtp_ip: String,
    #[prost(uint32, tag = "7")]
    pub rtp_port: u32,
    /// WebRTC: the client's SDP, with its candidates.
    #[prost(string, tag = "8")]
    pub offer: String,
    /// What others see of the user.
    #[prost(string, tag = "9")]
    pub name: String,
    /// Of the user's rooms; the owner of the room says it.
    #[prost(uint64, tag = "10")]
    pub version: u64,
    /// The edge of the session; the owner of the room says it.
    #[prost(string, tag = "11")]
    pub edge: String,
}

/// From the shard of a room to whoever works its media server: the user is no longer in the room.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Unseat {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    /// Of the user's rooms: what is older than the user's seat says nothing of it. 0 for a user who was never in the room.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// The group whose room the user goes to; 0 for none, or when not known.
    #[prost(uint64, tag = "4")]
    pub next: u64,
}

/// Into the topic of a room: who has a seat at its media server. Answered by an `Unseat` of each who should not.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Roll {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, repeated, tag = "2")]
    pub users: Vec<u64>,
}

/// Answers a `Seat`; or tells that it is lost.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Seated {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    /// 0 when nobody asked: the seat is lost.
    #[prost(uint64, tag = "3")]
    pub request: u64,
    /// A `Reason`; 0 when it is done.
    #[prost(uint32, tag = "4")]
    pub reason: u32,
    /// Plain RTP: where to send to.
    #[prost(string, tag = "5")]
    pub rtp_ip: String,
    #[prost(uint32, tag = "6")]
    pub rtp_port: u32,
    /// WebRTC: the SDP of the media server.
    #[prost(string, tag = "7")]
    pub answer: String,
}

/// The floor of a room, whole, as a step left it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FloorKept {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    /// The last grant; with `version` it orders the states of a room's floor.
    #[prost(uint64, tag = "2")]
    pub grant: u64,
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// A `Floor` as JSON.
    #[prost(bytes = "bytes", tag = "4")]
    pub floor: Bytes,
}

/// How a request for the floor stands, for the installation that made it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FloorTold {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(fixed64, tag = "3")]
    pub installation: u64,
    #[prost(fixed64, tag = "4")]
    pub request: u64,
    #[prost(enumeration = "FloorWord", tag = "5")]
    pub word: i32,
    /// Of one that is granted or revoked.
    #[prost(uint64, tag = "6")]
    pub grant: u64,
    /// Of one that is granted: when it is revoked at the latest.
    #[prost(uint64, tag = "7")]
    pub until_ms: u64,
    /// Of one that waits: 1 for who is next.
    #[prost(uint32, tag = "8")]
    pub position: u32,
    /// Of one that is denied or revoked: an `Ending`.
    #[prost(uint32, tag = "9")]
    pub ending: u32,
}

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum FloorWord {
    /// Permission to talk.
    Granted = 1,
    /// It waits.
    Queued = 2,
    /// It never had the floor, or was released.
    Denied = 3,
    /// It has the floor no longer.
    Revoked = 4,
}

/// Who talks in a room, for the sessions that follow it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FloorNow {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    /// The only session it is for; 0 for all.
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    /// 0 when nobody talks; then nothing else is set.
    #[prost(uint64, tag = "3")]
    pub talker: u64,
    #[prost(fixed64, tag = "4")]
    pub installation: u64,
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(uint64, tag = "6")]
    pub grant: u64,
    #[prost(uint32, tag = "7")]
    pub level: u32,
    #[prost(bool, tag = "8")]
    pub emergency: bool,
    /// The media server is away: nobody can talk. Then there is no talker.
    #[prost(bool, tag = "9")]
    pub away: bool,
}

/// Into the topic of a room: somebody talked there, and it is recorded. Whoever was in the room meanwhile gets it, and so do `desks`: there, or in
/// their inbox. A repeat is known by its frame's number.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Spoken {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    /// The accounts of the group's dispatchers.
    #[prost(uint64, repeated, tag = "2")]
    pub desks: Vec<u64>,
    /// A `NoticeBody`.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
    /// Who talked.
    #[prost(uint64, tag = "4")]
    pub speaker: u64,
    /// When they began and were over, UTC milliseconds: who was in the room meanwhile is to hear it.
    #[prost(uint64, tag = "5")]
    pub from_ms: u64,
    #[prost(uint64, tag = "6")]
    pub upto_ms: u64,
}
