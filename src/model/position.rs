//! Where somebody is.

use serde::{Deserialize, Serialize};

/// A fix, WGS 84. As JSON it stands on Redis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
    /// When the fix was made, UTC milliseconds.
    pub fix_ms: u64,
    /// Metres; 0 when not known.
    pub accuracy_m: f32,
    /// Metres per second; `None` when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f32>,
    /// Degrees clockwise from north; `None` when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course_deg: Option<f32>,
}
