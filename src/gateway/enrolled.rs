//! Which phones report: by the secrets that `roger device phone` gives out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::desk::Desk;
use super::refuse::{Refusal, Why};
use super::serve::Peer;
use crate::broker::{self, Redis, Reports, Settings};
use crate::config::{Config, Receipts};
use crate::retry::ErrorClass;
use crate::shutdown::Shutdown;
use crate::store::Phone;
use crate::throttle::Throttle;
use crate::token::code_hash;

/// How long a secret is not asked of SQL again: so long one that was renewed or taken back may still be good.
const FRESH: Duration = Duration::from_secs(3);
/// How long a secret that was good is taken when SQL does not answer: as long as an access token lives by default, which no edge asks SQL of.
const TRUSTED: Duration = Duration::from_secs(900);
/// The most secrets that are remembered; at the bound all are forgotten, and asked of SQL again.
const KNOWN_MAX: usize = 100_000;
/// The longest secret that is looked at, in bytes; one of this fleet has 23.
const SECRET_BYTES_MAX: usize = 64;
/// The most presses of SOS that wait for Redis; more fingers than that do not press at one gateway.
const PRESSES_MAX: usize = 1_024;

/// What phones need of the gateway.
pub(super) struct Phones {
    pub(super) reports: Reports,
    /// What receipts wait for.
    pub(super) receipts: Receipts,
    redis: Redis,
    /// Where SOS goes.
    pub(super) sos: Redis,
    pub(super) presses: Semaphore,
    throttle: Throttle,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

#[derive(Clone)]
struct Known {
    phone: Phone,
    seen: Instant,
}

impl Phones {
    /// Connects when the first phone reports: Redis may be away.
    pub(super) fn open(config: &Config) -> Result<Self, broker::Error> {
        Ok(Self {
            reports: Reports::default(),
            receipts: config.durability,
            redis: Redis::new(Settings::from(&config.redis))?,
            sos: Redis::new(Settings { url: config.sos_url().to_owned(), ..Settings::from(&config.redis) })?,
            presses: Semaphore::new(PRESSES_MAX),
            throttle: Throttle::new(config.gateway.phone_reports_per_min, 0),
            known: Mutex::default(),
        })
    }

    /// Pushes what comes until `last`; watches the bound of what waits for SQL until `shutdown`.
    pub(super) async fn run(&self, backlog_bytes_max: u64, shutdown: Shutdown, last: Shutdown) {
        tokio::join!(self.reports.run(&self.redis, self.receipts.reports, last), async {
            tokio::select! {
                () = self.reports.watch_backlog(&self.redis, backlog_bytes_max, shutdown.clone()) => {}
                // An answer of Redis that it waits for may take seconds.
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// The device that a secret is of. Whoever guesses is counted by address, which a phone that is known is not: one bad phone behind a NAT
    /// keeps no good one out.
    pub(super) async fn find(&self, desk: &Desk, secret: &str, peer: Peer) -> Result<Phone, Refusal> {
        let unknown = Refusal::of(Why::PhoneUnknown, "id");
        if secret.len() > SECRET_BYTES_MAX {
            desk.count(peer)?;
            return Err(unknown);
        }
        let hash = code_hash(secret);
        let known = self.known().get(&hash).cloned();
        match &known {
            Some(known) if known.seen.elapsed() < FRESH => return Ok(known.phone.clone()),
            Some(_) => {}
            None => desk.count(peer)?,
        }
        match (desk.store.phone(hash).await, known) {
            (Ok(Some(phone)), _) => {
                let mut all = self.known();
                if all.len() >= KNOWN_MAX {
                    all.clear();
                }
                all.insert(hash, Known { phone: phone.clone(), seen: Instant::now() });
                Ok(phone)
            }
            (Ok(None), _) => {
                self.known().remove(&hash);
                Err(unknown)
            }
            (Err(error), Some(known)) if error.class() == ErrorClass::Transient && known.seen.elapsed() < TRUSTED => Ok(known.phone),
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Counts a report of a phone.
    pub(super) fn count(&self, phone: &Phone) -> Result<(), Refusal> {
        self.throttle.attempt(&phone.device.to_string(), None).map_err(|wait| Refusal::retry(Why::PhoneRate, wait))
    }

    /// Forgets phones that are silent, as often as addresses are.
    pub(super) fn forget(&self) {
        self.throttle.forget();
        let mut known = self.known();
        known.retain(|_, known| known.seen.elapsed() < TRUSTED);
        known.shrink_to_fit();
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
