//! A Janus and a client of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roger::config::Secret;
use roger::janus::{Answered, Event, Handle, Janus as Client, Join, Media, Refusal, RoomSettings, Rooms, Session, Settings};
use roger::model::{GroupId, UserId};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::Receiver;

use crate::support::PATIENCE;
use crate::support::janus::Janus;

/// The deadline of a request where none is to be missed: on a busy machine too.
pub const ENOUGH: Duration = Duration::from_secs(10);

pub fn settings(janus: &Janus) -> Settings {
    Settings {
        url: janus.ws_url(),
        secret: Secret::new(janus.api_secret()).unwrap(),
        request_timeout: ENOUGH,
        session_timeout: Duration::from_secs(60),
    }
}

/// A client with its events.
pub fn client(janus: &Janus) -> (Client, Receiver<Event>) {
    Client::connect(settings(janus)).unwrap()
}

/// The rooms of a Janus, with recordings in its folder.
pub async fn rooms(janus: &Janus, session: &Session) -> Rooms {
    let settings = RoomSettings::new(&Secret::new(janus.api_secret()).unwrap(), Some(janus.recordings()));
    Rooms::new(session.attach("rooms").await.unwrap(), Arc::new(settings))
}

/// A radio that talks plain RTP.
pub struct Radio {
    pub socket: UdpSocket,
    pub join: Join,
    sequence: u16,
}

impl Radio {
    pub async fn new(room: u64, user: u64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let media = Media::Rtp { address: socket.local_addr().unwrap(), payload_type: 111 };
        let join = Join { room: GroupId(room), user: UserId(user), display: format!("radio {user}"), media };
        Self { socket, join, sequence: 0 }
    }

    /// Takes a seat of its own; where it is to send to.
    pub async fn sit(&self, session: &Session) -> (Handle, SocketAddr) {
        let handle = session.attach(&format!("uid:{}", self.join.user)).await.unwrap();
        let joined = handle.join(&self.join).await.unwrap();
        let Answered::Rtp { to } = joined.media else { panic!("{joined:?}") };
        (handle, to)
    }

    /// Sends so many packets of Opus, 20 ms each, at their pace.
    pub async fn send(&mut self, to: SocketAddr, packets: u16) {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..packets {
            pace.tick().await;
            self.sequence += 1;
            let mut packet = vec![0x80, 111];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend((u32::from(self.sequence) * 960).to_be_bytes());
            packet.extend(7_u32.to_be_bytes());
            // A frame of silence.
            packet.extend([0xf8, 0xff, 0xfe]);
            self.socket.send_to(&packet, to).await.unwrap();
        }
    }
}

/// Why the AudioBridge refused.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, roger::janus::Error>) -> Refusal {
    match answer {
        Err(roger::janus::Error::Bridge { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The first event that `of_interest` makes something of; those before it are thrown away.
pub async fn event<T>(events: &mut Receiver<Event>, what: &str, mut of_interest: impl FnMut(&Event) -> Option<T>) -> T {
    let waiting = async {
        while let Some(event) = events.recv().await {
            if let Some(found) = of_interest(&event) {
                return found;
            }
        }
        panic!("no more events, and none was {what}");
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no event in {PATIENCE:?}: {what}"))
}
