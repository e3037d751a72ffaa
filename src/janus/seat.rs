//! A seat in a room: joining, talking, moving, leaving.
//!
//! Pressing to talk is one request, [`Handle::talk`], and so is letting go. What is heard meanwhile is recorded as one burst under a name of Janus'
//! making; a name of one's own is never given, since Janus would go on using it and overwrite the burst before.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use super::bridge::{Participant, accepted, id, participants};
use super::client::unreadable;
use super::error::Error;
use super::rooms::merge;
use super::session::Handle;
use super::wire::Description;
use crate::model::{GroupId, UserId};

/// Who takes a seat where, and how what they say comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// In whose room.
    pub room: GroupId,
    /// Who. A room has each user once.
    pub user: UserId,
    /// Their name.
    pub display: String,
    /// How media goes.
    pub media: Media,
}

/// How media goes between a participant and Janus, as Opus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// Plain RTP. Janus takes packets from exactly this address, and sends none before the first one came.
    Rtp {
        /// Where the participant sends from and listens.
        address: SocketAddr,
        /// The payload type of Opus on both ways, 0 to 127.
        payload_type: u8,
    },
    /// WebRTC, by the offer of a browser.
    WebRtc {
        /// It.
        offer: Description,
    },
}

/// A seat that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Who was in the room before.
    pub others: Vec<Participant>,
    /// How media goes.
    pub media: Answered,
}

/// What Janus has to say to how media goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Plain RTP.
    Rtp {
        /// Where packets have to be sent.
        to: SocketAddr,
    },
    /// WebRTC.
    WebRtc {
        /// The answer to the offer.
        answer: Description,
    },
}

impl Handle {
    /// Takes a seat in a room, muted.
    ///
    /// # Errors
    /// [`super::Refusal::NoSuchRoom`]; [`super::Refusal::IdExists`] when the user is there already, or a ghost of theirs (see [`super::Rooms::seat`]);
    /// [`super::Refusal::AlreadyJoined`] when the seat is in a room; see [`Error`].
    pub async fn join(&self, join: &Join) -> Result<Joined, Error> {
        const OPERATION: &str = "join a room";
        let mut body = json!({ "request": "join", "room": join.room.to_string(), "id": join.user.to_string(), "display": join.display, "muted": true });
        let offer = match &join.media {
            Media::Rtp { address, payload_type } => {
                let rtp = json!({ "ip": address.ip().to_string(), "port": address.port(), "payload_type": payload_type });
                merge(&mut body, json!({ "rtp": rtp }));
                None
            }
            Media::WebRtc { offer } => Some(offer),
        };
        let (data, jsep) = self.ask(OPERATION, body, offer).await?;
        let others = participants(&data["participants"]);
        let media = match offer {
            None => Answered::Rtp { to: rtp(&data["rtp"]).ok_or_else(|| unreadable(OPERATION, "no address for RTP"))? },
            Some(_) => Answered::WebRtc { answer: jsep.ok_or_else(|| unreadable(OPERATION, "no answer to the offer"))? },
        };
        Ok(Joined { others, media })
    }

    /// Has the seat heard and recorded, or neither.
    ///
    /// # Errors
    /// [`super::Refusal::NotJoined`]; see [`Error`].
    pub async fn talk(&self, talks: bool) -> Result<(), Error> {
        self.configure(!talks, talks).await
    }

    /// Says whether the seat is muted, and whether it is recorded.
    ///
    /// # Errors
    /// [`super::Refusal::NotJoined`]; see [`Error`].
    pub async fn configure(&self, muted: bool, record: bool) -> Result<(), Error> {
        let body = json!({ "request": "configure", "muted": muted, "record": record });
        self.ask("configure a seat", body, None).await.map(drop)
    }

    /// Takes the seat into another room, muted; who is there. Media goes on as it was.
    ///
    /// # Errors
    /// As [`Handle::join`]; when it is refused the seat is where it was.
    pub async fn change_room(&self, room: GroupId, user: UserId, display: &str) -> Result<Vec<Participant>, Error> {
        let body = json!({ "request": "changeroom", "room": room.to_string(), "id": user.to_string(), "display": display, "muted": true });
        let (data, _) = self.ask("change the room", body, None).await?;
        Ok(participants(&data["participants"]))
    }

    /// Takes the seat out of its room; the handle may join again.
    ///
    /// # Errors
    /// [`super::Refusal::NotJoined`]; see [`Error`].
    pub async fn leave(&self) -> Result<(), Error> {
        self.ask("leave a room", json!({ "request": "leave" }), None).await.map(drop)
    }

    async fn ask(&self, operation: &'static str, body: Value, jsep: Option<&Description>) -> Result<(Value, Option<Description>), Error> {
        let (data, jsep) = self.message(operation, body, jsep).await?;
        Ok((accepted(operation, data)?, jsep))
    }
}

fn rtp(value: &Value) -> Option<SocketAddr> {
    let ip: IpAddr = value["ip"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(id(&value["port"])?).ok()?))
}
