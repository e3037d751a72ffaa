//! What Janus says unasked.

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::wire::{Description, HandleNumber, Message, SessionNumber};

/// The most events that wait to be taken.
pub const EVENTS_MAX: usize = 1024;

/// What happened. Events are hints: those of the time without a connection are lost, so whoever builds on them compares with what Janus lists after
/// [`Event::Connected`] and [`Event::Missed`], and now and then.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// There is a connection, again or at first, and the sessions that Janus still had are claimed.
    Connected,
    /// The connection is gone.
    Disconnected,
    /// Janus no longer has the session; it is not kept alive any more.
    SessionLost(SessionNumber),
    /// A plug-in says something to a handle.
    Said {
        /// Its session.
        session: SessionNumber,
        /// The handle.
        handle: HandleNumber,
        /// What, as the plug-in puts it.
        data: Value,
        /// With it, a description of the WebRTC session.
        jsep: Option<Description>,
    },
    /// The WebRTC session of a handle stands: media may come.
    Up {
        /// Its session.
        session: SessionNumber,
        /// The handle.
        handle: HandleNumber,
    },
    /// The WebRTC session of a handle is over.
    HungUp {
        /// Its session.
        session: SessionNumber,
        /// The handle.
        handle: HandleNumber,
        /// Why, in the words of Janus.
        reason: String,
    },
    /// Janus took the handle away.
    Detached {
        /// Its session.
        session: SessionNumber,
        /// The handle.
        handle: HandleNumber,
    },
    /// Nobody took events, and so many were dropped.
    Missed(u64),
}

impl Event {
    /// The event of a message that answers no request; `None` for those of no interest.
    pub(super) fn of(message: Message) -> Option<Self> {
        let session = message.session_id?;
        if message.janus == "timeout" {
            return Some(Self::SessionLost(session));
        }
        let handle = message.sender?;
        match message.janus.as_str() {
            "event" => message.plugindata.map(|said| Self::Said { session, handle, data: said.data, jsep: message.jsep }),
            "webrtcup" => Some(Self::Up { session, handle }),
            "hangup" => Some(Self::HungUp { session, handle, reason: message.reason.unwrap_or_default() }),
            "detached" => Some(Self::Detached { session, handle }),
            _ => None,
        }
    }
}

/// Where events go. Nobody has to take them, and nobody is waited for.
#[derive(Debug)]
pub(super) struct Events {
    sender: mpsc::Sender<Event>,
    missed: u64,
}

impl Events {
    pub(super) fn new(sender: mpsc::Sender<Event>) -> Self {
        Self { sender, missed: 0 }
    }

    pub(super) fn tell(&mut self, event: Event) {
        if self.missed > 0 && self.sender.try_send(Event::Missed(self.missed)).is_ok() {
            self.missed = 0;
        }
        if let Err(TrySendError::Full(_)) = self.sender.try_send(event) {
            self.missed += 1;
            metrics::counter!("roger_janus_events_missed_total").increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_events_are_dropped_and_that_is_told() {
        let (sender, mut receiver) = mpsc::channel(3);
        let mut events = Events::new(sender);
        for number in 0..5 {
            events.tell(Event::SessionLost(SessionNumber(number)));
        }
        assert_eq!(receiver.try_recv(), Ok(Event::SessionLost(SessionNumber(0))));
        assert_eq!(receiver.try_recv(), Ok(Event::SessionLost(SessionNumber(1))));
        events.tell(Event::Connected);
        let rest: Vec<Event> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        assert_eq!(rest, [Event::SessionLost(SessionNumber(2)), Event::Missed(2), Event::Connected]);
    }
}
