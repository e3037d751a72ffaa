//! The task of a session: connects, converses, connects again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::Sleep;
use tonic::transport::Endpoint;

use super::directory::Tokens;
use super::error::{Error, class_of};
use super::event::{Disconnect, Event, durability_of, reason_of};
use super::link::{self, Link};
use super::session::Shared;
use crate::model::{Reason, SessionId, UserId};
use crate::proto::v1;
use crate::retry::{Delays, ErrorClass};

/// Between welcome and the first heartbeat interval, and the interval of a fleet that names none.
const SILENCE_BEFORE_WELCOME: Duration = Duration::from_secs(10);
/// Frames taken in one after the other before something is sent: what they cause shares a frame.
const FRAMES_AT_ONCE: u32 = 8;
/// How long a goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// A timer that is not needed.
const FAR: Duration = Duration::from_secs(3_600);

/// Takes the events of a frame.
pub(super) type Handler = Box<dyn FnMut(&mut Vec<Event>) + Send>;

/// Where events go.
pub(super) enum Sink {
    Channel(mpsc::Sender<Event>),
    Handler(Handler),
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    edges: Vec<Endpoint>,
    /// The edge in use, or the next to try.
    at: usize,
    tokens: Arc<dyn Tokens>,
    token: Option<String>,
    /// The token that the fleet no longer took, and why.
    expired: Option<(String, Reason)>,
    sink: Sink,
    /// Waits for room in the channel.
    undelivered: VecDeque<Event>,
    scratch: Vec<Event>,
    delays: Delays,
}

/// Why a conversation ended.
enum End {
    Closed(v1::Close),
    Broken(Option<Error>),
    Silent,
    Asked,
    Goodbye,
}

