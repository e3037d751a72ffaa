//! Refusals of whole calls as gRPC statuses, and back.
//!
//! A status carries the reason, the field at fault and when to try again as metadata; its text is for people, always the same for one
//! reason, and says nothing of what is behind the door: no address, no SQL, no key, no word of what the client sent.

use std::borrow::Cow;
use std::time::Duration;

use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Status};

use crate::model::Reason;

/// The metadata key of the reason, in its machine-readable form.
pub const REASON_KEY: &str = "roger-reason";
/// The metadata key of the field at fault, as a path in the request.
pub const FIELD_KEY: &str = "roger-field";
/// The metadata key of when to try again, in milliseconds from now.
pub const RETRY_AFTER_KEY: &str = "roger-retry-after-ms";

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// The field at fault, as a path in the request (`messages[3].text`); empty for none.
    pub field: Cow<'static, str>,
    /// When trying again makes sense; `None` when it does not.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// A refusal for `reason`.
    pub fn new(reason: Reason) -> Self {
        Self { reason, field: Cow::Borrowed(""), retry_after: None }
    }

    /// Names the field at fault.
    pub fn field(self, field: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), ..self }
    }

    /// Says when to try again.
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// What a status says; `None` when it is none of this fleet's.
    pub fn of(status: &Status) -> Option<Self> {
        let text = |key| status.metadata().get(key).and_then(|value| value.to_str().ok());
        let reason = text(REASON_KEY)?;
        let reason = Reason::ALL.iter().copied().find(|known| known.as_str() == reason)?;
        let retry_after = text(RETRY_AFTER_KEY).and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        Some(Self { reason, field: text(FIELD_KEY).unwrap_or_default().to_owned().into(), retry_after })
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let Refused { reason, field, retry_after } = refused;
        let mut metadata = MetadataMap::with_capacity(3);
        metadata.insert(REASON_KEY, AsciiMetadataValue::from_static(reason.as_str()));
        // A path that is no ASCII would be a field we do not have; it is left out rather than refused.
        if let (false, Ok(field)) = (field.is_empty(), AsciiMetadataValue::try_from(&*field)) {
            metadata.insert(FIELD_KEY, field);
        }
        if let Some(after) = retry_after {
            // At least one: "try again in 0 ms" is a loop.
            metadata.insert(RETRY_AFTER_KEY, AsciiMetadataValue::from(u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1)));
        }
        Self::with_metadata(code_of(reason), text_of(reason), metadata)
    }
}

/// The gRPC code of a reason. UNAVAILABLE means "try again".
pub fn code_of(reason: Reason) -> Code {
    use Reason as R;
    match reason {
        R::TokenUnknown | R::TokenExpired | R::TokenRevoked | R::BadCredentials => Code::Unauthenticated,
        R::NotMember | R::UnknownRecipient | R::NotPermitted => Code::PermissionDenied,
        R::TextEmpty | R::TextNotUtf8 | R::UnknownKind | R::TooMany | R::FieldMissing | R::FieldInvalid => Code::InvalidArgument,
        R::TextTooLarge => Code::OutOfRange,
        R::SequenceReused | R::PredecessorMissing | R::WrongEpoch | R::HelloExpected | R::TopicClosed | R::InUse | R::AlertOver => {
            Code::FailedPrecondition
        }
        R::NameTaken | R::FixConflict => Code::AlreadyExists,
        R::RateLimited | R::Backlog | R::EdgeFull => Code::ResourceExhausted,
        R::StoreUnavailable | R::ShuttingDown => Code::Unavailable,
        R::Superseded | R::HeartbeatMissed | R::SlowConsumer | R::SignedOut => Code::Aborted,
        R::UnknownSession => Code::NotFound,
        R::WrongDoor => Code::Unimplemented,
        R::Quarantined => Code::Internal,
    }
}

/// The sentence of a reason, for people.
pub fn text_of(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::TokenUnknown => "this is not a token of this fleet",
        R::TokenExpired => "the token has run out: log in again, with the resume token",
        R::BadCredentials => "name and password, or the resume token, are not good",
        R::NotMember => "not a member of such a group",
        R::UnknownRecipient => "there is nobody you may write to under this id",
        R::TextEmpty => "a text must have at least one byte",
        R::TextTooLarge => "a text may have at most 65,536 bytes",
        R::TextNotUtf8 => "a text must be UTF-8",
        R::UnknownKind => "this fleet does not know this kind of message",
        R::SequenceReused => "this client_seq was accepted before, with other content",
        R::PredecessorMissing => "the predecessor was never accepted: send it first",
        R::TooMany => "more elements than allowed",
        R::WrongEpoch => "the topic has no such place",
        R::HelloExpected => "the first frame of a session must be a hello, and only the first",
        R::RateLimited => "too fast: try again later",
        R::FieldMissing => "a field is missing or out of its range",
        R::Backlog => "the fleet has not caught up: try again later",
        R::StoreUnavailable => "the fleet cannot do this now: try again later",
        R::Superseded => "a newer login took the session over",
        R::HeartbeatMissed => "no heartbeat came in time",
        R::SlowConsumer => "the client did not read in time",
        R::ShuttingDown => "this server stops: connect to another one",
        R::SignedOut => "signed out",
        R::UnknownSession => "there is no such session here: open one",
        R::WrongDoor => "this program does not serve this call: ask the other one",
        R::Quarantined => "the message was put aside for an operator",
        R::EdgeFull => "this server is full: connect to another one",
        R::TopicClosed => "the topic takes no messages from clients",
        R::NotPermitted => "you may not do this, or there is no such thing",
        R::NameTaken => "the name is taken",
        R::FieldInvalid => "a field breaks its rule",
        R::InUse => "it is still in use",
        R::TokenRevoked => "the token was called back: log in again",
        R::FixConflict => "the device was somewhere else at that very time",
        R::AlertOver => "the alert is over",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_back_from_its_status() {
        for reason in Reason::ALL.iter().copied() {
            let refused = Refused::new(reason).field("messages[3].text").retry_after(Duration::from_millis(1_500));
            let status = Status::from(refused.clone());
            assert_eq!(Refused::of(&status), Some(refused));
            assert_ne!(status.code(), Code::Ok);
            assert!(!status.message().is_empty());
        }
        let bare = Status::from(Refused::new(Reason::WrongDoor));
        assert_eq!((bare.code(), Refused::of(&bare)), (Code::Unimplemented, Some(Reason::WrongDoor.into())));
        assert_eq!(Refused::of(&Status::unavailable("a proxy's own")), None);
    }

    #[test]
    fn waiting_is_never_zero_and_a_strange_field_is_left_out() {
        let status = Status::from(Refused::new(Reason::RateLimited).field("größe\n").retry_after(Duration::ZERO));
        let refused = Refused::of(&status).unwrap();
        assert_eq!((refused.retry_after, &*refused.field), (Some(Duration::from_millis(1)), ""));
    }
}
