//! The client protocol: types generated from `proto/roger/v1`, their conversions to and from the model, refusals as gRPC statuses, the codec,
//! and the server with its bounds.

pub mod codec;
pub mod convert;
pub mod serve;
pub mod status;

use crate::model::{Reason, UserKind};

/// Generated from `proto/roger/v1/talk.proto`, which documents them.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("roger.v1");
}

/// The descriptors of the protocol, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

impl From<Reason> for v1::Reason {
    /// The numbers are the same; a test holds that none is missing.
    fn from(reason: Reason) -> Self {
        Self::try_from(reason as i32).unwrap_or(Self::Unspecified)
    }
}

impl From<v1::Reason> for Option<Reason> {
    /// `None` for "unspecified".
    fn from(reason: v1::Reason) -> Self {
        Reason::from_number(reason as u32)
    }
}

impl From<UserKind> for v1::UserKind {
    fn from(kind: UserKind) -> Self {
        match kind {
            UserKind::Device => Self::Device,
            UserKind::Dispatcher => Self::Dispatcher,
        }
    }
}

impl From<v1::UserKind> for Option<UserKind> {
    /// `None` for "unspecified".
    fn from(kind: v1::UserKind) -> Self {
        UserKind::from_number(kind as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_those_of_the_protocol() {
        for reason in Reason::ALL.iter().copied() {
            let wire = v1::Reason::from(reason);
            assert_eq!(wire.as_str_name(), format!("REASON_{}", reason.as_str().to_uppercase()));
            assert_eq!(Option::<Reason>::from(wire), Some(reason));
        }
        let beyond = Reason::ALL.len() as i32 + 1;
        assert!(v1::Reason::try_from(beyond).is_err(), "reason {beyond} of the protocol is missing in the model");
        assert_eq!(Option::<Reason>::from(v1::Reason::Unspecified), None);
    }
}