/// What is to be done next.
enum Next {
    /// Connect again, to the next edge, no earlier than that.
    Again(Duration),
    /// The session is over.
    Over(Option<Reason>, String),
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, edges: Vec<Endpoint>, tokens: Arc<dyn Tokens>, sink: Sink) -> Self {
        Self {
            shared,
            edges,
            at: 0,
            tokens,
            token: None,
            expired: None,
            sink,
            undelivered: VecDeque::new(),
            scratch: Vec::new(),
            delays: Delays::reconnecting(),
        }
    }

    pub(super) async fn run(mut self) {
        let (reason, text) = loop {
            if self.closing() {
                break (None, String::new());
            }
            let next = match self.connect().await {
                Ok(link) => {
                    let end = self.converse(link).await;
                    self.shared.is_at(None);
                    self.judge(end)
                }
                Err(error) => self.judge_error(error),
            };
            match next {
                Next::Over(reason, text) => break (reason, text),
                Next::Again(wait) => self.pause(wait).await,
            }
        };
        self.tell(Event::Closed { reason, text });
        self.shared.end(reason);
        let Sink::Channel(sender) = self.sink else { return };
        for event in self.undelivered {
            if sender.send(event).await.is_err() {
                return;
            }
        }
    }

    fn closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    fn edge(&self) -> String {
        self.edges[self.at].uri().to_string().trim_end_matches('/').to_owned()
    }

    async fn connect(&mut self) -> Result<Link, Error> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => {
                let token = match (self.tokens.token(self.expired.as_ref().map(|(token, _)| token.as_str())).await, &self.expired) {
                    // There is no other one to be had: what ends the session is what befell the one there was.
                    (Err(Error::Closed { .. }), Some((_, reason))) => return Err(Error::Closed { reason: Some(*reason) }),
                    (token, _) => token?,
                };
                self.token.insert(token).clone()
            }
        };
        let hello = self.shared.core().hello(token);
        link::open(&self.edges[self.at], hello).await
    }

    /// Waits, unless the session is closed meanwhile.
    async fn pause(&mut self, wait: Duration) {
        let until = tokio::time::Instant::now() + wait;
        while !self.closing() {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.shared.wake.notified() => {}
            }
        }
    }

    fn judge(&mut self, end: End) -> Next {
        let edge = self.edge();
        let (disconnect, next) = match end {
            End::Goodbye => return Next::Over(None, String::new()),
            End::Asked => (Disconnect::Asked, self.elsewhere(Duration::ZERO)),
            End::Silent => (Disconnect::Silent, self.later()),
            End::Broken(Some(error @ Error::Refused { reason: Some(reason), .. })) => (Disconnect::Closed(reason), self.judge_error(error)),
            End::Broken(_) => (Disconnect::Broken, self.later()),
            End::Closed(close) => {
                let reason = reason_of(close.reason);
                let next = self.judge_reason(reason, u64::from(close.retry_after_ms), close.text);
                (reason.map_or(Disconnect::Broken, Disconnect::Closed), next)
            }
        };
        self.tell(Event::Disconnected { edge, reason: disconnect });
        next
    }

    fn judge_error(&mut self, error: Error) -> Next {
        match (error.class(), error) {
            (_, Error::Refused { reason: Some(reason), retry_after_ms, status, .. }) => {
                self.judge_reason(Some(reason), retry_after_ms, status.message().to_owned())
            }
            (ErrorClass::Transient, _) => self.later(),
            (_, error) => Next::Over(error.reason(), error.to_string()),
        }
    }

    fn judge_reason(&mut self, reason: Option<Reason>, retry_after_ms: u64, text: String) -> Next {
        match reason {
            Some(reason @ (Reason::TokenExpired | Reason::TokenRevoked)) if self.token.is_some() => {
                // One that was not taken although it was just renewed: no hurry.
                let wait = if self.expired.is_some() { self.delays.next_delay() } else { Duration::ZERO };
                self.expired = self.token.take().map(|token| (token, reason));
                Next::Again(wait)
            }
            // By a session of this very installation: an attempt of its own that came late.
            Some(reason) if class_of(reason) == ErrorClass::Permanent && (reason != Reason::Superseded || retry_after_ms == 0) => {
                Next::Over(Some(reason), text)
            }
            _ => {
                let asked = Duration::from_millis(retry_after_ms);
                // Not all at once: an edge that stops has many clients.
                let jitter = asked.mul_f64(rand::random_range(0.0..0.5));
                let delay = self.delays.next_delay();
                self.elsewhere((asked + jitter).max(delay))
            }
        }
    }

    fn later(&mut self) -> Next {
        let delay = self.delays.next_delay();
        self.elsewhere(delay)
    }

    fn elsewhere(&mut self, wait: Duration) -> Next {
        self.at = (self.at + 1) % self.edges.len();
        Next::Again(wait)
    }

    async fn converse(&mut self, mut link: Link) -> End {
        let edge = self.edge();
        let mut interval = None;
        let (mut sent, mut heard, mut asked_for_life) = (Instant::now(), Instant::now(), false);
        let mut streak = 0;
        let mut timer = Timer::new();
        loop {
            let now = Instant::now();
            if self.shared.reconnect.swap(false, Ordering::AcqRel) {
                return End::Asked;
            }
            if self.closing() {
                return self.goodbye(link).await;
            }
            if !self.undelivered.is_empty() {
                // While the app is behind nothing is read, so silence says nothing of the edge.
                heard = now;
            }
            let quiet = interval.unwrap_or(SILENCE_BEFORE_WELCOME);
            let silent_at = heard + if interval.is_some() { quiet * 3 } else { quiet };
            if now >= silent_at {
                return End::Silent;
            }
            // Any frame keeps the session alive there; only an answer shows that the edge is alive.
            let beat_at = if asked_for_life { sent + quiet } else { (sent + quiet).min(heard + quiet) };
            let due = interval.and_then(|_| self.shared.core().due(now));
            let beat = interval.is_some() && now >= beat_at;
            let send = beat || due.is_some_and(|due| due <= now);
            let next = due.filter(|due| *due > now).unwrap_or(silent_at).min(silent_at).min(if beat { silent_at } else { beat_at });
            timer.at_most(next);
            tokio::select! {
                biased;
                message = link.inbound.message(), if self.undelivered.is_empty() && (!send || streak < FRAMES_AT_ONCE) => {
                    streak += 1;
                    let frame = match message {
                        Ok(Some(frame)) => frame,
                        Ok(None) => return End::Broken(None),
                        Err(status) => return End::Broken(Some(Error::refused("converse", status))),
                    };
                    (heard, asked_for_life) = (Instant::now(), false);
                    if let Some(end) = self.take(frame, heard, &edge, &mut interval) {
                        return end;
                    }
                }
                permit = link.frames.reserve(), if send => {
                    streak = 0;
                    // A closed channel means that the call has ended: reading says why.
                    let Ok(permit) = permit else { break };
                    let mut frame = self.shared.core().next_frame(now).unwrap_or_default();
                    if beat {
                        frame.beat = Some(v1::Beat::default());
                        asked_for_life = true;
                    }
                    sent = now;
                    permit.send(frame);
                }
                () = deliver(&mut self.sink, &mut self.undelivered), if !self.undelivered.is_empty() => {}
                () = self.shared.wake.notified() => {}
                () = timer.wait() => {}
            }
        }
        self.ending(link).await
    }

    /// Takes a frame in; `Some` when it was the last.
    fn take(&mut self, mut frame: v1::ServerFrame, now: Instant, edge: &str, interval: &mut Option<Duration>) -> Option<End> {
        let close = frame.close.take();
        if let Some(welcome) = &frame.welcome {
            let quiet = u64::from(welcome.heartbeat_interval_ms);
            *interval = Some(Duration::from_millis(if quiet == 0 { 20_000 } else { quiet }));
            self.delays.reset();
            self.expired = None;
            self.shared.is_at(Some((self.edges[self.at].clone(), SessionId(welcome.session_id))));
            self.tell(Event::Connected {
                edge: edge.to_owned(),
                session: SessionId(welcome.session_id),
                user: UserId(welcome.user_id),
                durability: durability_of(welcome.durability),
            });
        }
        let mut events = std::mem::take(&mut self.scratch);
        let mut core = self.shared.core();
        let waiting = core.unreceipted();
        core.take(frame, now, &mut events);
        let left = core.unreceipted() < waiting;
        drop(core);
        match &mut self.sink {
            Sink::Handler(handler) => handler(&mut events),
            Sink::Channel(_) => self.undelivered.extend(events.drain(..)),
        }
        events.clear();
        self.scratch = events;
        if left {
            self.shared.left_window();
        }
        close.map(End::Closed)
    }

    /// The edge takes no more frames: what did it say last?
    async fn ending(&mut self, mut link: Link) -> End {
        let mut interval = None;
        let edge = self.edge();
        let reading = async {
            loop {
                match link.inbound.message().await {
                    Ok(Some(frame)) => {
                        if let Some(end) = self.take(frame, Instant::now(), &edge, &mut interval) {
                            return end;
                        }
                    }
                    Ok(None) => return End::Broken(None),
                    Err(status) => return End::Broken(Some(Error::refused("converse", status))),
                }
            }
        };
        tokio::time::timeout(GOODBYE_TIMEOUT, reading).await.unwrap_or(End::Broken(None))
    }

    /// Sends what is left to acknowledge and leaves.
    async fn goodbye(&mut self, mut link: Link) -> End {
        let mut frame = self.shared.core().last_frame();
        frame.goodbye = true;
        let leaving = async {
            if link.frames.send(frame).await.is_ok() {
                // The edge answers with a close; what else comes now is asked for again by the next session.
                while let Ok(Some(frame)) = link.inbound.message().await {
                    if frame.close.is_some() {
                        return;
                    }
                }
            }
        };
        let _late = tokio::time::timeout(GOODBYE_TIMEOUT, leaving).await;
        End::Goodbye
    }

    fn tell(&mut self, event: Event) {
        match &mut self.sink {
            Sink::Channel(_) => self.undelivered.push_back(event),
            Sink::Handler(handler) => handler(&mut vec![event]),
        }
    }
}

/// Hands over what there is room for, and waits for room when there is none.
async fn deliver(sink: &mut Sink, undelivered: &mut VecDeque<Event>) {
    let Sink::Channel(sender) = sink else { return };
    match sender.reserve_many(1).await {
        Ok(permits) => {
            for permit in permits {
                let Some(event) = undelivered.pop_front() else { return };
                permit.send(event);
            }
            while let Some(event) = undelivered.pop_front() {
                if let Err(mpsc::error::TrySendError::Full(event)) = sender.try_send(event) {
                    undelivered.push_front(event);
                    return;
                }
            }
        }
        // The app does not listen any more; the session may still be there to send.
        Err(_) => undelivered.clear(),
    }
}

/// A timer that is only moved when it would be late: most deadlines move away before they come.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

impl Timer {
    fn new() -> Self {
        let at = Instant::now() + FAR;
        Self { sleep: Box::pin(tokio::time::sleep_until(at.into())), at }
    }

    fn at_most(&mut self, deadline: Instant) {
        if deadline < self.at || self.sleep.is_elapsed() {
            self.at = deadline;
            self.sleep.as_mut().reset(deadline.into());
        }
    }

    async fn wait(&mut self) {
        self.sleep.as_mut().await;
    }
}
