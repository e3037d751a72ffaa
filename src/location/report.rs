//! What a device says of where it is, as it comes in by any door.

/// The most reports of a call, or of a frame of a session.
pub const REPORTS_MAX: usize = 10_000;

/// A report, not yet judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Whose it is said to be; 0 for the caller's.
    pub device: u64,
    /// When the scans were made, UTC milliseconds by the device's clock.
    pub time_ms: u64,
    /// A fix, if there is one.
    pub gps: Option<Gps>,
    /// Access points in reach.
    pub wifi: Vec<Heard>,
    /// Cells in reach.
    pub cells: Vec<Cell>,
    /// Beacons in reach.
    pub bluetooth: Vec<Heard>,
    /// Percent.
    pub battery: Option<i32>,
    /// The group in whose room the device was; 0 for none.
    pub group: u64,
}

/// A fix, as its receiver gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gps {
    /// When it was made, UTC milliseconds by the device's clock.
    pub time_ms: u64,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Metres, of the horizontal error.
    pub accuracy_m: Option<f32>,
    /// Metres above the ellipsoid.
    pub altitude_m: Option<f32>,
    /// Metres per second.
    pub speed_mps: Option<f32>,
    /// Degrees clockwise from north.
    pub course_deg: Option<f32>,
}

/// An access point, or a beacon, that was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Six bytes in hexadecimal, with or without colons or hyphens.
    pub address: String,
    /// How strong.
    pub level_dbm: i32,
}

/// A cell that was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Mobile country code.
    pub country: u32,
    /// Mobile network code.
    pub operator: u32,
    /// Location or tracking area.
    pub area: u32,
    /// The cell.
    pub cell: u64,
    /// How strong.
    pub level_dbm: i32,
}
