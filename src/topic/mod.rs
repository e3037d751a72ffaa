//! The core: a shard of topics as a pure state machine, without I/O and without a clock.

#[expect(missing_docs, reason = "fields of wire records are documented where their name does not say it")]
pub mod frame;
