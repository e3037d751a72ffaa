//! One order of a room, carried out at Janus.

use std::net::SocketAddr;

use super::seats::{Floor, Seat};
use super::{Desk, Error};
use crate::janus::{self, Answered, Description, Join, Media};
use crate::model::{GroupId, InstallationId, Reason, TopicId, UserId};
use crate::topic::frame::{self, Input, Microphone, Seated, Unseat};
use crate::worker::chain;

/// The payload type of Opus in plain RTP, as the client protocol has it.
const OPUS: u8 = 111;

/// The topic of the room an order is of; 0 for what is none.
pub(super) fn room_of(order: &Input) -> u64 {
    match order {
        Input::Seat(seat) => seat.topic,
        Input::Unseat(unseat) => unseat.topic,
        Input::Microphone(microphone) => microphone.topic,
        _ => 0,
    }
}

impl Desk {
    pub(super) async fn order(&self, group: GroupId, order: Input) -> Result<(), Error> {
        match order {
            Input::Seat(seat) => self.seat(group, seat).await,
            Input::Unseat(unseat) => self.unseat(group, unseat).await,
            Input::Microphone(microphone) => self.microphone(group, microphone).await,
            _ => Ok(()),
        }
    }

    /// Whether it makes sense to ask Janus.
    fn is_there(&self) -> bool {
        !self.away && !self.seats.is_silent()
    }

