//! How often somebody may try something: so often per name, and so often per address.
//!
//! Every attempt counts, good or bad, and for names that do not exist as for others, so that being throttled tells nothing. The directory
//! counts logins with a password; one with a resume token does not count: it cannot be guessed, and so nobody who guesses passwords keeps
//! a radio with its token out. The gateway counts questions for server addresses.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// The most names or addresses that are remembered; beyond it attempts are refused until the oldest are forgotten.
const REMEMBERED_MAX: usize = 100_000;
/// How soon to try again when too many are remembered.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// One bucket a key.
type Buckets<C> = RateLimiter<u64, HashMapStateStore<u64>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Counts attempts.
pub struct Throttle<C: Clock = MonotonicClock> {
    names: Option<Buckets<C>>,
    addresses: Option<Buckets<C>>,
    clock: C,
    /// Names are kept as hashes under a key of this process: they take no room, and nobody can make them collide.
    hasher: RandomState,
}

impl Throttle<MonotonicClock> {
    /// So many attempts a minute per name and per address, all of them at once if one likes; 0 for no bound.
    pub fn new(per_name_per_min: u32, per_address_per_min: u32) -> Self {
        Self::with_clock(per_name_per_min, per_address_per_min, MonotonicClock)
    }
}

impl<C: Clock + Clone> Throttle<C> {
    fn with_clock(per_name_per_min: u32, per_address_per_min: u32, clock: C) -> Self {
        let buckets =
            |per_min| NonZeroU32::new(per_min).map(|per_min| Buckets::hashmap_with_clock(Quota::per_minute(per_min), clock.clone()));
        Self { names: buckets(per_name_per_min), addresses: buckets(per_address_per_min), hasher: RandomState::new(), clock }
    }

    /// Counts an attempt.
    ///
    /// # Errors
    /// How long to wait when there were too many.
    pub fn attempt(&self, name: &str, address: Option<IpAddr>) -> Result<(), Duration> {
        if let Some(address) = address {
            self.take(self.addresses.as_ref(), self.hasher.hash_one(network(address)))?;
        }
        self.take(self.names.as_ref(), self.hasher.hash_one(name))
    }

    fn take(&self, buckets: Option<&Buckets<C>>, key: u64) -> Result<(), Duration> {
        let Some(buckets) = buckets else { return Ok(()) };
        if buckets.len() >= REMEMBERED_MAX {
            buckets.retain_recent();
            if buckets.len() >= REMEMBERED_MAX {
                return Err(FULL_RETRY);
            }
        }
        buckets.check_key(&key).map_err(|refused| refused.wait_time_from(self.clock.now()))
    }

    /// Forgets those whose buckets are full again.
    pub fn forget(&self) {
        for buckets in [&self.names, &self.addresses].into_iter().flatten() {
            buckets.retain_recent();
            buckets.shrink_to_fit();
        }
    }
}

/// The address, of IPv6 the network of 64 bits: whoever has one address there has all.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_name_and_an_address_each_have_their_bucket() {
        let clock = FakeRelativeClock::default();
        let throttle = Throttle::with_clock(3, 5, clock.clone());
        let (here, there) = (Some("10.0.0.1".parse().unwrap()), Some("10.0.0.2".parse().unwrap()));
        for _ in 0..3 {
            assert_eq!(throttle.attempt("mike", here), Ok(()));
        }
        // The name is out of attempts from wherever; it gets one each 20 s.
        assert_eq!(throttle.attempt("mike", there), Err(Duration::from_secs(20)));
        assert_eq!(throttle.attempt("buzz", here), Ok(()));
        assert_eq!(throttle.attempt("neil", here), Ok(()));
        assert!(throttle.attempt("gene", here).is_err(), "the address is out of attempts");
        clock.advance(Duration::from_secs(20));
        assert_eq!(throttle.attempt("mike", there), Ok(()));
        clock.advance(Duration::from_secs(120));
        throttle.forget();
        assert!(throttle.names.as_ref().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_0_is_no_bound() {
        assert_eq!(network("2001:db8::1:2:3:4".parse().unwrap()), network("2001:db8::ffff".parse().unwrap()));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
        let throttle = Throttle::new(0, 0);
        assert!((0..1_000).all(|_| throttle.attempt("mike", Some([10, 0, 0, 1].into())).is_ok()));
    }
}
