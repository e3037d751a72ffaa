//! Commands to a media server, whatever carries them.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::bridge::Participant;
use super::rooms::Room;
use crate::clock::Clock;
use crate::model::{GroupId, UserId};
use crate::retry::ErrorClass;

/// The longest id of a request, bytes.
const ID_BYTES_MAX: usize = 64;

/// Tells a request from all others, also over restarts of who asks: 1 to 64 letters, digits and any of `_.-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RequestId(String);

impl RequestId {
    /// The id of this text; `None` when it cannot be one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=ID_BYTES_MAX).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        (fits && plain).then(|| Self(text.to_owned()))
    }

    /// One that nobody else has.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RequestId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text).ok_or("must be 1 to 64 letters, digits and any of _.-")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody is in a room to the predecessor's plug-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// 1.
    Member,
    /// 2.
    Manager,
}

/// What a media server is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Make the room of a group. One that is there is fine.
    CreateRoom {
        /// Whose.
        group: GroupId,
        /// Its name.
        name: String,
        /// On whose behalf; 0 for nobody's.
        dispatcher: UserId,
    },
    /// End the room of a group with all seats in it. One that is not there is fine.
    DestroyRoom {
        /// Whose.
        group: GroupId,
        /// On whose behalf; 0 for nobody's.
        dispatcher: UserId,
    },
    /// Give somebody another role in the room of a group. A stock Janus has no roles, so that there it only asks for the room: floor control is Roger's.
    AlterParticipant {
        /// Whose room.
        group: GroupId,
        /// Who.
        user: UserId,
        /// What they are from now on.
        role: Role,
        /// On whose behalf; 0 for nobody's.
        dispatcher: UserId,
    },
    /// Throw somebody out. One who is not there is fine.
    Kick {
        /// Of whose room.
        group: GroupId,
        /// Whom.
        user: UserId,
    },
    /// Let nobody hear somebody.
    Mute {
        /// In whose room.
        group: GroupId,
        /// Whom.
        user: UserId,
    },
    /// Let all hear somebody.
    Unmute {
        /// In whose room.
        group: GroupId,
        /// Whom.
        user: UserId,
    },
    /// Say which rooms there are.
    ListRooms,
    /// Say who is in a room.
    ListParticipants {
        /// Whose.
        group: GroupId,
    },
}

/// A command, once: however often it is said, it is carried out one time, and answered as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is known by. Not to be used for another command.
    pub id: RequestId,
    /// When nobody waits any more and it is not to be begun, UTC ms.
    pub deadline_ms: u64,
    /// What to do.
    pub command: Command,
}

impl Request {
    /// A command under a new id, to be done within `timeout` from now on.
    pub fn new(command: Command, clock: &Clock, timeout: Duration) -> Self {
        Self { id: RequestId::random(), deadline_ms: clock.now_ms() + timeout.as_millis() as u64, command }
    }

    /// How long there is until the deadline; `None` when it has passed.
    pub fn left(&self, clock: &Clock) -> Option<Duration> {
        let left = self.deadline_ms.saturating_sub(clock.now_ms());
        (left > 0).then(|| Duration::from_millis(left))
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or was already.
    Done,
    /// The rooms.
    Rooms(Vec<Room>),
    /// The participants.
    Participants(Vec<Participant>),
}

impl Command {
    /// The group whose room it is about; `None` for all.
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Self::CreateRoom { group, .. }
            | Self::DestroyRoom { group, .. }
            | Self::AlterParticipant { group, .. }
            | Self::Kick { group, .. }
            | Self::Mute { group, .. }
            | Self::Unmute { group, .. }
            | Self::ListParticipants { group } => Some(*group),
            Self::ListRooms => None,
        }
    }
}

/// The code of a command that is none.
pub const BAD_COMMAND: u32 = 400;
/// The code of an id that was used for another command before.
pub const ID_REUSED: u32 = 409;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There was no answer before the deadline. It may have been carried out, or be carried out yet if it was begun.
    #[error("request {id} to the media server: no answer before its deadline: {why}")]
    Late {
        /// The request.
        id: RequestId,
        /// What was in the way last.
        why: String,
    },
    /// The media server refuses.
    #[error("request {id} to the media server: refused: {why} ({code})")]
    Refused {
        /// The request.
        id: RequestId,
        /// [`BAD_COMMAND`], [`ID_REUSED`], or the number of Janus or its AudioBridge ([`super::Refusal::code`]). Never 0.
        code: u32,
        /// In words.
        why: String,
    },
}

impl CommandError {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Late { .. } => ErrorClass::Transient,
            Self::Refused { .. } => ErrorClass::Permanent,
        }
    }
}

/// Whoever carries commands to a media server and answers back.
pub trait MediaServer: Send + Sync + fmt::Debug {
    /// Has a command carried out, again and again until it is answered or its deadline passes.
    fn carry_out<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Outcome, CommandError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_part_of_keys_and_are_judged_for_it() {
        for good in ["a", "room-7_air.1", &"x".repeat(64)] {
            assert_eq!(RequestId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a:b", "{a}", "ä", &"x".repeat(65)] {
            assert_eq!(RequestId::new(bad), None, "{bad}");
        }
        assert_ne!(RequestId::random(), RequestId::random());
    }
}
