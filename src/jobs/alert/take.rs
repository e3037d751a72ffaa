//! What comes in: presses of SOS, and what dispatchers do to alerts.
//!
//! Consumes the stream `sos` (SosFrames, consumer group `sos`). A press opens an alert, or joins the device's open one; a repeat is known by device,
//! installation and press. There is no limit of attempts, and no death over it puts an SOS aside. Answers to dispatchers go out with the
//! commit, or at once when they are refused.

use std::time::Duration;

use prost::Message as _;

use super::{Alerts, Along, Error};
use crate::alert::frame::{Act, Press, Sos, SosFrame};
use crate::alert::{Alert, NotNow, Spot};
use crate::broker::{AlertAnswer, StreamId, keys};
use crate::model::{AlertId, Reason, UserId};
use crate::telemetry;
use crate::topic::frame::{Acted, OutFrame, Output};
use crate::worker::{Classed as _, Competing, Verdict, Work};

/// How soon it is tried again while it is not decided who is told.
const DECIDING: Duration = Duration::from_millis(50);
/// How often a change is tried on a state that others change.
const TRIES_MAX: usize = 20;
/// How long the last known position is waited for: help does not wait for it.
const POSITION_PATIENCE: Duration = Duration::from_millis(300);
/// The most answers that wait for an edge.
const ANSWERS_MAX: usize = 10_000;

/// The job.
#[derive(Clone, Debug)]
pub struct TakeSos(pub Alerts);

/// How far it came.
#[derive(Debug)]
enum Taken {
    Done,
    /// Others are at it: once more.
    Again,
}

impl TakeSos {
    async fn press(&self, press: &Press, entry: StreamId) -> Result<Taken, Error> {
        let Alerts { sos, clock, .. } = &self.0;
        let device = UserId(press.device);
        let name = format!("{device}:{:x}:{:x}", press.installation, press.press);
        if press.cancel {
            // Presses before it may still wait to be worked on: from here on they open nothing.
            sos.note_cancel(device, entry).await.map_err(Alerts::failed(format!("take back the SOS of device {device}")))?;
        }
        for _ in 0..TRIES_MAX {
            let open = sos.open_alert_of(device).await.map_err(Alerts::failed(format!("look for the alert of device {device}")))?;
            let (alert, effects) = match open {
                // There is nothing to take back.
                None if press.cancel => return Ok(Taken::Done),
                None => Alert::open(new_id(), press, (entry.0, entry.1), self.last_known(device).await, clock.now_ms()),
                Some(id) => {
                    let Some(mut alert) = self.0.load(id).await? else { return Ok(Taken::Again) };
                    match alert.press(press, (entry.0, entry.1), clock.now_ms()) {
                        Ok(effects) => (alert, effects),
                        // It ended since the list was read, and the device may have another one by now.
                        Err(NotNow) if alert.closed_ms.is_some() => continue,
                        Err(NotNow) => {
                            let known = sos.knows_press(&name).await.map_err(Alerts::failed("look for a press"))?;
                            return Ok(if known { Taken::Done } else { Taken::Again });
                        }
                    }
                }
            };
            let along = Along { press: Some(name.clone()), opened_by: open.is_none().then_some(entry), answer: None };
            match self.0.commit(alert, effects, along).await? {
                AlertAnswer::Done | AlertAnswer::Known => return Ok(Taken::Done),
                AlertAnswer::Stale => {}
            }
        }
        Ok(Taken::Again)
    }

    async fn act(&self, act: &Act) -> Result<Taken, Error> {
        let id = AlertId(act.alert);
        for _ in 0..TRIES_MAX {
            let Some(mut alert) = self.0.load(id).await? else { return self.answer(act, Some(Reason::NotPermitted)).await };
            let effects = match alert.act(act, self.0.clock.now_ms()) {
                Err(NotNow) => return Ok(Taken::Again),
                Ok(Err(reason)) => return self.answer(act, Some(reason)).await,
                Ok(Ok(effects)) if effects.events.is_empty() => return self.answer(act, None).await,
                Ok(Ok(effects)) => effects,
            };
            let answer = (!act.edge.is_empty()).then(|| (act.edge.clone(), act.answer(0)));
            match self.0.commit(alert, effects, Along { answer, ..Along::default() }).await? {
                AlertAnswer::Done | AlertAnswer::Known => return Ok(Taken::Done),
                AlertAnswer::Stale => {}
            }
        }
        Ok(Taken::Again)
    }

    async fn answer(&self, act: &Act, reason: Option<Reason>) -> Result<Taken, Error> {
        self.0.answer(&act.edge, act.answer(reason.map_or(0, |reason| reason as u32))).await?;
        Ok(Taken::Done)
    }

    /// Where a device was last, if Redis says so soon.
    async fn last_known(&self, device: UserId) -> Option<Spot> {
        let users = [device];
        let live = tokio::time::timeout(POSITION_PATIENCE, self.0.fleet.live_of(&users, self.0.shards)).await;
        let live = live.ok()?.ok()?.pop()?;
        let position = live.position?;
        Some(Spot { position, battery: live.battery.map(|(percent, _)| percent), by_press: false })
    }
}

/// Random, and so that it is no negative number in SQL.
fn new_id() -> AlertId {
    AlertId(rand::random_range(1..=i64::MAX as u64))
}

impl Alerts {
    /// Tells the session at an edge what became of what it did; nobody when no edge waits.
    pub(super) async fn answer(&self, edge: &str, acted: Acted) -> Result<(), Error> {
        if edge.is_empty() {
            return Ok(());
        }
        let frame = OutFrame { items: vec![Output::Acted(acted).into()], ..OutFrame::default() };
        let out = [(keys::out_urgent(edge), frame.encode_to_vec())];
        self.fleet.add_existing(ANSWERS_MAX, out).await.map_err(Self::failed("answer what was done to an alert"))
    }
}

impl Competing for TakeSos {
    const JOB: &'static str = "sos";
    const GROUP: &'static str = "sos";
    const DEADLINE: Duration = Duration::from_secs(2);
    const ATTEMPTS_MAX: u64 = u64::MAX;
    const DEATHS_MAX: u64 = u64::MAX;

    fn stream(&self) -> String {
        keys::sos()
    }

    async fn run(&self, work: Work) -> Verdict {
        let frame: SosFrame = match work.entry.decode(&keys::sos()) {
            Ok(frame) => frame,
            Err(error) => return Verdict::of(&error),
        };
        let taken = match &frame.sos {
            Some(Sos::Press(press)) if press.device != 0 => self.press(press, work.entry.id).await,
            Some(Sos::Act(act)) => self.act(act).await,
            Some(Sos::Press(_)) => return Verdict::Reject("a press of nobody".to_owned()),
            None => return Verdict::Reject("nothing that this version knows".to_owned()),
        };
        match taken {
            Ok(Taken::Done) => {
                telemetry::hop("sos", work.entry.id.0, self.0.clock.now_ms());
                Verdict::Done
            }
            Ok(Taken::Again) => Verdict::Retry { after: Some(DECIDING), error: "it is not decided yet who is told".to_owned() },
            Err(error) => match error.class() {
                crate::retry::ErrorClass::Transient => Verdict::Retry { after: Some(DECIDING * 4), error: crate::worker::chain(&error) },
                _ => Verdict::of(&error),
            },
        }
    }
}
