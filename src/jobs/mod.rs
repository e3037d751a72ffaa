//! The kinds of work the fleet does, a file or folder a kind; this is the one list of them.

pub mod deliver;
