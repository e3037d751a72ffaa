//! Where devices are now, for desks that watch: of each device the newest, a few times a second, to the edges with sessions of the accounts that
//! manage it. Nothing of it is kept: what is lost on the way is followed by something newer, or found by asking.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::Redis;
use crate::clock::Clock;
use crate::model::UserId;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::topic::frame::{Located, Positions};
use crate::worker::chain;

/// How often what moved is told.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// The most devices that wait to be told; further ones are told when they move again.
const WAITING_MAX: usize = 100_000;
/// How long it is taken for granted who manages a device. A former manager sees it at most so much longer.
const MANAGERS_LIFETIME: Duration = Duration::from_secs(2);
/// How long SQL is waited for in a round; without an answer what was known before counts, for nobody can have changed it meanwhile.
const SQL_PATIENCE: Duration = Duration::from_secs(1);
/// The most devices whose managers are remembered.
const KNOWN_MAX: usize = 200_000;

/// The newest of each device that has not been told yet.
#[derive(Debug, Default)]
pub(super) struct Moved(Mutex<HashMap<u64, Located>>);

impl Moved {
    /// Devices have new positions.
    pub(super) fn note(&self, located: Vec<Located>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for located in located {
            let full = waiting.len() >= WAITING_MAX;
            match waiting.entry(located.device) {
                Entry::Occupied(mut known) if known.get().fix_ms <= located.fix_ms => drop(known.insert(located)),
                Entry::Vacant(place) if !full => drop(place.insert(located)),
                _ => {}
            }
        }
    }

    fn take(&self) -> HashMap<u64, Located> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells until it is time to stop.
pub(super) async fn run(moved: &Moved, redis: &Redis, store: &Store, clock: &Clock, shutdown: &Shutdown) {
    let mut managers = Managers::default();
    while !shutdown.is_cancelled() {
        let newest = moved.take();
        if !newest.is_empty()
            && let Err(error) = tell(newest, redis, store, clock, &mut managers).await
        {
            // Redis is away: everything that moves meanwhile is told when it is back.
            tracing::warn!(error = chain(&error), "who watches was not told where devices are");
        }
        tokio::select! {
            () = tokio::time::sleep(TELL_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Who watches is asked only now: whoever watched before a device moved is among them, and whoever came later finds it by asking.
async fn tell(
    newest: HashMap<u64, Located>,
    redis: &Redis,
    store: &Store,
    clock: &Clock,
    managers: &mut Managers,
) -> Result<(), crate::broker::Error> {
    let mut edges: HashMap<UserId, Vec<String>> = HashMap::new();
    for (account, edge) in redis.watchers(clock.unmoved_ms()).await? {
        edges.entry(account).or_default().push(edge);
    }
    if edges.is_empty() {
        return Ok(());
    }
    managers.refresh(newest.keys().copied().map(UserId), store).await;
    let told = sorted(&newest, &edges, &managers.known);
    if told.is_empty() {
        return Ok(());
    }
    metrics::counter!("roger_positions_told_total").increment(told.values().flatten().map(|told| told.located.len() as u64).sum());
    redis.tell_positions(told).await
}

/// By edge what it is told.
fn sorted(
    newest: &HashMap<u64, Located>,
    edges: &HashMap<UserId, Vec<String>>,
    managers: &HashMap<UserId, Known>,
) -> BTreeMap<String, Vec<Positions>> {
    let mut by_account: BTreeMap<UserId, Vec<Located>> = BTreeMap::new();
    for (device, located) in newest {
        let Some(known) = managers.get(&UserId(*device)) else { continue };
        for account in known.managers.iter().filter(|account| edges.contains_key(account)) {
            by_account.entry(*account).or_default().push(*located);
        }
    }
    let mut told: BTreeMap<String, Vec<Positions>> = BTreeMap::new();
    for (account, located) in by_account {
        for edge in &edges[&account] {
            let positions = Positions { account: account.0, located: located.clone() };
            told.entry(edge.clone()).or_default().push(positions);
        }
    }
    told
}

/// Who manages a device, and since when that is known.
#[derive(Debug)]
struct Known {
    asked: Instant,
    managers: BTreeSet<UserId>,
}

/// Who manages which device, as it was a moment ago.
#[derive(Debug, Default)]
struct Managers {
    known: HashMap<UserId, Known>,
}

impl Managers {
    async fn refresh(&mut self, devices: impl Iterator<Item = UserId>, store: &Store) {
        let is_old = |device: &UserId| self.known.get(device).is_none_or(|known| known.asked.elapsed() >= MANAGERS_LIFETIME);
        let old: Vec<UserId> = devices.filter(is_old).collect();
        if old.is_empty() {
            return;
        }
        if self.known.len() + old.len() > KNOWN_MAX {
            self.known.clear();
        }
        let asked = Instant::now();
        match tokio::time::timeout(SQL_PATIENCE, store.managers_of(&old)).await {
            Ok(Ok(mut found)) => {
                for device in old {
                    // Whoever is no more has no managers, and is not asked for again at once either.
                    let managers = found.remove(&device).unwrap_or_default();
                    self.known.insert(device, Known { asked, managers });
                }
            }
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "who manages devices is not known anew"),
            Err(_) => tracing::warn!("who manages devices is not known anew: SQL does not answer in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(device: u64, fix_ms: u64) -> Located {
        Located { device, fix_ms, ..Located::default() }
    }

    #[test]
    fn of_a_device_the_newest_waits_and_goes_to_each_edge_of_who_manages_it() {
        let moved = Moved::default();
        moved.note(vec![at(1, 10), at(2, 20)]);
        moved.note(vec![at(1, 9), at(2, 21), at(3, 1)]);
        let newest = moved.take();
        assert!(moved.take().is_empty());
        let edges = HashMap::from([(UserId(50), vec!["a".to_owned(), "b".to_owned()]), (UserId(60), vec!["a".to_owned()])]);
        let known = |managers: &[u64]| Known { asked: Instant::now(), managers: managers.iter().copied().map(UserId).collect() };
        // Nobody knows the third one; somebody who does not watch manages the first one too.
        let managers = HashMap::from([(UserId(1), known(&[50, 70])), (UserId(2), known(&[50, 60]))]);
        let told = sorted(&newest, &edges, &managers);
        let told = |edge: &str, account: u64| {
            let positions = told[edge].iter().filter(|positions| positions.account == account);
            let mut located: Vec<_> = positions.flat_map(|positions| &positions.located).map(|at| (at.device, at.fix_ms)).collect();
            located.sort_unstable();
            located
        };
        assert_eq!(told("a", 50), [(1, 10), (2, 21)]);
        assert_eq!(told("b", 50), [(1, 10), (2, 21)]);
        assert_eq!(told("a", 60), [(2, 21)]);
        assert_eq!(told("b", 60), []);
    }
}
