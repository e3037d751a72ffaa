//! Roger: the back-end of a push-to-talk dispatch platform.

pub mod broker;
pub mod client;
pub mod clock;
pub mod config;
pub mod model;
pub mod proto;
pub mod retry;
pub mod shutdown;
pub mod telemetry;
pub mod topic;
