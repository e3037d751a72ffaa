//! A Janus and a client of it.

use std::iter::repeat_n;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roger::audio::{SILENCE, Sender};
use roger::config::Secret;
use roger::janus::{Answered, Event, Handle, Janus as Client, Join, Media, Refusal, RoomSettings, Rooms, Session, Settings};
use roger::model::{GroupId, UserId};
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
    rooms_recorded_in(janus, session, janus.recordings()).await
}

/// The same with recordings elsewhere.
pub async fn rooms_recorded_in(janus: &Janus, session: &Session, recordings: PathBuf) -> Rooms {
    let settings = RoomSettings::new(&Secret::new(janus.api_secret()).unwrap(), Some(recordings));
    Rooms::new(session.attach("rooms").await.unwrap(), Arc::new(settings))
}

/// A radio that talks plain RTP.
pub struct Radio {
    pub voice: Sender,
    pub join: Join,
}

impl Radio {
    pub async fn new(room: u64, user: u64) -> Self {
        let voice = Sender::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let media = Media::Rtp { address: voice.local_addr().unwrap(), payload_type: 111 };
        let join = Join { room: GroupId(room), user: UserId(user), display: format!("radio {user}"), media };
        Self { voice, join }
    }

    /// Takes a seat of its own; where it is to send to.
    pub async fn sit(&self, session: &Session) -> (Handle, SocketAddr) {
        let handle = session.attach(&format!("uid:{}", self.join.user)).await.unwrap();
        let joined = handle.join(&self.join).await.unwrap();
        let Answered::Rtp { to } = joined.media else { panic!("{joined:?}") };
        (handle, to)
    }

    /// Sends so many packets of silence at their pace.
    pub async fn send(&mut self, to: SocketAddr, packets: usize) {
        self.voice.talk(to, repeat_n(&SILENCE[..], packets)).await.unwrap();
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
