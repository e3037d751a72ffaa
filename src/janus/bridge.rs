//! What the AudioBridge says: who is in a room, what happened there, why it refuses.

use serde_json::Value;

use super::error::Error;
use crate::model::{GroupId, UserId};

/// Why the AudioBridge refuses, by its number in 1.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 485: there is no such room.
    NoSuchRoom,
    /// 486: there is one of this name already.
    RoomExists,
    /// 487: the seat is in no room.
    NotJoined,
    /// 489: the room has another secret.
    Unauthorized,
    /// 490: somebody in the room has this id: another seat of the user, or the ghost of one that died.
    IdExists,
    /// 491: the seat is in a room already.
    AlreadyJoined,
    /// 492: nobody in the room has this id.
    NoSuchUser,
    /// Any other.
    Other(u32),
}

impl Refusal {
    /// Of a number.
    pub fn of(code: u32) -> Self {
        match code {
            485 => Self::NoSuchRoom,
            486 => Self::RoomExists,
            487 => Self::NotJoined,
            489 => Self::Unauthorized,
            490 => Self::IdExists,
            491 => Self::AlreadyJoined,
            492 => Self::NoSuchUser,
            code => Self::Other(code),
        }
    }

    /// Its number.
    pub fn code(self) -> u32 {
        match self {
            Self::NoSuchRoom => 485,
            Self::RoomExists => 486,
            Self::NotJoined => 487,
            Self::Unauthorized => 489,
            Self::IdExists => 490,
            Self::AlreadyJoined => 491,
            Self::NoSuchUser => 492,
            Self::Other(code) => code,
        }
    }
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Participant {
    /// Who.
    pub user: UserId,
    /// The name they joined under.
    pub display: String,
    /// Whether media flows: of plain RTP from the first packet they sent, of WebRTC once its session stands.
    pub setup: bool,
    /// Whether nobody hears them.
    pub muted: bool,
}

/// What happened in a room, as one who has a seat there is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// These came, or something changed about them.
    Changed {
        /// Where.
        room: GroupId,
        /// Who; not all who are there.
        participants: Vec<Participant>,
    },
    /// One left.
    Left {
        /// Where.
        room: GroupId,
        /// Who.
        user: UserId,
    },
    /// One was thrown out.
    Kicked {
        /// Where.
        room: GroupId,
        /// Who.
        user: UserId,
    },
    /// One began or ended to speak, by the level of sound. Never told of plain RTP.
    Talking {
        /// Where.
        room: GroupId,
        /// Who.
        user: UserId,
        /// Which of the two.
        talking: bool,
    },
    /// The room is no more.
    Destroyed {
        /// Which.
        room: GroupId,
    },
}

impl RoomEvent {
    /// Of what the plug-in says unasked; `None` when it is something else.
    pub fn of(data: &Value) -> Option<Self> {
        let room = GroupId(id(&data["room"])?);
        let user = |field: &str| id(&data[field]).map(UserId);
        match data["audiobridge"].as_str()? {
            "destroyed" => Some(Self::Destroyed { room }),
            kind @ ("talking" | "stopped-talking") => Some(Self::Talking { room, user: user("id")?, talking: kind == "talking" }),
            _ => {
                let kicked = user("kicked").map(|user| Self::Kicked { room, user });
                let left = user("leaving").map(|user| Self::Left { room, user });
                let changed = || data.get("participants").map(|list| Self::Changed { room, participants: participants(list) });
                kicked.or(left).or_else(changed)
            }
        }
    }
}

/// An id as Roger gives them to Janus: a number, written as text.
pub(super) fn id(value: &Value) -> Option<u64> {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64()).filter(|id| *id > 0)
}

/// The participants of a list, without those whose id is none of Roger's.
pub(super) fn participants(list: &Value) -> Vec<Participant> {
    let one = |value: &Value| {
        Some(Participant {
            user: UserId(id(&value["id"])?),
            display: value["display"].as_str().unwrap_or_default().to_owned(),
            setup: value["setup"].as_bool().unwrap_or(false),
            muted: value["muted"].as_bool().unwrap_or(false),
        })
    };
    list.as_array().into_iter().flatten().filter_map(one).collect()
}

/// What the plug-in says, unless that it refuses.
pub(super) fn accepted(operation: &'static str, data: Value) -> Result<Value, Error> {
    let Some(code) = data["error_code"].as_u64() else { return Ok(data) };
    let refusal = Refusal::of(u32::try_from(code).unwrap_or(u32::MAX));
    Err(Error::Bridge { operation, refusal, reason: data["error"].as_str().unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_told_apart_and_ids_of_others_left_out() {
        let (room, user) = (GroupId(100), UserId(7));
        let check = |data: Value, expected: Option<RoomEvent>| assert_eq!(RoomEvent::of(&data), expected, "{data}");
        let neil = Participant { user, display: "Neil".to_owned(), setup: true, muted: true };
        let list =
            json!([{ "id": "7", "display": "Neil", "setup": true, "muted": true }, { "id": "a stranger", "setup": true, "muted": false }]);
        for kind in ["joined", "event", "roomchanged"] {
            let changed = RoomEvent::Changed { room, participants: vec![neil.clone()] };
            check(json!({ "audiobridge": kind, "room": "100", "participants": list }), Some(changed));
        }
        check(json!({ "audiobridge": "event", "room": "100", "leaving": "7" }), Some(RoomEvent::Left { room, user }));
        check(json!({ "audiobridge": "event", "room": "100", "kicked": "7" }), Some(RoomEvent::Kicked { room, user }));
        check(json!({ "audiobridge": "destroyed", "room": "100" }), Some(RoomEvent::Destroyed { room }));
        let talking = |talking| Some(RoomEvent::Talking { room, user, talking });
        check(json!({ "audiobridge": "talking", "room": "100", "id": "7" }), talking(true));
        check(json!({ "audiobridge": "stopped-talking", "room": "100", "id": "7" }), talking(false));
        check(json!({ "audiobridge": "event", "result": "ok" }), None);
        check(json!({ "audiobridge": "event", "room": "lobby", "leaving": "7" }), None);
    }

    #[test]
    fn a_refusal_keeps_its_number() {
        for code in [480, 485, 486, 487, 489, 490, 491, 492, 499] {
            assert_eq!(Refusal::of(code).code(), code);
        }
    }
}
