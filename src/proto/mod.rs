//! The client protocol: types generated from `proto/roger/v1`, their conversions to and from the model, refusals as gRPC statuses, the codec,
//! and the server with its bounds.

mod alert;
pub mod codec;
pub mod convert;
pub mod location;
pub mod serve;
pub mod status;

use crate::model::{self, Reason};

/// Generated from `proto/roger/v1`, which documents them.
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

/// Between an enum of the model and the one of the protocol with the same numbers; `None` for "unspecified". A test holds that none is missing.
macro_rules! same_numbers {
    ($($name:ident,)*) => {
        $(
            impl From<model::$name> for v1::$name {
                fn from(value: model::$name) -> Self {
                    Self::try_from(value as i32).unwrap_or_default()
                }
            }

            impl From<v1::$name> for Option<model::$name> {
                fn from(value: v1::$name) -> Self {
                    model::$name::from_number(value as u32)
                }
            }
        )*
    };
}
same_numbers!(UserKind, GroupKind, MemberRole, LeftWhy, PresenceState, FriendState, FenceEvent, AlertEvent,);

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

    #[test]
    fn kinds_are_those_of_the_protocol() {
        macro_rules! check {
            ($($name:ident,)*) => {
                $(
                    for value in model::$name::ALL.iter().copied() {
                        assert_eq!(Option::<model::$name>::from(v1::$name::from(value)), Some(value));
                    }
                    assert!(v1::$name::try_from(model::$name::ALL.len() as i32 + 1).is_err(), "the model lacks one");
                    assert_eq!(Option::<model::$name>::from(v1::$name::Unspecified), None);
                )*
            };
        }
        check!(UserKind, GroupKind, MemberRole, LeftWhy, PresenceState, FriendState, FenceEvent, AlertEvent,);
    }
}
