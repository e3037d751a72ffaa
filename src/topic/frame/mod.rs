//! What stands on Redis streams: frames, many entries packed into one stream entry.
//!
//! A stream entry has one field. Its name is the version of the format, `1`; its value is one of the frames below in the protobuf
//! encoding, so that a program skips fields that a newer one added. An entry of another version, or that does not decode, is a dead
//! letter. Field numbers are never reused.
//!
//! Topics are packed ([`TopicId::packed`]), times UTC milliseconds, absent ids 0.

mod alert;
mod input;
mod log;
mod notice;
mod output;
mod row;
mod talk;

pub use alert::AlertBody;
pub use input::{
    Attach, Connection, Detach, Enter, InFrame, InItem, Input, Mark, Membership, Move, Moved, Notice, Post, Presence, Profile, Raise,
    Register, Watch,
};
pub use log::{Feed, Forward, LogFrame, LogItem, MembershipAt, Outcome, Raised, Refusal, Room};
pub use notice::{NoticeBody, rejected_body};
pub use output::{
    Acted, Attached, Delivered, Departed, Displace, Entered, Located, OutFrame, OutItem, Output, Page, Positions, Refused, ReplayRequest,
    Watched,
};
pub use row::{FloorFrame, FloorRequest, HeadRow, MemberRow, ProducerRow, RaisesRow, Row, RowKind, Stay};
pub use talk::{
    FloorKept, FloorNow, FloorTold, FloorWord, MediaIs, Microphone, MicrophoneIs, Press, PressKind, Roll, Seat, Seated, Spoken, Unseat,
};

use bytes::Bytes;
use prost::Message as _;

use crate::model::{MessageKind, Place, Span, TopicId};

/// The name of the only field of a stream entry: the version of the format.
pub const FORMAT: &str = "1";

/// The lanes of a shard's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Alerts: drained first.
    Urgent = 0,
    /// All else.
    Normal = 1,
}

impl Lane {
    /// Both, in the order in which they are drained.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Normal];

    /// The lane a topic lives on.
    pub fn of(topic: TopicId) -> Self {
        if topic.kind().urgent() { Self::Urgent } else { Self::Normal }
    }
}

/// The producer that a shard forwards as; the number of its frames is [`forward_number`].
pub fn shard_producer(shard: u32) -> u64 {
    0x5348_4400_0000_0000 | u64::from(shard)
}

/// The producer of frames that announce talk, each with the number of its recording. Constant: the numbers rise over all there ever are.
pub const TALK_PRODUCER: u64 = u64::from_be_bytes(*b"jan:talk");

/// Whether a producer is there for the life of the deployment, as shards, the directory (`dir:…`) and talk are: it may push the same frame again
/// after any time, so its last number is never forgotten. An edge's random number that looks so is kept too, which does no harm.
pub fn is_lasting_producer(producer: u64) -> bool {
    producer == TALK_PRODUCER || [0x5348_4400, u64::from(u32::from_be_bytes(*b"dir:"))].contains(&(producer >> 32))
}

/// The frame number of what a commit forwards: rises with epoch and commit, up to 2^24 epochs of 2^40 commits.
pub fn forward_number(epoch: u64, commit: u64) -> u64 {
    epoch << 40 | commit
}

/// A place on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct WirePlace {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

impl From<Place> for WirePlace {
    fn from(place: Place) -> Self {
        Self { epoch: place.epoch, seq: place.seq }
    }
}

impl From<WirePlace> for Place {
    fn from(place: WirePlace) -> Self {
        Self { epoch: place.epoch, seq: place.seq }
    }
}

/// A span on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct WireSpan {
    #[prost(message, required, tag = "1")]
    pub after: WirePlace,
    #[prost(message, required, tag = "2")]
    pub upto: WirePlace,
}

impl From<Span> for WireSpan {
    fn from(span: Span) -> Self {
        Self { after: span.after.into(), upto: span.upto.into() }
    }
}

impl From<WireSpan> for Span {
    fn from(span: WireSpan) -> Self {
        Self { after: span.after.into(), upto: span.upto.into() }
    }
}

/// One place of a topic's log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    #[prost(uint64, tag = "3")]
    pub seq: u64,
    #[prost(uint64, tag = "4")]
    pub time_ms: u64,
    /// 0 when the fleet itself speaks.
    #[prost(uint64, tag = "5")]
    pub sender: u64,
    #[prost(fixed64, tag = "6")]
    pub installation: u64,
    #[prost(uint64, tag = "7")]
    pub client_seq: u64,
    #[prost(uint32, tag = "8")]
    pub kind: u32,
    #[prost(bytes = "bytes", tag = "9")]
    pub body: Bytes,
}

impl Entry {
    /// Where it stands.
    pub fn place(&self) -> Place {
        Place::new(self.epoch, self.seq)
    }

    /// What an entry of an alert topic says; `None` for other kinds, or one that does not decode.
    pub fn alert(&self) -> Option<AlertBody> {
        (self.kind == MessageKind::Alert as u32).then(|| AlertBody::decode(self.body.clone()).ok()).flatten()
    }

    /// The body of a notice; `None` for other kinds, or one that does not decode.
    pub fn notice(&self) -> Option<NoticeBody> {
        match MessageKind::from_number(self.kind)? {
            MessageKind::Text | MessageKind::Alert => None,
            _ => NoticeBody::decode(self.body.clone()).ok(),
        }
    }
}
