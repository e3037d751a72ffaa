//! The one test program: a module a feature.
#![expect(clippy::unwrap_used, reason = "tests fail by panic")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod client;
