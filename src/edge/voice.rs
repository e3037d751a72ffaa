//! Talk: the button and the seat at the media server. What is asked goes to the owner of the room, before messages.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::hub::Edge;
use super::service::Service;
use super::session::{Session, State};
use crate::floor::Request as FloorRequest;
use crate::model::{GroupId, Reason, SessionId, TopicId};
use crate::proto::v1;
use crate::topic::frame::{Input, Press, Seat, Seated};

/// How many presses one frame may bring.
const PRESSES_MAX: usize = 16;
/// How long an answer of the media server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many seats a session may wait for.
const SEATS_MAX: usize = 8;
/// The most bytes of an SDP.
const OFFER_BYTES_MAX: usize = 64 << 10;

/// Seats that were asked for, and not answered.
#[derive(Default)]
pub(super) struct Seats {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Seated>>,
}

#[tonic::async_trait]
impl v1::voice_service_server::VoiceService for Service {
    async fn press_to_talk(&self, request: Request<v1::PressToTalkRequest>) -> Result<Response<v1::PressToTalkResponse>, Status> {
        let v1::PressToTalkRequest { session_id, press } = request.into_inner();
        let edge = &self.0;
        let session = edge.session(SessionId(session_id)).ok_or_else(|| edge.refused(Reason::UnknownSession, "session_id"))?;
        let press = press.ok_or_else(|| edge.refused(Reason::FieldMissing, "press"))?;
        session.heard(edge.clock.now_ms());
        session.press_to_talk(edge, press).map_err(|(reason, field)| edge.refused(reason, field))?;
        Ok(Response::new(v1::PressToTalkResponse {}))
    }

    async fn join_voice(&self, request: Request<v1::JoinVoiceRequest>) -> Result<Response<v1::JoinVoiceResponse>, Status> {
        let v1::JoinVoiceRequest { session_id, group_id, media } = request.into_inner();
        let edge = &self.0;
        let seat = match media {
            None => return Err(edge.refused(Reason::FieldMissing, "media")),
            Some(v1::join_voice_request::Media::Rtp(rtp)) => {
                if rtp.ip.parse::<IpAddr>().is_err() {
                    return Err(edge.refused(Reason::FieldMissing, "rtp.ip"));
                }
                if !(1..=u32::from(u16::MAX)).contains(&rtp.port) {
                    return Err(edge.refused(Reason::FieldMissing, "rtp.port"));
                }
                Seat { rtp_ip: rtp.ip, rtp_port: rtp.port, ..Seat::default() }
            }
            Some(v1::join_voice_request::Media::Offer(offer)) if offer.is_empty() => {
                return Err(edge.refused(Reason::FieldMissing, "offer"));
            }
            Some(v1::join_voice_request::Media::Offer(offer)) if offer.len() > OFFER_BYTES_MAX => {
                return Err(edge.refused(Reason::TextTooLarge, "offer"));
            }
            Some(v1::join_voice_request::Media::Offer(offer)) => Seat { offer, ..Seat::default() },
        };
        let Seated { rtp_ip: ip, rtp_port: port, answer, .. } = self.seat(session_id, group_id, seat).await?;
        let media = match answer.is_empty() {
            true => v1::join_voice_response::Media::Rtp(v1::RtpAddress { ip, port }),
            false => v1::join_voice_response::Media::Answer(answer),
        };
        Ok(Response::new(v1::JoinVoiceResponse { media: Some(media) }))
    }

    async fn leave_voice(&self, request: Request<v1::LeaveVoiceRequest>) -> Result<Response<v1::LeaveVoiceResponse>, Status> {
        let v1::LeaveVoiceRequest { session_id, group_id } = request.into_inner();
        self.seat(session_id, group_id, Seat::default()).await?;
        Ok(Response::new(v1::LeaveVoiceResponse {}))
    }
}

