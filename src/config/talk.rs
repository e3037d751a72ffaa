//! What concerns talk: the floors of rooms, and Janus.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{milliseconds, path_or_off, seconds, text_or_off};

/// `[floor]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// The longest burst.
    pub burst_ms: u64,
    /// The longest the media server may take to open a microphone.
    pub prepare_ms: u64,
    /// How long somebody who talks or waits is there without being heard of.
    pub vanish_ms: u64,
    /// The most who wait for the floor of a room.
    pub queue_max: usize,
    /// How often who waits may be passed over by those with a higher level.
    pub age_bursts: u32,
}

/// `[janus]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Janus {
    /// The Redis list that Janus writes to.
    pub list: String,
    /// Where the API of a stock Janus is, or of several, separated by spaces; `None` when there is none.
    #[serde(deserialize_with = "text_or_off")]
    pub url: Option<String>,
    /// The file with the secret of that API; there when `url` is.
    #[serde(deserialize_with = "path_or_off")]
    pub api_secret_file: Option<PathBuf>,
    /// The folder that Janus records into, on this machine; `None`: recordings are made and announced elsewhere.
    #[serde(deserialize_with = "path_or_off")]
    pub recordings_dir: Option<PathBuf>,
    /// How many days the recordings of Janus stay there after they were announced.
    pub recordings_done_days: u64,
    /// How many days members can download them; 0: for ever.
    pub recordings_keep_days: u64,
    /// How long a burst may last: what Janus did not touch for longer it does not write any more.
    #[serde(rename = "burst_s_max", deserialize_with = "seconds")]
    pub burst_max: Duration,
    /// The Redis list that commands to a media server are taken from.
    pub commands: String,
    /// How long one request to Janus may take.
    #[serde(rename = "request_timeout_ms", deserialize_with = "milliseconds")]
    pub request_timeout: Duration,
    /// How long a command may take, with all attempts.
    #[serde(rename = "command_timeout_ms", deserialize_with = "milliseconds")]
    pub command_timeout: Duration,
    /// The `session_timeout` of Janus.
    #[serde(rename = "session_timeout_s", deserialize_with = "seconds")]
    pub session_timeout: Duration,
}

impl Janus {
    /// Where each Janus is.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.url.as_deref().unwrap_or_default().split_whitespace()
    }
}
