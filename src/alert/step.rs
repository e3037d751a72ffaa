//! What changes an alert, and what is to be done then.

use super::frame::{Act, Press};
use super::state::{Alert, Chain, Desk, Holder, Spot, Stage, Told};
use crate::model::{AlertEvent, AlertId, GroupId, Reason, TenantId, UserId, UserKind};
use crate::topic::frame::{AlertBody, Located, Raised};

/// How long the device's inbox has to decide before it is asked again.
const DECIDE_MS: u64 = 2_000;
/// Presses that follow one another sooner are counted, and told once.
const PRESS_TOLD_EVERY_MS: u64 = 5_000;
/// The most characters of what is said with a press, or of a remark.
const WORDS_MAX: usize = 1_000;

/// What is to be done after a change. All of it is committed with the state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// What happened, in order.
    pub events: Vec<AlertBody>,
    /// The device's inbox is to decide who is told, with the first event.
    pub ask: Option<AlertBody>,
    /// All who are told hear the events.
    pub tell: bool,
    /// Telephones that are told.
    pub texts: Vec<String>,
}

/// Nothing can be done before it is decided who is told: try again in a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow;

impl Alert {
    /// A new alert, by its first press, which stands in the stream at `entry`. `last` is where the device was last, as far as it is known.
    pub fn open(id: AlertId, press: &Press, entry: (u64, u64), last: Option<Spot>, now_ms: u64) -> (Self, Effects) {
        let mut alert = Self {
            id,
            device: UserId(press.device),
            tenant: TenantId(press.tenant),
            nickname: press.name.clone(),
            version: 0,
            events: 0,
            opened_ms: press.arrival_ms,
            presses: 1,
            pressed_by: entry,
            pressed_ms: now_ms,
            spot: press.located.and_then(spot).or(last),
            text: words(&press.text),
            stage: Stage::Deciding,
            due_ms: Some(now_ms + DECIDE_MS),
            told: Told::default(),
            chain: Chain::default(),
            holder: None,
            closed_ms: None,
        };
        let raised = alert.event(AlertEvent::Raised, None, String::new(), alert.opened_ms);
        (alert, Effects { events: vec![raised.clone()], ask: Some(raised), ..Effects::default() })
    }

    /// The device's inbox has decided who is told, and tells them. `desk` is what is known of the manager. A repeat changes nothing.
    pub fn decided(&mut self, raised: &Raised, desk: Option<Desk>, now_ms: u64) -> Option<Effects> {
        if self.stage != Stage::Deciding {
            return None;
        }
        let manager = (raised.manager != 0).then_some(UserId(raised.manager));
        let Desk { chain, above } = desk.unwrap_or_default();
        if !raised.nickname.is_empty() {
            self.nickname.clone_from(&raised.nickname);
        }
        self.told = Told {
            rooms: raised.rooms.iter().copied().map(GroupId).collect(),
            manager,
            accounts: manager.into_iter().collect(),
            above: manager.into_iter().chain(above).collect(),
        };
        self.chain = chain.unwrap_or_default();
        self.stage = Stage::Waiting(0);
        self.due_ms = Some(if self.is_probe() { self.lapse_ms() } else { now_ms + self.chain.first_wait_ms });
        Some(Effects::default())
    }

