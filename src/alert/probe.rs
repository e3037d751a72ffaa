//! Alerts of the probe, which nobody is to come for: they are never escalated, and end by themselves when nobody ends them.

use super::state::{Alert, Stage};
use super::step::Effects;
use crate::model::{AlertEvent, UserId};

/// How long after its press an alert of the probe ends by itself: above the time the probe waits for it.
const LIFETIME_MS: u64 = 20_000;

impl Alert {
    /// Whether it is of the probe, and so about nobody.
    pub fn is_probe(&self) -> bool {
        self.device == UserId::PROBE
    }

    /// When it ends by itself, if it is of the probe. UTC ms.
    pub(super) fn lapse_ms(&self) -> u64 {
        self.opened_ms + LIFETIME_MS
    }

    pub(super) fn lapse(&mut self, now_ms: u64) -> Effects {
        if self.stage == Stage::Over {
            self.due_ms = None;
            return Effects::default();
        }
        self.end(now_ms);
        self.told(AlertEvent::Cancelled, None, String::new(), now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::frame::Press;
    use crate::model::AlertId;
    use crate::topic::frame::Raised;

    const NOW_MS: u64 = 1_764_000_000_000;

    fn open() -> Alert {
        let press = Press { device: UserId::PROBE.0, press: 1, arrival_ms: NOW_MS, ..Press::default() };
        Alert::open(AlertId(1), &press, (5, 0), None, NOW_MS).0
    }

    #[test]
    fn what_nobody_ends_is_never_escalated_and_ends_by_itself() {
        let mut alert = open();
        alert.decided(&Raised::default(), None, NOW_MS).unwrap();
        assert_eq!(alert.tick(NOW_MS + LIFETIME_MS - 1), None);
        let lapsed = alert.tick(NOW_MS + LIFETIME_MS).unwrap();
        assert_eq!((lapsed.events[0].event, lapsed.texts.len()), (AlertEvent::Cancelled as u32, 0));
        assert_eq!((alert.stage, alert.due_ms, alert.tick(u64::MAX)), (Stage::Over, None, None));
    }

    #[test]
    fn one_that_no_inbox_decides_about_does_not_ask_for_ever() {
        let mut alert = open();
        let mut asked = 0;
        for second in 0..60 {
            let effects = alert.tick(NOW_MS + second * 1_000).unwrap_or_default();
            asked += u32::from(effects.ask.is_some());
        }
        assert_eq!((alert.stage, asked), (Stage::Over, 9));
    }
}
