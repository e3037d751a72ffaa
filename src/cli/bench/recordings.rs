//! A long list of Janus worked off while the program that does it is killed again and again, beside the bare move of the same list.
//!
//! The bare move is what Redis does for each item in any case: from the list into a stream, as many at a time as the program takes. It is
//! measured just before, on the same Redis, while the fleet is idle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::error::Error;
use super::super::output::note;
use super::LOOK_EVERY;
use super::items::{Cast, Fate, SHUFFLED, block, fate};
use super::load::Bench;
use super::report::Findings;
use super::spawn::Fleet;
use super::usage::Watched;
use super::verdict::Verdict;
use crate::broker::{Redis, StreamId, keys};
use crate::jobs::talk::ITEMS_MAX;

/// The program that works the list off.
const PROGRAM: &str = "janus";
/// Items of one push: whole blocks, so that those that changed places stay beside each other.
const BATCH: u64 = 16 * SHUFFLED;
/// So many may wait on the list and behind it; then the next batch waits.
const WAITING_MAX: u64 = 20 * BATCH;
/// The list of the bare move, and how long it is filled.
const BARE_LIST: &str = "bench-bare";
const BARE_ITEMS: u64 = 32 * BATCH;
/// Groups and speakers.
const ROOMS: u32 = 16;
const SPEAKERS: u32 = 8;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordingsLoad {
    pub(super) items: u64,
    /// Zero kills nobody.
    pub(super) kill_every: Duration,
}

/// What became of a list.
#[derive(Debug, Default, Serialize)]
pub(super) struct Recordings {
    pub(super) sql: &'static str,
    pub(super) items: u64,
    pub(super) kills: u64,
    /// Until nothing was on the list or behind it: rows in SQL, announcements in the inputs of the shards, dead letters filed.
    pub(super) worked_s: f64,
    pub(super) items_per_s: f64,
    /// Until every announcement was archived.
    pub(super) archived_s: Option<f64>,
    /// The bare move of the same list into a stream.
    pub(super) bare_s: f64,
    pub(super) bare_per_s: f64,
    /// Both rates.
    pub(super) by_bare: f64,
    pub(super) verdict: Verdict,
}

/// What the killed ones used.
#[derive(Debug, Default)]
struct Killed {
    kills: u64,
    cpu_s: f64,
}