    /// A further press, or one that takes back those before it; `entry` is where it stands in the stream. Entries are worked on side by side, so
    /// one that takes back may come late: a press behind it stands.
    ///
    /// # Errors
    /// [`NotNow`] while it is not decided who is told, and when the alert is over: what is pressed then is of the next one.
    pub fn press(&mut self, press: &Press, entry: (u64, u64), now_ms: u64) -> Result<Effects, NotNow> {
        self.ready()?;
        if self.stage == Stage::Over {
            return Err(NotNow);
        }
        if press.cancel {
            if entry < self.pressed_by {
                return Ok(Effects::default());
            }
            self.end(now_ms);
            let by = Some((self.device, self.nickname.clone()));
            return Ok(self.told(AlertEvent::Cancelled, by, words(&press.text), now_ms));
        }
        self.presses += 1;
        self.pressed_by = self.pressed_by.max(entry);
        // An older position that comes late says less than what is known.
        if let Some(spot) = press.located.and_then(spot)
            && self.spot.is_none_or(|known| known.position.fix_ms <= spot.position.fix_ms)
        {
            self.spot = Some(spot);
        }
        if !press.text.is_empty() {
            self.text = words(&press.text);
        }
        if now_ms < self.pressed_ms + PRESS_TOLD_EVERY_MS {
            return Ok(Effects::default());
        }
        self.pressed_ms = now_ms;
        Ok(self.told(AlertEvent::Pressed, None, String::new(), now_ms))
    }

    /// What a dispatcher does. Acknowledging what one has already changes nothing.
    ///
    /// # Errors
    /// [`NotNow`] while it is not decided who is told; inside, why it is refused.
    pub fn act(&mut self, act: &Act, now_ms: u64) -> Result<Result<Effects, Reason>, NotNow> {
        // Whoever hears it may be sooner than the word of who that is.
        self.ready()?;
        if !self.may_act(act) {
            return Ok(Err(Reason::NotPermitted));
        }
        if self.stage == Stage::Over {
            return Ok(Err(Reason::AlertOver));
        }
        let by = (UserId(act.actor), act.name.clone());
        let remark = words(&act.remark);
        match AlertEvent::from_number(act.event) {
            Some(AlertEvent::Acknowledged) => {
                let holder = Holder { id: by.0, name: by.1.clone() };
                if self.holder.as_ref() == Some(&holder) {
                    return Ok(Ok(Effects::default()));
                }
                (self.holder, self.stage, self.due_ms) = (Some(holder), Stage::Held, None);
                Ok(Ok(self.told(AlertEvent::Acknowledged, Some(by), remark, now_ms)))
            }
            Some(event @ (AlertEvent::Resolved | AlertEvent::FalseAlarm)) => {
                self.end(now_ms);
                Ok(Ok(self.told(event, Some(by), remark, now_ms)))
            }
            _ => Ok(Err(Reason::FieldInvalid)),
        }
    }

    /// The time for what comes next has come; `None` when it has not.
    pub fn tick(&mut self, now_ms: u64) -> Option<Effects> {
        if self.due_ms.is_none_or(|due_ms| now_ms < due_ms) {
            return None;
        }
        if self.is_probe() && now_ms >= self.lapse_ms() {
            return Some(self.lapse(now_ms));
        }
        match self.stage {
            Stage::Deciding => {
                self.due_ms = Some(now_ms + DECIDE_MS);
                // The first event once more, as it was.
                self.events = 0;
                let raised = self.event(AlertEvent::Raised, None, String::new(), self.opened_ms);
                Some(Effects { ask: Some(raised), ..Effects::default() })
            }
            Stage::Waiting(index) => match self.chain.steps.get(index).cloned() {
                Some(step) => {
                    self.told.accounts.insert(step.account);
                    self.stage = Stage::Waiting(index + 1);
                    self.due_ms = Some(now_ms + step.wait_ms);
                    Some(self.told(AlertEvent::Escalated, Some((step.account, step.name)), String::new(), now_ms))
                }
                None => Some(self.text(now_ms)),
            },
            Stage::Texting => Some(self.text(now_ms)),
            Stage::Held | Stage::Over => {
                self.due_ms = None;
                None
            }
        }
    }

    fn ready(&self) -> Result<(), NotNow> {
        if self.stage == Stage::Deciding { Err(NotNow) } else { Ok(()) }
    }

    pub(super) fn end(&mut self, now_ms: u64) {
        (self.stage, self.due_ms, self.closed_ms) = (Stage::Over, None, Some(now_ms));
    }

