//! The core of Roger, by itself: the very files of `src`, without what knows Redis, SQL or the network. That this compiles holds that the core is
//! pure.

#[path = "../../../src/floor/mod.rs"]
pub mod floor;
#[path = "../../../src/model/mod.rs"]
pub mod model;
#[path = "../../../src/topic/mod.rs"]
pub mod topic;
