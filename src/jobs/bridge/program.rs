//! The bridge as configuration has it.

use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use crate::config::{Config, Secret};
use crate::janus::{self, RoomSettings};

/// Beyond the longest burst a microphone is closed that the floor forgot.
const OPEN_SLACK: Duration = Duration::from_secs(5);

/// How the bridge works, given how to reach Janus.
pub fn settings(config: &Config, janus: janus::Settings, secret: &Secret) -> Settings {
    Settings {
        shards: u32::from(config.fleet.shards),
        rooms: Arc::new(RoomSettings::new(secret, config.janus.recordings_dir.clone())),
        janus,
        open_max: Duration::from_millis(config.floor.burst_ms) + OPEN_SLACK,
    }
}
