//! What the fleet itself writes into topics.

use bytes::Bytes;
use prost::Message as _;

use super::{Notice, Post};
use crate::model::{MessageKind, Reason, TopicId};

/// The body of an entry whose kind is a notice; each kind fills its part.
///
/// `joined` and `left`: group, version, name, group_kind, and why of one that left. `renamed`: group, version, name. `role_changed`: group, user,
/// role. `room_changed`: user, from, group (the new room), version. `profile_changed`: user, nickname. `log_upload`: on. `transferred`: user,
/// nickname, from and to (accounts). `server_changed`: name (of the node). `friend_…`: user, nickname. `rejected`: topic, installation,
/// client_seq, reason, client_seq_high. `fence_crossed`: fence, name (of the fence), user and nickname (of the device), event, time_ms.
/// `talk`: group, user and nickname (of who talked), recording, file, md5, time_ms (when it was over), duration_ms,
/// cut (its end is missing).
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
    #[prost(uint64, tag = "9")]
    pub user: u64,
    #[prost(string, tag = "10")]
    pub nickname: String,
    #[prost(uint32, tag = "11")]
    pub role: u32,
    #[prost(uint32, tag = "12")]
    pub why: u32,
    #[prost(uint32, tag = "13")]
    pub group_kind: u32,
    #[prost(uint64, tag = "14")]
    pub from: u64,
    #[prost(uint64, tag = "15")]
    pub to: u64,
    #[prost(bool, tag = "16")]
    pub on: bool,
    #[prost(uint64, tag = "17")]
    pub fence: u64,
    /// A `FenceEvent`.
    #[prost(uint32, tag = "18")]
    pub event: u32,
    #[prost(uint64, tag = "19")]
    pub time_ms: u64,
    #[prost(uint64, tag = "20")]
    pub recording: u64,
    #[prost(string, tag = "21")]
    pub file: String,
    #[prost(string, tag = "22")]
    pub md5: String,
    #[prost(uint64, tag = "23")]
    pub duration_ms: u64,
    #[prost(bool, tag = "24")]
    pub cut: bool,
}

impl NoticeBody {
    /// The notice of `kind` with this body, for `topic`.
    pub fn into_notice(self, topic: TopicId, kind: MessageKind) -> Notice {
        Notice { topic: topic.packed(), kind: kind as u32, body: self.encode_to_vec().into() }
    }
}

impl Notice {
    /// What a `rejected` notice says; `None` for other kinds, or a body that does not decode.
    pub fn rejected(&self) -> Option<NoticeBody> {
        (self.kind == MessageKind::Rejected as u32).then(|| NoticeBody::decode(self.body.clone()).ok()).flatten()
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
