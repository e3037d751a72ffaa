//! The session an app holds: its handle, and the task that keeps it connected.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tonic::transport::Endpoint;

use super::core::{Acknowledge, Core, Counts};
use super::directory::Tokens;
use super::driver::{Driver, Sink};
use super::error::Error;
use super::event::Event;
use super::floor::Media;
use super::link;
use super::memory::Memory;
use crate::model::{FloorRequestId, GroupId, Place, Reason, SessionId, TopicId, TopicKind, UserId, check_text};

/// How to open a session.
#[derive(Clone)]
pub struct Options {
    /// The addresses of edges, `http://HOST:PORT`: the first is tried first, then the next one in turn.
    pub edges: Vec<String>,
    /// Where tokens come from.
    pub tokens: Arc<dyn Tokens>,
    /// What the installation knows; [`Memory::new`] for a new one.
    pub memory: Memory,
    /// When an entry counts as received and stored.
    pub acknowledge: Acknowledge,
    /// How many messages may wait for their receipts; [`Session::send`] waits at this bound.
    pub window: usize,
    /// How many events may wait for the app; at this bound nothing more is read, and in the end the edge closes the session as a slow
    /// consumer. It then comes back by itself.
    pub events: usize,
}

impl Options {
    /// A session at any of `edges` with 1,024 messages and 1,024 events in flight; entries count as received when they are handed over.
    pub fn new(edges: impl IntoIterator<Item = impl Into<String>>, tokens: Arc<dyn Tokens>, memory: Memory) -> Self {
        let edges = edges.into_iter().map(Into::into).collect();
        Self { edges, tokens, memory, acknowledge: Acknowledge::default(), window: 1_024, events: 1_024 }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("edges", &self.edges).field("window", &self.window).finish_non_exhaustive()
    }
}

/// A session with a fleet. Clones are the same session; it ends with [`Session::close`], when the fleet ends it, or when the last clone is
/// dropped.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

/// What the handle and the task share.
pub(super) struct Shared {
    core: Mutex<Core>,
    /// The app did something the task must see.
    pub(super) wake: Notify,
    /// Something left the window, or the session ended.
    changed: Notify,
    pub(super) closing: AtomicBool,
    /// Asks for another connection.
    pub(super) reconnect: AtomicBool,
    /// Why it ended for good, once it has.
    ended: Mutex<Option<Option<Reason>>>,
    /// At which edge the session is, and as which; `None` while it is at none.
    open: Mutex<Option<(Endpoint, SessionId)>>,
    window: usize,
}

