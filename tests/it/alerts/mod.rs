//! Emergency alerts over real programs: from the press to whoever is to help, until it is over.

mod command;
mod escalation;
mod faults;
mod probe;
mod scene;
mod whole_way;

pub use scene::{Scene, at as report_at};
