//! One nemesis over many seeds, on all cores. Fleets share nothing, so a seed gives the same fleet wherever it runs.

use std::fmt;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::simulator::nemeses::Faults;
use crate::simulator::run::run;

/// What came of many fleets.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// How many there were.
    pub fleets: u64,
    /// What all programs in them did.
    pub steps: u64,
    /// How long it took, on all cores.
    pub busy: Duration,
    /// The lowest seed that was seen to break a promise; those above it were not all tried.
    pub broken: Option<u64>,
}

impl Sweep {
    /// Counts others in, that ran before or after.
    pub fn add(&mut self, other: &Self) {
        self.busy += other.busy;
        self.join(other);
    }

    /// Counts others in, that ran at the same time.
    fn join(&mut self, other: &Self) {
        self.fleets += other.fleets;
        self.steps += other.steps;
        self.broken = [self.broken, other.broken].into_iter().flatten().min();
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a_second = (self.steps as f64 / self.busy.as_secs_f64().max(f64::EPSILON)) as u64;
        write!(out, "{:>9} {:>12} {a_second:>12}", self.fleets, self.steps)?;
        self.broken.map_or(Ok(()), |seed| write!(out, "  BROKEN by seed {seed}"))
    }
}

/// How many fleets run at the same time.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs a fleet for each seed, until a promise is broken or it is late.
pub fn sweep(faults: &Faults, seeds: RangeInclusive<u64>, until: Option<Instant>) -> Sweep {
    let begun = Instant::now();
    let (next, over) = (AtomicU64::new(*seeds.start()), AtomicBool::new(false));
    let work = || {
        let mut done = Sweep::default();
        while !over.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                break;
            }
            let fleet = run(seed, faults);
            done.fleets += 1;
            done.steps += fleet.steps;
            if fleet.broken.is_some() {
                done.broken = Some(seed);
                over.store(true, Ordering::Relaxed);
            }
        }
        done
    };
    let mut all = Sweep::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores()).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| all.join(&thread.join().unwrap()));
    });
    all.busy = begun.elapsed();
    all
}
