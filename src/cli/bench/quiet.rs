//! The loads that begin with a silence: idle sessions, and devices that come on the air and catch up.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::error::Error;
use super::super::output::note;
use super::lane::Lane;
use super::load::Bench;
use super::report::{Findings, Idle, Traffic};
use super::usage::{Usage, fleet_cpu_s};
use crate::model::TopicId;

/// Sessions that write the backlog of a catch-up.
const CATCHUP_WRITERS: usize = 20;
/// For the edge to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

impl Bench<'_> {
    pub(super) async fn idle(&self, sessions: u32) -> Result<Findings, Error> {
        let devices = self.devices(sessions).await?;
        self.fresh.relayed(self.within).await?;
        let before = self.watched.usage();
        let begun = Instant::now();
        let mut open = Vec::new();
        for (number, device) in devices.iter().enumerate() {
            let progress = self.progress.clone();
            open.push(self.open(number, device, 1, move |events| events.drain(..).for_each(|event| progress.note(&event)))?);
            self.throttle(number as u64).await;
        }
        let count = u64::from(sessions);
        self.connected(count, count).await?;
        let seconds = begun.elapsed().as_secs_f64();
        tokio::time::sleep(SETTLE).await;
        let programs = self.watched.since(&before);
        let rss = |usage: Option<&Usage>| usage.map_or(0, |usage| usage.rss_kib);
        let (then, now) = (rss(before.get("edge")), rss(programs.get("edge")));
        drop(open);
        let idle = Idle {
            sessions: count,
            connects_per_s: count as f64 / seconds,
            edge_rss_kib_before: then,
            edge_rss_kib_after: now,
            edge_rss_kib_per_session: now.saturating_sub(then) as f64 / count.max(1) as f64,
        };
        let settings = BTreeMap::from([("sessions", count)]);
        Ok(Findings { bench: "idle", settings, idle: Some(idle), programs, ..Findings::default() })
    }

    pub(super) async fn catchup(&self, devices: u32, backlog: u64) -> Result<Findings, Error> {
        let devices = self.devices(devices.max(1) + CATCHUP_WRITERS as u32).await?;
        self.fresh.relayed(self.within).await?;
        let (writers, readers) = devices.split_at(CATCHUP_WRITERS);
        note(&format!("bench: writing {} messages to {} devices that are off the air", backlog * readers.len() as u64, readers.len()));
        let mut writing = tokio::task::JoinSet::new();
        for (number, writer) in writers.iter().enumerate() {
            let session = self.open(number, writer, 512, Vec::clear)?;
            let to: Vec<TopicId> = readers.iter().skip(number).step_by(CATCHUP_WRITERS).map(|device| TopicId::inbox(device.user)).collect();
            let text = self.text.clone();
            writing.spawn(async move {
                for _ in 0..backlog {
                    for topic in &to {
                        session.send(*topic, text.clone()).await?;
                    }
                }
                session.flush().await
            });
        }
        while let Some(done) = writing.join_next().await {
            if let Ok(written) = done {
                written?;
            }
        }
        let messages = backlog * readers.len() as u64;
        // They were away for longer than it takes to archive what they missed.
        self.used_until_archived(&self.watched.usage(), Instant::now()).await;
        note("bench: all come on the air");
        let before = self.watched.usage();
        let begun = Instant::now();
        let mut open = Vec::new();
        let mut lanes = Vec::new();
        for (number, device) in readers.iter().enumerate() {
            let lane = Lane::new(TopicId::inbox(device.user), self.text.clone(), 0, 64, 1, self.progress.clone());
            let listening = lane.clone();
            let mut last = 0;
            open.push(self.open(number, device, 1, move |events| listening.listener_events(&mut last, events))?);
            lanes.push(lane);
            self.throttle(number as u64).await;
        }
        self.reached(&self.progress.delivered, messages).await;
        let seconds = begun.elapsed().as_secs_f64();
        let (programs, archived_s) = self.used_until_archived(&before, begun).await;
        drop(open);
        let deliveries = self.progress.delivered.load(Ordering::Relaxed);
        let Some(first) = lanes.first() else { return Ok(Findings::default()) };
        let mut sum = first.nothing();
        lanes.iter().for_each(|lane| lane.tally(&mut sum));
        let traffic = Traffic {
            messages,
            deliveries,
            seconds,
            messages_per_s: deliveries as f64 / seconds,
            deliveries_per_s: deliveries as f64 / seconds,
            lost: messages.saturating_sub(deliveries),
            duplicated: sum.duplicated,
            disordered: sum.disordered,
            ..Traffic::default()
        };
        let cpu_s_per_million = Some(fleet_cpu_s(&programs) * 1e6 / deliveries.max(1) as f64);
        let mut findings =
            Findings { bench: "catchup", traffic: Some(traffic), programs, cpu_s_per_million, archived_s, ..Findings::default() };
        findings.settings.extend([("devices", readers.len() as u64), ("backlog", backlog)]);
        Ok(findings)
    }
}
