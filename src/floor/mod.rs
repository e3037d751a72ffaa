//! Floor control: who may talk in a group's room, pure: no I/O, no clock. The words are those of 3GPP TS 24.380.
//!
//! [`Floor`] is the state of one room; [`Floor::step`] takes an [`Input`] in and says what is to be done: [`Effect`]s, in order. State and effects
//! are committed together, so that whoever dies in between neither skips a step nor repeats one.
//!
//! What holds, whatever comes in:
//!
//! - **One talker.** A grant is begun by `Unmute` and ended by `Mute`, and between the two of one there is no `Unmute` of another. Grant numbers
//!   rise; what names an older one changes nothing. A grant is told only after the media side has confirmed it.
//! - **The order.** Emergency over everything, then who was passed over too often, then the level, then who came first. A request that is
//!   strictly higher than the talker ends the burst, and the floor goes to the first in the queue: that is this request, save where one
//!   waits that was passed over too often.
//! - **Nothing is stuck.** While somebody waits somebody has the floor, or the media side is asked, and each of it ends by itself: the burst after
//!   `burst_ms`, the media side after `prepare_ms`, who is not heard of after `vanish_ms`.
//! - **Nobody starves.** A request that waits is passed over by later ones at most `age_bursts` times; then only emergencies are given the floor
//!   before it does that came later. So it hears at most `queue_max + age_bursts + E` bursts before its own, `E` for the emergencies that
//!   came later, and sees at most twice as many grants begun: one that is pre-empted before it was confirmed goes back to its place. Between
//!   equals the order is that of arrival, and the bound `queue_max` bursts. A request may end sooner: a full queue drops its last. And what a
//!   user waits for at other installations begins to wait anew when a burst of that user was too long.
//! - **A request is answered once.** A repeat gets the same answer, also after its end, as far back as is remembered: 4 requests of
//!   an installation, 64 of a room. Beyond, it is taken for a new one.
//!
//! What it does not do: know who is in the room. Whoever holds it lets in requests of those who are, says who leaves, and carries out what it is
//! told to tell. It also carries out the commands to the media server in order, and confirms an `Unmute` only when the `Mute`s before it are
//! done. Time passes by [`Input::Tick`] alone, so whoever was asleep takes in what arrived meanwhile before it ticks, and ends nobody for its
//! own sleep.

mod answered;
mod effect;
mod input;
mod limits;
mod queue;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use effect::{Announcement, Answer, Command, Effect, Ending, Taken};
pub use input::{Input, Participant, Request};
pub use limits::{LimitError, Limits};
pub use state::{Floor, Holder};
