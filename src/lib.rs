//! Roger: the back-end of a push-to-talk dispatch platform.

pub mod model;
pub mod proto;
pub mod retry;
pub mod store;
pub mod topic;
