//! Time as the programs see it: the system's, or in tests one that is moved by hand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Tells the time and waits. Deadlines of sessions, heartbeats and presence go by it; timeouts of sockets do not.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<watch::Receiver<u64>>);

/// Moves a [`Clock::manual`] forward.
#[derive(Debug)]
pub struct Hand(watch::Sender<u64>);

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `now_ms` until its hand is moved.
    pub fn manual(now_ms: u64) -> (Self, Hand) {
        let (sender, receiver) = watch::channel(now_ms);
        (Self(Some(receiver)), Hand(sender))
    }

    /// UTC milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody is given")]
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            Some(manual) => *manual.borrow(),
        }
    }

    /// Waits until `duration` has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            None => tokio::time::sleep(duration).await,
            Some(manual) => {
                let mut manual = manual.clone();
                let until = *manual.borrow() + duration.as_millis() as u64;
                // The hand is dropped at the end of a test: from then on the clock stands still.
                if manual.wait_for(|now| *now >= until).await.is_err() {
                    std::future::pending().await
                }
            }
        }
    }
}

impl Hand {
    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| *now += duration.as_millis() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_hand_passes_its_time() {
        let (clock, hand) = Clock::manual(1_000);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(900)).await }
        });
        tokio::task::yield_now().await;
        hand.advance(Duration::from_secs(899));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        hand.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now_ms(), 901_000);
    }
}
