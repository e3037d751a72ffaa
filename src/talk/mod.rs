//! Talk as Janus tells of it: the JSON of its queue. No Redis, no SQL.

mod said;

pub use said::{Burst, NotUnderstood, Said, announcement, parse};
