//! What concerns texts to telephones, what supervisord says of programs, and what the doctor looks at.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{milliseconds, path_or_off, seconds, text_or_off};

/// `[sms]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    /// Who carries texts.
    pub provider: SmsProvider,
    /// Where the provider `file` puts them.
    pub file: PathBuf,
    /// How the provider `http` is called; there when it is that one.
    #[serde(deserialize_with = "path_or_off")]
    pub http_file: Option<PathBuf>,
    /// How the provider `smpp` has its sessions; there when it is that one.
    #[serde(deserialize_with = "path_or_off")]
    pub smpp_file: Option<PathBuf>,
    /// How long a text may take with the providers `http` and `smpp`.
    #[serde(rename = "timeout_ms", deserialize_with = "milliseconds")]
    pub timeout: Duration,
    /// The numbers that texts may go to, each whole or as a start with `*`; empty: to any.
    pub allow: Vec<String>,
}

/// Who carries texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmsProvider {
    /// Nobody: a text that is due is a dead letter.
    Off,
    /// They are appended to a file, a JSON object a line.
    File,
    /// They are written to the log.
    Console,
    /// They are sent by a call over HTTP.
    Http,
    /// They are sent by SMPP 3.4.
    Smpp,
}

/// `[listener]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where the listeners of this machine keep what they heard; a folder in it for each.
    pub dir: PathBuf,
    /// Who is told, when, and what is looked for in what programs print; `None`: nobody is told.
    #[serde(deserialize_with = "path_or_off")]
    pub rules_file: Option<PathBuf>,
    /// How long a change waits for others to share a text with.
    #[serde(rename = "group_ms", deserialize_with = "milliseconds")]
    pub group: Duration,
    /// How soon the same kind of change of a program is told again.
    #[serde(rename = "repeat_s", deserialize_with = "seconds")]
    pub repeat: Duration,
    /// How long a program is up before that is told.
    #[serde(rename = "steady_s", deserialize_with = "seconds")]
    pub steady: Duration,
    /// The most messages in any hour, of which the last quarter is for critical ones.
    pub messages_per_hour_max: usize,
    /// The most parts on the air of one text.
    pub text_parts_max: usize,
    /// How long a listener gives no sign of life before the other does its work and says so.
    #[serde(rename = "peer_silent_s", deserialize_with = "seconds")]
    pub peer_silent: Duration,
    /// How long after it became FATAL a program is started again, the first time; zero for never.
    #[serde(rename = "revive_first_s", deserialize_with = "seconds")]
    pub revive_first: Duration,
    /// The longest that this grows to, doubling.
    #[serde(rename = "revive_longest_s", deserialize_with = "seconds")]
    pub revive_longest: Duration,
    /// What is asked over HTTP while all is well, so that whoever watches it from elsewhere misses it when this machine is gone.
    #[serde(deserialize_with = "text_or_off")]
    pub heartbeat_url: Option<String>,
    /// How often.
    #[serde(rename = "heartbeat_interval_s", deserialize_with = "seconds")]
    pub heartbeat_interval: Duration,
}

/// `[doctor]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doctor {
    /// The certificates under which the fleet is reached: PEM files.
    pub certificate_files: Vec<PathBuf>,
}