impl Shared {
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self, reason: Option<Reason>) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        self.changed.notify_waiters();
    }

    /// The session is open at an edge, or no longer.
    pub(super) fn is_at(&self, open: Option<(Endpoint, SessionId)>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        self.changed.notify_waiters();
    }

    pub(super) fn left_window(&self) {
        self.changed.notify_waiters();
    }

    fn ended(&self) -> Option<Option<Reason>> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the task when the last handle is gone.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.closing.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Opens a session: connects, and connects again, in a task of its own. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::NoAddress`] and [`Error::Address`]. That nobody answers is no error: the session goes on trying.
    pub fn open(options: Options) -> Result<(Self, mpsc::Receiver<Event>), Error> {
        let (sender, receiver) = mpsc::channel(options.events.max(1));
        Ok((Self::start(options, Sink::Channel(sender))?, receiver))
    }

    /// Opens a session whose events are handed to `handler` by the session's own task, those of one frame together. It must take them all,
    /// and must not block. For programs that hold very many sessions.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_with(options: Options, handler: impl FnMut(&mut Vec<Event>) + Send + 'static) -> Result<Self, Error> {
        Self::start(options, Sink::Handler(Box::new(handler)))
    }

    fn start(options: Options, sink: Sink) -> Result<Self, Error> {
        let edges = options.edges.iter().map(|edge| link::endpoint(edge)).collect::<Result<Vec<_>, _>>()?;
        if edges.is_empty() {
            return Err(Error::NoAddress);
        }
        let shared = Arc::new(Shared {
            core: Mutex::new(Core::new(options.memory, options.acknowledge)),
            wake: Notify::new(),
            changed: Notify::new(),
            closing: AtomicBool::new(false),
            reconnect: AtomicBool::new(false),
            ended: Mutex::new(None),
            open: Mutex::new(None),
            window: options.window.max(1),
        });
        tokio::spawn(Driver::new(shared.clone(), edges, options.tokens, sink).run());
        Ok(Self { _alive: Arc::new(Alive(shared.clone())), shared })
    }

    /// Sends a text to a group or to another user's inbox; waits while the window is full. Returns the message's client_seq: it is stored
    /// once a receipt names that number or a higher one. It is sent again for as long as it takes.
    ///
    /// # Errors
    /// [`Error::Unsendable`] for what no fleet would take, [`Error::Closed`] once the session has ended.
    pub async fn send(&self, topic: TopicId, text: impl Into<Bytes>) -> Result<u64, Error> {
        let text = text.into();
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // From here on a change is not missed.
            changed.as_mut().enable();
            match self.try_send(topic, text.clone()) {
                Err(Error::WindowFull { .. }) => changed.await,
                done => return done,
            }
        }
    }

    /// As [`Session::send`], without waiting.
    ///
    /// # Errors
    /// [`Error::WindowFull`], and those of [`Session::send`].
    pub fn try_send(&self, topic: TopicId, text: impl Into<Bytes>) -> Result<u64, Error> {
        let text = text.into();
        check_text(&text).map_err(|reason| Error::Unsendable { reason })?;
        if !matches!(topic.kind(), TopicKind::Inbox | TopicKind::Group) {
            return Err(Error::Unsendable { reason: Reason::TopicClosed });
        }
        if let Some(reason) = self.shared.ended() {
            return Err(Error::Closed { reason });
        }
        let mut core = self.shared.core();
        if core.unreceipted() >= self.shared.window {
            return Err(Error::WindowFull { window: self.shared.window });
        }
        let client_seq = core.send(topic, text);
        drop(core);
        self.shared.wake.notify_one();
        Ok(client_seq)
    }

    /// The app stored everything of a topic up to `place`. Only with [`Acknowledge::Explicit`].
    pub fn acknowledge(&self, topic: TopicId, place: Place) {
        self.shared.core().acknowledge(topic, place, std::time::Instant::now());
        self.shared.wake.notify_one();
    }

    /// Waits until every message has its receipt or refusal.
    ///
    /// # Errors
    /// [`Error::Closed`] when the session ends before.
    pub async fn flush(&self) -> Result<(), Error> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.shared.core().unreceipted() == 0 {
                return Ok(());
            }
            if let Some(reason) = self.shared.ended() {
                return Err(Error::Closed { reason });
            }
            changed.await;
        }
    }

    /// Moves the user into the room of a group, or out of any (0), and waits until it is so; first of all until the session is open. That it
    /// happened is also an entry of the inbox.
    ///
    /// # Errors
    /// [`Error::Refused`] when the user is not a member of the group, [`Error::Closed`] when the session ends before; those of a connection
    /// that breaks: ask again.
    pub async fn enter(&self, group: GroupId) -> Result<(), Error> {
        let (endpoint, session) = self.opened().await?;
        link::enter(&endpoint, session, group).await
    }

    /// Waits until the session is open: at which edge, and as which.
    async fn opened(&self) -> Result<(Endpoint, SessionId), Error> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(open) = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return Ok(open);
            }
            if let Some(reason) = self.shared.ended() {
                return Err(Error::Closed { reason });
            }
            changed.await;
        }
    }

    /// Takes a seat at the media server of a group's room, in which the user has to be; comes back with the media server's side. The seat follows
    /// the user into the next room. That it is lost is told by [`super::FloorWhat::Lost`].
    ///
    /// # Errors
    /// As [`Session::enter`]; and [`Error::Refused`] while the media server is away.
    pub async fn join_voice(&self, group: GroupId, media: Media) -> Result<Media, Error> {
        let (endpoint, session) = self.opened().await?;
        link::join_voice(&endpoint, session, group, media).await
    }

    /// Gives the seat at the media server back.
    ///
    /// # Errors
    /// As [`Session::join_voice`].
    pub async fn leave_voice(&self, group: GroupId) -> Result<(), Error> {
        let (endpoint, session) = self.opened().await?;
        link::leave_voice(&endpoint, session, group).await
    }

    /// Presses the talk button: asks for the floor of a group's room, in which the user has to be. What comes of it are events; until it is
    /// denied, revoked or released the session says that it is still there, and asks again on another connection. A press before in the same room
    /// is over with that.
    ///
    /// # Errors
    /// [`Error::Closed`] once the session has ended.
    pub fn ask_floor(&self, group: GroupId, emergency: bool) -> Result<FloorRequestId, Error> {
        if let Some(reason) = self.shared.ended() {
            return Err(Error::Closed { reason });
        }
        let request = FloorRequestId(rand::random_range(1..=u64::MAX));
        self.shared.core().ask_floor(group, request, emergency);
        self.shared.wake.notify_one();
        Ok(request)
    }

    /// Lets go of the talk button.
    pub fn release_floor(&self, group: GroupId) {
        self.shared.core().release_floor(group);
        self.shared.wake.notify_one();
    }

    /// Drops the connection and makes another one, at the next edge.
    pub fn reconnect(&self) {
        self.shared.reconnect.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// What must be kept to continue after the end of the process, as of now.
    pub fn memory(&self) -> Memory {
        self.shared.core().memory()
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        self.shared.core().counts()
    }

    /// Messages without a receipt.
    pub fn unreceipted(&self) -> usize {
        self.shared.core().unreceipted()
    }

    /// The user of the session; 0 before the first welcome.
    pub fn user(&self) -> UserId {
        self.shared.core().user()
    }

    /// Says goodbye and ends the session. Acknowledgements go out first; messages without a receipt stay in the memory that comes back.
    pub async fn close(self) -> Memory {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.shared.ended().is_some() {
                return self.memory();
            }
            changed.await;
        }
    }
}
