//! What an app in Rust uses to talk to a fleet: a [`Session`] that survives the death of edges and of the app itself, and the
//! [`Directory`] that gives tokens and groups.
//!
//! What is promised to the app: a message it sent is accepted exactly once however often it had to be sent again; an entry is handed over
//! exactly once and in order, and a place that is missing without the fleet having said so is counted ([`Counts::holes`]). What an app
//! must keep for that beyond the life of its process is [`Memory`].
//!
//! Not done here: storing anything. An app that must not lose what it received sets [`Options::acknowledge`] to
//! [`Acknowledge::Explicit`], stores an entry, then says [`Session::acknowledge`].

mod core;
mod directory;
mod driver;
mod error;
mod event;
mod floor;
mod heard;
mod link;
mod memory;
mod outbox;
mod report;
mod session;
mod told;
mod topics;

pub use core::{Acknowledge, Core, Counts};
pub use directory::{App, Directory, Login, ResumeTokens, StaticToken, TokenFuture, Tokens, Upgrade};
pub use error::Error;
pub use event::{Body, Disconnect, Entry, Event, Gap, Lost, Presence, Receipt, Refusal};
pub use floor::{FloorEvent, FloorWhat, Media};
pub use memory::{Memory, TopicMemory, Unreceipted};
pub use report::Reporter;
pub use session::{Options, Session};
pub use told::{Alert, Talk};
