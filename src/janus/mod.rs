//! The media server: a stock Janus with its AudioBridge, by way of its WebSocket API.
//!
//! [`Janus`] is the client: one connection that carries any number of sessions, keeps them alive, and claims them back when it was made anew.
//! Every request has a deadline, and names the secret of the API. What Janus says by itself comes out as [`Event`]s. Sessions and handles are
//! plain numbers that may be kept anywhere and handed back, also after a restart of Roger; a session that Janus forgot is told by
//! [`Error::SessionGone`], and then everything in it is gone too.
//!
//! [`Rooms`] are those of the AudioBridge, one a group; a [`Handle`] is a seat in one of them, by plain RTP or WebRTC. Pressing to talk is one request
//! of a seat.
//!
//! A [`MediaServer`] takes commands, each known by an id and with a deadline, however they get there: [`Api`] carries them out at a stock Janus,
//! [`Queue`] puts them onto a list of Redis, as the predecessor did, from which whoever is beside a media server takes them.
//!
//! A call that failed with a transient error may have been carried out all the same. Janus keeps nothing over a restart: rooms and seats are made again
//! by whoever wants them.

pub mod envelope;

mod api;
mod bridge;
mod client;
mod command;
mod connection;
mod error;
mod event;
mod queue;
mod rooms;
mod seat;
mod session;
mod state;
mod wire;

pub use api::Api;
pub use bridge::{Participant, Refusal, RoomEvent};
pub use client::{Janus, Settings};
pub use command::{BAD_COMMAND, Command, CommandError, ID_REUSED, MediaServer, Outcome, Request, RequestId, Role};
pub use error::Error;
pub use event::{EVENTS_MAX, Event};
pub use queue::Queue;
pub use rooms::{Room, RoomSettings, Rooms};
pub use seat::{Answered, Join, Joined, Media};
pub use session::{Handle, Session};
pub use wire::{Description, HandleNumber, SessionNumber};
