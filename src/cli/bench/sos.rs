//! How late SOS comes: from a device's press to the dispatcher's session, with nothing else to do, then while chat and positions are offered ten
//! times over, and while each process is killed beside that.
//!
//! The device presses by a call at the first edge, or at the next one when that does not answer; the dispatcher who manages it has a session at
//! another edge. An alert is taken back once it was heard, and a device presses again only when its last alert is over, so that no press joins
//! another; one that does is counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tonic::transport::Channel;

use super::super::error::Error;
use super::super::fresh::Device;
use super::super::output::note;
use super::flood::{Flood, channel};
use super::load::Bench;
use super::report::{Findings, Killed, Latencies, Offered, Sos};
use super::spawn::Fleet;
use crate::client::{Body, Event, Session};
use crate::model::UserKind;
use crate::proto::v1;
use crate::proto::v1::emergency_service_client::EmergencyServiceClient;

/// Devices that press, one behind the other.
const PRESSERS: usize = 20;
/// Between two presses.
const REST: Duration = Duration::from_millis(20);
/// How long each capacity is measured, and how long a flood flows before anybody presses.
const CAPACITY: Duration = Duration::from_secs(5);
const WARM: Duration = Duration::from_secs(3);
/// How many times that is offered.
const OVERLOAD: f64 = 10.0;
/// How long an edge has to answer a press before the next one is asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Between two kills: leases of who died have lapsed by then, and the next press does not wait for the kill before.
const KILL_REST: Duration = Duration::from_secs(4);
/// Between an attempt that failed and the next one.
const AGAIN: Duration = Duration::from_millis(50);

/// Sizes of the parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) idle: u32,
    pub(super) overload: u32,
    pub(super) writers: u32,
    pub(super) reporters: u32,
}

/// What came to the dispatcher, by press.
#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<HashMap<u64, Heard>>,
    came: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    /// It came with an alert that was open already.
    joined: bool,
    over: bool,
}

impl Ear {
    fn hear(&self, event: &Event) {
        let Event::Entry(entry) = event else { return };
        let Body::Alert(alert) = &entry.body else { return };
        let Some(press) = alert.text.strip_prefix("press ").and_then(|number| number.parse().ok()) else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = heard.entry(press).or_insert(Heard { at: Instant::now(), joined: false, over: false });
        heard.joined |= alert.presses > 1;
        heard.over |= alert.over;
        self.came.notify_waiters();
    }

    /// What was heard of a press as soon as `enough` of it was; `None` when that was not within the time.
    async fn wait(&self, press: u64, within: Duration, enough: impl Fn(&Heard) -> bool) -> Option<Heard> {
        let waiting = async {
            loop {
                let came = self.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&press).copied();
                if let Some(heard) = heard.filter(&enough) {
                    return heard;
                }
                came.await;
            }
        };
        tokio::time::timeout(within, waiting).await.ok()
    }
}

/// Who presses, and who hears it.
struct Desk {
    pressers: Vec<Device>,
    channels: Vec<Channel>,
    ear: Arc<Ear>,
    presses: u64,
    lost: u64,
    joined: u64,
    within: Duration,
    _session: Session,
}

impl Bench<'_> {
    /// `fleet` is killed process by process, when there is one.
    pub(super) async fn sos(&self, sizes: Sizes, fleet: Option<&mut Fleet>) -> Result<Findings, Error> {
        let mut desk = self.alert_desk().await?;
        let flood = Flood::new(self, self.edges(), sizes.writers, sizes.reporters).await?;
        let connected = u64::from(sizes.writers) * 2 + 1;
        self.connected(connected, connected).await?;

        note(&format!("bench: {} presses with nothing else to do", sizes.idle));
        // Connections are made and caches are warm.
        desk.series(PRESSERS as u32).await;
        let idle = latencies(desk.series(sizes.idle).await);
        let (messages_per_s, fixes_per_s) = flood.capacity(CAPACITY).await;
        note(&format!(
            "bench: the fleet takes {messages_per_s:.0} messages/s, or {fixes_per_s:.0} fixes/s; offering {OVERLOAD} times that"
        ));
        let flowing = flood.start(messages_per_s * OVERLOAD, fixes_per_s * OVERLOAD);
        tokio::time::sleep(WARM).await;
        let overload = latencies(desk.series(sizes.overload).await);
        let offered = flowing.offered();
        let mut killed = Vec::new();
        if let Some(fleet) = fleet {
            for name in fleet.names() {
                note(&format!("bench: killing {name} while somebody presses"));
                killed.push(desk.press_while_killed(fleet, &name).await?);
            }
        }
        drop(flowing);
        let settings = BTreeMap::from([
            ("idle", u64::from(sizes.idle)),
            ("overload", u64::from(sizes.overload)),
            ("writers", u64::from(sizes.writers)),
            ("reporters", u64::from(sizes.reporters)),
        ]);
        let Desk { presses, lost, joined, .. } = desk;
        let Offered { messages, fixes } = offered;
        let sos = Sos { idle, overload, messages_per_s, fixes_per_s, messages, fixes, presses, lost, joined, killed };
        Ok(Findings { bench: "sos", settings, sos: Some(sos), ..Findings::default() })
    }

    async fn alert_desk(&self) -> Result<Desk, Error> {
        let dispatcher = self.fresh.account("desk", UserKind::Dispatcher, None).await?;
        let mut pressers = Vec::new();
        for number in 0..PRESSERS {
            pressers.push(self.fresh.account(&format!("p{number}"), UserKind::Device, Some(dispatcher.user)).await?);
        }
        self.fresh.relayed(self.within).await?;
        let ear = Arc::new(Ear::default());
        let (hearing, progress) = (ear.clone(), self.progress.clone());
        let session = self.open(1, &dispatcher, 1, move |events| {
            for event in events.drain(..) {
                hearing.hear(&event);
                progress.note(&event);
            }
        })?;
        let channels: Result<Vec<Channel>, Error> = self.edges().iter().map(|edge| channel(edge)).collect();
        Ok(Desk { pressers, channels: channels?, ear, presses: 0, lost: 0, joined: 0, within: self.within, _session: session })
    }
}

