//! The reader of a consumer group, which gives the worker entries as long as it has room, and none while the job is paused.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::competing::READ_MAX;
use super::job::{Competing, chain};
use super::progress::Progress;
use crate::broker::{Delivery, Group, Reader, Redis};
use crate::retry::Delays;
use crate::shutdown::Shutdown;

/// How long a read waits for entries: as long as a shutdown may go unseen.
const BLOCK: Duration = Duration::from_millis(500);

/// What the reader hands over.
pub(super) enum Read {
    Entry(Delivery, OwnedSemaphorePermit),
    /// A read failed: entries may have been given to us all the same.
    Stray,
}

/// Whether the job is paused; `None` until that was asked once.
pub(super) type Paused = watch::Receiver<Option<bool>>;

/// What a reader needs of its worker.
pub(super) struct Reading {
    pub(super) redis: Redis,
    pub(super) group: Group,
    pub(super) room: Arc<Semaphore>,
    pub(super) sender: mpsc::Sender<Read>,
    pub(super) progress: Progress,
    pub(super) paused: Paused,
    pub(super) shutdown: Shutdown,
}

/// Reads on a connection of its own. A read is never broken off: what it was given would be lost from sight.
pub(super) async fn read_on<J: Competing>(reading: Reading) {
    let Reading { redis, group, room, sender, progress, mut paused, shutdown } = reading;
    let mut reader = Reader::new(&redis, BLOCK);
    let mut delays = Delays::reconnecting();
    let mut failing = false;
    loop {
        while *paused.borrow_and_update() != Some(false) {
            progress.turn();
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = paused.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(BLOCK) => {}
            }
        }
        let first = tokio::select! {
            () = shutdown.cancelled() => return,
            first = room.clone().acquire_owned() => first,
        };
        let Ok(mut permits) = first else { return };
        let more = room.available_permits().min(READ_MAX - 1);
        if let Ok(more) = room.clone().try_acquire_many_owned(more as u32) {
            permits.merge(more);
        }
        match reader.read_group(&group, permits.num_permits()).await {
            Ok(entries) => {
                if failing {
                    tracing::info!(job = J::JOB, "reading again");
                }
                failing = false;
                delays.reset();
                progress.turn();
                for entry in entries {
                    let Some(permit) = permits.split(1) else { break };
                    if sender.send(Read::Entry(Delivery { entry, count: 1 }, permit)).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                if error.is_no_group() {
                    match redis.ensure_group(&group).await {
                        Ok(()) => continue,
                        Err(error) => tracing::debug!(job = J::JOB, error = chain(&error), "cannot make the consumer group"),
                    }
                } else if !failing {
                    tracing::warn!(job = J::JOB, error = chain(&error), "cannot read, trying again");
                }
                failing = true;
                progress.waits_for("Redis");
                if sender.send(Read::Stray).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(delays.next_delay()) => {}
                }
            }
        }
    }
}
