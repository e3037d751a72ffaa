//! One Janus of several, as the bridge knows it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::janus::{self, Handle, HandleNumber, Janus, Rooms, Session, SessionNumber};
use crate::model::GroupId;
use crate::worker::chain;

/// How long one is asked for a sign of life while it is away, and how long it rests in between.
const PROBE: Duration = Duration::from_millis(500);

/// A Janus.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) janus: Janus,
    /// The session in which all seats there are; `None` before it was reached, and after it lost it.
    at: Option<(Session, Rooms)>,
    /// Since when it does not answer.
    away: Option<Instant>,
    /// It did not answer in time when an order was carried out.
    silent: AtomicBool,
    /// It said that it does not know the session any more.
    gone: AtomicBool,
    /// Asks one that is away, until it answers.
    probe: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn new(janus: Janus) -> Self {
        Self { janus, at: None, away: None, silent: AtomicBool::new(false), gone: AtomicBool::new(false), probe: None }
    }

    pub(super) fn url(&self) -> &str {
        self.janus.url()
    }

    /// The session of its seats, once there is one.
    pub(super) fn session(&self) -> Option<&Session> {
        self.at.as_ref().map(|(session, _)| session)
    }

    /// Its rooms, if it makes sense to ask for them.
    pub(super) fn rooms(&self) -> Option<&Rooms> {
        let there = self.away.is_none() && !self.silent.load(Ordering::Relaxed) && !self.gone.load(Ordering::Relaxed);
        self.at.as_ref().filter(|_| there).map(|(_, rooms)| rooms)
    }

    pub(super) fn is_there(&self) -> bool {
        self.rooms().is_some()
    }

    /// Whether its session has to be made, or made anew, before it is of use.
    pub(super) fn needs_session(&self) -> bool {
        self.at.is_none() || self.gone.load(Ordering::Relaxed)
    }

    pub(super) fn sits(&mut self, session: Session, rooms: Rooms) {
        self.at = Some((session, rooms));
        self.gone.store(false, Ordering::Relaxed);
    }

    /// Keeps the session alive no longer, and leaves it to whoever claims it.
    pub(super) fn let_go(&mut self) {
        if let Some((session, _)) = self.at.take() {
            session.forget();
        }
    }

    pub(super) fn is_session(&self, number: SessionNumber) -> bool {
        self.session().is_some_and(|session| session.id() == number)
    }

    /// It lost the session, with all seats.
    pub(super) fn lost_session(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    pub(super) fn handle(&self, handle: HandleNumber) -> Option<Handle> {
        self.session().map(|session| session.handle(handle))
    }

    /// What came of asking it: that it refuses, or is not there, is no reason to stop; it is remembered.
    pub(super) fn judge<T>(&self, what: &'static str, answer: Result<T, janus::Error>) -> Option<T> {
        let error = match answer {
            Ok(answer) => return Some(answer),
            Err(error) => error,
        };
        match &error {
            janus::Error::SessionGone { .. } => self.lost_session(),
            janus::Error::NoAnswer { .. } | janus::Error::Unreachable { .. } => self.silent.store(true, Ordering::Relaxed),
            _ => {}
        }
        tracing::warn!(error = chain(&error), janus = self.url(), "cannot {what}");
        None
    }

    /// It did not answer: nobody waits for it until it does. Whether that is news.
    pub(super) fn goes_away(&mut self) -> bool {
        self.silent.store(false, Ordering::Relaxed);
        self.away.replace(self.away.unwrap_or_else(Instant::now)).is_none()
    }

    /// One that was silent to an order is away.
    pub(super) fn take_silence(&mut self) -> bool {
        self.silent.load(Ordering::Relaxed) && self.goes_away()
    }

    /// For how long it has been away; `None` while it is not.
    pub(super) fn away_for(&self) -> Option<Duration> {
        self.away.map(|since| since.elapsed())
    }

    /// Whether one that was away answers again. Asked beside all else: the others are not to wait for it.
    pub(super) fn answers_again(&mut self) -> bool {
        match &self.probe {
            Some(probe) if probe.is_finished() => {
                self.probe = None;
                self.away = None;
                true
            }
            Some(_) => false,
            None => {
                let janus = self.janus.within(PROBE);
                self.probe = Some(tokio::spawn(async move {
                    while janus.ping().await.is_err() {
                        tokio::time::sleep(PROBE).await;
                    }
                }));
                false
            }
        }
    }
}

/// How much the Janus at an address is for the room of a group, beside others: each room has an order of its own of all of them.
pub(super) fn weight(url: &str, group: GroupId) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(url.as_bytes(), group.0)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(probe) = &self.probe {
            probe.abort();
        }
    }
}
