//! What comes out of a shard for an edge, and what an edge asks replays for.

use prost::Oneof;

use super::{Entry, FloorNow, FloorTold, Presence, Raised, Seated, WirePlace, WireSpan};
use crate::model::{Position, PositionSource, UserId};

/// On `out:<edge>` and its lanes: what one shard, or one replay worker, has for the sessions of an edge.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutFrame {
    #[prost(uint32, tag = "1")]
    pub shard: u32,
    /// The shard's epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// The owner's fencing token; orders owners within an epoch.
    #[prost(uint64, tag = "3")]
    pub token: u64,
    /// Random per owner; with `counter` it shows a lost frame.
    #[prost(fixed64, tag = "4")]
    pub owner: u64,
    /// From 1, without holes per (owner, edge, lane). 0 on frames that are not counted: replay pages and session control.
    #[prost(uint64, tag = "5")]
    pub counter: u64,
    /// The shard's latest commit.
    #[prost(uint64, tag = "6")]
    pub commit: u64,
    #[prost(message, repeated, tag = "7")]
    pub items: Vec<OutItem>,
    /// The number of the last frame of this edge, in this lane, that the shard has taken in by `commit`; 0 when its owner has seen none.
    #[prost(uint64, tag = "8")]
    pub taken: u64,
}

/// One entry of an [`OutFrame`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutItem {
    #[prost(oneof = "Output", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16")]
    pub output: Option<Output>,
}

impl From<Output> for OutItem {
    fn from(output: Output) -> Self {
        Self { output: Some(output) }
    }
}

/// What comes out of a shard for an edge.
#[derive(Clone, PartialEq, Oneof)]
pub enum Output {
    #[prost(message, tag = "1")]
    Entry(Entry),
    #[prost(message, tag = "2")]
    Attached(Attached),
    #[prost(message, tag = "3")]
    Refused(Refused),
    #[prost(message, tag = "4")]
    Watched(Watched),
    #[prost(message, tag = "5")]
    Departed(Departed),
    #[prost(message, tag = "6")]
    Delivered(Delivered),
    #[prost(message, tag = "7")]
    Page(Page),
    #[prost(message, tag = "8")]
    Displace(Displace),
    #[prost(message, tag = "9")]
    Entered(Entered),
    #[prost(message, tag = "10")]
    Presence(Presence),
    #[prost(message, tag = "11")]
    Positions(Positions),
    #[prost(message, tag = "12")]
    Raised(Raised),
    #[prost(message, tag = "13")]
    Acted(Acted),
    #[prost(message, tag = "14")]
    FloorTold(FloorTold),
    #[prost(message, tag = "15")]
    FloorNow(FloorNow),
    #[prost(message, tag = "16")]
    Seated(Seated),
}

/// Answers what a session did to an alert. Written by sos.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Acted {
    #[prost(fixed64, tag = "1")]
    pub session: u64,
    /// Tells the requests of a session apart.
    #[prost(uint64, tag = "2")]
    pub request: u64,
    /// A `Reason`; 0 when it is done.
    #[prost(uint32, tag = "3")]
    pub reason: u32,
    /// The alert; 0 when it is not known.
    #[prost(fixed64, tag = "4")]
    pub alert: u64,
}

/// Where devices are now, for the sessions of an account that watches. Of each device the newest. Written by gps.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Positions {
    /// Who watches.
    #[prost(uint64, tag = "1")]
    pub account: u64,
    #[prost(message, repeated, tag = "2")]
    pub located: Vec<Located>,
}

/// Where a device is.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Located {
    #[prost(uint64, tag = "1")]
    pub device: u64,
    #[prost(double, tag = "2")]
    pub latitude: f64,
    #[prost(double, tag = "3")]
    pub longitude: f64,
    #[prost(uint64, tag = "4")]
    pub fix_ms: u64,
    /// 0 when not known.
    #[prost(float, tag = "5")]
    pub accuracy_m: f32,
    #[prost(float, optional, tag = "6")]
    pub speed_mps: Option<f32>,
    #[prost(float, optional, tag = "7")]
    pub course_deg: Option<f32>,
    /// A `PositionSource`.
    #[prost(uint32, tag = "8")]
    pub source: u32,
    /// Percent.
    #[prost(uint32, optional, tag = "9")]
    pub battery: Option<u32>,
}

