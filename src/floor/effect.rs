//! What is to be done.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::input::Participant;
use crate::model::{FloorRequestId, GrantNumber};

/// What is to be done after a step, in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To the media server: open the microphone and begin the recording. Not for a number below one that it has seen.
    Unmute(Command),
    /// To the media server: close the microphone and end the recording; harmless when it never opened.
    Mute(Command),
    /// To one participant.
    Tell {
        /// Who asked.
        to: Participant,
        /// Which request is answered.
        request: FloorRequestId,
        /// How.
        answer: Answer,
    },
    /// To all who are in the room at that moment.
    Announce(Announcement),
}

/// Whose microphone, by which grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Whose.
    pub who: Participant,
    /// The fencing token.
    pub grant: GrantNumber,
}

/// How a request stands. `Denied` and `Revoked` are the last word on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Permission to talk.
    Granted {
        /// The grant.
        grant: GrantNumber,
        /// When it is revoked at the latest, UTC ms, by the clock of whoever holds the floor; of a repeat earlier where that went back.
        until_ms: u64,
    },
    /// It waits; told again when the position changes.
    Queued {
        /// 1 for who is next.
        position: u32,
    },
    /// It never had the floor, or was released.
    Denied {
        /// Why.
        ending: Ending,
    },
    /// It has the floor no longer, and did not give it back.
    Revoked {
        /// The grant.
        grant: GrantNumber,
        /// Why.
        ending: Ending,
    },
}

/// What all in a room are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Somebody talks.
    Taken(Taken),
    /// Nobody talks. Not told between two bursts of which one follows the other.
    Idle,
}

/// Who talks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Who.
    pub talker: Participant,
    /// What others see of the talker.
    pub name: String,
    /// The grant.
    pub grant: GrantNumber,
    /// The level of the request.
    pub level: u8,
    /// Whether it is an emergency.
    pub emergency: bool,
}

/// Why a request came to its end. The numbers are those of the client protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// As many wait as may, and none stands lower.
    QueueFull = 1,
    /// The media server did not open the microphone in time, or lost it.
    MediaFailed = 2,
    /// It was released, or a later request of the installation took its place: a repeat that comes late.
    Over = 3,
    /// Somebody with a higher priority asked.
    PreEmpted = 4,
    /// The burst was as long as one may be.
    TimeOver = 5,
    /// The user is no longer in the room.
    Left = 6,
    /// Nothing was heard of the installation.
    Vanished = 7,
    /// The group is no more.
    Dissolved = 8,
    /// The user is not in the room: said by whoever holds the floor.
    NotInRoom = 9,
}

impl Ending {
    /// The machine-readable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::MediaFailed => "media_failed",
            Self::Over => "over",
            Self::PreEmpted => "pre_empted",
            Self::TimeOver => "time_over",
            Self::Left => "left",
            Self::Vanished => "vanished",
            Self::Dissolved => "dissolved",
            Self::NotInRoom => "not_in_room",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
