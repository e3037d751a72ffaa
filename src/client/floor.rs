//! The talk button: what is said of the floors of rooms, and to them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::{FloorRequestId, GrantNumber, GroupId, InstallationId, UserId};
use crate::proto::v1;

/// How often who talks or waits says that it is still there.
const ALIVE: Duration = Duration::from_millis(500);

/// What is told of the floor of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloorEvent {
    /// In whose room.
    pub group: GroupId,
    /// What.
    pub what: FloorWhat,
}

/// What is told of a floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FloorWhat {
    /// The microphone is open, and is recorded.
    Granted {
        /// Of this installation.
        request: FloorRequestId,
        /// Rises with each grant in a room.
        grant: GrantNumber,
        /// When the floor is taken back at the latest, UTC milliseconds.
        until_ms: u64,
    },
    /// Others come first.
    Queued {
        /// Of this installation.
        request: FloorRequestId,
        /// 1 for who is next.
        position: u32,
    },
    /// There will be no grant.
    Denied {
        /// Of this installation.
        request: FloorRequestId,
        /// As "pre_empted"; "unknown" for one that this version does not know.
        why: &'static str,
    },
    /// The floor was taken back.
    Revoked {
        /// Of this installation.
        request: FloorRequestId,
        /// Of which grant.
        grant: GrantNumber,
        /// As of `Denied`.
        why: &'static str,
    },
    /// Somebody talks; whoever it is hears that too.
    Taken {
        /// Who.
        talker: UserId,
        /// At which button.
        installation: InstallationId,
        /// Theirs.
        name: String,
        /// By which grant.
        grant: GrantNumber,
        /// 10 for a radio, 20 for a desk.
        level: u32,
        /// Above every level.
        emergency: bool,
    },
    /// Nobody talks.
    Idle,
    /// The seat at the media server is lost: join again.
    Lost,
    /// The media server is away: nobody can talk until it is told that nobody does, or somebody.
    Away,
}

/// How a client sends and hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// Plain RTP with this address: of the client, where it sends from and receives; of the media server, where to send to.
    Rtp(std::net::SocketAddr),
    /// WebRTC, by an SDP: of the client its offer, of the media server the answer.
    Sdp(String),
}

impl From<Media> for v1::join_voice_request::Media {
    fn from(media: Media) -> Self {
        match media {
            Media::Rtp(at) => Self::Rtp(v1::RtpAddress { ip: at.ip().to_string(), port: at.port().into() }),
            Media::Sdp(offer) => Self::Offer(offer),
        }
    }
}

impl Media {
    /// What the fleet answered; `None` for what is no address.
    pub(super) fn answered(media: v1::join_voice_response::Media) -> Option<Self> {
        match media {
            v1::join_voice_response::Media::Answer(answer) => Some(Self::Sdp(answer)),
            v1::join_voice_response::Media::Rtp(rtp) => {
                Some(Self::Rtp(std::net::SocketAddr::new(rtp.ip.parse().ok()?, u16::try_from(rtp.port).ok()?)))
            }
        }
    }
}

pub(super) fn floor_of(event: v1::FloorEvent) -> Option<FloorEvent> {
    let what = match event.event? {
        v1::floor_event::Event::Idle(_) => FloorWhat::Idle,
        v1::floor_event::Event::Lost(_) => FloorWhat::Lost,
        v1::floor_event::Event::Away(_) => FloorWhat::Away,
        v1::floor_event::Event::Taken(v1::FloorTaken { talker_id, installation_id, name, grant, level, emergency }) => FloorWhat::Taken {
            talker: UserId(talker_id),
            installation: InstallationId(installation_id),
            name,
            grant: GrantNumber(grant),
            level,
            emergency,
        },
        v1::floor_event::Event::Answer(answer) => {
            let (request, grant, why) = (FloorRequestId(answer.request_id), GrantNumber(answer.grant), why(answer.ending()));
            match answer.word() {
                v1::FloorWord::Granted => FloorWhat::Granted { request, grant, until_ms: answer.until_ms },
                v1::FloorWord::Queued => FloorWhat::Queued { request, position: answer.position },
                v1::FloorWord::Denied => FloorWhat::Denied { request, why },
                v1::FloorWord::Revoked => FloorWhat::Revoked { request, grant, why },
                v1::FloorWord::Unspecified => return None,
            }
        }
    };
    Some(FloorEvent { group: GroupId(event.group_id), what })
}

