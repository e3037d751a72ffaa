//! Why something was refused.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal $text:literal,)*) => {
        /// Why something was refused, or a session closed. Numbers and texts are those of the client protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The machine-readable name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// The token is not one this fleet signed.
    TokenUnknown = 1 "token_unknown",
    /// The token was valid and has run out: log in again, with the resume token.
    TokenExpired = 2 "token_expired",
    /// Name or password is wrong, or the resume token is void.
    BadCredentials = 3 "bad_credentials",
    /// The caller is not a member of the group, or there is no such group: the two are not told apart.
    NotMember = 4 "not_member",
    /// There is nobody the caller may write to under this id.
    UnknownRecipient = 5 "unknown_recipient",
    /// A text of zero bytes.
    TextEmpty = 6 "text_empty",
    /// A text above 65,536 bytes.
    TextTooLarge = 7 "text_too_large",
    /// A text that is not UTF-8.
    TextNotUtf8 = 8 "text_not_utf8",
    /// A message kind this fleet does not know.
    UnknownKind = 9 "unknown_kind",
    /// A client sequence at or below the highest accepted one that was used with other content, or passed over.
    SequenceReused = 10 "sequence_reused",
    /// The predecessor a message names was never accepted: send that one first.
    PredecessorMissing = 11 "predecessor_missing",
    /// More than the allowed number of marks, messages or other elements in one frame.
    TooMany = 12 "too_many",
    /// A mark or place of an epoch that the topic never had, or beyond its head.
    WrongEpoch = 13 "wrong_epoch",
    /// The first frame of a session must be a hello, and only the first.
    HelloExpected = 14 "hello_expected",
    /// Above the rate limit of the session: retry after retry_after_ms.
    RateLimited = 15 "rate_limited",
    /// A field that must be given is missing or 0.
    FieldMissing = 16 "field_missing",
    /// The backlog of the topic's shard is at its bound: retry after retry_after_ms.
    Backlog = 17 "backlog",
    /// The queue or the store behind it does not answer: retry after retry_after_ms.
    StoreUnavailable = 18 "store_unavailable",
    /// A newer login of the same account took the session over.
    Superseded = 19 "superseded",
    /// No heartbeat came in time.
    HeartbeatMissed = 20 "heartbeat_missed",
    /// The client did not read what it was sent in time.
    SlowConsumer = 21 "slow_consumer",
    /// The edge stops: connect to another one.
    ShuttingDown = 22 "shutting_down",
    /// The client said goodbye, or logged out.
    SignedOut = 23 "signed_out",
    /// There is no such session on this edge: open one.
    UnknownSession = 24 "unknown_session",
    /// This program does not serve this call.
    WrongDoor = 25 "wrong_door",
    /// The processing of this message failed repeatedly; operators have it as a dead letter.
    Quarantined = 26 "quarantined",
    /// The edge holds as many sessions as it may.
    EdgeFull = 27 "edge_full",
    /// The topic is of a kind that takes no messages from clients.
    TopicClosed = 28 "topic_closed",
    /// The caller may not do this, or there is no such account, device or group: the two are not told apart.
    NotPermitted = 29 "not_permitted",
    /// Somebody or something else has this name.
    NameTaken = 30 "name_taken",
    /// A field's value breaks its rule.
    FieldInvalid = 31 "field_invalid",
    /// The account has children or devices, or the thing is otherwise still in use.
    InUse = 32 "in_use",
    /// The token was called back: log in again.
    TokenRevoked = 33 "token_revoked",
    /// Another fix of this device at this time says another place: of the two the first one stands.
    FixConflict = 34 "fix_conflict",
    /// The alert is over: it was closed or cancelled.
    AlertOver = 35 "alert_over",
}

impl Reason {
    /// The reason of a number in a frame.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| *reason as u32 == number)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
