//! The engine under the jobs. It knows two kinds of work and no third: ordered work, a shard with a lease ([`Ordered`]), and competing
//! work, a consumer group ([`Competing`]).
//!
//! What is promised: work goes on while at least one worker lives and Redis answers; it is handed over at once on a clean stop, and about
//! the lifetime of a lease, or the reclaim idle, after a crash. A worker that slept may find its work taken over: what it does then is
//! refused by the fence of the shard, or by that of the consumer group. Nothing is promised about how often work is tried, so its effects
//! must be harmless to repeat.

pub mod deadletter;
pub mod find;

mod attempt;
mod competing;
mod job;
mod measure;
mod ordered;
mod payload;
mod progress;
mod read;
mod readiness;
mod start;
mod summary;
mod tenure;

pub use competing::{BadGroup, CompetingSettings, run_competing};
pub use job::{Classed, Competing, Ordered, Tenure, Verdict, Work, chain, host_name, own_name};
pub use measure::{measure_stream, note_waiting};
pub use ordered::{BadSettings, OrderedSettings, run_ordered};
pub use progress::Progress;
pub use readiness::{Part, Readiness};
pub use start::wait_for;
