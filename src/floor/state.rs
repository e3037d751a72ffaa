//! How a floor stands.

use serde::{Deserialize, Deserializer, Serialize};

use super::answered::Answered;
use super::effect::{Announcement, Command, Taken};
use super::input::Participant;
use super::limits::Limits;
use super::queue::{Claim, Queue};
use crate::model::{FloorRequestId, GrantNumber};

/// The form in which a floor is stored. It rises when what is written can no longer be read by what was before.
const FORMAT: u32 = 1;

/// The floor of one room. As JSON it is stored; a form of later programs is refused, and not misread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    #[serde(deserialize_with = "known_format")]
    format: u32,
    /// Counts the steps.
    pub(super) version: u64,
    /// The last grant.
    pub(super) grants: GrantNumber,
    /// Counts the requests.
    pub(super) arrivals: u64,
    pub(super) stage: Stage,
    pub(super) queue: Queue,
    pub(super) answered: Answered,
    /// The room was told of a talker, and not yet that nobody talks.
    pub(super) taken: bool,
    pub(super) dissolved: bool,
}

/// Who has the floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    Idle,
    /// The media side is asked.
    Preparing(Grant),
    /// It has confirmed.
    Talking(Grant),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) number: GrantNumber,
    pub(super) claim: Claim,
    /// Since when it is in this stage, UTC ms.
    pub(super) since_ms: u64,
}

impl Grant {
    pub(super) fn command(&self) -> Command {
        Command { who: self.claim.request.who, grant: self.number }
    }

    /// When a burst that was granted at `since_ms` is over at the latest.
    pub(super) fn until_ms(&self, limits: &Limits) -> u64 {
        self.since_ms.saturating_add(limits.burst_ms)
    }

    pub(super) fn ready_ms(&self, limits: &Limits) -> u64 {
        self.since_ms.saturating_add(limits.prepare_ms)
    }
}

impl Stage {
    pub(super) fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Idle => None,
            Self::Preparing(grant) | Self::Talking(grant) => Some(grant),
        }
    }

    pub(super) fn grant_mut(&mut self) -> Option<&mut Grant> {
        match self {
            Self::Idle => None,
            Self::Preparing(grant) | Self::Talking(grant) => Some(grant),
        }
    }

    /// The grant, if it was begun for this participant.
    pub(super) fn of(&mut self, who: Participant) -> Option<&mut Grant> {
        self.grant_mut().filter(|grant| grant.claim.request.who == who)
    }
}

/// Who has the floor, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who, by which grant.
    pub command: Command,
    /// By which request.
    pub request: FloorRequestId,
    /// The media side has confirmed, and the room was told.
    pub talks: bool,
}

impl Floor {
    /// A floor that nobody has. Its grants come behind `after`: 0 for a new room; who lost the state of one names a number that no grant of
    /// it can have reached.
    pub fn new(after: GrantNumber) -> Self {
        Self {
            format: FORMAT,
            version: 0,
            grants: after,
            arrivals: 0,
            stage: Stage::Idle,
            queue: Queue::default(),
            answered: Answered::default(),
            taken: false,
            dissolved: false,
        }
    }

    /// Counts the steps, so that whoever stores it can tell whether somebody else did.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The last grant that was begun; 0 for none. It is all that has to be kept of a floor that nobody has.
    pub fn last_grant(&self) -> GrantNumber {
        self.grants
    }

    /// Who has the floor. Of a room's microphones only this one may be open: a media server that begins anew closes all others.
    pub fn holder(&self) -> Option<Holder> {
        let grant = self.stage.grant()?;
        Some(Holder { command: grant.command(), request: grant.claim.request.id, talks: matches!(self.stage, Stage::Talking(_)) })
    }

    /// Whether nobody has it and nobody waits: time changes nothing.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle && self.queue.iter().next().is_none()
    }

    /// Who waits, the next one first, with the request.
    pub fn waiting(&self) -> Vec<(Participant, FloorRequestId)> {
        // Each step leaves the queue in its order.
        self.queue.iter().map(|claim| (claim.request.who, claim.request.id)).collect()
    }

    /// What who comes into the room is told.
    pub fn announcement(&self) -> Announcement {
        match &self.stage {
            Stage::Talking(grant) => {
                let request = &grant.claim.request;
                Announcement::Taken(Taken {
                    talker: request.who,
                    name: request.name.clone(),
                    grant: grant.number,
                    level: request.level,
                    emergency: request.emergency,
                })
            }
            Stage::Idle | Stage::Preparing(_) => Announcement::Idle,
        }
    }

    /// When the next [`super::Input::Tick`] matters, UTC ms; `None` while time changes nothing.
    pub fn next_due_ms(&self, limits: &Limits) -> Option<u64> {
        let own = match &self.stage {
            Stage::Idle => None,
            Stage::Preparing(grant) => Some(grant.ready_ms(limits)),
            Stage::Talking(grant) => Some(grant.until_ms(limits)),
        };
        let claims = self.stage.grant().map(|grant| &grant.claim).into_iter().chain(self.queue.iter());
        claims.map(|claim| claim.vanishes_ms(limits)).chain(own).min()
    }
}

fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORMAT => Ok(FORMAT),
        other => Err(serde::de::Error::custom(format_args!("a floor of form {other}; this program knows form {FORMAT}"))),
    }
}
