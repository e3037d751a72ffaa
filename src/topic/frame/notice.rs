//! What the fleet itself writes into topics.

use bytes::Bytes;
use prost::Message as _;

use super::{Notice, Post};
use crate::model::{MessageKind, Reason};

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
