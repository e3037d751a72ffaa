//! Between the client protocol and the model.

use super::v1;
use crate::model::{Durability, MessageKind, Place, Span, TopicId, TopicKind};
use crate::topic::frame;

impl From<TopicId> for v1::Topic {
    fn from(topic: TopicId) -> Self {
        let kind = match topic.kind() {
            TopicKind::Inbox => v1::TopicKind::User,
            TopicKind::Group => v1::TopicKind::Group,
            TopicKind::Room => v1::TopicKind::Room,
            TopicKind::AlertInbox => v1::TopicKind::AlertUser,
            TopicKind::AlertRoom => v1::TopicKind::AlertRoom,
        };
        Self { kind: kind.into(), id: topic.id() }
    }
}

impl v1::Topic {
    /// The topic meant; `None` when the kind is unknown or the id out of range.
    pub fn to_model(self) -> Option<TopicId> {
        let kind = match self.kind() {
            v1::TopicKind::Unspecified => return None,
            v1::TopicKind::User => TopicKind::Inbox,
            v1::TopicKind::Group => TopicKind::Group,
            v1::TopicKind::Room => TopicKind::Room,
            v1::TopicKind::AlertUser => TopicKind::AlertInbox,
            v1::TopicKind::AlertRoom => TopicKind::AlertRoom,
        };
        TopicId::checked(kind, self.id)
    }
}

impl From<Place> for v1::Place {
    fn from(place: Place) -> Self {
        Self { epoch: place.epoch, seq: place.seq }
    }
}

impl From<v1::Place> for Place {
    fn from(place: v1::Place) -> Self {
        Self::new(place.epoch, place.seq)
    }
}

impl From<Durability> for v1::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Memory => Self::Memory,
            Durability::Written => Self::Written,
            Durability::Fsync => Self::Fsync,
            Durability::Replica => Self::Replica,
            Durability::Sql => Self::Sql,
        }
    }
}

/// A gap to tell a client.
pub fn gap(topic: TopicId, span: Span, reason: v1::GapReason) -> v1::Gap {
    v1::Gap { topic: Some(topic.into()), from: Some(span.after.into()), to: Some(span.upto.into()), reason: reason.into() }
}

/// An entry as clients see it. `own` leaves the text out: the receiving installation wrote it.
pub fn entry(entry: frame::Entry, own: bool) -> v1::Entry {
    let kind = MessageKind::from_number(entry.kind);
    let notice = match (kind, entry.notice()) {
        (Some(MessageKind::Joined), Some(body)) => Some(v1::entry::Notice::Joined(membership(body))),
        (Some(MessageKind::Left), Some(body)) => Some(v1::entry::Notice::Left(membership(body))),
        (Some(MessageKind::Rejected), Some(body)) => Some(v1::entry::Notice::Rejected(v1::Rejected {
            topic: TopicId::from_packed(body.topic).map(v1::Topic::from),
            installation_id: body.installation,
            client_seq: body.client_seq,
            reason: body.reason as i32,
            client_seq_high: body.client_seq_high,
        })),
        _ => None,
    };
    let is_text = kind == Some(MessageKind::Text);
    v1::Entry {
        topic: TopicId::from_packed(entry.topic).map(v1::Topic::from),
        epoch: entry.epoch,
        seq: entry.seq,
        time_ms: entry.time_ms,
        sender_id: entry.sender,
        installation_id: entry.installation,
        client_seq: entry.client_seq,
        kind: if is_text { v1::MessageKind::Text.into() } else { v1::MessageKind::Unspecified.into() },
        text: if is_text && !own { entry.body } else { bytes::Bytes::new() },
        notice,
    }
}

fn membership(body: frame::NoticeBody) -> v1::MembershipNotice {
    v1::MembershipNotice { group_id: body.group, version: body.version, group_name: body.name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_survive_the_protocol() {
        for text in ["u:1", "g:2", "r:3", "su:4", "sr:5"] {
            let topic: TopicId = text.parse().unwrap();
            assert_eq!(v1::Topic::from(topic).to_model(), Some(topic));
        }
        assert_eq!(v1::Topic { kind: 9, id: 1 }.to_model(), None);
        assert_eq!(v1::Topic { kind: 1, id: 0 }.to_model(), None);
    }
}
