//! One fleet from its beginning to its judgement.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::fleet::Fleet;
use super::world::Faults;

/// What came of a fleet.
pub(crate) struct Run {
    /// How many actions its programs took.
    pub(crate) steps: u64,
    /// The promise that was broken.
    pub(crate) broken: Option<String>,
}

/// Runs a fleet.
pub(crate) fn run(seed: u64, faults: &Faults) -> Run {
    judged(&mut Fleet::new(seed, *faults, false))
}

/// Runs a fleet and, when a promise is broken, tells what led to it: the last actions, the promise, and how to run it again.
pub(crate) fn told(name: &str, faults: &Faults, seed: u64, shown: usize) -> Option<String> {
    let mut fleet = Fleet::new(seed, *faults, true);
    let why = judged(&mut fleet).broken?;
    let actions = fleet.world.trace.unwrap_or_default();
    let last: String = actions.iter().skip(actions.len().saturating_sub(shown)).flat_map(|action| [action, "\n"]).collect();
    let planted = if faults.planted.is_some() { " --planted" } else { "" };
    let replay = format!("scripts/simulate --only {name} --seed {seed}{planted}");
    Some(format!("{last}{name}, seed {seed}, {:?}: {why}\nreplay: {replay}", fleet.world.shape))
}

/// A panic of the core breaks a promise, too; it must not hide which seed led to it.
fn judged(fleet: &mut Fleet) -> Run {
    let judged = catch_unwind(AssertUnwindSafe(|| fleet.run()));
    let why = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        format!("panic: {}", text.unwrap_or_default())
    };
    Run { steps: fleet.world.step, broken: judged.unwrap_or_else(|panic| Err(why(panic))).err() }
}
