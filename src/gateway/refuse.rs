//! What a client is told when it does not get what it asked for: a status, and JSON `{"reason", "field", "text"}`.

use std::error::Error as StdError;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use crate::objects::{self, NotKept};
use crate::retry::ErrorClass;
use crate::store;
use crate::token::TokenError;

macro_rules! whys {
    ($($(#[doc = $doc:literal])* $variant:ident = $status:ident $reason:literal $text:literal,)*) => {
        /// Why. The words are part of what clients may rely on; those the client protocol has too mean the same.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Why {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Why {
            fn parts(self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$variant => (StatusCode::$status, $reason, $text),)*
                }
            }
        }
    };
}

whys! {
    TokenMissing = UNAUTHORIZED "token_missing" "log in, and send the access token: Authorization: Bearer TOKEN",
    TokenUnknown = UNAUTHORIZED "token_unknown" "not a token of this fleet",
    TokenExpired = UNAUTHORIZED "token_expired" "the token has run out: log in again, with the resume token",
    TokenRevoked = UNAUTHORIZED "token_revoked" "the token was called back: log in again",
    NotPermitted = FORBIDDEN "not_permitted" "this account may not do this, or there is no such thing",
    /// Also for what belongs to somebody else.
    NotFound = NOT_FOUND "not_found" "there is no such thing",
    WrongMethod = METHOD_NOT_ALLOWED "wrong_method" "not with this method",
    FieldMissing = UNPROCESSABLE_ENTITY "field_missing" "must be given",
    FieldInvalid = BAD_REQUEST "field_invalid" "breaks its rule",
    NameInvalid = BAD_REQUEST "name_invalid"
        "1 to 200 characters, none of them /, \\ or a control character, and no two dots in a row",
    TooLarge = PAYLOAD_TOO_LARGE "too_large" "above the limit of this fleet",
    BodyTorn = BAD_REQUEST "body_torn" "the body ended before its end, or is empty",
    Stalled = REQUEST_TIMEOUT "stalled" "nothing came for too long",
    QuotaExceeded = FORBIDDEN "quota_exceeded" "the files of the company use all there is",
    NotMember = FORBIDDEN "not_member" "not a member of this group, or there is none",
    NotInRoom = CONFLICT "not_in_room"
        "not in the room of this group, as far as SQL knows by now: enter it, and ask again a second later",
    BurstReused = CONFLICT "burst_reused" "another sound was handed over under this name before: give each burst a name of its own",
    NotOpus = UNPROCESSABLE_ENTITY "not_opus" "the body is no whole file of Ogg Opus",
    TooLong = PAYLOAD_TOO_LARGE "too_long" "longer than a burst may be in this fleet",
    UnknownRecipient = FORBIDDEN "unknown_recipient" "there is nobody to write to under this id",
    ReleasesClosed = FORBIDDEN "releases_closed" "this fleet has no release key",
    SignatureWrong = UNPROCESSABLE_ENTITY "signature_wrong" "not a signature of this file by the release key",
    NotAnApk = UNPROCESSABLE_ENTITY "not_an_apk" "not an APK with a manifest",
    NotSigned = UNPROCESSABLE_ENTITY "apk_not_signed" "the APK has no signing block of scheme v2 or v3 with one certificate",
    OtherPackage = UNPROCESSABLE_ENTITY "other_package" "the APK is of another package",
    OtherCertificate = CONFLICT "other_certificate" "the releases before it are signed with another certificate",
    NotNewer = CONFLICT "version_not_newer" "there is a release with this version code or a higher one",
    UnknownNode = UNPROCESSABLE_ENTITY "unknown_node" "there is no such node",
    RateLimited = TOO_MANY_REQUESTS "rate_limited" "too many from this address",
    PhoneUnknown = FORBIDDEN "phone_unknown"
        "not the identifier of a phone of this fleet, or one that was renewed or revoked: ask an operator for `roger device phone`",
    PhoneRate = TOO_MANY_REQUESTS "rate_limited" "too many reports of this phone: it keeps them, and sends them later",
    Busy = SERVICE_UNAVAILABLE "busy" "too many of these at once",
    StoreUnavailable = SERVICE_UNAVAILABLE "store_unavailable" "what is behind this does not answer",
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: Why,
    /// The parameter or header at fault; empty when none is.
    pub(super) field: &'static str,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn of(why: Why, field: &'static str) -> Self {
        Self { why, field, retry_after: None }
    }

    pub(super) fn retry(why: Why, after: Duration) -> Self {
        Self { why, field: "", retry_after: Some(after) }
    }

    /// What is behind the door failed; what failed goes to the log.
    pub(super) fn unavailable(operation: &'static str, class: ErrorClass, error: &(dyn StdError + 'static)) -> Self {
        match class {
            // Readiness has said it already, once.
            ErrorClass::Transient => tracing::debug!(error, operation, "refused for now"),
            ErrorClass::Permanent | ErrorClass::Defect => tracing::error!(error, operation, "refused"),
        }
        Self::retry(Why::StoreUnavailable, Duration::from_secs(1))
    }
}

impl From<Why> for Refusal {
    fn from(why: Why) -> Self {
        Self::of(why, "")
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        if matches!(error, store::Error::NotPermitted { .. }) {
            return Why::NotPermitted.into();
        }
        Self::unavailable("ask the store", error.class(), &error)
    }
}

impl From<objects::Error> for Refusal {
    fn from(error: objects::Error) -> Self {
        Self::unavailable("ask for an object", error.class(), &error)
    }
}

impl From<NotKept> for Refusal {
    fn from(error: NotKept) -> Self {
        match error {
            NotKept::Store(error) => error.into(),
            NotKept::Objects(error) => error.into(),
            NotKept::QuotaExceeded { .. } => Why::QuotaExceeded.into(),
            NotKept::Swept => Self::retry(Why::StoreUnavailable, Duration::from_secs(1)),
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        let why = match error {
            TokenError::Unknown => Why::TokenUnknown,
            TokenError::Expired => Why::TokenExpired,
        };
        Self::of(why, "authorization")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason, text) = self.why.parts();
        metrics::counter!("roger_refusals_total", "reason" => reason).increment(1);
        let mut response = (status, Json(json!({ "reason": reason, "field": self.field, "text": text }))).into_response();
        if let Some(after) = self.retry_after {
            // Whole seconds, upwards.
            response.headers_mut().insert(RETRY_AFTER, after.as_millis().div_ceil(1_000).max(1).to_string().parse().unwrap_or(1.into()));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
