//! The client of the media server, against a real Janus.

mod commands;
pub mod rooms;
pub mod scene;
mod transport;
