//! The one test program: a module a feature, over real servers and programs that `support` starts.
//!
//! A missing server fails a test and names the package; nothing is skipped.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests fail by panic and explain themselves")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod alerts;
mod client;
mod core;
mod directory;
mod faults;
mod gateway;
mod golden;
mod harness;
mod janus;
mod jobs;
mod messages;
mod operate;
mod positions;
mod record;
mod simulator;
mod store;
mod supervision;
mod support;
mod talk;
mod texts;
mod tidy;
mod tracks;
mod verdict;
mod worker;
