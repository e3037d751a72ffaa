//! The values every room speaks of: ids, places in topic logs, messages, reasons. Pure values and rules, no I/O.

mod digest;
mod file;
mod ids;
mod message;
mod place;
mod reason;

pub use digest::{Digest, DigestParseError};
pub use file::{FileId, FileIdParseError, FilePurpose};
pub use ids::{GroupId, InstallationId, ReleaseId, SessionId, TenantId, TopicId, TopicKind, TopicParseError, UserId};
pub use message::{Durability, FRAME_MARKS_MAX, FRAME_MESSAGES_MAX, MessageKind, TEXT_BYTES_MAX, UserKind, check_text};
pub use place::{Place, Span};
pub use reason::Reason;
