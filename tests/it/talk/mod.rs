//! Talk that Janus recorded, from its list to whom it is for.

mod queue;
mod scene;
