//! Reports, positions and geofences, between the client protocol and what is made of them.

use super::v1;
use crate::location::fence::{Fence, Shape};
use crate::location::{Cell, Flag, Gps, Heard, Report};
use crate::model::PositionSource;
use crate::topic::frame::Located;

impl From<v1::Report> for Report {
    fn from(report: v1::Report) -> Self {
        let gps = report.fix.map(|fix| Gps {
            time_ms: fix.time_ms,
            latitude: fix.latitude,
            longitude: fix.longitude,
            accuracy_m: fix.accuracy_m,
            altitude_m: fix.altitude_m,
            speed_mps: fix.speed_mps,
            course_deg: fix.course_deg,
        });
        let point = |point: v1::AccessPoint| Heard { address: point.bssid, level_dbm: point.level_dbm };
        let beacon = |beacon: v1::Beacon| Heard { address: beacon.address, level_dbm: beacon.level_dbm };
        let cell = |cell: v1::Cell| Cell {
            country: cell.country,
            operator: cell.operator,
            area: cell.area,
            cell: cell.cell,
            level_dbm: cell.level_dbm,
        };
        Self {
            device: report.device_id,
            time_ms: report.time_ms,
            gps,
            wifi: report.wifi.into_iter().map(point).collect(),
            cells: report.cells.into_iter().map(cell).collect(),
            bluetooth: report.bluetooth.into_iter().map(beacon).collect(),
            battery: report.battery_percent,
            group: report.current_group_id,
        }
    }
}

impl From<Flag> for v1::FixFlag {
    /// The numbers are the same; a test holds that none is missing.
    fn from(flag: Flag) -> Self {
        Self::try_from(flag as i32).unwrap_or_default()
    }
}

impl From<PositionSource> for v1::PositionSource {
    fn from(source: PositionSource) -> Self {
        match source {
            PositionSource::Gps => Self::Gps,
            PositionSource::Wifi => Self::Wifi,
        }
    }
}

impl From<Located> for v1::DevicePosition {
    fn from(located: Located) -> Self {
        Self { device_id: located.device, position: located.position().map(v1::Position::from), battery_percent: located.battery }
    }
}

impl From<v1::geofence::Shape> for Shape {
    fn from(shape: v1::geofence::Shape) -> Self {
        match shape {
            v1::geofence::Shape::Circle(v1::Circle { latitude, longitude, radius_m }) => Self::Circle { latitude, longitude, radius_m },
            v1::geofence::Shape::Polygon(polygon) => {
                Self::Polygon(polygon.corners.into_iter().map(|corner| (corner.latitude, corner.longitude)).collect())
            }
        }
    }
}

impl From<Fence> for v1::Geofence {
    fn from(Fence { id, name, shape, enter, leave, stay_ms }: Fence) -> Self {
        let shape = match shape {
            Shape::Circle { latitude, longitude, radius_m } => v1::geofence::Shape::Circle(v1::Circle { latitude, longitude, radius_m }),
            Shape::Polygon(corners) => {
                let corner = |(latitude, longitude)| v1::Corner { latitude, longitude };
                v1::geofence::Shape::Polygon(v1::Polygon { corners: corners.into_iter().map(corner).collect() })
            }
        };
        Self { fence_id: id.0, name, shape: Some(shape), enter, leave, stay_ms }
    }
}

/// The flags of a fix, as clients see them.
pub fn flags(bits: u32) -> Vec<i32> {
    Flag::of(bits).map(|flag| v1::FixFlag::from(flag) as i32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_sources_are_those_of_the_protocol() {
        let known: Vec<i32> = (1..).map_while(|number| v1::FixFlag::try_from(number).ok()).map(|flag| flag as i32).collect();
        assert_eq!(flags(u32::MAX), known);
        for source in [PositionSource::Gps, PositionSource::Wifi] {
            assert_eq!(v1::PositionSource::from(source) as u32, source as u32);
        }
        assert!(v1::PositionSource::try_from(3).is_err(), "the model lacks one");
    }
}
