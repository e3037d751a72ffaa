//! Somebody who talks into a real Janus by its own API.

use std::net::SocketAddr;
use std::time::Duration;

use roger::janus::{Event, Handle, Session};
use tokio::sync::mpsc::Receiver;

use super::scene::Stage;
use crate::janus::scene::{Radio, client, rooms_recorded_in};
use crate::support::PATIENCE;
use crate::support::janus::Janus;

/// In a room, with a session of its own.
pub struct Speaker {
    radio: Radio,
    seat: Handle,
    /// Where Janus hears.
    ear: SocketAddr,
    _alive: (Session, Receiver<Event>),
}

impl Speaker {
    /// The one of the stage in the room of its group, which is made when it is not there and recorded where the recorder looks.
    pub async fn new(janus: &Janus, stage: &Stage) -> Self {
        let (client, events) = client(janus);
        let session = client.create_session().await.unwrap();
        rooms_recorded_in(janus, &session, stage.recordings()).await.ensure(stage.group, "loop").await.unwrap();
        let mut radio = Radio::new(stage.group.0, stage.neil.0).await;
        let (seat, ear) = radio.sit(&session).await;
        radio.voice.open(ear).await.unwrap();
        // Nobody is sent anything before Janus has what they opened the path with: that must not come when the button is pressed already.
        tokio::time::timeout(PATIENCE, radio.voice.hear()).await.expect("Janus sends what it mixes").unwrap();
        Self { radio, seat, ear, _alive: (session, events) }
    }

    /// Presses the button: from here on it is recorded.
    pub async fn press(&self) {
        self.seat.talk(true).await.unwrap();
    }

    /// Lets it go.
    pub async fn release(&self) {
        self.seat.talk(false).await.unwrap();
    }

    /// Says packets of Opus at their pace.
    pub async fn say(&mut self, packets: &[Vec<u8>]) {
        self.radio.voice.talk(self.ear, packets.iter().map(Vec::as_slice)).await.unwrap();
    }

    /// Presses, says all of it, and releases once Janus has had the time to hear the last frame.
    pub async fn burst(&mut self, packets: &[Vec<u8>]) {
        self.press().await;
        self.say(packets).await;
        // As a person does, who lets go after the last word: nothing says that Janus heard it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.release().await;
    }
}
