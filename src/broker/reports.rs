//! From the doors to the stream of fixes: reports that come while one round trip is under way leave with the next one.
//!
//! A round that failed is sent again as it was, for as long as it takes: gps knows a frame by its number. So a report that was taken in once comes
//! in once, and whoever brought it hears when Redis has it. Who cannot wait so long sends it again, which is a duplicate then.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{Notify, oneshot};

use super::connection::Redis;
use super::keys;
use crate::location::frame::{Fix, FixFrame, Received, Refused};
use crate::location::{Judged, Refusal, Report, judge};
use crate::model::{Durability, Reason, TenantId, UserId};
use crate::retry::Delays;
use crate::shutdown::Shutdown;

/// The most reports that wait to be pushed; beyond, further ones are refused.
const PENDING_MAX: usize = 200_000;
/// How many reports one frame has at least before the next one begins; the last piece may go beyond.
const FRAME_REPORTS: usize = 2_048;
/// How many reports of one caller go into a frame together.
const PIECE_REPORTS: usize = 1_024;
/// How often it is looked how much waits for SQL.
const BACKLOG_EVERY: Duration = Duration::from_secs(1);

/// Collects reports.
#[derive(Debug)]
pub struct Reports {
    producer: u64,
    waiting: Mutex<Waiting>,
    pending: AtomicUsize,
    crowded: AtomicBool,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    pieces: VecDeque<Piece>,
    /// The number of the last frame.
    number: u64,
}

/// Reports of one caller.
#[derive(Debug)]
struct Piece {
    arrival_ms: u64,
    received: Received,
    fixes: Vec<Fix>,
    refused: Vec<Refused>,
    done: oneshot::Sender<Durability>,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            producer: rand::random(),
            waiting: Mutex::default(),
            pending: AtomicUsize::new(0),
            crowded: AtomicBool::new(false),
            notify: Notify::new(),
        }
    }
}

impl Reports {
    /// Why no reports can be taken in now, if so.
    pub fn full(&self) -> Option<Reason> {
        if self.pending.load(Ordering::Relaxed) > PENDING_MAX {
            return Some(Reason::StoreUnavailable);
        }
        self.crowded.load(Ordering::Relaxed).then_some(Reason::Backlog)
    }

    /// Takes in what a device reported, in its order, refused reports too, for they are counted. The answer comes when all of it is on the
    /// stream: the durability. Dropping it takes nothing back.
    pub fn take(&self, device: UserId, arrival_ms: u64, judged: &[Judged]) -> impl Future<Output = Option<Durability>> + Send + use<> {
        let mut answers = Vec::new();
        {
            let mut waiting = lock(&self.waiting);
            for judged in judged.chunks(PIECE_REPORTS) {
                let (done, answer) = oneshot::channel();
                waiting.pieces.push_back(piece(device, arrival_ms, judged, done));
                answers.push(answer);
            }
        }
        self.pending.fetch_add(judged.len(), Ordering::Relaxed);
        self.notify.notify_one();
        async {
            let mut least = None;
            for answer in answers {
                // A piece is only dropped by a program that ends.
                let durability = answer.await.ok()?;
                least = Some(least.map_or(durability, |least: Durability| least.min(durability)));
            }
            least
        }
    }

    /// Takes in a report that came beside something else, as with a press of SOS: it counts as any other, if it says anything, and nobody waits
    /// for it.
    pub fn take_beside(&self, device: UserId, tenant: TenantId, report: &Report, arrival_ms: u64) {
        let judged = judge(report, device, tenant, arrival_ms);
        if !matches!(judged, Err(Refusal { reason: Reason::FieldMissing, field: "fix" })) {
            drop(self.take(device, arrival_ms, &[judged]));
        }
    }

