//! What a session tells the app.

use bytes::Bytes;

use super::floor::FloorEvent;
use super::told::{Alert, Talk, alert_of, talk_of};
use crate::model::{
    Durability, FenceEvent, FenceId, GroupId, GroupKind, InstallationId, LeftWhy, MemberRole, Place, PresenceState, Reason, SessionId,
    TopicId, UserId,
};
use crate::proto::v1;

/// What a session tells the app, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The session is open at an edge.
    Connected {
        /// The address of the edge.
        edge: String,
        /// The session, as the fleet names it.
        session: SessionId,
        /// Who the token says the app is.
        user: UserId,
        /// What receipts will name as things stand.
        durability: Durability,
    },
    /// The connection is gone; another one is being made.
    Disconnected {
        /// The address of the edge.
        edge: String,
        /// Why.
        reason: Disconnect,
    },
    /// A place of a topic's log. Each comes once, in order.
    Entry(Entry),
    /// Messages are stored.
    Receipt(Receipt),
    /// Messages that had a receipt are in the topic no more.
    Lost(Lost),
    /// A message, or another part of a frame, was refused for good.
    Refusal(Refusal),
    /// Places that will never come.
    Gap(Gap),
    /// The recipient has everything this installation wrote to the inbox, up to client_seq.
    Disposition {
        /// The recipient's inbox.
        topic: TopicId,
        /// In this installation's own numbers.
        delivered_client_seq: u64,
    },
    /// The session follows a topic from here on, or no longer follows it.
    Follow {
        /// The topic.
        topic: TopicId,
        /// Its head at this time.
        head: Place,
        /// From where the session continues.
        mark: Place,
        /// False when the user left.
        following: bool,
    },
    /// Somebody came, went or changed room. Told while connected, and not kept.
    Presence(Presence),
    /// Something of the floor of a room. Told while connected, and not kept.
    Floor(FloorEvent),
    /// The session has ended for good; nothing comes after this.
    Closed {
        /// Why; `None` when the app closed it.
        reason: Option<Reason>,
        /// For people.
        text: String,
    },
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// The edge closed it and said why.
    Closed(Reason),
    /// It broke.
    Broken,
    /// Nothing came for too long.
    Silent,
    /// The app asked for another one.
    Asked,
}

/// Messages that had a receipt and that the fleet does not have: it lost its last moments, and they were not said to be with a replica. Told with the
/// next message to that topic, which shows it. Whoever was connected may have heard them, so it is for people to say them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The topic.
    pub topic: TopicId,
    /// The first number that may be lost.
    pub first: u64,
    /// The last one. Of those between that were refused that is told as well, before or after.
    pub last: u64,
}

