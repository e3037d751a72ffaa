//! What an event says to people.

use super::state::{Alert, Spot};
use crate::model::{AlertEvent, UserId};
use crate::topic::frame::{AlertBody, Located};

/// The most characters of a text to a telephone: one message of GSM 03.38.
const TEXT_CHARACTERS_MAX: usize = 160;
/// The most characters of a nickname in it.
const NICKNAME_CHARACTERS_MAX: usize = 40;

impl Alert {
    /// The next event, with the alert as it stands now.
    pub(super) fn event(&mut self, event: AlertEvent, by: Option<(UserId, String)>, remark: String, now_ms: u64) -> AlertBody {
        self.events += 1;
        let (by, by_name) = by.map_or((0, String::new()), |(by, name)| (by.0, name));
        let (holder, holder_name) = self.holder.as_ref().map_or((0, String::new()), |holder| (holder.id.0, holder.name.clone()));
        AlertBody {
            alert: self.id.0,
            number: self.events,
            event: event as u32,
            time_ms: now_ms,
            device: self.device.0,
            nickname: self.nickname.clone(),
            opened_ms: self.opened_ms,
            presses: self.presses,
            located: self.spot.map(|spot| Located::new(self.device, spot.position, spot.battery)),
            located_by_press: self.spot.is_some_and(|spot| spot.by_press),
            text: self.text.clone(),
            by,
            by_name,
            remark,
            holder,
            holder_name,
            over: self.closed_ms.is_some(),
            room: match self.told.rooms[..] {
                [room] => room.0,
                _ => 0,
            },
        }
    }
}

/// What telephones are told: who, since when, where, and which alert; at most 160 characters.
pub fn text_message(alert: &Alert, now_ms: u64) -> String {
    let minutes = |since_ms: u64| now_ms.saturating_sub(since_ms) / 60_000;
    let nickname: String = alert.nickname.chars().take(NICKNAME_CHARACTERS_MAX).collect();
    let place = alert.spot.map_or_else(
        || "place unknown".to_owned(),
        |Spot { position, .. }| format!("at {:.5},{:.5} {} min ago", position.latitude, position.longitude, minutes(position.fix_ms)),
    );
    let text = format!(
        "SOS {nickname} (device {}): nobody answered for {} min. {place}. Alert {}",
        alert.device,
        minutes(alert.opened_ms),
        alert.id
    );
    text.chars().take(TEXT_CHARACTERS_MAX).collect()
}
