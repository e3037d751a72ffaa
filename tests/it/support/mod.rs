//! Real servers and programs for tests: started on private sockets and free ports in a temporary folder, killed when dropped.

// A feature's tests use a part of it.
#![allow(dead_code)]

pub mod apk;
pub mod chromium;
pub mod clocks;
pub mod cluster;
pub mod company;
pub mod fleet;
pub mod janus;
pub mod link;
pub mod mariadb;
pub mod minted;
pub mod namespace;
pub mod ports;
pub mod process;
pub mod redis;
pub mod sentinel;
pub mod small_disk;
pub mod sound;
pub mod supervisord;
pub mod world;

use std::future::Future;
use std::time::{Duration, Instant};

/// The deadline of a wait for something that takes milliseconds on an idle machine. Generous: it costs only a failing test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a wait looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `holds`, blocking the thread; panics with `what` when it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, PATIENCE, || holds().then_some(()));
}

/// Waits until `look` finds something, blocking the thread; panics with `what` when it does not within `patience`.
#[track_caller]
pub fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain: {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the thread is the test's own")]
pub fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

/// As [`wait_for`] with [`PATIENCE`], for a look that waits itself.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
