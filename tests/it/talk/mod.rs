//! Talk that Janus recorded, from its list to whom it is for.

mod floor;
mod queue;
pub mod scene;
mod voice;
