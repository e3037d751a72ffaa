//! What stands on the streams of alerts, protobuf under the format of [`crate::topic::frame`]. Field numbers are never reused.

use prost::Oneof;

use crate::topic::frame::{Acted, Located};

/// On the stream `sos`: somebody pressed, or did something to an alert.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SosFrame {
    #[prost(oneof = "Sos", tags = "1, 2")]
    pub sos: Option<Sos>,
}

impl From<Sos> for SosFrame {
    fn from(sos: Sos) -> Self {
        Self { sos: Some(sos) }
    }
}

/// What comes in.
#[derive(Clone, PartialEq, Oneof)]
pub enum Sos {
    #[prost(message, tag = "1")]
    Press(Press),
    #[prost(message, tag = "2")]
    Act(Act),
}

/// SOS, or taking it back. A repeat is known by device, installation and press.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Press {
    #[prost(uint64, tag = "1")]
    pub device: u64,
    #[prost(uint64, tag = "2")]
    pub tenant: u64,
    /// The nickname in the device's token.
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(fixed64, tag = "4")]
    pub installation: u64,
    #[prost(fixed64, tag = "5")]
    pub press: u64,
    #[prost(bool, tag = "6")]
    pub cancel: bool,
    /// UTC ms, by the fleet's clock.
    #[prost(uint64, tag = "7")]
    pub arrival_ms: u64,
    /// Where the device says it is.
    #[prost(message, optional, tag = "8")]
    pub located: Option<Located>,
    #[prost(string, tag = "9")]
    pub text: String,
}

/// What a dispatcher does to an alert. The answer goes to the session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Act {
    #[prost(fixed64, tag = "1")]
    pub alert: u64,
    /// 0 for an operator at the command line.
    #[prost(uint64, tag = "2")]
    pub actor: u64,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(uint64, tag = "4")]
    pub tenant: u64,
    /// A `UserKind`; 0 for an operator.
    #[prost(uint32, tag = "5")]
    pub kind: u32,
    /// The group in whose room the actor is; 0 for none.
    #[prost(uint64, tag = "6")]
    pub room: u64,
    /// An `AlertEvent`: acknowledged, resolved or false alarm.
    #[prost(uint32, tag = "7")]
    pub event: u32,
    #[prost(string, tag = "8")]
    pub remark: String,
    #[prost(uint64, tag = "9")]
    pub arrival_ms: u64,
    /// The boot name of the edge that waits for the answer; empty when nobody does.
    #[prost(string, tag = "10")]
    pub edge: String,
    #[prost(fixed64, tag = "11")]
    pub session: u64,
    #[prost(uint64, tag = "12")]
    pub request: u64,
}

impl Act {
    /// What its session is told.
    pub fn answer(&self, reason: u32) -> Acted {
        Acted { session: self.session, request: self.request, reason, alert: self.alert }
    }
}

/// On the stream of what is to be told: what a commit of an alert has for the topics.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TellFrame {
    #[prost(fixed64, tag = "1")]
    pub alert: u64,
    #[prost(uint64, tag = "2")]
    pub device: u64,
    /// The inbox of the device is to decide who is told, and to tell them.
    #[prost(bool, tag = "3")]
    pub raise: bool,
    /// Packed topics to be told, when that is decided.
    #[prost(uint64, repeated, tag = "4")]
    pub topics: Vec<u64>,
    #[prost(uint64, tag = "5")]
    pub number: u64,
    /// An `AlertBody`.
    #[prost(bytes = "bytes", tag = "6")]
    pub body: bytes::Bytes,
    /// Where an answer goes; empty for nowhere.
    #[prost(string, tag = "7")]
    pub edge: String,
    #[prost(message, optional, tag = "8")]
    pub acted: Option<Acted>,
}

/// On the stream of texts: one to a telephone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TextFrame {
    /// The same for every attempt: a provider that knows it sends it once.
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub number: String,
    #[prost(string, tag = "3")]
    pub text: String,
}

/// On the stream of events, for SQL: an event, and the alert as it stands with it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EventFrame {
    /// The state behind the event, JSON of an `Alert`.
    #[prost(bytes = "bytes", tag = "1")]
    pub state: bytes::Bytes,
    /// An `AlertBody`; empty when only the state changed.
    #[prost(bytes = "bytes", tag = "2")]
    pub body: bytes::Bytes,
}
