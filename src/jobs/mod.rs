//! The kinds of work the fleet does, a file or folder a kind; this is the one list of them.

pub mod alert;
pub mod archive;
pub mod bridge;
pub mod deliver;
pub mod floor;
pub mod locate;
pub mod media;
pub mod offline;
pub mod record;
pub mod replay;
pub mod talk;

pub use offline::Error;

use crate::worker::{Competing, Ordered};

/// The ordered kinds, by the names of their leases and workers on Redis.
pub const ORDERED: [&str; 2] = [<deliver::Deliver as Ordered>::JOB, <archive::Archive as Ordered>::JOB];

/// The competing kinds.
pub const COMPETING: [&str; 7] = [
    <replay::Replay as Competing>::JOB,
    <floor::Floor as Competing>::JOB,
    <alert::TakeSos as Competing>::JOB,
    <alert::Tell as Competing>::JOB,
    <alert::Texts as Competing>::JOB,
    <alert::Keep as Competing>::JOB,
    <locate::Locate as Competing>::JOB,
];
