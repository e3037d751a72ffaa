//! The tests that need more than one function: real servers, real files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod store;
mod support;
