//! Time as the programs see it: that of the fleet, the machine's, or in tests one that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Tells the time and waits. Deadlines of sessions, heartbeats and presence go by it; timeouts of sockets do not.
#[derive(Clone, Debug, Default)]
pub struct Clock(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    System,
    Kept(Arc<Pace>),
    Manual(watch::Receiver<u64>),
}

/// Goes on evenly from when it was begun.
#[derive(Debug)]
struct Pace {
    begun: Instant,
    /// What time it was then, UTC ms; 0 while nobody has told.
    begun_ms: AtomicU64,
}

/// Tells a [`Clock::kept`] the time.
#[derive(Debug)]
pub struct Keeper(Arc<Pace>);

/// Moves a [`Clock::manual`] forward.
#[derive(Debug)]
pub struct Hand(watch::Sender<u64>);

impl Clock {
    /// The clock of the machine, which may be set at any time.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that has the time from its keeper and goes on evenly, whoever sets that of the machine. Until it is told it has the machine's time.
    pub fn kept() -> (Self, Keeper) {
        let pace = Arc::new(Pace { begun: Instant::now(), begun_ms: AtomicU64::new(0) });
        (Self(Kind::Kept(pace.clone())), Keeper(pace))
    }

    /// A clock that stands at `now_ms` until its hand is moved.
    pub fn manual(now_ms: u64) -> (Self, Hand) {
        let (sender, receiver) = watch::channel(now_ms);
        (Self(Kind::Manual(receiver)), Hand(sender))
    }

    /// UTC milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Kind::System => machine_ms(),
            Kind::Kept(pace) => pace.now_ms().unwrap_or_else(machine_ms),
            Kind::Manual(manual) => *manual.borrow(),
        }
    }

    /// As [`Clock::now_ms`], but the machine's time where a hand moves the clock: for what stands beside expiries of Redis, which no hand moves.
    pub fn unmoved_ms(&self) -> u64 {
        match &self.0 {
            Kind::Manual(_) => machine_ms(),
            Kind::System | Kind::Kept(_) => self.now_ms(),
        }
    }

    /// Waits until `duration` has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Kind::System | Kind::Kept(_) => tokio::time::sleep(duration).await,
            Kind::Manual(manual) => {
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

fn machine_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody is given")]
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Pace {
    fn now_ms(&self) -> Option<u64> {
        let begun_ms = self.begun_ms.load(Ordering::Relaxed);
        (begun_ms > 0).then(|| begun_ms + self.begun.elapsed().as_millis() as u64)
    }
}

impl Keeper {
    /// It was `time_ms` (UTC) at that instant.
    pub fn tell(&self, time_ms: u64, at: Instant) {
        let since = at.saturating_duration_since(self.0.begun).as_millis() as u64;
        // At least 1, for 0 means that nobody has told.
        self.0.begun_ms.store(time_ms.saturating_sub(since).max(1), Ordering::Relaxed);
    }

    /// What the clock says, UTC ms; `None` until it is told.
    pub fn told_ms(&self) -> Option<u64> {
        self.0.now_ms()
    }

    /// By how much the clock of the machine is ahead of it (ms), or behind it where negative; 0 until it is told.
    pub fn machine_ahead_ms(&self) -> i64 {
        self.told_ms().map_or(0, |told_ms| machine_ms() as i64 - told_ms as i64)
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

    #[test]
    fn a_kept_clock_has_the_time_it_is_told_and_goes_on() {
        let (clock, keeper) = Clock::kept();
        assert_eq!(keeper.told_ms(), None);
        let (before, now, after) = (machine_ms(), clock.now_ms(), machine_ms());
        assert!(before <= now && now <= after, "{before} {now} {after}");
        // Told late: what passed meanwhile counts.
        keeper.tell(5_000_000, Instant::now() - Duration::from_millis(200));
        keeper.tell(9_000_000, Instant::now());
        let told = clock.now_ms();
        assert!((9_000_000..9_010_000).contains(&told), "{told}");
        assert!(keeper.machine_ahead_ms() > 0);
        assert!(clock.unmoved_ms() < 9_020_000);
    }
}
