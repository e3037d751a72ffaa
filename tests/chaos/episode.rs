//! The schedule: one or two faults, an end to them, and a while until everything is well again.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::{Instant, sleep};

use crate::faults::Fault;
use crate::ground::UnderWay;
use crate::people::People;
use crate::radio::Phase;

/// After this long without a word that is heard, a fleet counts as dead.
pub const DEAD: Duration = Duration::from_secs(60);
/// How long nothing happens after everything is well.
const CALM: Duration = Duration::from_millis(1_500);

/// What is to happen.
pub struct Schedule {
    pub until: Instant,
    pub at_a_time: u32,
    pub faults: Vec<Fault>,
}

/// What happened, and how long it was felt.
#[derive(Clone, Debug)]
pub struct Episode {
    /// Those that happened.
    pub faults: Vec<Fault>,
    /// Those that were refused, so that nothing happened, and why.
    pub refused: Vec<(Fault, String)>,
    /// How long the faults lasted, from the first of them.
    pub lasted: Duration,
    /// The longest that a word took to be heard that was said in the episode; `None` when none of them was.
    pub delay: Option<Duration>,
    /// From the beginning until a word was heard that was said after the end of the faults; `None` when that was never.
    pub well: Option<Duration>,
}

/// Plays the schedule. Every fault comes once before any comes again.
pub async fn play(people: &mut People, schedule: &Schedule, random: &mut StdRng) -> Vec<Episode> {
    let (mut episodes, mut waiting) = (Vec::new(), Vec::new());
    while Instant::now() < schedule.until {
        if waiting.is_empty() {
            waiting = schedule.faults.clone();
        }
        let first = waiting.swap_remove(random.random_range(0..waiting.len()));
        let others: Vec<Fault> = schedule.faults.iter().copied().filter(|other| first.goes_with(*other)).collect();
        let second = (schedule.at_a_time > 1).then(|| others.choose(random).copied()).flatten();
        let mut faults = Vec::new();
        for fault in [first].into_iter().chain(second) {
            if people.ground.is_ready_for(fault).await {
                faults.push(fault);
            } else {
                eprintln!("chaos: {} is left out: not every server of Redis is there", fault.name());
            }
        }
        if faults.is_empty() {
            continue;
        }
        let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
        eprint!("chaos: {}", names.join(", and "));
        let episode = endure(people, faults, random).await;
        let shown = |time: Option<Duration>| time.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        eprintln!(": {:.1} s; longest wait {}, well after {}", episode.lasted.as_secs_f64(), shown(episode.delay), shown(episode.well));
        let dead = episode.well.is_none();
        episodes.push(episode);
        if dead {
            break;
        }
        sleep(CALM).await;
    }
    episodes
}

async fn endure(people: &mut People, faults: Vec<Fault>, random: &mut StdRng) -> Episode {
    let quiet = faults.iter().any(|fault| fault.needs_quiet());
    if quiet && !people.fall_silent().await.is_empty() {
        return Episode { faults, refused: Vec::new(), lasted: Duration::ZERO, delay: None, well: None };
    }
    let begun = Instant::now();
    let (mut under_way, mut happened, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for fault in faults {
        match people.ground.begin(fault, random).await {
            UnderWay::Refused(why) => {
                eprint!(" [{}: refused: {why}]", fault.name());
                refused.push((fault, why));
            }
            begun => {
                happened.push(fault);
                under_way.push(begun);
            }
        }
        if quiet {
            people.turn(Phase::Talk);
        }
        sleep(Duration::from_millis(random.random_range(0..1_500))).await;
    }
    sleep(Duration::from_millis(random.random_range(200..4_000))).await;
    // In any order.
    if random.random() {
        under_way.reverse();
    }
    for fault in under_way {
        people.ground.end(fault).await;
        sleep(Duration::from_millis(random.random_range(0..500))).await;
    }
    let ended = Instant::now();
    while !people.heard_since(ended) && ended.elapsed() < DEAD {
        sleep(Duration::from_millis(20)).await;
    }
    let well = people.heard_since(ended).then(|| begun.elapsed());
    let delay = people.delays(begun, ended).into_iter().max();
    Episode { faults: happened, refused, lasted: ended - begun, delay, well }
}