    /// Pushes until it is time to stop and nothing is left, or the grace is over.
    pub async fn run(&self, redis: &Redis, wanted: Durability, shutdown: Shutdown) {
        let push = async {
            loop {
                while self.round(redis, wanted).await {}
                if shutdown.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = self.notify.notified() => {}
                    () = shutdown.cancelled() => {}
                }
            }
        };
        let over = async {
            shutdown.cancelled().await;
            tokio::time::sleep(shutdown.grace()).await;
        };
        tokio::select! {
            () = push => {}
            () = over => tracing::warn!("stops with reports that never reached Redis; nobody was told that they did"),
        }
    }

    /// Watches how much of the stream waits for SQL: `bytes_max` is the bound.
    pub async fn watch_backlog(&self, redis: &Redis, bytes_max: u64, shutdown: Shutdown) {
        while !shutdown.is_cancelled() {
            if let Ok(backlog_bytes) = redis.memory_bytes(&keys::fix()).await {
                let crowded = backlog_bytes > bytes_max;
                if self.crowded.swap(crowded, Ordering::Relaxed) != crowded {
                    tracing::warn!(backlog_bytes, crowded, "the reports that wait for SQL crossed their bound");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(BACKLOG_EVERY) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// One round trip; false when there was nothing to send.
    async fn round(&self, redis: &Redis, wanted: Durability) -> bool {
        let Some((frame, done, reports)) = self.next_frame() else { return false };
        let frames = [(keys::fix(), frame.encode_to_vec())];
        let mut delays = Delays::reconnecting();
        let durability = loop {
            let pushed = async { redis.secured(&redis.add_all(&frames).await?, wanted).await };
            match pushed.await {
                Ok(durability) => break durability,
                Err(error) => {
                    let delay = delays.next_delay();
                    let delay_ms = delay.as_millis() as u64;
                    tracing::warn!(error = &error as &dyn std::error::Error, delay_ms, "reports were not pushed; sending them again");
                    tokio::time::sleep(delay).await;
                }
            }
        };
        self.pending.fetch_sub(reports, Ordering::Relaxed);
        metrics::counter!("roger_reports_total").increment(reports as u64);
        for done in done {
            // A caller that is gone sends it again.
            let _gone = done.send(durability);
        }
        true
    }

    fn next_frame(&self) -> Option<(FixFrame, Vec<oneshot::Sender<Durability>>, usize)> {
        let mut waiting = lock(&self.waiting);
        let mut frame = FixFrame { producer: self.producer, number: waiting.number + 1, ..FixFrame::default() };
        let (mut done, mut reports) = (Vec::new(), 0);
        while reports < FRAME_REPORTS {
            let Some(piece) = waiting.pieces.pop_front() else { break };
            frame.arrival_ms = frame.arrival_ms.max(piece.arrival_ms);
            reports += piece.received.count as usize;
            frame.received.push(piece.received);
            frame.fixes.extend(piece.fixes);
            frame.refused.extend(piece.refused);
            done.push(piece.done);
        }
        if done.is_empty() {
            return None;
        }
        waiting.number += 1;
        Some((frame, done, reports))
    }
}

fn piece(device: UserId, arrival_ms: u64, judged: &[Judged], done: oneshot::Sender<Durability>) -> Piece {
    let received = Received { device: device.0, count: judged.len() as u64 };
    let fixes = judged.iter().filter_map(|judged| judged.as_ref().ok().cloned()).collect();
    let mut refused: Vec<Refused> = Vec::new();
    for Refusal { reason, field } in judged.iter().filter_map(|judged| judged.as_ref().err()) {
        match refused.iter_mut().find(|known| known.reason == *reason as u32 && known.field == *field) {
            Some(known) => known.count += 1,
            None => refused.push(Refused { device: device.0, reason: *reason as u32, field: (*field).to_owned(), count: 1 }),
        }
    }
    Piece { arrival_ms, received, fixes, refused, done }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_what_came_in_order_and_adds_up() {
        let reports = Reports::default();
        let fix = |device: u64, fix_ms| Ok(Fix { device, fix_ms, ..Fix::default() });
        let wrong = Err(Refusal { reason: Reason::FieldMissing, field: "fix.time_ms" });
        let many: Vec<Judged> = (0..2_500).map(|ms| fix(7, ms)).collect();
        let _first = reports.take(UserId(7), 10, &many);
        let _second = reports.take(UserId(8), 11, &[wrong.clone(), fix(8, 1), wrong]);
        let frames: Vec<_> = std::iter::from_fn(|| reports.next_frame()).map(|(frame, ..)| frame).collect();
        assert_eq!(frames.iter().map(|frame| (frame.number, frame.fixes.len())).collect::<Vec<_>>(), [(1, 2_048), (2, 453)]);
        let times: Vec<u64> = frames.iter().flat_map(|frame| &frame.fixes).filter(|fix| fix.device == 7).map(|fix| fix.fix_ms).collect();
        assert_eq!(times, (0..2_500).collect::<Vec<_>>());
        for frame in &frames {
            let received: u64 = frame.received.iter().map(|received| received.count).sum();
            let refused: u64 = frame.refused.iter().map(|refused| refused.count).sum();
            assert_eq!(received, frame.fixes.len() as u64 + refused);
        }
        assert_eq!(frames[1].refused, [Refused { device: 8, reason: 16, field: "fix.time_ms".to_owned(), count: 2 }]);
    }
}
