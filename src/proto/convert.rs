//! Between the client protocol and the model.

use super::v1;
use crate::model::{Durability, MessageKind, Place, Position, Span, TalkQuality, TopicId, TopicKind};
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

impl From<Position> for v1::Position {
    fn from(position: Position) -> Self {
        let Position { latitude, longitude, fix_ms, accuracy_m, speed_mps, course_deg, source } = position;
        Self { latitude, longitude, fix_ms, accuracy_m, speed_mps, course_deg, source: source as i32 }
    }
}

impl From<TalkQuality> for v1::TalkQuality {
    fn from(quality: TalkQuality) -> Self {
        let TalkQuality { status, in_link, in_media_link, out_link, out_media_link, rtt_ms, said_ms } = quality;
        Self { status, in_link, in_media_link, out_link, out_media_link, rtt_ms, said_ms }
    }
}

/// A gap to tell a client.
pub fn gap(topic: TopicId, span: Span, reason: v1::GapReason) -> v1::Gap {
    v1::Gap { topic: Some(topic.into()), from: Some(span.after.into()), to: Some(span.upto.into()), reason: reason.into() }
}

/// An entry as clients see it. `own` leaves the text out: the receiving installation wrote it.
pub fn entry(entry: frame::Entry, own: bool) -> v1::Entry {
    let kind = MessageKind::from_number(entry.kind);
    let alert = || entry.alert().map(|body| v1::entry::Notice::Alert(body.into()));
    let notice = kind.zip(entry.notice()).and_then(|(kind, body)| notice(kind, body)).or_else(alert);
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

fn notice(kind: MessageKind, body: frame::NoticeBody) -> Option<v1::entry::Notice> {
    use v1::entry::Notice as N;
    let friend = |frame::NoticeBody { user: user_id, nickname, .. }| v1::FriendNotice { user_id, nickname };
    Some(match kind {
        MessageKind::Text | MessageKind::Alert => return None,
        MessageKind::Joined => N::Joined(membership(body)),
        MessageKind::Left => N::Left(membership(body)),
        MessageKind::Rejected => N::Rejected(v1::Rejected {
            topic: TopicId::from_packed(body.topic).map(v1::Topic::from),
            installation_id: body.installation,
            client_seq: body.client_seq,
            reason: body.reason as i32,
            client_seq_high: body.client_seq_high,
        }),
        MessageKind::RoomChanged => {
            N::RoomChanged(v1::RoomNotice { user_id: body.user, from_group_id: body.from, to_group_id: body.group, version: body.version })
        }
        MessageKind::Renamed => N::Renamed(membership(body)),
        MessageKind::RoleChanged => N::RoleChanged(v1::RoleNotice { group_id: body.group, user_id: body.user, role: body.role as i32 }),
        MessageKind::ProfileChanged => N::ProfileChanged(v1::ProfileNotice { user_id: body.user, nickname: body.nickname }),
        MessageKind::LogUpload => N::LogUpload(v1::LogUploadNotice { on: body.on }),
        MessageKind::Transferred => N::Transferred(v1::TransferNotice {
            device_id: body.user,
            from_account_id: body.from,
            to_account_id: body.to,
            nickname: body.nickname,
        }),
        MessageKind::ServerChanged => N::ServerChanged(v1::ServerChangedNotice { node: body.name }),
        MessageKind::FriendAsked => N::FriendAsked(friend(body)),
        MessageKind::FriendAdded => N::FriendAdded(friend(body)),
        MessageKind::FriendRemoved => N::FriendRemoved(friend(body)),
        MessageKind::Talk => N::Talk(v1::TalkNotice {
            recording_id: body.recording,
            group_id: body.group,
            speaker_id: body.user,
            nickname: body.nickname,
            file: body.file,
            md5: body.md5,
            spoken_ms: body.time_ms,
            duration_ms: body.duration_ms,
            cut: body.cut,
        }),
        MessageKind::FenceCrossed => N::FenceCrossed(v1::FenceNotice {
            fence_id: body.fence,
            fence_name: body.name,
            device_id: body.user,
            nickname: body.nickname,
            event: body.event as i32,
            fix_ms: body.time_ms,
        }),
    })
}

/// A change of somebody's presence, as clients see it; `topic` says as what they are told.
pub fn presence(topic: TopicId, presence: frame::Presence) -> v1::Presence {
    v1::Presence {
        user_id: presence.user,
        state: presence.state as i32,
        group_id: topic.group_of().unwrap_or_default().0,
        current_group_id: presence.room,
        nickname: presence.nickname,
    }
}

fn membership(body: frame::NoticeBody) -> v1::MembershipNotice {
    v1::MembershipNotice {
        group_id: body.group,
        version: body.version,
        group_name: body.name,
        group_kind: body.group_kind as i32,
        why: body.why as i32,
    }
}

/// How a request for the floor of a room stands.
pub fn floor_told(room: TopicId, told: frame::FloorTold) -> v1::FloorEvent {
    let frame::FloorTold { request: request_id, word, grant, until_ms, position, ending, .. } = told;
    // The numbers of words and endings are those of the protocol.
    let answer = v1::FloorAnswer { request_id, word, grant, until_ms, position, ending: ending as i32 };
    v1::FloorEvent { group_id: room.id(), event: Some(v1::floor_event::Event::Answer(answer)) }
}

/// Who talks in a room, or that nobody can.
pub fn floor_now(room: TopicId, now: frame::FloorNow) -> v1::FloorEvent {
    let frame::FloorNow { talker: talker_id, installation: installation_id, name, grant, level, emergency, .. } = now;
    let event = match talker_id {
        _ if now.away => v1::floor_event::Event::Away(v1::VoiceAway {}),
        0 => v1::floor_event::Event::Idle(v1::FloorIdle {}),
        _ => v1::floor_event::Event::Taken(v1::FloorTaken { talker_id, installation_id, name, grant, level, emergency }),
    };
    v1::FloorEvent { group_id: room.id(), event: Some(event) }
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