impl Service {
    /// Asks for a seat, or gives it back, and waits until that is done.
    async fn seat(&self, session_id: u64, group: u64, seat: Seat) -> Result<Seated, Status> {
        let edge = &self.0;
        let session = edge.session(SessionId(session_id)).ok_or_else(|| edge.refused(Reason::UnknownSession, "session_id"))?;
        let room = room_of(group).ok_or_else(|| edge.refused(Reason::FieldMissing, "group_id"))?;
        let (done, answer) = oneshot::channel();
        {
            let mut state = session.lock();
            if state.closed {
                return Err(edge.refused(Reason::UnknownSession, "session_id"));
            }
            state.heard_ms = edge.clock.now_ms();
            state.seats.open.retain(|_, done| !done.is_closed());
            if state.seats.open.len() >= SEATS_MAX {
                return Err(edge.refused(Reason::TooMany, ""));
            }
            state.seats.last += 1;
            let request = state.seats.last;
            state.seats.open.insert(request, done);
            let (user, installation) = (session.claims.user.0, session.claims.installation.0);
            let (name, session) = (session.claims.name.clone(), session.id.0);
            let seat = Seat { topic: room.packed(), user, installation, session, request, name, ..seat };
            edge.pusher.push_first(room, Input::Seat(seat));
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(seated)) => match Reason::from_number(seated.reason) {
                None => Ok(seated),
                Some(reason) => Err(edge.refused(reason, "group_id")),
            },
            Ok(Err(_)) => Err(edge.refused(Reason::UnknownSession, "session_id")),
            Err(_) => Err(edge.refused(Reason::StoreUnavailable, "")),
        }
    }
}

impl State {
    /// The answer to a seat that was asked for; one that nobody asked for tells that the seat is lost.
    pub(super) fn seated(&mut self, room: TopicId, seated: Seated) {
        if seated.request == 0 {
            let event = Some(v1::floor_event::Event::Lost(v1::VoiceLost {}));
            return self.queue.floor(v1::FloorEvent { group_id: room.id(), event });
        }
        if let Some(done) = self.seats.open.remove(&seated.request) {
            // Whoever asked is gone: the seat goes with the session.
            let _gone = done.send(seated);
        }
    }
}

/// The room of a group; `None` for what is no group.
fn room_of(group: u64) -> Option<TopicId> {
    (1..=TopicId::ID_MAX).contains(&group).then(|| TopicId::room(GroupId(group)))
}

impl Session {
    /// Hands presses on; those that cannot be are refused by name.
    pub(super) fn press_all(&self, edge: &Edge, state: &mut State, presses: Vec<v1::Press>) {
        if presses.len() > PRESSES_MAX {
            return state.refuse(edge.refusal(Reason::TooMany, "presses"));
        }
        for (index, press) in presses.into_iter().enumerate() {
            if let Err((reason, field)) = self.press_to_talk(edge, press) {
                state.refuse(edge.refusal(reason, &format!("presses[{index}].{field}")));
            }
        }
    }

    fn press_to_talk(&self, edge: &Edge, press: v1::Press) -> Result<(), (Reason, &'static str)> {
        let kind = press.kind();
        let room = room_of(press.group_id).ok_or((Reason::FieldMissing, "group_id"))?;
        match kind {
            v1::PressKind::Unspecified => return Err((Reason::FieldMissing, "kind")),
            v1::PressKind::Ask | v1::PressKind::Release if press.request_id == 0 => return Err((Reason::FieldMissing, "request_id")),
            v1::PressKind::Ask | v1::PressKind::Release | v1::PressKind::Alive => {}
        }
        if self.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err()) {
            return Err((Reason::RateLimited, "kind"));
        }
        edge.pusher.push_first(
            room,
            Input::Press(Press {
                topic: room.packed(),
                user: self.claims.user.0,
                installation: self.claims.installation.0,
                request: press.request_id,
                kind: press.kind,
                level: FloorRequest::level_of(self.claims.kind).into(),
                emergency: press.emergency,
                name: if kind == v1::PressKind::Ask { self.claims.name.clone() } else { String::new() },
            }),
        );
        Ok(())
    }
}
