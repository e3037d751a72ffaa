//! Roger: the back-end of a push-to-talk dispatch platform.

pub mod config;
pub mod model;
pub mod proto;
pub mod shutdown;
pub mod telemetry;
pub mod topic;
