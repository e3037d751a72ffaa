//! The client protocol: types generated from `proto/roger/v1`, and their conversions to and from the model.

pub mod convert;

/// Generated from `proto/roger/v1/talk.proto`, which documents them.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("roger.v1");
}

/// The descriptors of the protocol, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
