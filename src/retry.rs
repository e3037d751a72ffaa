//! Waiting before trying again. The only room that names the `backoff` crate.

use std::time::Duration;

use backoff::backoff::Backoff as _;

/// What trying again would change. Every error of every room says which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The other side is away, busy or in transition: the same call may succeed later.
    Transient,
    /// The call can never succeed as it is.
    Permanent,
    /// Something that must not happen did: a bug here, or data that somebody else changed.
    Defect,
}

/// Jittered exponential delays between attempts.
#[derive(Debug)]
pub struct Delays(backoff::ExponentialBackoff);

/// A policy that cannot be: the first delay is zero or above the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the first delay of {first:?} must be above zero and at most the longest, {longest:?}")]
pub struct BadDelays {
    first: Duration,
    longest: Duration,
}

impl Delays {
    /// Delays that begin around `first`, double, and stay around `longest`; each is drawn from half to one and a half of its value.
    ///
    /// # Errors
    /// [`BadDelays`] when `first` is zero or above `longest`.
    pub fn new(first: Duration, longest: Duration) -> Result<Self, BadDelays> {
        if first.is_zero() || first > longest {
            return Err(BadDelays { first, longest });
        }
        Ok(Self(backoff::ExponentialBackoff {
            initial_interval: first,
            current_interval: first,
            max_interval: longest,
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_elapsed_time: None,
            ..backoff::ExponentialBackoff::default()
        }))
    }

    /// For a server that is away: 50 ms to 2 s.
    pub fn reconnecting() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2)).expect("50 ms is at most 2 s")
    }

    /// How long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// An attempt succeeded: the next delay is a first one again.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_with_jitter_up_to_the_longest() {
        let mut delays = Delays::new(Duration::from_millis(100), Duration::from_millis(400)).unwrap();
        for expected in [100, 200, 400, 400, 400] {
            let delay = delays.next_delay().as_millis();
            assert!((expected / 2..=expected * 3 / 2).contains(&delay), "{delay} ms is not around {expected} ms");
        }
        delays.reset();
        assert!(delays.next_delay() <= Duration::from_millis(150));
    }

    #[test]
    fn a_policy_with_its_ends_swapped_cannot_be_built() {
        assert!(Delays::new(Duration::from_secs(2), Duration::from_secs(1)).is_err());
        assert!(Delays::new(Duration::ZERO, Duration::from_secs(1)).is_err());
    }
}
