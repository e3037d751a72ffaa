//! What comes in.

use serde::{Deserialize, Serialize};

use crate::model::{FloorRequestId, GrantNumber, InstallationId, UserId, UserKind};

/// Who asks, waits and talks: one installation of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Participant {
    /// The user.
    pub user: UserId,
    /// The installation at whose button it is.
    pub installation: InstallationId,
}

/// A Floor Request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Who asks.
    pub who: Participant,
    /// Which press it is.
    pub id: FloorRequestId,
    /// The higher goes first, whole range; what the fleet gives an account, and no client chooses: [`Request::level_of`].
    pub level: u8,
    /// Above every level. Between two of them the first one stands.
    pub emergency: bool,
    /// What others see of who asks; cut behind [`Request::NAME_CHARS_MAX`] characters.
    pub name: String,
}

impl Request {
    /// The most characters of a name.
    pub const NAME_CHARS_MAX: usize = 100;

    /// The level of an account: 10 for a radio, 20 for who sits at a desk.
    pub fn level_of(kind: UserKind) -> u8 {
        match kind {
            UserKind::Device => 10,
            UserKind::Dispatcher | UserKind::Distributor | UserKind::Company | UserKind::Root => 20,
        }
    }

    pub(super) fn is_repeat(&self, who: Participant, id: FloorRequestId) -> bool {
        (self.who, self.id) == (who, id)
    }
}

/// What a floor takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody in the room presses. Another request of the same installation ends the one before, whether that waits or talks.
    Request(Request),
    /// The press is over. Of a request that never came it is remembered, so that what comes late is not taken for a press.
    Release(Participant, FloorRequestId),
    /// Something was heard of who waits or talks: a heartbeat, media.
    Alive(Participant),
    /// The user is no longer in the room, with all installations.
    Left(UserId),
    /// The group is no more. Nothing is granted from here on.
    Dissolved,
    /// The media side has opened the microphone of this grant, behind the `Mute`s before it.
    Unmuted(GrantNumber),
    /// It could not, or has lost it since.
    MediaFailed(GrantNumber),
    /// Time has passed; due at [`super::Floor::next_due_ms`], harmless at any time.
    Tick,
    /// Somebody else holds the floor from here on. Nobody could be heard of meanwhile, nor the media side: both have their time anew.
    Resumed,
}
