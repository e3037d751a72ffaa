//! Whether Janus and the rooms agree: asked every few seconds, since what Janus says unasked may be lost, and it may have been restarted.

use std::collections::BTreeMap;

use super::order::roll;
use super::seats::{Floor, Seat};
use super::{Desk, Error};
use crate::janus::{self, Participant};
use crate::model::{GroupId, UserId};
use crate::worker::chain;

impl Desk {
    /// Asks Janus, and mends what differs.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        match self.rooms.list().await {
            Err(janus::Error::SessionGone { .. }) => return Err(Error::SessionLost),
            Err(error) => {
                if !std::mem::replace(&mut self.away, true) {
                    tracing::error!(error = chain(&error), "Janus does not answer: nobody can talk until it does");
                    metrics::counter!("roger_janus_away_total").increment(1);
                }
                return self.end_all().await;
            }
            Ok(_) => {
                if std::mem::replace(&mut self.away, false) {
                    tracing::info!("Janus answers again");
                }
            }
        }
        for (group, seats) in self.seats.by_room() {
            match self.rooms.participants(group).await {
                Ok(present) => self.compare(group, seats, present).await?,
                Err(janus::Error::Bridge { refusal: janus::Refusal::NoSuchRoom, .. }) => self.compare(group, seats, Vec::new()).await?,
                Err(janus::Error::SessionGone { .. }) => return Err(Error::SessionLost),
                Err(error) => {
                    self.away = true;
                    tracing::warn!(error = chain(&error), group.id = group.0, "cannot ask who is in a room of Janus");
                    return self.end_all().await;
                }
            }
        }
        Ok(())
    }

    /// While Janus is away nobody talks. Seats stay: they may still be there when it answers.
    async fn end_all(&self) -> Result<(), Error> {
        for group in self.seats.by_room().into_keys() {
            let floor = self.seats.floor(group);
            if floor.open.is_some() {
                // It stays noted as open, and is closed before anybody else's is opened.
                self.seats.say(group, floor.grant, false).await?;
            }
        }
        Ok(())
    }

    async fn compare(&self, group: GroupId, seats: Vec<(UserId, Seat)>, present: Vec<Participant>) -> Result<(), Error> {
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
            if let Err(error) = self.rooms.kick(group, user).await {
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