/// One place of a topic's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The topic.
    pub topic: TopicId,
    /// Where in it.
    pub place: Place,
    /// When the fleet ordered it, UTC ms.
    pub time_ms: u64,
    /// Who said it; user 0 is the fleet itself.
    pub sender: UserId,
    /// With which installation.
    pub installation: InstallationId,
    /// Its number among the messages of that installation to that topic.
    pub client_seq: u64,
    /// What it is.
    pub body: Body,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A text, UTF-8. Empty for the installation's own message whose text the session no longer has.
    Text(Bytes),
    /// The user is a member of the group from now on.
    Joined {
        /// The group.
        group: GroupId,
        /// Its name.
        name: String,
        /// What it is for; `None` for a kind that this version does not know.
        kind: Option<GroupKind>,
    },
    /// The user is no longer a member of the group.
    Left {
        /// The group.
        group: GroupId,
        /// Its name.
        name: String,
        /// Why; `None` for a reason that this version does not know.
        why: Option<LeftWhy>,
    },
    /// The user, or a device that the user manages, changed room; group 0 is none.
    RoomChanged {
        /// Who.
        user: UserId,
        /// From which.
        from: GroupId,
        /// To which.
        to: GroupId,
        /// Counts that user's changes of room.
        version: u64,
    },
    /// The group has another name.
    Renamed {
        /// The group.
        group: GroupId,
        /// Its name from now on.
        name: String,
    },
    /// A member of the group has another role.
    RoleChanged {
        /// The group.
        group: GroupId,
        /// The member.
        user: UserId,
        /// The role from now on.
        role: MemberRole,
    },
    /// Others see another nickname of the user from now on.
    ProfileChanged {
        /// The user.
        user: UserId,
        /// The nickname from now on.
        nickname: String,
    },
    /// Whether the device is to upload its log.
    LogUpload {
        /// It is.
        on: bool,
    },
    /// A device has another manager.
    Transferred {
        /// The device.
        device: UserId,
        /// Who managed it.
        from: UserId,
        /// Who manages it.
        to: UserId,
    },
    /// Ask the gateway for server addresses, and connect there.
    ServerChanged {
        /// The name of the node.
        node: String,
    },
    /// Somebody asks to be a friend.
    FriendAsked {
        /// Who.
        user: UserId,
        /// What others see of them.
        nickname: String,
    },
    /// Somebody is a friend from now on.
    FriendAdded {
        /// Who.
        user: UserId,
        /// What others see of them.
        nickname: String,
    },
    /// Somebody is no friend any more, or does not want to be one.
    FriendRemoved {
        /// Who.
        user: UserId,
    },
    /// A device that the user manages came into a geofence of the user's, went out, or stayed.
    FenceCrossed {
        /// The geofence.
        fence: FenceId,
        /// Its name.
        name: String,
        /// The device.
        device: UserId,
        /// What others see of it.
        nickname: String,
        /// What it did; `None` for something that this version does not know.
        event: Option<FenceEvent>,
        /// Of the fix that shows it, UTC milliseconds.
        fix_ms: u64,
    },
    /// Somebody talked, and it is recorded.
    Talk(Box<Talk>),
    /// Something happened to an emergency alert. One event may come in several topics: each number of an alert counts once.
    Alert(Box<Alert>),
    /// A message with a receipt was refused afterwards.
    Rejected {
        /// Where it was sent.
        topic: TopicId,
        /// By which of the user's installations.
        installation: InstallationId,
        /// Which one.
        client_seq: u64,
        /// The highest client_seq accepted from that installation in that topic.
        client_seq_high: u64,
        /// Why; `None` for one that this version does not know.
        reason: Option<Reason>,
    },
    /// Of a kind that this version does not know.
    Unknown,
}

/// Where somebody is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// Where, as a member of `group`.
    pub state: PresenceState,
    /// The group as whose member they are told of; 0 when told as to the one who manages them.
    pub group: GroupId,
    /// The room they are in; 0 for none.
    pub room: GroupId,
    /// As it is now.
    pub nickname: String,
}

/// The presence without copies; `None` for a state this version does not know.
pub(super) fn presence_of(presence: v1::Presence) -> Option<Presence> {
    Some(Presence {
        user: UserId(presence.user_id),
        state: Option::<PresenceState>::from(presence.state())?,
        group: GroupId(presence.group_id),
        room: GroupId(presence.current_group_id),
        nickname: presence.nickname,
    })
}

/// "Roger": everything up to client_seq is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The topic.
    pub topic: TopicId,
    /// Cumulative; in this installation's numbers.
    pub client_seq: u64,
    /// How safely.
    pub durability: Durability,
    /// How many messages got their receipt by it.
    pub messages: usize,
}

/// Something was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why; `None` for a reason this version does not know.
    pub reason: Option<Reason>,
    /// The field at fault.
    pub field: String,
    /// The message at fault, where it was one: its topic and client_seq.
    pub message: Option<(TopicId, u64)>,
    /// For people.
    pub text: String,
}

/// Places that will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topic.
    pub topic: TopicId,
    /// Exclusive.
    pub from: Place,
    /// Inclusive.
    pub to: Place,
    /// True when the user was not a member there; false when they are no longer stored.
    pub not_member: bool,
}

/// A place that was not sent is the start.
pub(super) fn place_of(place: Option<v1::Place>) -> Place {
    place.map_or(Place::START, Place::from)
}

pub(super) fn reason_of(number: i32) -> Option<Reason> {
    u32::try_from(number).ok().and_then(Reason::from_number)
}

/// A durability this version does not know is above those it knows; claiming the least is safe.
pub(super) fn durability_of(number: i32) -> Durability {
    use Durability::{Fsync, Memory, Replica, Sql, Written};
    [Written, Fsync, Replica, Sql].into_iter().find(|durability| *durability as i32 == number).unwrap_or(Memory)
}

