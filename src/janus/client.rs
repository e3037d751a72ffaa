//! Asking Janus: a request, its transaction, its deadline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use super::connection::{self, Ask};
use super::error::Error;
use super::event::{EVENTS_MAX, Event};
use super::session::Session;
use super::state::State;
use super::wire::{Expect, HandleNumber, Message, SessionNumber};
use crate::config::Secret;

/// The most requests that wait for the connection; further ones wait before it, within their deadlines.
const ASKS_MAX: usize = 256;

/// How to reach Janus.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `ws://HOST:PORT`, with a path if need be.
    pub url: String,
    /// The `api_secret` of Janus.
    pub secret: Secret,
    /// How long a request may take, the waiting for a connection included.
    pub request_timeout: Duration,
    /// The `session_timeout` of Janus; each third of it every session gives a sign of life.
    pub session_timeout: Duration,
}

/// A client of one Janus. Clones share its connection, which ends with the last of them.
#[derive(Clone)]
pub struct Janus {
    asks: mpsc::Sender<Ask>,
    state: Arc<State>,
    settings: Arc<Settings>,
    timeout: Duration,
}

impl fmt::Debug for Janus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Janus").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

impl Janus {
    /// A client that connects by itself, again and again with growing delays, and what Janus says unasked. At most [`EVENTS_MAX`]
    /// events wait to be taken; then new ones are dropped, which [`Event::Missed`] tells. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn connect(settings: Settings) -> Result<(Self, mpsc::Receiver<Event>), Error> {
        let request = connection::handshake(&settings.url)?;
        let (asks, waiting) = mpsc::channel(ASKS_MAX);
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let (state, settings) = (Arc::new(State::default()), Arc::new(settings));
        tokio::spawn(connection::run(request, settings.clone(), state.clone(), waiting, events));
        let timeout = settings.request_timeout;
        Ok((Self { asks, state, settings, timeout }, told))
    }

    /// The same client with another deadline for each request.
    pub fn within(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Where Janus is.
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// Whether Janus answers. Its port may be open while it hangs, so it is asked.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.ask("ping", Expect::Outcome, None, None, json!({ "janus": "ping" })).await.map(drop)
    }

    /// Begins a session, which is kept alive until [`Session::destroy`] or [`Session::forget`], also when its value is dropped.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_session(&self) -> Result<Session, Error> {
        const OPERATION: &str = "create a session";
        let answer = self.ask(OPERATION, Expect::Outcome, None, None, json!({ "janus": "create" })).await?;
        let id = answer.data.ok_or_else(|| unreadable(OPERATION, "no id of the session"))?.id;
        Ok(self.keep(SessionNumber(id)))
    }

    /// Takes a session over that this client or an earlier one began: with its handles and seats, if Janus still has it. From then on it is kept
    /// alive, and its events come here.
    ///
    /// # Errors
    /// [`Error::SessionGone`] when Janus does not have it; see [`Error`].
    pub async fn claim(&self, session: SessionNumber) -> Result<Session, Error> {
        let body = json!({ "janus": "claim" });
        self.ask("claim a session", Expect::Outcome, Some(session), None, body).await?;
        Ok(self.keep(session))
    }

    fn keep(&self, session: SessionNumber) -> Session {
        self.state.keep(session);
        Session::new(self.clone(), session)
    }

    pub(super) fn forget(&self, session: SessionNumber) {
        self.state.forget(session);
    }

    /// Sends a request and waits for what it expects.
    pub(super) async fn ask(
        &self,
        operation: &'static str,
        expect: Expect,
        session: Option<SessionNumber>,
        handle: Option<HandleNumber>,
        body: Value,
    ) -> Result<Message, Error> {
        let Value::Object(mut body) = body else { return Err(unreadable(operation, "the request is no object")) };
        address(&mut body, session, handle, &self.settings.secret);
        let (reply, answer) = oneshot::channel();
        // Taken back when this future ends, however it does: what has not been sent by then never is.
        let expected = self.state.expect(expect, reply);
        body.insert("transaction".to_owned(), expected.transaction().into());
        let ask = Ask { transaction: expected.transaction().to_owned(), text: Value::Object(body).to_string() };
        let asking = async {
            // A connection that is over has dropped the reply as well.
            drop(self.asks.send(ask).await);
            answer.await
        };
        let answered = tokio::time::timeout(self.timeout, asking).await;
        let answer = match answered {
            Ok(Ok(message)) => self.judge(operation, session, handle, message),
            Ok(Err(_)) => Err(Error::Broken { operation }),
            Err(_) if expected.was_sent() => {
                self.state.suspect();
                Err(Error::NoAnswer { operation, url: self.settings.url.clone(), waited: self.timeout })
            }
            Err(_) => {
                let why = self.state.trouble();
                Err(Error::Unreachable { operation, url: self.settings.url.clone(), waited: self.timeout, why })
            }
        };
        let outcome = if answer.is_ok() { "answered" } else { "failed" };
        metrics::counter!("roger_janus_requests_total", "outcome" => outcome).increment(1);
        answer
    }

    fn judge(
        &self,
        operation: &'static str,
        session: Option<SessionNumber>,
        handle: Option<HandleNumber>,
        message: Message,
    ) -> Result<Message, Error> {
        let Some(failure) = message.error else { return Ok(message) };
        let error = Error::of(operation, &self.settings.url, session, handle, failure);
        if let Error::SessionGone { session, .. } = &error {
            self.state.forget(*session);
        }
        Err(error)
    }
}

/// Says whom a request is for, and that it may be made.
pub(super) fn address(body: &mut Map<String, Value>, session: Option<SessionNumber>, handle: Option<HandleNumber>, secret: &Secret) {
    body.insert("apisecret".to_owned(), secret.reveal().into());
    body.extend(session.map(|session| ("session_id".to_owned(), session.0.into())));
    body.extend(handle.map(|handle| ("handle_id".to_owned(), handle.0.into())));
}

pub(super) fn unreadable(operation: &'static str, answer: &str) -> Error {
    Error::Answer { operation, answer: answer.to_owned() }
}
