//! The values every room speaks of: ids, places in topic logs, messages, reasons. Pure values and rules, no I/O.

mod digest;
mod ids;
mod message;
mod people;
mod place;
mod reason;

pub use digest::{Digest, DigestParseError};
pub use ids::{GroupId, InstallationId, ReleaseId, SessionId, TenantId, TopicId, TopicKind, TopicParseError, UserId};
pub use message::{Durability, FRAME_MARKS_MAX, FRAME_MESSAGES_MAX, MessageKind, TEXT_BYTES_MAX, check_text};
pub use people::{GroupKind, LeftWhy, MemberRole, PresenceState, UserKind};
pub use place::{Place, Span};
pub use reason::Reason;
