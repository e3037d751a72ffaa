//! The connection to Janus, made again whenever it fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message as Packet};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::client::{Settings, address};
use super::error::{Error, says_gone};
use super::event::{Event, Events};
use super::state::State;
use super::wire::{Message, SessionNumber};
use crate::retry::Delays;

/// The largest message that is taken from Janus, bytes: the participants of a room with thousands of them.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A request on its way to the connection.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) transaction: String,
    pub(super) text: String,
}

/// How a connection ended.
enum End {
    /// Nobody wants it any more.
    Unwanted,
    /// It does not work, for this reason.
    Broke(String),
}

/// What the connection itself asks.
enum Own {
    Ping,
    KeepAlive(SessionNumber),
    Claim(SessionNumber),
}

/// The request that opens the connection.
pub(super) fn handshake(url: &str) -> Result<Request, Error> {
    let bad = |why: String| Error::Url { url: url.to_owned(), why };
    let mut request = url.into_client_request().map_err(|error| bad(error.to_string()))?;
    if request.uri().scheme_str() != Some("ws") {
        return Err(bad("only ws:// is spoken".to_owned()));
    }
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("janus-protocol"));
    Ok(request)
}

/// Keeps a connection until nobody wants it any more.
pub(super) async fn run(
    request: Request,
    settings: Arc<Settings>,
    state: Arc<State>,
    mut asks: mpsc::Receiver<Ask>,
    events: mpsc::Sender<Event>,
) {
    let mut delays = Delays::reconnecting();
    let mut events = Events::new(events);
    let mut said = String::new();
    loop {
        let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connecting = tokio_tungstenite::connect_async_with_config(request.clone(), Some(config), true);
        let end = match tokio::time::timeout(settings.request_timeout, connecting).await {
            Ok(Ok((socket, _))) => {
                let mut connection = Connection {
                    socket,
                    settings: &settings,
                    state: &state,
                    events: &mut events,
                    own: HashMap::new(),
                    own_until: None,
                    greeted: false,
                };
                let end = connection.serve(&mut asks).await;
                if connection.greeted {
                    delays.reset();
                    said.clear();
                    events.tell(Event::Disconnected);
                }
                end
            }
            Ok(Err(error)) => End::Broke(error.to_string()),
            Err(_) => End::Broke(format!("no answer to the handshake within {:?}", settings.request_timeout)),
        };
        let End::Broke(why) = end else { return };
        // One that is away fails every attempt with the same words: once is enough.
        if why != said {
            tracing::warn!(janus.url = settings.url, error = why, "no connection to Janus, trying again");
            said.clone_from(&why);
        }
        state.break_off(why);
        tokio::time::sleep(delays.next_delay()).await;
        if asks.is_closed() {
            return;
        }
    }
}

struct Connection<'a> {
    socket: Socket,
    settings: &'a Settings,
    state: &'a State,
    events: &'a mut Events,
    /// What it asked itself, and has no answer to.
    own: HashMap<String, Own>,
    /// By when all of that has to be answered.
    own_until: Option<Instant>,
    /// Whether sessions are claimed: requests of others wait for that.
    greeted: bool,
}

impl Connection<'_> {
    async fn serve(&mut self, asks: &mut mpsc::Receiver<Ask>) -> End {
        match self.serve_until_it_breaks(asks).await {
            Ok(()) => {
                // It ends anyway.
                drop(tokio::time::timeout(Duration::from_millis(100), self.socket.close(None)).await);
                End::Unwanted
            }
            Err(why) => End::Broke(why),
        }
    }

    async fn serve_until_it_breaks(&mut self, asks: &mut mpsc::Receiver<Ask>) -> Result<(), String> {
        let claims: Vec<Own> = self.state.sessions().into_iter().map(Own::Claim).collect();
        // A ping in any case: a Janus that hangs takes connections all the same.
        self.ask_all(claims.into_iter().chain([Own::Ping])).await?;
        let mut beat = tokio::time::interval(self.settings.session_timeout / 3);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.reset();
        loop {
            let own_until = self.own_until;
            tokio::select! {
                ask = asks.recv(), if self.greeted => match ask {
                    Some(ask) if self.state.sending(&ask.transaction) => self.send(ask.text).await?,
                    Some(_) => {}
                    None => return Ok(()),
                },
                packet = self.socket.next() => self.take(packet)?,
                _ = beat.tick() => {
                    let kept: Vec<Own> = self.state.sessions().into_iter().map(Own::KeepAlive).collect();
                    self.ask_all(kept.into_iter().chain([Own::Ping])).await?;
                }
                () = self.state.suspected(), if own_until.is_none() => self.ask_all([Own::Ping]).await?,
                () = sleep_until(own_until) => {
                    return Err(format!("no sign of life within {:?}", self.settings.request_timeout));
                }
            }
        }
    }

    async fn ask_all(&mut self, own: impl IntoIterator<Item = Own>) -> Result<(), String> {
        for own in own {
            let (name, session) = match own {
                Own::Ping => ("ping", None),
                Own::KeepAlive(session) => ("keepalive", Some(session)),
                Own::Claim(session) => ("claim", Some(session)),
            };
            let transaction = self.state.transaction();
            let mut body = json!({ "janus": name, "transaction": transaction });
            if let Value::Object(body) = &mut body {
                address(body, session, None, &self.settings.secret);
            }
            self.own.insert(transaction, own);
            self.own_until.get_or_insert(Instant::now() + self.settings.request_timeout);
            self.send(body.to_string()).await?;
        }
        Ok(())
    }

    async fn send(&mut self, text: String) -> Result<(), String> {
        // One that reads nothing any more fills its socket.
        match tokio::time::timeout(self.settings.request_timeout, self.socket.send(Packet::text(text))).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err(format!("nothing could be sent for {:?}", self.settings.request_timeout)),
        }
    }

    fn take(&mut self, packet: Option<Result<Packet, tungstenite::Error>>) -> Result<(), String> {
        let packet = packet.ok_or("Janus closed it")?.map_err(|error| error.to_string())?;
        // Pings of the WebSocket are answered below; Janus sends no binary packets.
        let Packet::Text(text) = packet else { return Ok(()) };
        let message: Message = match serde_json::from_str(&text) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, bytes = text.len(), "Janus says what is no message; left out");
                return Ok(());
            }
        };
        let own = message.transaction.as_ref().and_then(|transaction| self.own.remove(transaction));
        if let Some(own) = own {
            self.take_own(&own, &message);
            return Ok(());
        }
        if let Some(event) = self.state.answer(message).and_then(Event::of) {
            if let Event::SessionLost(session) = event {
                self.state.forget(session);
            }
            self.events.tell(event);
        }
        Ok(())
    }

    fn take_own(&mut self, own: &Own, message: &Message) {
        if self.own.is_empty() {
            self.own_until = None;
        }
        match (own, &message.error) {
            (Own::KeepAlive(session) | Own::Claim(session), Some(failure)) if says_gone(failure) => {
                if self.state.forget(*session) {
                    self.events.tell(Event::SessionLost(*session));
                }
            }
            // Whoever asks for something else gets the same answer, with an error of its own.
            (_, Some(failure)) => tracing::warn!(code = failure.code, reason = failure.reason, "Janus refuses a sign of life"),
            (_, None) => {}
        }
        if self.own.is_empty() && !self.greeted {
            self.greeted = true;
            tracing::info!(janus.url = self.settings.url, "connected to Janus");
            self.events.tell(Event::Connected);
        }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
