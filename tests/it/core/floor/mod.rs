//! Floor control, whatever comes in and whoever dies: one talker, in the order that is promised, and nobody waits beyond the bound.
//!
//! [`world::World`] makes the inputs and knows what time it is, [`judge::Judge`] sees only what goes in and what is to be done.

mod judge;
mod world;

use proptest::prelude::*;
use roger::floor::{Limits, Participant};
use roger::model::{InstallationId, UserId};

use world::World;

/// Small, so that every bound is reached.
const LIMITS: Limits = Limits { burst_ms: 4_000, prepare_ms: 500, vanish_ms: 1_500, queue_max: 3, age_bursts: 2 };
const USERS: u64 = 4;

/// Each user has two installations.
fn participants() -> impl Iterator<Item = Participant> {
    (1..=USERS).flat_map(|user| (1..=2).map(move |at| Participant { user: UserId(user), installation: InstallationId(user * 10 + at) }))
}

/// What happens next. `which` is taken modulo what there is.
#[derive(Clone, Debug)]
enum Operation {
    Press {
        which: usize,
        level: u8,
        emergency: bool,
    },
    /// One of the last two requests of an installation comes once more.
    Repeat {
        which: usize,
        back: usize,
    },
    /// The same of a release; `back` 0 is the press that is on.
    Release {
        which: usize,
        back: usize,
    },
    /// The media side answers to the last command.
    Confirm,
    Fail,
    /// An answer to an earlier command comes late.
    Late {
        which: usize,
        failed: bool,
    },
    /// Time passes: who lives is heard of, and ticks come when they are due.
    Pass {
        ms: u64,
    },
    /// Nobody takes anything in for a while; then comes a tick.
    Stall {
        ms: u64,
    },
    /// An installation is no longer heard of, or is again.
    Die {
        which: usize,
    },
    Live {
        which: usize,
    },
    Leave {
        user: u64,
    },
    Enter {
        user: u64,
    },
    /// Whoever holds the floor dies, and another one reads what was stored; its clock may be behind.
    Resume {
        away_ms: u64,
        behind_ms: u64,
    },
    Dissolve,
}

fn operation() -> impl Strategy<Value = Operation> {
    let which = 0..64usize;
    prop_oneof![
        60 => (which.clone(), prop_oneof![4 => Just(10), 2 => Just(20), 1 => Just(30)], prop::bool::weighted(0.07))
            .prop_map(|(which, level, emergency)| Operation::Press { which, level, emergency }),
        12 => (which.clone(), 0..2usize).prop_map(|(which, back)| Operation::Repeat { which, back }),
        25 => (which.clone(), prop_oneof![5 => Just(0usize), 1 => Just(1)]).prop_map(|(which, back)| Operation::Release { which, back }),
        50 => Just(Operation::Confirm),
        6 => Just(Operation::Fail),
        8 => (which.clone(), any::<bool>()).prop_map(|(which, failed)| Operation::Late { which, failed }),
        40 => prop_oneof![3 => 1..400u64, 2 => 400..3_000u64, 1 => 3_000..6_000u64].prop_map(|ms| Operation::Pass { ms }),
        2 => (1..4_000u64).prop_map(|ms| Operation::Stall { ms }),
        8 => which.clone().prop_map(|which| Operation::Die { which }),
        12 => which.prop_map(|which| Operation::Live { which }),
        5 => (1..=USERS).prop_map(|user| Operation::Leave { user }),
        10 => (1..=USERS).prop_map(|user| Operation::Enter { user }),
        3 => (0..5_000u64, prop_oneof![2 => Just(0), 1 => 0..20_000u64])
            .prop_map(|(away_ms, behind_ms)| Operation::Resume { away_ms, behind_ms }),
        1 => prop::bool::weighted(0.3).prop_map(|dissolve| if dissolve { Operation::Dissolve } else { Operation::Confirm }),
    ]
}

proptest! {
    #![proptest_config(super::config(600))]

    #[test]
    fn the_floor_has_one_talker_and_never_sticks(operations in prop::collection::vec(operation(), 1..150)) {
        let mut world = World::new();
        operations.iter().for_each(|operation| world.take(operation));
        world.drain();
    }
}
