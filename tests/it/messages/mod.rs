//! The fleet's main job over real programs: what is said arrives once and in order, whatever its clients and the machines do.

mod astray;
mod bad_input;
mod bounds;
mod browser;
mod configuration;
mod conversation;
mod durability;
mod fences;
mod logins;
mod membership;
mod people;
mod presence;
mod private;
mod radio;
mod repeats;
mod reports;
mod rooms;
mod secrets;
mod slow;
mod stage;
mod temporary;
mod unacked;
mod wire;

pub use radio::{Heard, Radio};
pub use stage::hello;
