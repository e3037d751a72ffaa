//! Long runs of the simulator: each nemesis over many seeds, on all cores, with the core optimised. Ends with 1 when a promise was broken. Run by
//! `scripts/simulate`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test explains itself, and fails by panic")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

// The simulator names the core by the library it usually comes in.
extern crate roger_core as roger;

#[path = "../../it/simulator/mod.rs"]
mod simulator;
mod sweep;

use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::simulator::nemeses::{Faults, Name, nemeses, planted};
use crate::simulator::run::told;
use crate::sweep::{Sweep, sweep};

/// How long a planted defect may stay hidden.
const HIDDEN_MAX: Duration = Duration::from_secs(60);
/// Seeds of a nemesis in one go, where time decides how many there are: seconds on a small machine.
const SEEDS_A_ROUND: u64 = 1_000;

/// Runs simulated fleets under faults, and judges what everybody in them got.
#[derive(Debug, Parser)]
#[command(name = "scripts/simulate", max_term_width = 110)]
struct Arguments {
    /// How many fleets each nemesis gets, one for a seed.
    #[arg(long, default_value_t = 200, value_name = "N")]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1, value_name = "N")]
    from: u64,
    /// One seed alone; what led to a failure is shown.
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from", "minutes"])]
    seed: Option<u64>,
    /// Goes on for so long, whatever the number of seeds.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    minutes: Option<f64>,
    /// Only this nemesis, or this planted defect; all of them unless it is given.
    #[arg(long, value_name = "NEMESIS", value_parser = PossibleValuesParser::new(names()))]
    only: Vec<String>,
    /// Runs fleets with a planted defect instead, each until it is found, which must take no longer than a minute.
    #[arg(long, conflicts_with = "minutes")]
    planted: bool,
    /// How many of the last actions a failure shows.
    #[arg(long, default_value_t = 80, value_name = "N")]
    shown: usize,
}

fn names() -> Vec<Name> {
    nemeses().into_iter().chain(planted()).map(|(name, _)| name).collect()
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let mut chosen = if arguments.planted { planted() } else { nemeses() };
    chosen.retain(|(name, _)| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name));
    if chosen.is_empty() {
        let why = "a planted defect is run with --planted, a nemesis without it\n";
        return refused(&clap::Error::raw(clap::error::ErrorKind::ValueValidation, why));
    }
    let held = match arguments.seed {
        Some(seed) => chosen.iter().filter(|(name, faults)| show(name, faults, seed, &arguments)).count() == 0,
        None if arguments.planted => chosen.iter().filter(|(name, faults)| !find(name, faults, &arguments)).count() == 0,
        None => run(&chosen, &arguments),
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Help, or what is wrong with the arguments; 64 then.
fn refused(error: &clap::Error) -> ExitCode {
    let _unread = error.print();
    ExitCode::from(if error.use_stderr() { 64 } else { 0 })
}

/// Runs each nemesis over its seeds, and shows what came of it. Whether everything held.
fn run(chosen: &[(Name, Faults)], arguments: &Arguments) -> bool {
    let begun = Instant::now();
    let until = arguments.minutes.map(|minutes| begun + Duration::from_secs_f64(minutes * 60.0));
    let seeds_a_round = if until.is_some() { SEEDS_A_ROUND } else { arguments.seeds };
    let mut sweeps = vec![Sweep::default(); chosen.len()];
    let mut from = arguments.from;
    loop {
        for ((_, faults), so_far) in chosen.iter().zip(&mut sweeps).filter(|(_, so_far)| so_far.broken.is_none()) {
            so_far.add(&sweep(faults, seeds(from, seeds_a_round), until));
        }
        from = from.saturating_add(seeds_a_round);
        if until.is_none_or(|until| Instant::now() >= until) || sweeps.iter().all(|so_far| so_far.broken.is_some()) {
            break;
        }
    }
    println!("{:28} {:>9} {:>12} {:>12}", "nemesis", "fleets", "steps", "steps/s");
    let mut total = Sweep::default();
    for ((name, _), so_far) in chosen.iter().zip(&sweeps) {
        println!("{name:28} {so_far}");
        total.add(so_far);
    }
    println!("{:28} {total}  on {} cores, in {:.1} s", "together", sweep::cores(), begun.elapsed().as_secs_f64());
    for ((name, faults), so_far) in chosen.iter().zip(&sweeps) {
        if let Some(seed) = so_far.broken {
            show(name, faults, seed, arguments);
        }
    }
    total.broken.is_none()
}

/// Runs fleets with a planted defect until the checker finds it. Whether it did.
fn find(name: &str, faults: &Faults, arguments: &Arguments) -> bool {
    let found = sweep(faults, seeds(arguments.from, u64::MAX), Some(Instant::now() + HIDDEN_MAX));
    let took = format!("{} fleets, {} ms", found.fleets, found.busy.as_millis());
    match found.broken {
        Some(seed) => println!("{name}: {took}, seed {seed}: {}", simulator::run::run(seed, faults).broken.unwrap_or_default()),
        None => println!("{name}: NOT FOUND: {took}"),
    }
    found.broken.is_some()
}

/// Runs one fleet, and shows what led to its failure, if it fails. Whether it does.
fn show(name: &str, faults: &Faults, seed: u64, arguments: &Arguments) -> bool {
    let failure = told(name, faults, seed, arguments.shown);
    match &failure {
        Some(failure) => println!("\n{failure}"),
        None => println!("{name}, seed {seed}: held"),
    }
    failure.is_some()
}

fn seeds(from: u64, count: u64) -> RangeInclusive<u64> {
    from..=from.saturating_add(count.saturating_sub(1))
}
