//! Recordings of a real Janus, from its folder to the list and to those they are for.

mod burst;
mod fleet;
mod scene;
mod speaker;
mod steps;
mod trouble;
