//! Where devices are, for sessions of desks that asked: of each device the newest, at most once a second, and no more than a bounded number a
//! second however many devices there are. Nothing of it is kept: whoever was not connected asks for the present state.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::Status;

use super::hub::Edge;
use super::session::Session;
use crate::model::{Reason, SessionId, UserId};
use crate::proto::v1;
use crate::shutdown::Shutdown;
use crate::topic::frame::{Located, Positions};

/// How often what waits is handed on.
const HAND_EVERY: Duration = Duration::from_millis(250);
/// The least time between two positions of one device.
const DEVICE_EVERY_MS: u64 = 1_000;
/// The most positions of one session each time: 1,000 a second.
const HANDED_MAX: usize = 250;
/// The most devices of which a position waits.
const WAITING_MAX: usize = 100_000;
/// How often it is said which accounts are watched, and how long that holds.
const SAY_EVERY: Duration = Duration::from_secs(3);
const WATCH_LIFETIME_MS: u64 = 10_000;

/// The sessions that watch, by their accounts.
#[derive(Default)]
pub(super) struct Watchers(Mutex<HashMap<UserId, Vec<Arc<Session>>>>);

impl Watchers {
    fn add(&self, session: &Arc<Session>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = all.entry(session.claims.user).or_default();
        sessions.retain(|known| known.id != session.id);
        sessions.push(session.clone());
    }

    pub(super) fn remove(&self, user: UserId, session: SessionId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = all.get_mut(&user) {
            sessions.retain(|known| known.id != session);
            if sessions.is_empty() {
                all.remove(&user);
            }
        }
    }

    fn of(&self, user: UserId) -> Vec<Arc<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&user).cloned().unwrap_or_default()
    }

    fn accounts(&self) -> Vec<UserId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect()
    }
}

/// What a session that watches has not been told yet.
#[derive(Default)]
pub(super) struct Watching {
    waiting: HashMap<u64, Located>,
    /// In the order in which they came to wait.
    order: VecDeque<u64>,
    /// When a device was told of last, as far as that holds back the next time.
    told_ms: HashMap<u64, u64>,
}

impl Watching {
    fn note(&mut self, located: Located) {
        if let Some(known) = self.waiting.get_mut(&located.device) {
            if known.fix_ms <= located.fix_ms {
                *known = located;
            }
        } else if self.waiting.len() < WAITING_MAX {
            self.order.push_back(located.device);
            self.waiting.insert(located.device, located);
        }
    }

    /// What is to be told now.
    fn due(&mut self, now_ms: u64) -> Vec<Located> {
        self.told_ms.retain(|_, told_ms| *told_ms + DEVICE_EVERY_MS > now_ms);
        let mut due = Vec::new();
        for _ in 0..self.order.len() {
            if due.len() == HANDED_MAX {
                break;
            }
            let Some(device) = self.order.pop_front() else { break };
            if self.told_ms.contains_key(&device) {
                self.order.push_back(device);
            } else if let Some(located) = self.waiting.remove(&device) {
                self.told_ms.insert(device, now_ms);
                due.push(located);
            }
        }
        due
    }
}

impl Session {
    /// Begins or ends to watch where the devices of the session's user are.
    pub(super) async fn watch_positions(self: &Arc<Self>, edge: &Edge, on: bool) -> Result<(), Status> {
        if !on {
            edge.watchers.remove(self.claims.user, self.id);
            self.lock().watching = None;
            return Ok(());
        }
        // First told, then watched: whoever asks for the present state behind the answer misses nothing.
        if let Err(error) = say(edge, &[self.claims.user]).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "it could not be said that positions are watched");
            return Err(edge.refused(Reason::StoreUnavailable, ""));
        }
        let mut state = self.lock();
        if state.closed {
            return Err(edge.refused(Reason::UnknownSession, "session_id"));
        }
        state.watching.get_or_insert_default();
        edge.watchers.add(self);
        Ok(())
    }
}

/// What gps has for the sessions of an account.
pub(super) fn located(edge: &Edge, positions: Positions) {
    for session in edge.watchers.of(UserId(positions.account)) {
        let mut state = session.lock();
        if let Some(watching) = &mut state.watching {
            positions.located.iter().for_each(|located| watching.note(*located));
        }
    }
}

/// Hands positions on until it is time to stop.
pub(super) async fn run(edge: &Arc<Edge>, shutdown: Shutdown) {
    let mut said = tokio::time::Instant::now();
    while !shutdown.is_cancelled() {
        hand_on(edge);
        if said.elapsed() >= SAY_EVERY {
            said = tokio::time::Instant::now();
            let accounts = edge.watchers.accounts();
            if !accounts.is_empty()
                && let Err(error) = say(edge, &accounts).await
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "it could not be said which positions are watched");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(HAND_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

fn hand_on(edge: &Edge) {
    let now_ms = edge.clock.now_ms();
    for session in edge.watchers.sessions() {
        let mut state = session.lock();
        // A client that does not read gets the newest when it does.
        if !state.queue.positions.is_empty() {
            continue;
        }
        let due = state.watching.as_mut().map(|watching| watching.due(now_ms)).unwrap_or_default();
        if due.is_empty() {
            continue;
        }
        state.queue.positions.extend(due.into_iter().map(v1::DevicePosition::from));
        drop(state);
        session.wake();
    }
}

/// Watches lapse beside the streams of edges, and by the same time.
async fn say(edge: &Edge, accounts: &[UserId]) -> Result<(), crate::broker::Error> {
    let accounts: Vec<UserId> = accounts.iter().copied().collect::<HashSet<_>>().into_iter().collect();
    let now_ms = edge.clock.unmoved_ms();
    edge.redis.watch_positions(&edge.boot, &accounts, now_ms + WATCH_LIFETIME_MS, now_ms).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(device: u64, fix_ms: u64) -> Located {
        Located { device, fix_ms, ..Located::default() }
    }

    fn told(watching: &mut Watching, now_ms: u64) -> Vec<(u64, u64)> {
        watching.due(now_ms).into_iter().map(|located| (located.device, located.fix_ms)).collect()
    }

    #[test]
    fn of_a_device_the_newest_is_told_and_at_most_once_a_second() {
        let mut watching = Watching::default();
        for (device, fix_ms) in [(1, 10), (2, 20), (1, 12), (1, 11)] {
            watching.note(at(device, fix_ms));
        }
        assert_eq!(told(&mut watching, 5_000), [(1, 12), (2, 20)]);
        watching.note(at(1, 13));
        watching.note(at(1, 14));
        assert_eq!(told(&mut watching, 5_250), []);
        assert_eq!(told(&mut watching, 6_000), [(1, 14)]);
        assert_eq!(told(&mut watching, 9_000), []);
    }

    #[test]
    fn five_thousand_devices_cost_a_bounded_rate_and_each_has_its_turn() {
        let mut watching = Watching::default();
        let mut seen = HashSet::new();
        for second in 0..6 {
            (1..=5_000).for_each(|device| watching.note(at(device, second)));
            let told: Vec<_> = (0..4).flat_map(|quarter| watching.due(second * 1_000 + quarter * 250)).collect();
            assert!(told.len() <= 1_000);
            seen.extend(told.iter().map(|located| located.device));
        }
        assert_eq!(seen.len(), 5_000);
    }
}
