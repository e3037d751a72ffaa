//! What changes an alert, and what is to be done then.

use super::frame::{Act, Press};
use super::state::{Alert, Chain, Desk, Holder, Spot, Stage, Told};
use crate::model::{AlertEvent, AlertId, GroupId, Position, PositionSource, Reason, TenantId, UserId, UserKind};
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
    /// A new alert, by its first press. `last` is where the device was last, as far as it is known.
    pub fn open(id: AlertId, press: &Press, last: Option<Spot>, now_ms: u64) -> (Self, Effects) {
        let mut alert = Self {
            id,
            device: UserId(press.device),
            tenant: TenantId(press.tenant),
            nickname: press.name.clone(),
            version: 0,
            events: 0,
            opened_ms: press.arrival_ms,
            presses: 1,
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
        self.due_ms = Some(now_ms + self.chain.first_wait_ms);
        Some(Effects::default())
    }

    /// A further press, or one that takes it back.
    ///
    /// # Errors
    /// [`NotNow`] while it is not decided who is told.
    pub fn press(&mut self, press: &Press, now_ms: u64) -> Result<Effects, NotNow> {
        self.ready()?;
        if press.cancel {
            self.end(now_ms);
            let by = Some((self.device, self.nickname.clone()));
            return Ok(self.told(AlertEvent::Cancelled, by, words(&press.text), now_ms));
        }
        self.presses += 1;
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
        if !self.may_act(act) {
            return Ok(Err(Reason::NotPermitted));
        }
        if self.stage == Stage::Over {
            return Ok(Err(Reason::AlertOver));
        }
        self.ready()?;
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

    fn end(&mut self, now_ms: u64) {
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

    fn told(&mut self, event: AlertEvent, by: Option<(UserId, String)>, remark: String, now_ms: u64) -> Effects {
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
    let position = Position {
        latitude: located.latitude,
        longitude: located.longitude,
        fix_ms: located.fix_ms,
        accuracy_m: located.accuracy_m,
        speed_mps: located.speed_mps,
        course_deg: located.course_deg,
        source: PositionSource::from_number(located.source)?,
    };
    Some(Spot { position, battery: located.battery, by_press: true })
}
