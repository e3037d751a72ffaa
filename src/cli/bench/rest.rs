//! What a fleet uses while nobody says anything, with somebody who scrapes its metrics or without.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::error::Error;
use super::super::output::note;
use super::load::Bench;
use super::report::{AtRest, Findings};
use super::spawn::Fleet;
use crate::broker::Redis;

/// For the fleet to come to rest before it is looked at.
const SETTLE: Duration = Duration::from_secs(5);

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) sessions: u32,
    pub(super) length: Duration,
    pub(super) scrape: Duration,
}

impl Bench<'_> {
    /// Every session beats as the edge asks for it. The bench's own share is named as such.
    pub(super) async fn rest(&self, rest: Rest, fleet: Option<&mut Fleet>) -> Result<Findings, Error> {
        let metrics = fleet.map(|fleet| fleet.metrics.clone()).unwrap_or_default();
        let devices = self.devices(rest.sessions).await?;
        self.fresh.relayed(self.within).await?;
        let mut open = Vec::new();
        for (number, device) in devices.iter().enumerate() {
            let progress = self.progress.clone();
            open.push(self.open(number, device, 1, move |events| events.drain(..).for_each(|event| progress.note(&event)))?);
            self.throttle(number as u64).await;
        }
        let count = u64::from(rest.sessions);
        self.connected(count, count).await?;
        tokio::time::sleep(SETTLE).await;
        note(&format!("bench: {count} sessions are there; looking for {} s", rest.length.as_secs()));
        let redis = self.redis()?;
        let commands = commands_of(&redis).await?;
        let (before, begun) = (self.watched.usage(), Instant::now());
        let (mut scrapes, mut scraped_bytes) = (0, 0);
        while begun.elapsed() < rest.length {
            let left = rest.length.saturating_sub(begun.elapsed());
            tokio::time::sleep(if rest.scrape.is_zero() { left } else { rest.scrape.min(left) }).await;
            if !metrics.is_empty() {
                scraped_bytes = scrape(&metrics).await?;
                scrapes += 1;
            }
        }
        let (programs, seconds) = (self.watched.since(&before), begun.elapsed().as_secs_f64());
        let commands = commands_of(&redis).await?.saturating_sub(commands);
        drop(open);
        let cpu_percent = programs.iter().map(|(name, usage)| (name.clone(), usage.cpu_s * 100.0 / seconds)).collect();
        let rest =
            AtRest { sessions: count, seconds, scrapes, scraped_bytes, cpu_percent, redis_commands_per_s: commands as f64 / seconds };
        let settings = BTreeMap::from([("sessions", count)]);
        Ok(Findings { bench: "rest", settings, rest: Some(rest), programs, ..Findings::default() })
    }
}

/// How many commands all servers did so far.
async fn commands_of(redis: &Redis) -> Result<u64, Error> {
    Ok(redis.look_at_servers().await?.iter().map(|look| look.commands).sum())
}

/// All programs, one behind the other; how much they said.
async fn scrape(addresses: &[String]) -> Result<u64, Error> {
    crate::objects::use_ring();
    let mut bytes = 0;
    for address in addresses {
        let url = format!("http://{address}/metrics");
        let failed =
            |source: reqwest::Error| Error::Program { program: format!("the metrics at {url}"), source: std::io::Error::other(source) };
        bytes += reqwest::get(&url).await.map_err(failed)?.bytes().await.map_err(failed)?.len() as u64;
    }
    Ok(bytes)
}
