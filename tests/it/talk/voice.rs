//! Somebody with a radio that talks: a session of the client library, and plain RTP with the media server.

use std::iter::repeat_n;
use std::net::SocketAddr;
use std::sync::Arc;

use roger::audio::{SILENCE, Sender};
use roger::client::{Event, FloorEvent, FloorWhat, Media, Memory, Options, Session, StaticToken};
use roger::model::{FloorRequestId, GroupId, InstallationId};
use tokio::sync::mpsc::Receiver;

use super::scene::Scene;
use crate::support::PATIENCE;
use crate::support::company::Somebody;

pub struct Voice {
    pub session: Session,
    events: Receiver<Event>,
    sender: Sender,
    /// Where the media server listens for this radio.
    pub to: Option<SocketAddr>,
}

impl Voice {
    /// In the room of a group, without a seat.
    pub async fn in_room(scene: &Scene, edge: usize, who: &Somebody, group: u64) -> Self {
        let tokens = Arc::new(StaticToken(who.token()));
        let memory = Memory { installation: InstallationId(7), ..Memory::new() };
        let (session, events) = Session::open(Options::new([scene.fleet.edge(edge)], tokens, memory)).unwrap();
        let sender = Sender::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let voice = Self { session, events, sender, to: None };
        voice.go(group).await;
        voice
    }

    /// In the room of a group, with a seat.
    pub async fn seated(scene: &Scene, edge: usize, who: &Somebody, group: u64) -> Self {
        let mut voice = Self::in_room(scene, edge, who, group).await;
        voice.sit(group).await;
        voice
    }

    /// Goes into the room of a group. Whoever was just made a member may have to ask again.
    pub async fn go(&self, group: u64) {
        crate::support::eventually("being in the room", async || self.session.enter(GroupId(group)).await.ok()).await;
    }

    /// Takes a seat. A bridge that just began may not be there yet.
    pub async fn sit(&mut self, group: u64) {
        let own = self.sender.local_addr().unwrap();
        let seated =
            crate::support::eventually("a seat", async || self.session.join_voice(GroupId(group), Media::Rtp(own)).await.ok()).await;
        let Media::Rtp(to) = seated else { panic!("{seated:?}") };
        self.to = Some(to);
    }

    pub fn ask(&self, group: u64) -> FloorRequestId {
        self.session.ask_floor(GroupId(group), false).unwrap()
    }

    /// What is said next of a floor that `of_interest` makes something of; what comes before is thrown away.
    pub async fn hears<T>(&mut self, what: &str, mut of_interest: impl FnMut(&FloorEvent) -> Option<T>) -> T {
        let hearing = async {
            while let Some(event) = self.events.recv().await {
                if let Event::Floor(event) = &event
                    && let Some(found) = of_interest(event)
                {
                    return found;
                }
            }
            panic!("the session ended before: {what}");
        };
        tokio::time::timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
    }

    /// How a request ends, or that it is granted.
    pub async fn outcome(&mut self, request: FloorRequestId) -> Result<u64, &'static str> {
        let mine = |event: &FloorEvent| match event.what {
            FloorWhat::Granted { request: of, grant, .. } if of == request => Some(Ok(grant.0)),
            FloorWhat::Denied { request: of, why } | FloorWhat::Revoked { request: of, why, .. } if of == request => Some(Err(why)),
            _ => None,
        };
        self.hears("the outcome of a request", mine).await
    }

    /// Asks until it is granted.
    pub async fn granted(&mut self, group: u64) -> u64 {
        let begun = std::time::Instant::now();
        loop {
            let request = self.ask(group);
            match self.outcome(request).await {
                Ok(grant) => return grant,
                Err(why) => assert!(begun.elapsed() < PATIENCE, "the floor was never granted: {why}"),
            }
        }
    }

    /// Sends so many packets of silence at their pace.
    pub async fn send(&mut self, packets: usize) {
        self.sender.talk(self.to.unwrap(), repeat_n(&SILENCE[..], packets)).await.unwrap();
    }
}
