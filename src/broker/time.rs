//! The time of the fleet: one for all programs, and no clock that somebody sets makes it jump.
//!
//! What several programs judge by the time of day (deadlines of sessions, heartbeats of edges and workers, tokens, alerts) goes by it. It stands on
//! Redis ([`keys::clock`]) and follows the clock of Redis, but not where that jumps: then it goes on by what the programs count evenly
//! themselves, and comes back to it slowly. The clock of a program's machine matters to nobody, once the program was told. What Redis itself
//! lets expire (leases, streams of edges) goes by the clock of Redis alone, and is made again by whoever lives.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::CLOCK;
use crate::clock::{Clock, Keeper};
use crate::shutdown::Shutdown;

/// How often each program asks.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often one asks that was never told, and how often it does before it takes the time of Redis: longer than all others take to ask.
const ASK_AT_FIRST: Duration = Duration::from_millis(200);
const WAITED_MAX: u32 = 7;
/// How long a program that begins waits to be told, before it begins by the clock of its machine: Redis does not answer.
const FIRST_MAX: Duration = Duration::from_secs(3);
/// What took longer to answer may be off by as much, and is not believed.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(250);
/// What passed since the time was last written is at most this while the clock of Redis goes evenly; the same in `scripts/clock.lua`.
const EVEN_MS: u64 = 3_000;
/// By so much the clock of the machine may be off without a word.
const OFF_MS: i64 = 2_000;

impl Redis {
    /// Asks for the time of the fleet (UTC ms), and says what it is known to be. `None` when it jumped, or nobody asked for seconds, and the caller does not
    /// know either: then others are waited for, unless `alone`.
    pub async fn fleet_time(&self, known_ms: Option<u64>, alone: bool) -> Result<Option<u64>, Error> {
        let mut call = CLOCK.call(&[&keys::clock()]);
        call.arg(known_ms.map(|known_ms| known_ms.to_string()).unwrap_or_default()).arg(u8::from(alone));
        self.command("ask for the time", call).await
    }

    /// The time of the fleet (UTC ms) for an operator's command, which changes nothing about it: that of Redis while nobody keeps it.
    pub async fn look_at_time(&self) -> Result<u64, Error> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("TIME").cmd("HMGET").arg(keys::clock()).arg("fleet_ms").arg("redis_ms");
        let ((seconds, micros), (fleet_ms, redis_ms)): ((u64, u64), (Option<u64>, Option<u64>)) =
            self.pipe("look at the time", &pipeline).await?;
        let now_ms = seconds * 1_000 + micros / 1_000;
        let kept = fleet_ms.zip(redis_ms).filter(|(_, redis_ms)| redis_ms.abs_diff(now_ms) <= EVEN_MS);
        Ok(kept.map_or(now_ms, |(fleet_ms, redis_ms)| fleet_ms + now_ms.saturating_sub(redis_ms)))
    }

    /// A clock that has the time of the fleet until the shutdown. Waits until it does, or Redis does not answer: then it has the machine's
    /// until Redis answers.
    pub async fn fleet_clock(&self, shutdown: &Shutdown) -> Clock {
        let (clock, keeper) = Clock::kept();
        let (told, first) = oneshot::channel();
        let (redis, shutdown) = (self.apart(), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = keep_time(&redis, &keeper, told) => {}
                // From there on it goes on evenly.
                () = shutdown.cancelled() => {}
            }
        });
        // Told, not to be told for now, or it takes too long: in any case it begins.
        drop(tokio::time::timeout(FIRST_MAX, first).await);
        clock
    }
}

async fn keep_time(redis: &Redis, keeper: &Keeper, told: oneshot::Sender<()>) {
    let (mut told, mut waited, mut off) = (Some(told), 0, false);
    loop {
        let asked = Instant::now();
        match redis.fleet_time(keeper.told_ms(), waited >= WAITED_MAX).await {
            Ok(Some(time_ms)) => {
                let took = asked.elapsed();
                if took <= ROUND_TRIP_MAX || keeper.told_ms().is_none() {
                    keeper.tell(time_ms, asked + took / 2);
                }
                told.take().map(|told| told.send(()));
            }
            Ok(None) => waited += 1,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the time could not be asked for, and goes on evenly");
                told.take().map(|told| told.send(()));
            }
        }
        let ahead_ms = keeper.machine_ahead_ms();
        if (ahead_ms.abs() > OFF_MS) != off {
            off = !off;
            if off {
                tracing::warn!(
                    ahead_ms,
                    "the clock of this machine is not that of the fleet, which is gone by: run an NTP client here and at Redis"
                );
            } else {
                tracing::info!("the clock of this machine is that of the fleet again");
            }
        }
        tokio::time::sleep(if keeper.told_ms().is_some() { ASK_EVERY } else { ASK_AT_FIRST }).await;
    }
}
