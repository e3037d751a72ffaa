//! The kinds of work the fleet does, a file or folder a kind; this is the one list of them.

pub mod archive;
pub mod deliver;
pub mod floor;
pub mod offline;
pub mod replay;
