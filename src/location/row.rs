//! A fix as it is kept.

#[cfg(doc)]
use super::Flag;
use crate::model::{GroupId, Position, PositionSource, UserId};

/// Where a row stands among those of several devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceKey {
    /// When the fix was made, UTC milliseconds by the device's clock.
    pub fix_ms: u64,
    /// Whose it is.
    pub device: UserId,
    /// How it is known.
    pub source: PositionSource,
}

/// A fix that has a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceRow {
    /// Where it stands.
    pub key: TraceKey,
    /// When it arrived, UTC milliseconds by the fleet's clock.
    pub arrival_ms: u64,
    /// Degrees north, WGS 84.
    pub latitude: f64,
    /// Degrees east, WGS 84.
    pub longitude: f64,
    /// Metres; `None`, as with the next four, when not known.
    pub accuracy_m: Option<f32>,
    /// Metres above the ellipsoid.
    pub altitude_m: Option<f32>,
    /// Metres per second.
    pub speed_mps: Option<f32>,
    /// Degrees clockwise from north.
    pub course_deg: Option<f32>,
    /// Percent.
    pub battery: Option<u32>,
    /// In whose room the device was; 0 for none.
    pub group: GroupId,
    /// Bit n for the [`Flag`] of number n.
    pub flags: u32,
}

impl TraceRow {
    /// Where the device was.
    pub fn position(&self) -> Position {
        Position {
            latitude: self.latitude,
            longitude: self.longitude,
            fix_ms: self.key.fix_ms,
            accuracy_m: self.accuracy_m.unwrap_or(0.0),
            speed_mps: self.speed_mps,
            course_deg: self.course_deg,
            source: self.key.source,
        }
    }
}
