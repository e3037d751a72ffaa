//! Stopping a program: who hears of it, and how long it may take.
//!
//! A program stops reading, finishes within the grace period what it has begun, leaves the rest unacknowledged and exits 0. A second
//! signal ends it at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// The wish to stop. Clones hear the same wish.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    grace: Duration,
}

impl Shutdown {
    /// Stops on SIGTERM and SIGINT. A second one exits at once, with 128 and the number of the signal, as a shell counts.
    ///
    /// # Errors
    ///
    /// When the handlers cannot be set. Must be called within a tokio runtime.
    pub fn on_signals(grace: Duration) -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self { token: CancellationToken::new(), grace };
        let token = shutdown.token.clone();
        tokio::spawn(async move {
            loop {
                let (name, code) = tokio::select! {
                    _ = terminate.recv() => ("SIGTERM", 143),
                    _ = interrupt.recv() => ("SIGINT", 130),
                };
                if token.is_cancelled() {
                    tracing::warn!(signal = name, "second signal: exiting at once");
                    exit(code);
                }
                tracing::info!(signal = name, "stopping");
                token.cancel();
            }
        });
        Ok(shutdown)
    }

    /// Stops when [`Shutdown::start`] is called, with a grace of 6 s; for tests and for commands that end by themselves.
    pub fn manual() -> Self {
        Self { token: CancellationToken::new(), grace: Duration::from_secs(6) }
    }

    /// Makes everybody who listens stop. Repeats change nothing.
    pub fn start(&self) {
        self.token.cancel();
    }

    /// Resolves when it is time to stop; at once when it already is.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Whether it is time to stop.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// How long work in flight may still take once it is time to stop.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// A part of the program that can be stopped alone, and stops with the whole.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), grace: self.grace }
    }

    /// A wish of its own, which starts by itself alone; for what goes on until the rest has stopped. It has a part of the grace.
    pub fn after(&self, part: f64) -> Self {
        Self { token: CancellationToken::new(), grace: self.grace.mul_f64(part) }
    }

    /// The token, for what takes one.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever asks twice wants no more cleaning up")]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// The first part of a program that fails, `panicked` being how one failed that panicked; never resolves when none does.
pub async fn first_failure<E: 'static>(parts: &mut JoinSet<Result<(), E>>, panicked: impl Fn(JoinError) -> E) -> E {
    loop {
        match parts.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return error,
            Some(Err(source)) => return panicked(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clones_and_children_stop_with_the_whole_but_not_the_whole_with_a_child() {
        let whole = Shutdown::manual();
        let (clone, part) = (whole.clone(), whole.child());
        part.start();
        assert!(part.is_cancelled() && !whole.is_cancelled());
        whole.child().start();
        whole.start();
        clone.cancelled().await;
        assert!(clone.is_cancelled());
    }

    #[tokio::test]
    async fn a_signal_stops() {
        let shutdown = Shutdown::on_signals(Duration::from_secs(1)).unwrap();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
        tokio::time::timeout(Duration::from_secs(10), shutdown.cancelled()).await.unwrap();
    }
}
