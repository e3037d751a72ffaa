//! Where devices are, over real programs: from their reports to whoever may know.

mod live;
mod outage;
mod wifi;
