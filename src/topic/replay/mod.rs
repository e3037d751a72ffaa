//! What a replay answers: a page of a topic's log, drafted from SQL and from a window on the shard's log in Redis.
//!
//! A page answers for the places behind `after` up to `upto`: all that exist are in it, or in `lost`. Sequences have no holes, so a page
//! shows by itself that it is complete. A hole is called lost only when SQL holds what comes behind it; until then it is asked again: the server that
//! gave it may be the primary once more.

mod draft;
mod window;

pub use draft::{Ask, Draft};
pub use window::{CommitId, Window};