    /// Telephones, if there are any; and all who were told before are told again.
    fn text(&mut self, now_ms: u64) -> Effects {
        self.stage = Stage::Texting;
        self.due_ms = Some(now_ms + self.chain.text_every_ms.max(1_000));
        let event = if self.chain.numbers.is_empty() { AlertEvent::Escalated } else { AlertEvent::Texted };
        let texts = self.chain.numbers.clone();
        Effects { texts, ..self.told(event, None, String::new(), now_ms) }
    }

    pub(super) fn told(&mut self, event: AlertEvent, by: Option<(UserId, String)>, remark: String, now_ms: u64) -> Effects {
        Effects { events: vec![self.event(event, by, remark, now_ms)], tell: true, ..Effects::default() }
    }

    fn may_act(&self, act: &Act) -> bool {
        let Some(kind) = UserKind::from_number(act.kind) else { return act.actor == 0 };
        let actor = UserId(act.actor);
        let is_told = self.told.accounts.contains(&actor) || self.told.above.contains(&actor);
        let in_room = act.room != 0 && self.told.rooms.contains(&GroupId(act.room));
        let same_tenant = act.tenant == self.tenant.0;
        kind == UserKind::Root || kind > UserKind::Device && same_tenant && (is_told || in_room)
    }
}

fn words(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

fn spot(located: Located) -> Option<Spot> {
    Some(Spot { position: located.position()?, battery: located.battery, by_press: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::ChainStep;

    const NOW_MS: u64 = 1_764_000_000_000;

    fn press(cancel: bool) -> Press {
        Press { device: 7, tenant: 1, name: "radio".to_owned(), press: 1, cancel, arrival_ms: NOW_MS, ..Press::default() }
    }

    /// An alert of a device of account 4, told in the room of group 9.
    fn open() -> Alert {
        let (mut alert, effects) = Alert::open(AlertId(1), &press(false), (5, 0), None, NOW_MS);
        assert_eq!((effects.events.len(), effects.ask.is_some(), effects.tell), (1, true, false));
        let step = ChainStep { account: UserId(5), name: "second".to_owned(), wait_ms: 2_000 };
        let chain = Chain { first_wait_ms: 1_000, steps: vec![step], numbers: vec!["+4712345678".to_owned()], text_every_ms: 10_000 };
        let raised = Raised { rooms: vec![9], manager: 4, ..Raised::default() };
        alert.decided(&raised, Some(Desk { chain: Some(chain), above: vec![UserId(2)] }), NOW_MS).unwrap();
        assert_eq!(alert.decided(&Raised { rooms: vec![8], ..raised }, None, NOW_MS), None, "the first decision stands");
        alert
    }

    fn act(actor: u64, kind: UserKind, room: u64, event: AlertEvent) -> Act {
        Act { alert: 1, actor, kind: kind as u32, tenant: 1, room, event: event as u32, name: format!("account {actor}"), ..Act::default() }
    }

    fn events(effects: &Effects) -> Vec<u32> {
        effects.events.iter().map(|body| body.event).collect()
    }

    #[test]
    fn before_it_is_decided_who_is_told_nothing_else_happens_and_the_inbox_is_asked_the_same_again() {
        let (mut alert, first) = Alert::open(AlertId(1), &press(false), (5, 0), None, NOW_MS);
        assert_eq!(alert.press(&press(false), (6, 0), NOW_MS), Err(NotNow));
        assert_eq!(alert.press(&press(true), (6, 0), NOW_MS), Err(NotNow));
        assert_eq!(alert.act(&act(4, UserKind::Dispatcher, 0, AlertEvent::Acknowledged), NOW_MS), Err(NotNow));
        assert_eq!(alert.tick(NOW_MS + DECIDE_MS - 1), None);
        let again = alert.tick(NOW_MS + DECIDE_MS).unwrap();
        assert_eq!((again.ask, again.events), (first.ask, vec![]));
    }

    #[test]
    fn nobody_answers_and_each_step_is_made_once() {
        let mut alert = open();
        assert_eq!(alert.tick(NOW_MS + 999), None);
        let told = alert.tick(NOW_MS + 1_000).unwrap();
        assert_eq!((events(&told), told.events[0].by), (vec![AlertEvent::Escalated as u32], 5));
        assert!(alert.told.topics(alert.device).contains(&crate::model::TopicId::alert_inbox(UserId(5))));
        assert_eq!(alert.tick(NOW_MS + 2_999), None);
        for texting in [3_000, 13_000, 23_000] {
            let texted = alert.tick(NOW_MS + texting).unwrap();
            assert_eq!((events(&texted), texted.texts.len()), (vec![AlertEvent::Texted as u32], 1));
        }
        // Until somebody has it.
        alert.act(&act(5, UserKind::Dispatcher, 0, AlertEvent::Acknowledged), NOW_MS).unwrap().unwrap();
        assert_eq!((alert.due_ms, alert.tick(u64::MAX)), (None, None));
    }

    #[test]
    fn who_was_told_or_stands_above_may_act_and_nobody_else() {
        let may = |actor, kind, room, tenant| {
            let act = Act { tenant, ..act(actor, kind, room, AlertEvent::Acknowledged) };
            open().act(&act, NOW_MS).unwrap().is_ok()
        };
        assert!(may(4, UserKind::Dispatcher, 0, 1), "who manages the device");
        assert!(may(2, UserKind::Company, 0, 1), "who stands above");
        assert!(may(33, UserKind::Dispatcher, 9, 1), "a dispatcher in its room");
        assert!(may(99, UserKind::Root, 0, 50), "the operator of the deployment");
        assert!(!may(33, UserKind::Dispatcher, 8, 1), "a dispatcher in another room");
        assert!(!may(33, UserKind::Dispatcher, 9, 2), "another company");
        assert!(!may(33, UserKind::Device, 9, 1), "a radio");
        assert!(!may(33, UserKind::Company, 0, 1), "a company that it is not of");
    }

    #[test]
    fn what_takes_back_an_earlier_press_leaves_a_later_one_alone() {
        let mut alert = open();
        alert.press(&press(false), (8, 0), NOW_MS).unwrap();
        let late = alert.press(&press(true), (7, 0), NOW_MS).unwrap();
        assert_eq!((late, alert.closed_ms, alert.presses), (Effects::default(), None, 2));
        let taken_back = alert.press(&press(true), (9, 0), NOW_MS).unwrap();
        assert_eq!((events(&taken_back), alert.stage), (vec![AlertEvent::Cancelled as u32], Stage::Over));
        let late = alert.act(&act(4, UserKind::Dispatcher, 0, AlertEvent::Resolved), NOW_MS);
        assert_eq!(late, Ok(Err(Reason::AlertOver)));
        let over = alert.clone();
        assert_eq!([press(false), press(true)].map(|press| alert.press(&press, (10, 0), NOW_MS)), [Err(NotNow), Err(NotNow)]);
        assert_eq!(alert, over, "what is over takes no press in");
    }

    #[test]
    fn an_older_position_that_comes_late_replaces_no_newer_one_and_presses_in_a_row_are_told_once() {
        let mut alert = open();
        let at = |fix_ms| Press { located: Some(Located { fix_ms, latitude: 45.0, source: 1, ..Located::default() }), ..press(false) };
        assert_eq!(alert.press(&at(2_000), (6, 0), NOW_MS + 1), Ok(Effects::default()));
        alert.press(&at(1_000), (7, 0), NOW_MS + 2).unwrap();
        assert_eq!((alert.presses, alert.spot.unwrap().position.fix_ms), (3, 2_000));
        let told = alert.press(&at(3_000), (8, 0), NOW_MS + PRESS_TOLD_EVERY_MS).unwrap();
        assert_eq!((events(&told), told.tell, told.events[0].presses), (vec![AlertEvent::Pressed as u32], true, 4));
    }
}
