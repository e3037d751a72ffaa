//! One order of a room, carried out at Janus.

use std::net::SocketAddr;

use super::seats::{Floor, Seat};
use super::server::Server;
use super::{Desk, Error};
use crate::janus::{self, Answered, Description, Handle, Join, Media};
use crate::model::{GroupId, InstallationId, Reason, TopicId, UserId};
use crate::topic::frame::{self, Input, Microphone, Seated, Unseat};

/// The payload type of Opus in plain RTP, as the client protocol has it.
const OPUS: u8 = 111;
/// What an address looks like in SDP.
const CANDIDATE: &str = "a=candidate:";

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

    /// The Janus of a seat, if it is there, and its handle.
    fn held(&self, seat: &Seat) -> Option<(&Server, Handle)> {
        let server = self.server(&seat.server).filter(|server| server.is_there())?;
        Some((server, server.handle(seat.handle)?))
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
        let seated = match self.place(group).await? {
            Some(server) => self.sit_down(server, group, user, &asked, media).await?,
            None => {
                // It hears when that is over.
                self.seats.tell_away(group, true).await?;
                None
            }
        };
        let answer = match seated {
            Some(Answered::Rtp { to }) => Seated { rtp_ip: to.ip().to_string(), rtp_port: to.port().into(), ..answer },
            Some(Answered::WebRtc { answer: description }) => {
                if !description.sdp.contains(CANDIDATE) {
                    tracing::warn!(
                        user.id = user.0,
                        group.id = group.0,
                        "the answer of Janus to a browser has no address in it, and what it trickles later is not passed on: set nat.full_trickle to \
                         false in its janus.jcfg"
                    );
                }
                Seated { answer: description.sdp, ..answer }
            }
            None => Seated { reason: Reason::StoreUnavailable as u32, ..answer },
        };
        self.seats.tell(&edge, answer).await
    }

    async fn sit_down(
        &self,
        server: &Server,
        group: GroupId,
        user: UserId,
        asked: &frame::Seat,
        media: Media,
    ) -> Result<Option<Answered>, Error> {
        let (Some(session), Some(rooms)) = (server.session(), server.rooms()) else { return Ok(None) };
        let Some(handle) = server.judge("attach a handle", session.attach(&format!("uid:{user}")).await) else { return Ok(None) };
        let join = Join { room: group, user, display: asked.name.clone(), media };
        let joined = async {
            match rooms.seat(&handle, &join).await {
                Err(error) if is_no_room(&error) => {
                    rooms.ensure(group, &format!("group {group}")).await?;
                    rooms.seat(&handle, &join).await
                }
                answer => answer,
            }
        };
        let Some(joined) = server.judge("give somebody a seat", joined.await) else {
            server.judge("give a handle back", handle.detach().await);
            return Ok(None);
        };
        let seat = Seat {
            group,
            server: server.url().to_owned(),
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
        // Of a Janus that is away nobody waits for it: who sits there without a seat is thrown out when it answers again.
        if let Some((server, handle)) = self.held(&seat) {
            server.judge("give a seat back", handle.detach().await);
        }
        self.seats.stand_up(user, seat.handle).await?;
        let floor = self.seats.floor(seat.group);
        if floor.open == Some(user) {
            self.seats.set_floor(seat.group, Floor { open: None, ..floor }).await?;
            self.seats.say(seat.group, floor.grant, false).await?;
        }
        Ok(())
    }

    /// Somebody left a room: their seat goes with them into the next one, if the same Janus has it.
    async fn unseat(&self, group: GroupId, unseat: Unseat) -> Result<(), Error> {
        let (user, next) = (UserId(unseat.user), GroupId(unseat.next));
        let Some(seat) = self.seats.seat(user).filter(|seat| seat.group == group) else { return Ok(()) };
        if unseat.version != 0 && unseat.version < seat.version {
            return Ok(());
        }
        if next.0 == 0 {
            return self.give_back(user, seat).await;
        }
        let Some((server, handle)) = self.held(&seat) else { return self.seats.lose_user(user).await };
        let rooms = match self.place(next).await? {
            Some(there) if there.url() == server.url() => server.rooms(),
            _ => None,
        };
        let Some(rooms) = rooms else {
            server.judge("give a seat back", handle.detach().await);
            return self.seats.lose_user(user).await;
        };
        let moving = async {
            // Closes what is recorded, whatever the floor said before.
            handle.talk(false).await?;
            match handle.change_room(next, user, &seat.name).await {
                Err(error) if is_no_room(&error) => {
                    rooms.ensure(next, &format!("group {next}")).await?;
                    handle.change_room(next, user, &seat.name).await
                }
                answer => answer,
            }
        };
        match server.judge("move a seat", moving.await) {
            Some(_) => self.seats.sit(user, Seat { group: next, version: unseat.version, ..seat }).await,
            None => {
                // Nobody is to hear a room they are no longer in.
                server.judge("give a seat back", handle.detach().await);
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
        let seat = self.seats.seat(user).filter(|seat| seat.group == group && seat.installation.0 == installation);
        let held = seat.as_ref().and_then(|seat| self.held(seat));
        let opened = match &held {
            Some((server, handle)) => server.judge("open a microphone", handle.talk(true).await).is_some(),
            None => false,
        };
        // One that did not answer may be open all the same: it is closed with the end of its grant.
        let maybe = held.filter(|(server, _)| opened || !server.is_there()).map(|_| user);
        self.seats.set_floor(group, Floor { grant, open: maybe, since_ms: self.job.clock.now_ms() }).await?;
        self.seats.say(group, grant, opened).await
    }

    /// Closes a microphone; whether nobody hears its owner any more.
    pub(super) async fn close(&self, group: GroupId, user: UserId) -> Result<bool, Error> {
        let Some(seat) = self.seats.seat(user).filter(|seat| seat.group == group) else { return Ok(true) };
        let Some((server, handle)) = self.held(&seat) else { return Ok(false) };
        match handle.talk(false).await {
            Err(error @ janus::Error::SessionGone { .. }) => Ok(server.judge("close a microphone", Err::<(), _>(error)).is_some()),
            Err(error) if error.is_gone() || matches!(error, janus::Error::Bridge { .. }) => {
                self.seats.lose_user(user).await?;
                Ok(true)
            }
            answer => Ok(server.judge("close a microphone", answer).is_some()),
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