    /// What came of asking Janus: that it refused, or is not there, is no reason to stop. That it forgot everything is.
    fn judge<T>(&self, what: &'static str, answer: Result<T, janus::Error>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(janus::Error::SessionGone { .. }) => Err(Error::SessionLost),
            Err(error) => {
                self.seats.failed(&error);
                tracing::warn!(error = chain(&error), "cannot {what}");
                Ok(None)
            }
        }
    }

    async fn seat(&self, group: GroupId, asked: frame::Seat) -> Result<(), Error> {
        let (user, edge) = (UserId(asked.user), asked.edge.clone());
        let answer = Seated { topic: asked.topic, session: asked.session, request: asked.request, ..Seated::default() };
        let before = self.seats.seat(user);
        if before.as_ref().is_some_and(|before| before.version > asked.version) {
            // They went on to the next room meanwhile.
            return self.seats.tell(&edge, Seated { reason: Reason::NotMember as u32, ..answer }).await;
        }
        if let Some(before) = before {
            self.give_back(user, before).await?;
        }
        let Some(media) = media(&asked) else { return self.seats.tell(&edge, answer).await };
        let seated = if self.is_there() { self.sit_down(group, user, &asked, media).await? } else { None };
        let answer = match seated {
            Some(Answered::Rtp { to }) => Seated { rtp_ip: to.ip().to_string(), rtp_port: to.port().into(), ..answer },
            Some(Answered::WebRtc { answer: description }) => Seated { answer: description.sdp, ..answer },
            None => Seated { reason: Reason::StoreUnavailable as u32, ..answer },
        };
        self.seats.tell(&edge, answer).await
    }

    async fn sit_down(&self, group: GroupId, user: UserId, asked: &frame::Seat, media: Media) -> Result<Option<Answered>, Error> {
        let Some(handle) = self.judge("attach a handle", self.session.attach(&format!("uid:{user}")).await)? else { return Ok(None) };
        let join = Join { room: group, user, display: asked.name.clone(), media };
        let joined = async {
            match self.rooms.seat(&handle, &join).await {
                Err(error) if is_no_room(&error) => {
                    self.rooms.ensure(group, &format!("group {group}")).await?;
                    self.rooms.seat(&handle, &join).await
                }
                answer => answer,
            }
        };
        let Some(joined) = self.judge("give somebody a seat", joined.await)? else {
            self.judge("give a handle back", handle.detach().await)?;
            return Ok(None);
        };
        let seat = Seat {
            group,
            installation: InstallationId(asked.installation),
            handle: handle.id(),
            version: asked.version,
            edge: asked.edge.clone(),
            session: asked.session,
            name: asked.name.clone(),
        };
        self.seats.sit(user, seat).await?;
        metrics::counter!("roger_seats_taken_total").increment(1);
        Ok(Some(joined.media))
    }

    /// Gives a seat back, with whatever is open there.
    async fn give_back(&self, user: UserId, seat: Seat) -> Result<(), Error> {
        let handle = self.session.handle(seat.handle);
        self.judge("give a seat back", handle.detach().await)?;
        self.seats.stand_up(user, seat.handle).await?;
        let floor = self.seats.floor(seat.group);
        if floor.open == Some(user) {
            self.seats.set_floor(seat.group, Floor { open: None, ..floor }).await?;
            self.seats.say(seat.group, floor.grant, false).await?;
        }
        Ok(())
    }

    /// Somebody left a room: their seat goes with them into the next one.
    async fn unseat(&self, group: GroupId, unseat: Unseat) -> Result<(), Error> {
        let (user, next) = (UserId(unseat.user), GroupId(unseat.next));
        let Some(seat) = self.seats.seat(user).filter(|seat| seat.group == group) else { return Ok(()) };
        if unseat.version != 0 && unseat.version < seat.version {
            return Ok(());
        }
        let handle = self.session.handle(seat.handle);
        if next.0 == 0 || !self.is_there() {
            return self.give_back(user, seat).await;
        }
        let moving = async {
            // Closes what is recorded, whatever the floor said before.
            handle.talk(false).await?;
            match handle.change_room(next, user, &seat.name).await {
                Err(error) if is_no_room(&error) => {
                    self.rooms.ensure(next, &format!("group {next}")).await?;
                    handle.change_room(next, user, &seat.name).await
                }
                answer => answer,
            }
        };
        match self.judge("move a seat", moving.await)? {
            Some(_) => self.seats.sit(user, Seat { group: next, version: unseat.version, ..seat }).await,
            None => {
                // Nobody is to hear a room they are no longer in.
                self.judge("give a seat back", handle.detach().await)?;
                self.seats.lose_user(user).await
            }
        }
    }

    async fn microphone(&self, group: GroupId, microphone: Microphone) -> Result<(), Error> {
        let Microphone { user, installation, grant, open, .. } = microphone;
        let (user, floor) = (UserId(user), self.seats.floor(group));
        if grant < floor.grant {
            return Ok(());
        }
        if open && grant == floor.grant {
            // Again: it is open, or was closed since.
            return if floor.open == Some(user) { self.seats.say(group, grant, true).await } else { Ok(()) };
        }
        // Whoever had it before has it no longer, also when the order to close it was lost.
        if let Some(other) = floor.open
            && !self.close(group, other).await?
        {
            // It is closed as soon as Janus answers again; until then who can be heard is not joined by another one.
            self.seats.set_floor(group, Floor { grant, open: Some(other), since_ms: 0 }).await?;
            return if open { self.seats.say(group, grant, false).await } else { Ok(()) };
        }
        if !open {
            self.job.wake.burst_ended();
            return self.seats.set_floor(group, Floor { grant, open: None, since_ms: 0 }).await;
        }
        let seat = self.seats.seat(user).filter(|seat| seat.group == group && seat.installation.0 == installation && self.is_there());
        let opened = match &seat {
            Some(seat) => self.judge("open a microphone", self.session.handle(seat.handle).talk(true).await)?.is_some(),
            None => false,
        };
        // One that did not answer may be open all the same: it is closed with the end of its grant.
        let maybe = seat.map(|_| user).filter(|_| opened || self.seats.is_silent());
        self.seats.set_floor(group, Floor { grant, open: maybe, since_ms: self.job.clock.now_ms() }).await?;
        self.seats.say(group, grant, opened).await
    }

    /// Closes a microphone; whether nobody hears its owner any more.
    pub(super) async fn close(&self, group: GroupId, user: UserId) -> Result<bool, Error> {
        let Some(seat) = self.seats.seat(user).filter(|seat| seat.group == group) else { return Ok(true) };
        if !self.is_there() {
            return Ok(false);
        }
        match self.session.handle(seat.handle).talk(false).await {
            Err(error) if error.is_gone() || matches!(error, janus::Error::Bridge { .. }) => {
                self.seats.lose_user(user).await?;
                Ok(true)
            }
            answer => Ok(self.judge("close a microphone", answer)?.is_some()),
        }
    }
}

fn media(asked: &frame::Seat) -> Option<Media> {
    if !asked.offer.is_empty() {
        return Some(Media::WebRtc { offer: Description { kind: "offer".to_owned(), sdp: asked.offer.clone() } });
    }
    let address = SocketAddr::new(asked.rtp_ip.parse().ok()?, u16::try_from(asked.rtp_port).ok()?);
    Some(Media::Rtp { address, payload_type: OPUS })
}

fn is_no_room(error: &janus::Error) -> bool {
    matches!(error, janus::Error::Bridge { refusal: janus::Refusal::NoSuchRoom, .. })
}

/// Sends a room the roll of who sits there.
pub(super) fn roll(group: GroupId, users: Vec<u64>) -> (TopicId, Input) {
    let room = TopicId::room(group);
    (room, Input::Roll(frame::Roll { topic: room.packed(), users }))
}
