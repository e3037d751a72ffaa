//! WGS 84 to GCJ-02, the datum in which maps of mainland China are drawn.
//!
//! The formula is the one that became known as "eviltransform": a sum of sines on Krasovsky's ellipsoid. It is not published by who made it, and
//! meets what map services answer within some metres.

use std::f64::consts::PI;

/// Semi-major axis of Krasovsky's ellipsoid, metres, and its eccentricity squared.
const AXIS_M: f64 = 6_378_245.0;
const ECCENTRICITY_2: f64 = 0.006_693_421_622_965_943;

/// Where a place of WGS 84 is drawn: latitude and longitude, in degrees. Outside the rectangle around mainland China the same.
pub fn gcj02(latitude: f64, longitude: f64) -> (f64, f64) {
    let inside = (0.8293..=55.8271).contains(&latitude) && (72.004..=137.8347).contains(&longitude);
    if !inside {
        return (latitude, longitude);
    }
    let (x, y) = (longitude - 105.0, latitude - 35.0);
    let root = x.abs().sqrt();
    let waves = |value: f64, parts: [(f64, f64); 2]| parts.map(|(weight, of)| weight * (value * PI / of).sin()).iter().sum::<f64>();
    let short = (20.0 * (6.0 * x * PI).sin() + 20.0 * (2.0 * x * PI).sin()) * 2.0 / 3.0;
    let north = -100.0
        + 2.0 * x
        + 3.0 * y
        + 0.2 * y * y
        + 0.1 * x * y
        + 0.2 * root
        + short
        + waves(y, [(20.0, 1.0), (40.0, 3.0)]) * 2.0 / 3.0
        + waves(y, [(160.0, 12.0), (320.0, 30.0)]) * 2.0 / 3.0;
    let east = 300.0
        + x
        + 2.0 * y
        + 0.1 * x * x
        + 0.1 * x * y
        + 0.1 * root
        + short
        + waves(x, [(20.0, 1.0), (40.0, 3.0)]) * 2.0 / 3.0
        + waves(x, [(150.0, 12.0), (300.0, 30.0)]) * 2.0 / 3.0;
    let angle = latitude.to_radians();
    let bend = 1.0 - ECCENTRICITY_2 * angle.sin().powi(2);
    let meridian_m = AXIS_M * (1.0 - ECCENTRICITY_2) / (bend * bend.sqrt());
    let parallel_m = AXIS_M / bend.sqrt() * angle.cos();
    (latitude + (north / meridian_m).to_degrees(), longitude + (east / parallel_m).to_degrees())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_places_are_met() {
        // Shanghai, Shenzhen and Beijing, from the tests of eviltransform (github.com/googollee/eviltransform).
        for (wgs, gcj) in [
            ((31.177_427_6, 121.527_210_6), (31.175_303_983_645_97, 121.531_541_859_215)),
            ((22.543_847, 113.912_316), (22.540_796_131_694_766, 113.917_176_480_836_3)),
            ((39.911_954, 116.377_817), (39.913_345_455_360_69, 116.384_047_224_556_57)),
        ] {
            let (latitude, longitude) = gcj02(wgs.0, wgs.1);
            assert!((latitude - gcj.0).abs() < 1e-6 && (longitude - gcj.1).abs() < 1e-6, "{latitude}, {longitude}");
        }
    }

    #[test]
    fn elsewhere_nothing_moves() {
        for (latitude, longitude) in [(45.27, 13.71), (-33.9, 151.2), (39.9, 71.9), (35.0, 139.7), (0.0, 120.0), (56.0, 100.0)] {
            assert_eq!(gcj02(latitude, longitude), (latitude, longitude));
        }
    }
}
