//! Whether Janus and the rooms agree: asked every few seconds, since what Janus says unasked may be lost, and it may have been restarted.

use std::collections::BTreeMap;

use super::order::roll;
use super::seats::{Floor, Seat};
use super::server::Server;
use super::{Desk, Error, MOVE_AFTER};
use crate::janus::{self, Participant, Rooms};
use crate::model::{GroupId, UserId};
use crate::worker::chain;

impl Desk {
    /// Asks every Janus, and mends what differs.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        for at in 0..self.servers.len() {
            let there = self.servers[at].away_for().is_none() || self.servers[at].answers_again();
            if !there || !self.look_at(at).await? {
                self.without(at).await?;
            }
        }
        for group in self.seats.away() {
            let there = self.place(group).await?.is_some();
            self.seats.tell_away(group, !there).await?;
        }
        Ok(())
    }

    /// Looks at one Janus; false when it is away.
    async fn look_at(&mut self, at: usize) -> Result<bool, Error> {
        if self.servers[at].needs_session() && !self.begin(at).await? {
            return Ok(false);
        }
        let server = &self.servers[at];
        let Some(rooms) = server.rooms() else { return Ok(false) };
        let there = match rooms.list().await {
            Err(janus::Error::SessionGone { .. }) => {
                server.lost_session();
                return self.begin(at).await;
            }
            Err(error) => return Ok(self.lost_sight(at, &error)),
            Ok(there) => there,
        };
        let mut seated = self.seats.by_room(server.url());
        // Also where nobody has a seat: whoever lost theirs while Janus was away may still be there.
        for room in there.into_iter().filter(|room| room.participants > 0) {
            seated.entry(room.group).or_default();
        }
        for (group, seats) in seated {
            match rooms.participants(group).await {
                Ok(present) => self.compare(rooms, group, seats, present).await?,
                Err(janus::Error::Bridge { refusal: janus::Refusal::NoSuchRoom, .. }) => {
                    self.compare(rooms, group, seats, Vec::new()).await?;
                }
                Err(error) => return Ok(self.lost_sight(at, &error)),
            }
        }
        Ok(true)
    }

    /// Takes the session over that the seats at a Janus belong to, or begins another one.
    async fn begin(&mut self, at: usize) -> Result<bool, Error> {
        let now_ms = self.job.clock.now_ms();
        self.servers[at].let_go();
        let claimed = match self.seats.claim(&self.servers[at].janus).await? {
            Ok((session, fresh)) => session.attach("rooms").await.map(|handle| (session, handle, fresh)),
            Err(error) => Err(error),
        };
        match claimed {
            Ok((session, handle, fresh)) => {
                if fresh {
                    // With the session before it went all seats, and what was recorded of them.
                    self.job.wake.janus_began(now_ms);
                }
                tracing::info!(janus = self.servers[at].url(), fresh, "has a session at Janus");
                self.servers[at].sits(session, Rooms::new(handle, self.job.settings.rooms.clone()));
                Ok(true)
            }
            Err(error) => Ok(self.lost_sight(at, &error)),
        }
    }

    /// A Janus did not answer: false, for what asked it.
    fn lost_sight(&mut self, at: usize, error: &janus::Error) -> bool {
        if self.servers[at].goes_away() {
            tracing::error!(
                error = chain(error),
                janus = self.servers[at].url(),
                "Janus does not answer: nobody can talk there until it does"
            );
            metrics::counter!("roger_janus_away_total").increment(1);
        }
        false
    }

    /// While a Janus is away nobody talks there. Seats stay, since they may still be there when it answers; unless another one can have the rooms.
    async fn without(&mut self, at: usize) -> Result<(), Error> {
        let server = &self.servers[at];
        for group in self.seats.by_room(server.url()).into_keys() {
            let floor = self.seats.floor(group);
            if floor.open.is_some() {
                // It stays noted as open, and is closed before anybody else's is opened.
                self.seats.say(group, floor.grant, false).await?;
            }
            self.seats.tell_away(group, true).await?;
        }
        let others = self.servers.iter().any(Server::is_there);
        if others && server.away_for().is_some_and(|away| away >= MOVE_AFTER) {
            tracing::warn!(janus = server.url(), "the rooms of a Janus go to others");
            self.seats.abandon(server.url()).await?;
            // Its session is ended as soon as it answers, and another one begun.
            self.servers[at].let_go();
        }
        Ok(())
    }

    async fn compare(&self, rooms: &Rooms, group: GroupId, seats: Vec<(UserId, Seat)>, present: Vec<Participant>) -> Result<(), Error> {
        let present: BTreeMap<UserId, Participant> = present.into_iter().map(|participant| (participant.user, participant)).collect();
        let floor = self.seats.floor(group);
        for (user, seat) in &seats {
            match present.get(user) {
                // It may have been moved, or given back, since Janus was asked.
                None if self.seats.seat(*user).as_ref() == Some(seat) => self.seats.lose_user(*user).await?,
                Some(participant) if !participant.muted && floor.open != Some(*user) => {
                    tracing::warn!(user.id = user.0, group.id = group.0, "a microphone was open that nobody was granted");
                    self.close(group, *user).await?;
                }
                _ => {}
            }
        }
        for user in present.into_keys().filter(|user| !seats.iter().any(|(known, _)| known == user)) {
            tracing::warn!(user.id = user.0, group.id = group.0, "somebody is in a room of Janus without a seat: throwing them out");
            if let Err(error) = rooms.kick(group, user).await {
                tracing::warn!(error = chain(&error), "cannot throw somebody out");
            }
        }
        let open_ms = self.job.settings.open_max.as_millis() as u64;
        if let Some(user) = floor.open.filter(|_| floor.since_ms + open_ms < self.job.clock.now_ms())
            && self.close(group, user).await?
        {
            tracing::warn!(user.id = user.0, group.id = group.0, "a microphone was open for longer than any burst: closed");
            self.seats.set_floor(group, Floor { open: None, ..floor }).await?;
            self.seats.say(group, floor.grant, false).await?;
        }
        let (room, roll) = roll(group, seats.iter().map(|(user, _)| user.0).collect());
        self.seats.push(room, roll).await
    }
}
