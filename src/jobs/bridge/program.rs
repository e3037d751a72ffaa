//! The bridge as configuration has it.

use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use crate::config::{Config, Secret};
use crate::janus::{self, RoomSettings};

/// Beyond the longest burst a microphone is closed that the floor forgot.
const OPEN_SLACK: Duration = Duration::from_secs(5);

/// How the bridge works, given how to reach each Janus.
pub fn settings(config: &Config, servers: Vec<janus::Settings>, secret: &Secret) -> Settings {
    Settings {
        shards: u32::from(config.fleet.shards),
        rooms: Arc::new(RoomSettings::new(secret, config.janus.recordings_dir.clone())),
        servers,
        open_max: Duration::from_millis(config.floor.burst_ms) + OPEN_SLACK,
    }
}
