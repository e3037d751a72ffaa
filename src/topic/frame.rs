//! What stands on Redis streams: frames, many entries packed into one stream entry.
//!
//! A stream entry has one field. Its name is the version of the format, `1`; its value is one of the frames below in the protobuf
//! encoding, so that a program skips fields that a newer one added. An entry of another version, or that does not decode, is a dead
//! letter. Field numbers are never reused; `tests/it/golden` holds the bytes.
//!
//! Topics are packed ([`TopicId::packed`]), times UTC milliseconds, absent ids 0.

use bytes::Bytes;
use prost::{Message as _, Oneof};

use crate::model::{MessageKind, Place, Reason, Span, TopicId};

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

/// On `{s}:in` and `{s}:urgent`: everything one producer had for the shard since its last round trip.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InFrame {
    /// Random per start of an edge; a constant for a shard that forwards and for the directory. The owner drops a frame whose number
    /// is not above the last one of its producer and lane, so a repeated push is harmless.
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
    #[prost(oneof = "Input", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
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

/// A session wants to follow a topic. The owner answers [`Attached`] or [`Refused`].
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

/// A session is about to write to an inbox it does not follow. The owner answers [`Watched`] and from then on sends [`Delivered`].
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

/// Into a group's topic: a user joined or left, as the directory has it in `version` of the group.
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
}

/// Into a user's inbox: who may write there. An inbox without a profile takes nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Profile {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint64, tag = "2")]
    pub tenant: u64,
    #[prost(uint64, tag = "3")]
    pub version: u64,
}

/// An entry the fleet itself writes to a topic; a repeat is known by its frame's number.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Notice {
    #[prost(uint64, tag = "1")]
    pub topic: u64,
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// A [`NoticeBody`].
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
}

/// The body of an entry whose kind is a notice: `joined` and `left` fill group, version and name, `rejected` the others.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NoticeBody {
    #[prost(uint64, tag = "1")]
    pub group: u64,
    #[prost(uint64, tag = "2")]
    pub version: u64,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(uint64, tag = "4")]
    pub topic: u64,
    #[prost(fixed64, tag = "5")]
    pub installation: u64,
    #[prost(uint64, tag = "6")]
    pub client_seq: u64,
    #[prost(uint32, tag = "7")]
    pub reason: u32,
    #[prost(uint64, tag = "8")]
    pub client_seq_high: u64,
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

impl Notice {
    /// What a `rejected` notice says; `None` for other kinds, or a body that does not decode.
    pub fn rejected(&self) -> Option<NoticeBody> {
        (self.kind == MessageKind::Rejected as u32).then(|| NoticeBody::decode(self.body.clone()).ok()).flatten()
    }
}

impl Entry {
    /// Where it stands.
    pub fn place(&self) -> Place {
        Place::new(self.epoch, self.seq)
    }

    /// The body of a notice; `None` for other kinds, or one that does not decode.
    pub fn notice(&self) -> Option<NoticeBody> {
        match MessageKind::from_number(self.kind)? {
            MessageKind::Joined | MessageKind::Left | MessageKind::Rejected => NoticeBody::decode(self.body.clone()).ok(),
            MessageKind::Text => None,
        }
    }
}

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
}

/// One entry of an [`OutFrame`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutItem {
    #[prost(oneof = "Output", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
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

/// Answers a [`Watch`].
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

/// A newer login took the session over.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Displace {
    #[prost(fixed64, tag = "1")]
    pub session: u64,
    #[prost(uint32, tag = "2")]
    pub reason: u32,
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
}

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
}

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
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4, 5, 6")]
    pub outcome: Option<Outcome>,
}

impl From<Outcome> for LogItem {
    fn from(outcome: Outcome) -> Self {
        Self { outcome: Some(outcome) }
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
}

/// A membership took effect behind the place.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MembershipAt {
    #[prost(message, required, tag = "1")]
    pub membership: Membership,
    #[prost(message, required, tag = "2")]
    pub place: WirePlace,
}

/// An input for another shard: pushed after the commit, known there by (this shard, epoch, commit).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Forward {
    /// For a topic of the other shard.
    #[prost(message, required, tag = "1")]
    pub item: InItem,
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

/// One row of a shard's state, in `{s}:state` and from SQL. Rows of one key merge by taking the later of each part.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Row {
    #[prost(oneof = "RowKind", tags = "1, 2, 3, 4, 5, 6")]
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
}

/// The head of a topic.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
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
    /// In order; the last one ends at [`Place::END`] for a present member.
    #[prost(message, repeated, tag = "4")]
    pub spans: Vec<WireSpan>,
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

impl RowKind {
    /// The row's field in the hash `{s}:state`, readable in redis-cli.
    pub fn key(&self) -> String {
        let topic = |packed| TopicId::from_packed(packed).map_or_else(|| packed.to_string(), |topic| topic.to_string());
        match self {
            Self::Head(row) => format!("head {}", topic(row.topic)),
            Self::Member(row) => format!("member {} {}", topic(row.topic), row.user),
            Self::Register(row) => format!("register {} {}", topic(row.topic), row.group),
            Self::Producer(row) => format!("producer {} {} {:x}", topic(row.topic), row.user, row.installation),
            Self::Mark(row) => format!("mark {} {} {:x}", topic(row.topic), row.user, row.installation),
            Self::Feed(row) => format!("feed {:x} {}", row.producer, row.lane),
        }
    }
}

/// The body of a `rejected` notice.
pub fn rejected_body(post: &Post, reason: Reason, client_seq_high: u64) -> Bytes {
    let body = NoticeBody {
        topic: post.topic,
        installation: post.installation,
        client_seq: post.client_seq,
        reason: reason as u32,
        client_seq_high,
        ..NoticeBody::default()
    };
    body.encode_to_vec().into()
}
