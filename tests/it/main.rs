//! The one test program: a module a feature.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on says so, and prints the seed that repeats it")]

mod core;
mod simulator;