/// The entry without copies; `None` when it names no topic.
pub(super) fn entry_of(entry: v1::Entry) -> Option<Entry> {
    let topic = entry.topic?.to_model()?;
    let body = match entry.notice {
        None if entry.kind == v1::MessageKind::Text as i32 => Body::Text(entry.text),
        None => Body::Unknown,
        Some(v1::entry::Notice::Joined(notice)) => {
            let kind = notice.group_kind().into();
            Body::Joined { group: GroupId(notice.group_id), name: notice.group_name, kind }
        }
        Some(v1::entry::Notice::Left(notice)) => {
            let why = notice.why().into();
            Body::Left { group: GroupId(notice.group_id), name: notice.group_name, why }
        }
        Some(v1::entry::Notice::RoomChanged(notice)) => Body::RoomChanged {
            user: UserId(notice.user_id),
            from: GroupId(notice.from_group_id),
            to: GroupId(notice.to_group_id),
            version: notice.version,
        },
        Some(v1::entry::Notice::Renamed(notice)) => Body::Renamed { group: GroupId(notice.group_id), name: notice.group_name },
        Some(v1::entry::Notice::RoleChanged(notice)) => match Option::<MemberRole>::from(notice.role()) {
            Some(role) => Body::RoleChanged { group: GroupId(notice.group_id), user: UserId(notice.user_id), role },
            None => Body::Unknown,
        },
        Some(v1::entry::Notice::ProfileChanged(notice)) => Body::ProfileChanged { user: UserId(notice.user_id), nickname: notice.nickname },
        Some(v1::entry::Notice::LogUpload(notice)) => Body::LogUpload { on: notice.on },
        Some(v1::entry::Notice::Transferred(notice)) => {
            Body::Transferred { device: UserId(notice.device_id), from: UserId(notice.from_account_id), to: UserId(notice.to_account_id) }
        }
        Some(v1::entry::Notice::ServerChanged(notice)) => Body::ServerChanged { node: notice.node },
        Some(v1::entry::Notice::FriendAsked(notice)) => Body::FriendAsked { user: UserId(notice.user_id), nickname: notice.nickname },
        Some(v1::entry::Notice::FriendAdded(notice)) => Body::FriendAdded { user: UserId(notice.user_id), nickname: notice.nickname },
        Some(v1::entry::Notice::FriendRemoved(notice)) => Body::FriendRemoved { user: UserId(notice.user_id) },
        Some(v1::entry::Notice::FenceCrossed(notice)) => Body::FenceCrossed {
            fence: FenceId(notice.fence_id),
            device: UserId(notice.device_id),
            event: notice.event().into(),
            name: notice.fence_name,
            nickname: notice.nickname,
            fix_ms: notice.fix_ms,
        },
        Some(v1::entry::Notice::Talk(notice)) => Body::Talk(Box::new(talk_of(notice))),
        Some(v1::entry::Notice::Alert(notice)) => Body::Alert(Box::new(alert_of(notice))),
        Some(v1::entry::Notice::Rejected(rejected)) => match rejected.topic.and_then(v1::Topic::to_model) {
            None => Body::Unknown,
            Some(topic) => Body::Rejected {
                topic,
                installation: InstallationId(rejected.installation_id),
                client_seq: rejected.client_seq,
                client_seq_high: rejected.client_seq_high,
                reason: reason_of(rejected.reason),
            },
        },
    };
    Some(Entry {
        topic,
        place: Place::new(entry.epoch, entry.seq),
        time_ms: entry.time_ms,
        sender: UserId(entry.sender_id),
        installation: InstallationId(entry.installation_id),
        client_seq: entry.client_seq,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durabilities_and_reasons_have_the_numbers_of_the_protocol() {
        for (number, durability) in [(1, Durability::Memory), (3, Durability::Fsync), (5, Durability::Sql), (77, Durability::Memory)] {
            assert_eq!(durability_of(number), durability);
        }
        assert_eq!(Reason::ALL.len(), v1::Reason::AlertOver as usize, "a reason is missing in the model or the protocol");
    }
}
