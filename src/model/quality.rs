//! How well somebody hears and is heard in talk.

use serde::{Deserialize, Serialize};

/// What a media server last said of a participant's connection. All but the time is as it was said; what it did not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TalkQuality {
    /// The state of the participant, in the media server's numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// From the participant to the server: of the whole link, usually percent, 100 being the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_link: Option<i32>,
    /// The same of the medium alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_media_link: Option<i32>,
    /// From the server to the participant: of the whole link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_link: Option<i32>,
    /// The same of the medium alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_media_link: Option<i32>,
    /// There and back, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<i32>,
    /// When it was taken from the list, UTC milliseconds.
    pub said_ms: u64,
}