impl Desk {
    /// One behind the other; how long each took, without those that were lost.
    async fn series(&mut self, count: u32) -> Vec<Duration> {
        let mut took = Vec::new();
        for _ in 0..count {
            took.extend(self.press().await);
            tokio::time::sleep(REST).await;
        }
        took
    }

    /// Presses, and takes it back once it was heard. `None` when it was not.
    async fn press(&mut self) -> Option<Duration> {
        let pressers = self.pressers.len() as u64;
        self.presses += 1;
        let number = self.presses;
        if number > pressers {
            // Of a press that was lost it is not waited for twice.
            let last = self.ear.wait(number - pressers, self.within.min(Duration::from_secs(10)), |heard| heard.over).await;
            if last.is_none() {
                note(&format!("bench: the alert of press {} is not over", number - pressers));
            }
        }
        let begun = Instant::now();
        let heard = if self.call(number, false).await { self.ear.wait(number, self.within, |_| true).await } else { None };
        self.call(number, true).await;
        match heard {
            Some(heard) => {
                self.joined += u64::from(heard.joined);
                Some(heard.at.saturating_duration_since(begun))
            }
            None => {
                self.lost += 1;
                None
            }
        }
    }

    /// A press while a process dies, which is started again as soon as it is dead.
    async fn press_while_killed(&mut self, fleet: &mut Fleet, name: &str) -> Result<Killed, Error> {
        fleet.kill(name)?;
        let (took, started) = tokio::join!(self.press(), fleet.revive(name));
        started?;
        fleet.wait(self.within).await?;
        tokio::time::sleep(KILL_REST).await;
        Ok(Killed { program: name.to_owned(), took_ms: took.map(|took| took.as_secs_f64() * 1_000.0) })
    }

    /// Presses, or takes back, until an edge has it; false when none had within the time. It is the same press each time.
    async fn call(&self, number: u64, cancel: bool) -> bool {
        let device = &self.pressers[number as usize % self.pressers.len()];
        let Ok(token) = device.tokens.token(None).await else { return false };
        // What takes back is a press of its own.
        let press_id = number * 2 + u64::from(cancel);
        let text = format!("press {number}");
        let request = v1::ImSosPublishRequest { token, press_id, text, cancel, ..v1::ImSosPublishRequest::default() };
        let pressing = async {
            for channel in self.channels.iter().cycle() {
                let mut edge = EmergencyServiceClient::new(channel.clone());
                if matches!(tokio::time::timeout(ANSWER_WITHIN, edge.im_sos_publish(request.clone())).await, Ok(Ok(_))) {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::time::timeout(self.within, pressing).await.is_ok()
    }
}

/// Of single measurements: the smallest at or above which so many are.
pub(super) fn latencies(mut took: Vec<Duration>) -> Latencies {
    took.sort_unstable();
    let ms = |share: f64| {
        let rank = (took.len() as f64 * share).ceil() as usize;
        took.get(rank.saturating_sub(1)).map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
    };
    Latencies { messages: took.len() as u64, p50_ms: ms(0.5), p99_ms: ms(0.99), max_ms: ms(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_what_so_many_do_not_exceed() {
        let found = latencies((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!((found.messages, found.p50_ms, found.p99_ms, found.max_ms), (200, 100.0, 198.0, 200.0));
        assert_eq!(latencies(Vec::new()).max_ms, 0.0);
    }
}
