//! An emergency alert from the first press to its end, pure: no I/O, no clock.
//!
//! [`Alert`] is the state; [`Alert::open`], [`Alert::decided`], [`Alert::press`], [`Alert::act`] and [`Alert::tick`] change it and say what is to
//! be done: [`Effects`]. State and effects are committed together, so whoever dies in between neither skips nor repeats a step.

mod body;
#[expect(missing_docs, reason = "fields of wire records are documented where their name does not say it")]
pub mod frame;
mod press;
mod probe;
mod state;
mod step;

pub use body::text_message;
pub use press::{Presser, WORDS_BYTES_MAX};
pub use state::{Alert, Chain, ChainStep, Desk, Holder, Spot, Stage, Told};
pub use step::{Effects, NotNow};