/// The session follows the topic from here on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attached {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    /// The head: what comes behind it comes live.
    #[prost(message, required, tag = "3")]
    pub head: WirePlace,
    /// The mark from which the session continues.
    #[prost(message, required, tag = "4")]
    pub mark: WirePlace,
    /// What the user may see between mark and head, in order: to be replayed.
    #[prost(message, repeated, tag = "5")]
    pub gaps: Vec<WireSpan>,
    /// The highest client_seq accepted from the installation in the topic.
    #[prost(uint64, tag = "6")]
    pub client_seq_high: u64,
    /// For an inbox: the groups the user is a member of.
    #[prost(uint64, repeated, tag = "7")]
    pub groups: Vec<u64>,
    /// False for a former member who may only fetch what lies in `gaps`: nothing comes live.
    #[prost(bool, tag = "8")]
    pub live: bool,
    /// For an inbox: the groups the user left last, the latest first. A client that was away while the user was a member still has to
    /// fetch what was said then; the group's owner refuses where nothing is left.
    #[prost(uint64, repeated, tag = "9")]
    pub former: Vec<u64>,
    /// For an inbox: the group in whose room the user is; 0 for none.
    #[prost(uint64, tag = "10")]
    pub room: u64,
    /// For an inbox: the groups whose rooms the user left last, the latest first, as for `former`.
    #[prost(uint64, repeated, tag = "11")]
    pub former_rooms: Vec<u64>,
}

/// Answers an `Enter`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Entered {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    #[prost(uint64, tag = "3")]
    pub request: u64,
    /// A `Reason`; 0 when it is done.
    #[prost(uint32, tag = "4")]
    pub reason: u32,
    /// The group in whose room the user is now; 0 for none.
    #[prost(uint64, tag = "5")]
    pub group: u64,
    #[prost(uint64, tag = "6")]
    pub version: u64,
}

/// The session may not follow, or write to, the topic.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Refused {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    #[prost(uint32, tag = "3")]
    pub reason: u32,
}

/// Answers a `Watch`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Watched {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    #[prost(uint64, tag = "3")]
    pub client_seq_high: u64,
    /// The highest client_seq of the installation that the recipient acknowledged, as far as the owner remembers.
    #[prost(uint64, tag = "4")]
    pub delivered: u64,
}

/// A user left the group: sessions of the user follow its topic up to and including the place.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Departed {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub user: u64,
    #[prost(message, required, tag = "3")]
    pub place: WirePlace,
}

/// The recipient of an inbox acknowledged what an installation sent, up to client_seq.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Delivered {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    #[prost(uint64, tag = "3")]
    pub client_seq: u64,
}

/// A page of a replay, by the offline program.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Page {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    /// The span the page answers for: what of it is not among the entries does not exist.
    #[prost(message, required, tag = "3")]
    pub span: WireSpan,
    #[prost(message, repeated, tag = "4")]
    pub entries: Vec<Entry>,
    /// Where in the span entries were known to exist and are gone.
    #[prost(message, repeated, tag = "5")]
    pub lost: Vec<WireSpan>,
    /// Says which of the session's requests this answers.
    #[prost(uint64, tag = "6")]
    pub request: u64,
}

impl Located {
    /// A device at a position, with what its battery said then, in percent.
    pub fn new(device: UserId, position: Position, battery: Option<u32>) -> Self {
        Self {
            device: device.0,
            latitude: position.latitude,
            longitude: position.longitude,
            fix_ms: position.fix_ms,
            accuracy_m: position.accuracy_m,
            speed_mps: position.speed_mps,
            course_deg: position.course_deg,
            source: position.source as u32,
            battery,
        }
    }

    /// Where it is; `None` when it is known in a way that this version does not know.
    pub fn position(self) -> Option<Position> {
        Some(Position {
            latitude: self.latitude,
            longitude: self.longitude,
            fix_ms: self.fix_ms,
            accuracy_m: self.accuracy_m,
            speed_mps: self.speed_mps,
            course_deg: self.course_deg,
            source: PositionSource::from_number(self.source)?,
        })
    }
}

/// A newer login took the session over.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Displace {
    #[prost(fixed64, tag = "1")]
    pub session: u64,
    #[prost(uint32, tag = "2")]
    pub reason: u32,
    /// 0 when it is not to come back.
    #[prost(uint32, tag = "3")]
    pub retry_after_ms: u32,
}

/// On `replay`: a session lacks a span of a topic.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReplayRequest {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(fixed64, tag = "2")]
    pub session: u64,
    #[prost(string, tag = "3")]
    pub edge: String,
    #[prost(message, required, tag = "4")]
    pub span: WireSpan,
    /// The most entries and bytes wanted in the page.
    #[prost(uint32, tag = "5")]
    pub entries_max: u32,
    #[prost(uint32, tag = "6")]
    pub bytes_max: u32,
    #[prost(uint64, tag = "7")]
    pub request: u64,
    /// When it was asked, UTC ms; 0 when that is not said.
    #[prost(uint64, tag = "8")]
    pub asked_ms: u64,
    /// How long the session waits before it asks again: nobody takes an answer to what is older.
    #[prost(uint32, tag = "9")]
    pub patience_ms: u32,
}
