//! The core: a shard of topics as a pure state machine, without I/O and without a clock.
//!
//! [`Shard::step`] takes one frame of inputs and decides outcomes (messages in `step.rs`, sessions in `attend.rs`, members in `belong.rs`);
//! the state is the fold of the outcomes, so whoever has the log has the state. [`Followers`] knows which edges want to hear of it, and is
//! rebuilt by asking them. [`Cursor`] is the other end: how far one session is in one topic, and what it takes next; [`replay`] is what it is
//! given of what it missed.

mod alert;
mod attend;
mod belong;
mod cursor;
mod follow;
#[expect(missing_docs, reason = "fields of wire records are documented where their name does not say it")]
pub mod frame;
mod member;
mod recent;
mod recover;
pub mod replay;
mod room;
mod state;
mod step;
mod talk;

pub use cursor::{Cursor, Offer};
pub use follow::{Followers, Outputs};
pub use member::Member;
pub use recent::{Recent, fingerprint};
pub use state::{Shard, Topic};
pub use step::{Batch, LostTail, Tally};
