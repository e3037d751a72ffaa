//! Chaos: a whole fleet of real servers and programs, hundreds of radios, and faults one or two at a time, by a seed. A checker judges what every
//! radio stored; the verdict is a file for people. Ends with 1 when a promise was broken. Run by `scripts/chaos`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test explains itself, and fails by panic where it cannot go on"
)]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod audit;
mod check;
mod episode;
mod faults;
mod ground;
mod people;
mod proxy;
mod radio;
mod servers;
#[path = "../it/support/mod.rs"]
mod support;
mod unruly;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::check::Findings;
use crate::episode::{Schedule, play};
use crate::faults::Layout;
use crate::people::People;
use crate::radio::Phase;
use crate::verdict::Verdict;

/// Runs a fleet of real servers under faults, and judges what hundreds of radios heard.
#[derive(Debug, Parser)]
#[command(name = "scripts/chaos", max_term_width = 110)]
struct Arguments {
    /// How long faults go on.
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    minutes: f64,
    /// What decides which faults happen when, and what radios do; another one each time unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// How many radios there are, in groups of ten.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=2000))]
    radios: u32,
    /// How many faults there are at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=2))]
    at_a_time: u32,
    /// Only faults whose names have one of these words in them.
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// How the servers of Redis stand to each other.
    #[arg(long, value_enum, default_value_t = Layout::Sentinels)]
    redis: Layout,
    /// Where the verdict goes.
    #[arg(long, default_value = "target/chaos/verdict.md", value_name = "FILE")]
    verdict: PathBuf,
}

impl Arguments {
    /// The command that repeats the run.
    fn again(&self, seed: u64) -> String {
        let Self { minutes, radios, at_a_time, .. } = self;
        let release = if cfg!(debug_assertions) { "" } else { "ROGER_PROFILE=release " };
        let layout = if self.redis == Layout::Cluster { " --redis cluster" } else { "" };
        let only: String = self.only.iter().map(|word| format!(" --only '{}'", word.replace('\'', r"'\''"))).collect();
        format!("{release}scripts/chaos --seed {seed} --minutes {minutes} --radios {radios} --at-a-time {at_a_time}{layout}{only}")
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _unread = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> ExitCode {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let faults: Vec<_> = faults::ALL
        .into_iter()
        .filter(|fault| fault.exists_in(arguments.redis))
        .filter(|fault| arguments.only.is_empty() || arguments.only.iter().any(|word| fault.name().contains(word.as_str())))
        .collect();
    if faults.is_empty() {
        eprintln!("chaos: no fault has any of these words in its name: {:?}", arguments.only);
        return ExitCode::from(64);
    }
    eprintln!("chaos: seed {seed}, {} minutes, {} radios, {} at a time", arguments.minutes, arguments.radios, arguments.at_a_time);
    let mut random = StdRng::seed_from_u64(seed);
    let mut people = People::gather(arguments.radios, arguments.redis, seed).await;
    let begun = Instant::now();
    let schedule = Schedule { until: begun + Duration::from_secs_f64(arguments.minutes * 60.0), at_a_time: arguments.at_a_time, faults };
    let episodes = play(&mut people, &schedule, &mut random).await;
    let lasted = begun.elapsed();
    let unsettled = people.fall_silent().await;
    let heard_all = people.everybody_heard_everything().await;
    let archive = people.archive().await;
    let audit = people.audit();
    people.turn(Phase::End);
    let may_be_lost = schedule.faults.iter().any(|fault| fault.can_take_from_redis());
    let logs = people.over().await;
    let findings = archive.map_or_else(Findings::unread, |archive| check::judge(&logs, &archive, may_be_lost));
    let verdict = Verdict { again: arguments.again(seed), lasted, episodes, may_be_lost, unsettled, heard_all, audit, findings };
    let text = verdict.text();
    if let Some(folder) = arguments.verdict.parent() {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(&arguments.verdict, &text).unwrap();
    println!("{text}");
    if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