fn why(ending: v1::FloorEnding) -> &'static str {
    match ending {
        v1::FloorEnding::Unspecified => "unknown",
        v1::FloorEnding::QueueFull => "queue_full",
        v1::FloorEnding::MediaFailed => "media_failed",
        v1::FloorEnding::Over => "over",
        v1::FloorEnding::PreEmpted => "pre_empted",
        v1::FloorEnding::TimeOver => "time_over",
        v1::FloorEnding::Left => "left",
        v1::FloorEnding::Vanished => "vanished",
        v1::FloorEnding::Dissolved => "dissolved",
        v1::FloorEnding::NotInRoom => "not_in_room",
    }
}

/// The buttons that are pressed, one a room.
#[derive(Debug, Default)]
pub(super) struct Presses {
    pressed: BTreeMap<GroupId, Pressed>,
    /// To be said once: who is not heard of is taken for gone anyway.
    released: Vec<(GroupId, FloorRequestId)>,
}

#[derive(Debug)]
struct Pressed {
    request: FloorRequestId,
    emergency: bool,
    /// When it was said last that the button is pressed; `None` before it was asked on this connection.
    said: Option<Instant>,
}

impl Presses {
    pub(super) fn ask(&mut self, group: GroupId, request: FloorRequestId, emergency: bool) {
        self.pressed.insert(group, Pressed { request, emergency, said: None });
    }

    pub(super) fn release(&mut self, group: GroupId) {
        if let Some(pressed) = self.pressed.remove(&group) {
            self.released.push((group, pressed.request));
        }
    }

    /// Another connection: all of it is asked again, with the same numbers.
    pub(super) fn rewind(&mut self) {
        self.pressed.values_mut().for_each(|pressed| pressed.said = None);
    }

    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let asked = self.pressed.values().map(|pressed| pressed.said.map_or(now, |said| said + ALIVE)).min();
        if self.released.is_empty() { asked } else { Some(now) }
    }

    pub(super) fn take(&mut self, now: Instant) -> Vec<v1::Press> {
        let press = |group: GroupId, request_id, kind: v1::PressKind, emergency| v1::Press {
            group_id: group.0,
            request_id,
            kind: kind.into(),
            emergency,
        };
        let released = std::mem::take(&mut self.released).into_iter();
        let mut presses: Vec<_> = released.map(|(group, request)| press(group, request.0, v1::PressKind::Release, false)).collect();
        for (group, pressed) in &mut self.pressed {
            match pressed.said {
                Some(said) if said + ALIVE > now => continue,
                Some(_) => presses.push(press(*group, 0, v1::PressKind::Alive, false)),
                None => presses.push(press(*group, pressed.request.0, v1::PressKind::Ask, pressed.emergency)),
            }
            pressed.said = Some(now);
        }
        presses
    }

    /// What is over is said no more.
    pub(super) fn heard(&mut self, event: &FloorEvent) {
        let (FloorWhat::Denied { request, .. } | FloorWhat::Revoked { request, .. }) = event.what else { return };
        if self.pressed.get(&event.group).is_some_and(|pressed| pressed.request == request) {
            self.pressed.remove(&event.group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_is_asked_once_a_connection_said_until_it_is_over_and_released_once() {
        let (mut presses, start, group) = (Presses::default(), Instant::now(), GroupId(7));
        let said = |presses: &mut Presses, ms| {
            let said = presses.take(start + Duration::from_millis(ms));
            said.into_iter()
                .map(|press| (press.kind().as_str_name().trim_start_matches("PRESS_KIND_").to_owned(), press.request_id))
                .collect::<Vec<_>>()
        };
        let one = |kind: &str, request| vec![(kind.to_owned(), request)];
        assert_eq!(presses.due(start), None);
        presses.ask(group, FloorRequestId(3), false);
        assert_eq!(presses.due(start), Some(start));
        assert_eq!(said(&mut presses, 0), one("ASK", 3));
        assert_eq!((said(&mut presses, 499), presses.due(start)), (vec![], Some(start + ALIVE)));
        assert_eq!(said(&mut presses, 500), one("ALIVE", 0));
        presses.rewind();
        assert_eq!(said(&mut presses, 600), one("ASK", 3));
        presses.release(group);
        assert_eq!((said(&mut presses, 601), said(&mut presses, 2_000)), (one("RELEASE", 3), vec![]));
        presses.ask(group, FloorRequestId(4), false);
        let denied = |request| FloorEvent { group, what: FloorWhat::Denied { request: FloorRequestId(request), why: "over" } };
        // The answer to a press before is none to this one.
        presses.heard(&denied(3));
        assert_eq!(said(&mut presses, 3_000), one("ASK", 4));
        presses.heard(&denied(4));
        assert_eq!((said(&mut presses, 9_000), presses.due(start)), (vec![], None));
    }
}
