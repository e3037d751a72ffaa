//! Where somebody is.

use serde::{Deserialize, Serialize};

/// How a position is known. The numbers are those of the client protocol, of frames, and of SQL, where 0 stands for "not placed".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionSource {
    /// By a satellite receiver.
    #[default]
    Gps = 1,
    /// By access points whose positions are known.
    Wifi = 2,
}

impl PositionSource {
    /// The one of a number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Gps, Self::Wifi].into_iter().find(|known| *known as u32 == number)
    }
}

/// Where a device is, WGS 84. As JSON it stands on Redis.
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
    /// How it is known.
    #[serde(default)]
    pub source: PositionSource,
}
