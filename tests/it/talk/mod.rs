//! Talk that Janus recorded, from its list to whom it is for.

mod browser;
mod cli;
mod faults;
mod floor;
mod quality;
mod queue;
pub mod scene;
mod servers;
mod speech;
mod stale;
mod upload;
mod voice;