impl Bench<'_> {
    pub(super) async fn recordings(&self, load: RecordingsLoad, fleet: Option<&mut Fleet>) -> Result<Findings, Error> {
        let RecordingsLoad { items, kill_every } = load;
        let cast = self.cast().await?;
        note(&format!("bench: the bare move of {items} items"));
        let bare = self.bare(&cast, items).await?;
        note(&format!("bench: {items} items on the list of Janus"));
        let before = self.watched.usage();
        let begun = Instant::now();
        let mut killed = Killed::default();
        let working = async {
            self.feed(&cast, items).await?;
            self.waiting_at_most(0).await
        };
        tokio::select! {
            worked = working => worked?,
            died = keep_killing(fleet, kill_every, &mut killed) => died?,
        }
        let worked = begun.elapsed();
        let (mut programs, archived_s) = self.used_until_archived(&before, begun).await;
        if killed.kills > 0 {
            // Of the last one, which is not the one that was watched at first, nothing is known: it is about one part in so many kills.
            programs.entry(PROGRAM.to_owned()).or_default().cpu_s = killed.cpu_s;
        }
        let verdict = Verdict::of(&self.store()?, &self.redis()?, &cast, items).await?;
        let rate = |took: Duration| items as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
        let recordings = Recordings {
            sql: self.watched.database(),
            items,
            kills: killed.kills,
            worked_s: worked.as_secs_f64(),
            items_per_s: rate(worked),
            archived_s,
            bare_s: bare.as_secs_f64(),
            bare_per_s: rate(bare),
            by_bare: rate(worked) / rate(bare),
            verdict,
        };
        let settings = BTreeMap::from([("items", items), ("kill_every_ms", kill_every.as_millis() as u64)]);
        Ok(Findings { bench: "recordings", settings, programs, recordings: Some(recordings), archived_s, ..Findings::default() })
    }

    async fn cast(&self) -> Result<Cast, Error> {
        let mut speakers = Vec::new();
        for number in 0..SPEAKERS {
            speakers.push(self.fresh.device(&format!("s{number}")).await?.user);
        }
        let mut rooms = Vec::new();
        for number in 0..ROOMS {
            rooms.push(self.fresh.group(&format!("r{number}"), &speakers).await?);
        }
        let stranger = self.other_company().await?.device("stranger").await?.user;
        self.fresh.relayed(self.within).await?;
        Ok(Cast { rooms, speakers, stranger, begun_ms: self.now_ms() })
    }

    /// How long Redis takes to move the items from a list into a stream, and nothing else.
    async fn bare(&self, cast: &Cast, items: u64) -> Result<Duration, Error> {
        let (redis, stream, mut took) = (self.redis()?, keys::talk(BARE_LIST), Duration::ZERO);
        let mut from = 0;
        while from < items {
            let until = (from + BARE_ITEMS).min(items);
            for batch in batches(from, until) {
                redis.say_all(BARE_LIST, &said(cast, batch)).await?;
            }
            let begun = Instant::now();
            while redis.move_list(BARE_LIST, ITEMS_MAX).await? > 0 {}
            took += begun.elapsed();
            redis.trim(&stream, StreamId(u64::MAX, u64::MAX)).await?;
            from = until;
        }
        Ok(took)
    }

    /// Pushes all items, as fast as they are taken.
    async fn feed(&self, cast: &Cast, items: u64) -> Result<(), Error> {
        let redis = self.redis()?;
        let bar = self.bar(items, "items");
        for batch in batches(0, items) {
            let (length, said) = (batch.1 - batch.0, said(cast, batch));
            self.waiting_at_most(WAITING_MAX).await?;
            redis.say_all(&self.talk_list(), &said).await?;
            bar.inc(length);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Until no more than so many wait on the list of Janus and behind it.
    async fn waiting_at_most(&self, most: u64) -> Result<(), Error> {
        let (redis, list): (Redis, String) = (self.redis()?, self.talk_list());
        let (mut last, mut moved) = (u64::MAX, Instant::now());
        loop {
            let waiting = redis.waiting_talk(&list).await?;
            if waiting <= most {
                return Ok(());
            }
            if waiting != last {
                (last, moved) = (waiting, Instant::now());
            }
            if moved.elapsed() > self.within {
                return Err(Error::Late { what: format!("that any of {waiting} items was worked off"), seconds: self.within.as_secs() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Kills the program again and again, and starts it again at once; never comes to an end by itself.
async fn keep_killing(fleet: Option<&mut Fleet>, every: Duration, killed: &mut Killed) -> Result<(), Error> {
    let Some(fleet) = fleet.filter(|_| !every.is_zero()) else { return std::future::pending().await };
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let usage = Watched::only(PROGRAM, fleet.pid(PROGRAM)?).usage();
        killed.cpu_s += usage.get(PROGRAM).map_or(0.0, |usage| usage.cpu_s);
        killed.kills += 1;
        fleet.kill(PROGRAM)?;
        fleet.revive(PROGRAM).await?;
    }
}

fn batches(from: u64, until: u64) -> impl Iterator<Item = (u64, u64)> {
    (from..until).step_by(BATCH as usize).map(move |begin| (begin, (begin + BATCH).min(until)))
}

/// The items of some numbers in the order in which they are said.
fn said(cast: &Cast, (from, until): (u64, u64)) -> Vec<String> {
    let blocks = (from..until).step_by(SHUFFLED as usize).flat_map(|begin| block(begin, (begin + SHUFFLED).min(until)));
    blocks.map(|number| cast.item(number)).collect()
}

/// How many of the first `items` are new, come again, and are bad.
pub(super) fn kinds(items: u64) -> (u64, u64, u64) {
    (0..items).fold((0, 0, 0), |(new, again, bad), number| match fate(number) {
        Fate::New => (new + 1, again, bad),
        Fate::Again(_) => (new, again + 1, bad),
        Fate::Bad(_) => (new, again, bad + 1),
    })
}
