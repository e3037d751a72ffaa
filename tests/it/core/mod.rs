//! The core against a small independent model of what it promises, in random interleavings.
//!
//! A failing case is printed as a list of operations and its seed is kept by proptest; `PROPTEST_CASES` runs more of them.

mod cursor;
mod operations;
mod people;
mod recovery;
mod reference;
mod rooms;
mod steps;

use proptest::test_runner::{Config, RngSeed};

/// How often each property is tried, and from which seed: `PROPTEST_CASES` and `PROPTEST_RNG_SEED` change it.
fn config(cases: u32) -> Config {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("replay with PROPTEST_RNG_SEED={seed}");
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}
