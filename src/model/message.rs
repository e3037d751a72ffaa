//! Messages and their limits.

use super::Reason;

/// The longest text of a message.
pub const TEXT_BYTES_MAX: usize = 65_536;
/// The most messages one client frame may hold.
pub const FRAME_MESSAGES_MAX: usize = 256;
/// The most marks one client frame may hold.
pub const FRAME_MARKS_MAX: usize = 1_024;

/// What an entry of a topic's log is. The numbers are those of the client protocol and of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// A text, 1 to [`TEXT_BYTES_MAX`] bytes of UTF-8.
    Text = 1,
    /// Notice in a user's inbox: now a member of a group. The body of this and all others is a `NoticeBody` of `topic::frame`.
    Joined = 64,
    /// Notice in a user's inbox: no longer a member of a group.
    Left = 65,
    /// Notice in a sender's inbox: a message with a receipt was refused afterwards.
    Rejected = 66,
    /// Notice in a user's inbox, and in that of who manages the user: the user changed room.
    RoomChanged = 67,
    /// Notice in a group: it has another name.
    Renamed = 68,
    /// Notice in a group: a member has another role.
    RoleChanged = 69,
    /// Notice in a user's inbox: the user has another nickname.
    ProfileChanged = 70,
    /// Notice in a device's inbox: whether it is to upload its log.
    LogUpload = 71,
    /// Notice in the inboxes of a device and of both who manage it: it has another manager.
    Transferred = 72,
    /// Notice in a user's inbox: ask the gateway for server addresses anew.
    ServerChanged = 73,
    /// Notice in a user's inbox: somebody asks to be a friend.
    FriendAsked = 74,
    /// Notice in a user's inbox: somebody is a friend.
    FriendAdded = 75,
    /// Notice in a user's inbox: somebody is no friend any more, or does not want to be one.
    FriendRemoved = 76,
    /// Notice in the inbox of the account whose geofence it is: a device came in, went out, or stayed.
    FenceCrossed = 77,
    /// Notice in a room, and in the inboxes of the group's dispatchers who are not in it: somebody talked, and it is recorded.
    Talk = 78,
    /// In an alert topic: something happened to an emergency alert. The body is an `AlertBody` of `topic::frame`.
    Alert = 96,
}

impl MessageKind {
    const ALL: [Self; 17] = [
        Self::Text,
        Self::Joined,
        Self::Left,
        Self::Rejected,
        Self::RoomChanged,
        Self::Renamed,
        Self::RoleChanged,
        Self::ProfileChanged,
        Self::LogUpload,
        Self::Transferred,
        Self::ServerChanged,
        Self::FriendAsked,
        Self::FriendAdded,
        Self::FriendRemoved,
        Self::FenceCrossed,
        Self::Talk,
        Self::Alert,
    ];

    /// The kind of a number in a frame.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }

    /// Whether clients may send it; the others are the fleet's own.
    pub fn from_client(self) -> bool {
        matches!(self, Self::Text)
    }
}

/// Checks the text of a message: 1 to [`TEXT_BYTES_MAX`] bytes of UTF-8.
pub fn check_text(text: &[u8]) -> Result<(), Reason> {
    match text.len() {
        0 => Err(Reason::TextEmpty),
        length if length > TEXT_BYTES_MAX => Err(Reason::TextTooLarge),
        _ => std::str::from_utf8(text).map(drop).map_err(|_| Reason::TextNotUtf8),
    }
}

/// How safely something is stored, in rising order. See `roger.v1.Durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// In the memory of Redis.
    Memory = 1,
    /// Handed to the operating system of the Redis machine.
    Written = 2,
    /// On the disk of the Redis machine.
    Fsync = 3,
    /// In the memory of a replica as well.
    Replica = 4,
    /// In SQL.
    Sql = 5,
}

impl Durability {
    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Written => "written",
            Self::Fsync => "fsync",
            Self::Replica => "replica",
            Self::Sql => "sql",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_refused_by_name() {
        let check = |text: &[u8], expected| assert_eq!(check_text(text), expected, "{} bytes", text.len());
        check(b"roger", Ok(()));
        check("über".as_bytes(), Ok(()));
        check(&[b'a'; TEXT_BYTES_MAX], Ok(()));
        check(b"", Err(Reason::TextEmpty));
        check(&[b'a'; TEXT_BYTES_MAX + 1], Err(Reason::TextTooLarge));
        check(b"\xff\xfe", Err(Reason::TextNotUtf8));
    }
}
