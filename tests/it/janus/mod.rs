//! The client of the media server, against a real Janus.

mod commands;
mod rooms;
mod scene;
mod transport;
