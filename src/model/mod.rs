//! The values every room speaks of: ids, places in topic logs, messages, positions, reasons. Pure values and rules, no I/O.

mod digest;
mod file;
mod ids;
mod imei;
mod message;
mod people;
mod place;
mod position;
mod quality;
mod reason;

pub use digest::{Digest, DigestParseError};
pub use file::{FileId, FileIdParseError, FilePurpose};
pub use ids::{
    AlertId, FenceId, FloorRequestId, GrantNumber, GroupId, InstallationId, ReleaseId, SessionId, TenantId, TopicId, TopicKind,
    TopicParseError, UserId,
};
pub use imei::{Imei, ImeiParseError};
pub use message::{Durability, FRAME_MARKS_MAX, FRAME_MESSAGES_MAX, MessageKind, TEXT_BYTES_MAX, check_text};
pub use people::{AlertEvent, FenceEvent, FriendState, GroupKind, LeftWhy, MemberRole, PresenceState, UserKind};
pub use place::{Place, Span};
pub use position::{Position, PositionSource};
pub use quality::TalkQuality;
pub use reason::Reason;
