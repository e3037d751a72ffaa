//! What stands on the stream `fix`: many reports packed into one entry, protobuf under the format of [`crate::topic::frame`]. Field numbers are
//! never reused.

use crate::model::{Position, PositionSource};

/// Everything one program had to report since its last round trip.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FixFrame {
    /// Random per start of the program. With the number it names the frame: one that comes twice changes nothing.
    #[prost(fixed64, tag = "1")]
    pub producer: u64,
    /// Rises per producer.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// When it arrived, UTC ms by the fleet's clock. Its day is the one on which the reports count.
    #[prost(uint64, tag = "3")]
    pub arrival_ms: u64,
    #[prost(message, repeated, tag = "4")]
    pub fixes: Vec<Fix>,
    /// What was refused at the door, so that it is counted.
    #[prost(message, repeated, tag = "5")]
    pub refused: Vec<Refused>,
    /// How many reports came from each device, counted before they were judged.
    #[prost(message, repeated, tag = "6")]
    pub received: Vec<Received>,
}

/// A report that was let through.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Fix {
    #[prost(uint64, tag = "1")]
    pub device: u64,
    #[prost(uint64, tag = "2")]
    pub tenant: u64,
    /// When it was made, UTC ms by the device's clock.
    #[prost(uint64, tag = "3")]
    pub fix_ms: u64,
    /// A `PositionSource`; 0 when there is no position, only what was heard.
    #[prost(uint32, tag = "4")]
    pub source: u32,
    #[prost(double, tag = "5")]
    pub latitude: f64,
    #[prost(double, tag = "6")]
    pub longitude: f64,
    #[prost(float, optional, tag = "7")]
    pub accuracy_m: Option<f32>,
    #[prost(float, optional, tag = "8")]
    pub altitude_m: Option<f32>,
    #[prost(float, optional, tag = "9")]
    pub speed_mps: Option<f32>,
    #[prost(float, optional, tag = "10")]
    pub course_deg: Option<f32>,
    /// Percent.
    #[prost(uint32, optional, tag = "11")]
    pub battery: Option<u32>,
    #[prost(uint64, tag = "12")]
    pub group: u64,
    /// Bit n for the [`super::Flag`] of number n.
    #[prost(uint32, tag = "13")]
    pub flags: u32,
    #[prost(message, optional, tag = "14")]
    pub scan: Option<Scan>,
}

impl Fix {
    /// Where it says that the device was; `None` when it was not placed.
    pub fn position(&self) -> Option<Position> {
        Some(Position {
            latitude: self.latitude,
            longitude: self.longitude,
            fix_ms: self.fix_ms,
            accuracy_m: self.accuracy_m.unwrap_or(0.0),
            speed_mps: self.speed_mps,
            course_deg: self.course_deg,
            source: PositionSource::from_number(self.source)?,
        })
    }
}

/// What was heard. In SQL it stands beside the fix in this encoding.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Scan {
    #[prost(message, repeated, tag = "1")]
    pub wifi: Vec<Heard>,
    #[prost(message, repeated, tag = "2")]
    pub cells: Vec<Cell>,
    #[prost(message, repeated, tag = "3")]
    pub bluetooth: Vec<Heard>,
}

/// An access point, or a beacon.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Heard {
    /// The six bytes as a number, the first one the highest.
    #[prost(fixed64, tag = "1")]
    pub address: u64,
    #[prost(sint32, tag = "2")]
    pub level_dbm: i32,
}

/// A cell.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Cell {
    #[prost(uint32, tag = "1")]
    pub country: u32,
    #[prost(uint32, tag = "2")]
    pub operator: u32,
    #[prost(uint32, tag = "3")]
    pub area: u32,
    #[prost(uint64, tag = "4")]
    pub cell: u64,
    #[prost(sint32, tag = "5")]
    pub level_dbm: i32,
}

/// Reports of a device that were refused for one reason.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refused {
    #[prost(uint64, tag = "1")]
    pub device: u64,
    /// A `Reason`.
    #[prost(uint32, tag = "2")]
    pub reason: u32,
    /// The field at fault, as a path in the report.
    #[prost(string, tag = "3")]
    pub field: String,
    #[prost(uint64, tag = "4")]
    pub count: u64,
}

/// How many reports came from a device.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Received {
    #[prost(uint64, tag = "1")]
    pub device: u64,
    #[prost(uint64, tag = "2")]
    pub count: u64,
}
