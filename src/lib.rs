//! Roger: the back-end of a push-to-talk dispatch platform.

pub mod broker;
pub mod clock;
pub mod config;
pub mod edge;
pub mod jobs;
pub mod model;
pub mod program;
pub mod proto;
pub mod retry;
pub mod session;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod topic;
pub mod worker;
