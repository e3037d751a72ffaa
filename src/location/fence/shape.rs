//! The area of a geofence, and whether a place lies in it.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Broken;
use crate::location::trace::distance_m;

/// The radius of a circle, metres.
const RADIUS_M: RangeInclusive<f64> = 10.0..=500_000.0;
/// How many corners a polygon has.
const CORNERS: RangeInclusive<usize> = 3..=1_000;

/// An area on the earth, WGS 84. In SQL it stands as JSON: `{"circle":{"latitude":…,"longitude":…,"radius_m":…}}`, or
/// `{"polygon":[[latitude,longitude],…]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// All places within a distance along the great circle, its rim among them.
    Circle {
        /// Of the middle, degrees north, -90 to 90.
        latitude: f64,
        /// Of the middle, degrees east, -180 to 180.
        longitude: f64,
        /// Metres, 10 to 500,000.
        radius_m: f64,
    },
    /// What a line around 3 to 1,000 corners encloses, each degrees north and east; the last corner is joined to the first. From corner to
    /// corner the line is straight in degrees, as a map with a square grid draws it, and goes the short way around the earth: it may cross
    /// the date line. Where it crosses itself, what it encloses twice is outside (even-odd). A place right on it is on either side.
    Polygon(Vec<(f64, f64)>),
}

impl Shape {
    /// How many corners it has; 0 for a circle.
    pub fn corners(&self) -> u32 {
        match self {
            Self::Circle { .. } => 0,
            Self::Polygon(corners) => u32::try_from(corners.len()).unwrap_or(u32::MAX),
        }
    }

    /// The shape made ready for being asked.
    ///
    /// # Errors
    /// The field that breaks its rule, as the client protocol names it.
    pub fn area(&self) -> Result<Area, Broken> {
        match self {
            Self::Circle { latitude, longitude, radius_m } => {
                check_degrees(*latitude, 90.0, "fence.circle.latitude", "is -90 to 90")?;
                check_degrees(*longitude, 180.0, "fence.circle.longitude", "is -180 to 180")?;
                if !RADIUS_M.contains(radius_m) {
                    return Err(Broken { field: "fence.circle.radius_m", rule: "is 10 to 500,000" });
                }
                Ok(Area(Asked::Circle { middle: (*latitude, *longitude), radius_m: *radius_m }))
            }
            Self::Polygon(corners) => unwrapped(corners).map(Asked::Polygon).map(Area),
        }
    }
}

fn check_degrees(degrees: f64, most: f64, field: &'static str, rule: &'static str) -> Result<(), Broken> {
    // Not a number is in no range.
    if (-most..=most).contains(&degrees) { Ok(()) } else { Err(Broken { field, rule }) }
}

/// A shape that keeps all rules, made ready once so that each place costs little.
#[derive(Clone, Debug, PartialEq)]
pub struct Area(Asked);

#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Circle { middle: (f64, f64), radius_m: f64 },
    Polygon(Ring),
}

/// The corners of a polygon with longitudes that do not jump: they run on beyond 180 degrees, and lie within less than 360 of each other.
#[derive(Clone, Debug, PartialEq)]
struct Ring {
    corners: Vec<(f64, f64)>,
    south: f64,
    north: f64,
    west: f64,
    east: f64,
}

impl Area {
    /// Whether a place lies in it; degrees north and east, in their ranges.
    pub fn contains(&self, latitude: f64, longitude: f64) -> bool {
        match &self.0 {
            Asked::Circle { middle, radius_m } => {
                // Cheaper than the distance, and what nearly all places far away end at: a degree north is more than 111,000 m.
                (latitude - middle.0).abs() * 111_000.0 <= *radius_m && distance_m(*middle, (latitude, longitude)) <= *radius_m
            }
            Asked::Polygon(ring) => ring.contains(latitude, longitude),
        }
    }
}

impl Ring {
    fn contains(&self, latitude: f64, longitude: f64) -> bool {
        // What is cheapest to find out first: most places are far away.
        if !(self.south..=self.north).contains(&latitude) {
            return false;
        }
        // The longitude among those of the corners, whichever way around the earth they are counted.
        let longitude = self.west + (longitude - self.west).rem_euclid(360.0);
        if longitude > self.east {
            return false;
        }
        // Even-odd: how often a line from the place to the east crosses the ring. Each edge has its southern end and not its northern one, so
        // that a corner is not crossed twice.
        let mut inside = false;
        let mut from = self.corners[self.corners.len() - 1];
        for to in &self.corners {
            if (from.0 > latitude) != (to.0 > latitude) {
                let crossing = from.1 + (latitude - from.0) / (to.0 - from.0) * (to.1 - from.1);
                inside ^= longitude < crossing;
            }
            from = *to;
        }
        inside
    }
}

fn unwrapped(corners: &[(f64, f64)]) -> Result<Ring, Broken> {
    let broken = |rule| Broken { field: "fence.polygon.corners", rule };
    if !CORNERS.contains(&corners.len()) {
        return Err(broken("are 3 to 1,000"));
    }
    for (latitude, longitude) in corners {
        check_degrees(*latitude, 90.0, "fence.polygon.corners.latitude", "is -90 to 90")?;
        check_degrees(*longitude, 180.0, "fence.polygon.corners.longitude", "is -180 to 180")?;
    }
    let first = corners[0];
    let mut ring = Ring { corners: Vec::with_capacity(corners.len()), south: first.0, north: first.0, west: first.1, east: first.1 };
    // Which turn around the earth the line is on.
    let mut turns = 0.0;
    let mut before = first.1;
    for (latitude, longitude) in corners.iter().chain([&first]) {
        let east = longitude - before;
        if east.abs() == 180.0 {
            return Err(broken("lie less than 180 degrees of longitude from the next one"));
        }
        turns -= (east / 360.0).round();
        before = *longitude;
        let unwrapped = longitude + 360.0 * turns;
        if ring.corners.len() < corners.len() {
            ring.corners.push((*latitude, unwrapped));
            ring.south = ring.south.min(*latitude);
            ring.north = ring.north.max(*latitude);
            ring.west = ring.west.min(unwrapped);
            ring.east = ring.east.max(unwrapped);
        }
    }
    // Back at the first corner on another turn: a pole was gone around. A line that overlaps itself around the earth cannot be told from it.
    if turns != 0.0 || ring.east - ring.west >= 360.0 {
        return Err(broken("go around a pole"));
    }
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn polygon(corners: &[(f64, f64)]) -> Shape {
        Shape::Polygon(corners.to_vec())
    }

    #[track_caller]
    fn check(shape: &Shape, inside: &[(f64, f64)], outside: &[(f64, f64)]) {
        let area = shape.area().unwrap();
        for place in inside {
            assert!(area.contains(place.0, place.1), "{place:?} is not in {shape:?}");
        }
        for place in outside {
            assert!(!area.contains(place.0, place.1), "{place:?} is in {shape:?}");
        }
    }

    #[test]
    fn circles_end_at_their_radius_wherever_they_are() {
        let circle = |latitude, longitude, radius_m| Shape::Circle { latitude, longitude, radius_m };
        check(&circle(45.27, 13.71, 100.0), &[(45.27, 13.71), (45.2708, 13.71)], &[(45.271, 13.71), (45.27, 13.712), (-45.27, 13.71)]);
        check(&circle(0.0, 179.999, 1_000.0), &[(0.0, -179.994), (0.0, 180.0), (0.0, -180.0)], &[(0.0, -179.99), (0.0, 0.0)]);
        check(&circle(89.9, 0.0, 50_000.0), &[(90.0, 77.0), (89.9, 180.0), (89.7, 0.0)], &[(89.4, 0.0), (89.6, 180.0)]);
        check(&circle(90.0, 0.0, 500_000.0), &[(85.6, 10.0), (85.6, -170.0)], &[(85.4, 0.0)]);
    }

    #[test]
    fn polygons_cross_the_date_line_and_enclose_what_is_between() {
        let square = [(10.0, 170.0), (10.0, -170.0), (20.0, -170.0), (20.0, 170.0)];
        let (inside, outside) =
            ([(15.0, 175.0), (15.0, 180.0), (15.0, -180.0), (15.0, -171.0)], [(15.0, 0.0), (15.0, 169.0), (9.0, 175.0)]);
        check(&polygon(&square), &inside, &outside);
        let back: Vec<_> = square.iter().rev().copied().collect();
        check(&polygon(&back), &inside, &outside);
        // A bay is outside; what is enclosed twice too.
        let bay = [(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (5.0, 5.0), (10.0, 0.0)];
        check(&polygon(&bay), &[(2.0, 5.0), (8.0, 1.0), (8.0, 9.0)], &[(8.0, 5.0), (11.0, 5.0)]);
        let twice = [(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0), (0.0, 0.0), (0.0, 5.0), (5.0, 5.0), (5.0, 0.0)];
        check(&polygon(&twice), &[(7.0, 7.0), (2.0, 7.0)], &[(2.0, 2.0)]);
        // Level with a corner: crossed once, or not at all.
        let kite = [(0.0, 0.0), (5.0, 5.0), (0.0, 10.0), (-5.0, 5.0)];
        check(&polygon(&kite), &[(0.0, 1.0), (0.0, 9.0)], &[(0.0, -1.0), (5.0, 1.0), (5.0, 9.0)]);
        // Nearly all around the earth, but not around a pole.
        let belt = [(-1.0, -179.0), (-1.0, -60.0), (-1.0, 60.0), (-1.0, 179.0), (1.0, 179.0), (1.0, 60.0), (1.0, -60.0), (1.0, -179.0)];
        check(&polygon(&belt), &[(0.0, 0.0), (0.0, 178.0), (0.0, -178.0)], &[(0.0, 179.5), (0.0, -179.5), (2.0, 0.0)]);
    }

    #[test]
    fn a_shape_that_breaks_a_rule_names_the_field() {
        let circle = |latitude, longitude, radius_m| Shape::Circle { latitude, longitude, radius_m };
        let square = [(10.0, 170.0), (10.0, -170.0), (20.0, -170.0)];
        let with = |corner| polygon(&[&square[..], &[corner]].concat());
        for (shape, field) in [
            (circle(90.5, 0.0, 10.0), "fence.circle.latitude"),
            (circle(f64::NAN, 0.0, 10.0), "fence.circle.latitude"),
            (circle(0.0, -180.5, 10.0), "fence.circle.longitude"),
            (circle(0.0, 0.0, 9.9), "fence.circle.radius_m"),
            (circle(0.0, 0.0, 500_000.1), "fence.circle.radius_m"),
            (circle(0.0, 0.0, f64::NAN), "fence.circle.radius_m"),
            (polygon(&square[..2]), "fence.polygon.corners"),
            (polygon(&[(0.0, 0.0); 1_001]), "fence.polygon.corners"),
            (with((91.0, 0.0)), "fence.polygon.corners.latitude"),
            (with((20.0, f64::INFINITY)), "fence.polygon.corners.longitude"),
            // Two ways to go.
            (with((20.0, 10.0)), "fence.polygon.corners"),
            // Around the pole: once, and there and back beyond a whole turn.
            (polygon(&[(80.0, 0.0), (80.0, 120.0), (80.0, -120.0)]), "fence.polygon.corners"),
            (polygon(&[(1.0, 0.0), (1.0, 120.0), (1.0, -120.0), (2.0, 1.0), (2.0, -120.0), (2.0, 120.0)]), "fence.polygon.corners"),
        ] {
            assert_eq!(shape.area().map_err(|broken| broken.field), Err(field), "{shape:?}");
        }
        for shape in [circle(-90.0, 180.0, 10.0), circle(0.0, 0.0, 500_000.0), polygon(&square)] {
            assert!(shape.area().is_ok(), "{shape:?}");
        }
    }

    #[test]
    fn a_shape_reads_back_from_json() {
        let circle = Shape::Circle { latitude: 45.27, longitude: 13.71, radius_m: 10.0 };
        let json = r#"{"circle":{"latitude":45.27,"longitude":13.71,"radius_m":10.0}}"#;
        assert_eq!(serde_json::to_string(&circle).unwrap(), json);
        assert_eq!(serde_json::from_str::<Shape>(json).unwrap(), circle);
        let json = r#"{"polygon":[[1.5,2.0],[3.0,4.0],[5.0,-6.0]]}"#;
        assert_eq!(serde_json::to_string(&polygon(&[(1.5, 2.0), (3.0, 4.0), (5.0, -6.0)])).unwrap(), json);
    }

    /// Corners on whole degrees, all around the earth, no two neighbours half of it apart; and a place beside any line through them.
    fn case() -> impl Strategy<Value = (Vec<(f64, f64)>, (f64, f64))> {
        let corners = prop::collection::vec((-80..80_i32, 0..120_i32), 3..12);
        (corners, -180..180_i32, -80..80_i32, -180..180_i32).prop_map(|(corners, turned, north, east)| {
            let corner = |(north, east): (i32, i32)| (f64::from(north), f64::from((east + turned + 540).rem_euclid(360) - 180));
            (corners.into_iter().map(corner).collect(), (f64::from(north) + 0.491, f64::from(east) + 0.307))
        })
    }

    proptest! {
        #[test]
        fn where_a_polygon_begins_and_which_way_it_runs_is_all_one((corners, place) in case(), by in 0..12_usize) {
            let inside = polygon(&corners).area().unwrap().contains(place.0, place.1);
            let mut turned = corners.clone();
            turned.rotate_left(by % corners.len());
            prop_assert_eq!(polygon(&turned).area().unwrap().contains(place.0, place.1), inside);
            turned.reverse();
            prop_assert_eq!(polygon(&turned).area().unwrap().contains(place.0, place.1), inside);
        }

        #[test]
        fn turning_the_earth_under_a_polygon_changes_nothing((corners, place) in case(), by in 0..360_i32) {
            let turn = |east: f64| (east + f64::from(by) + 540.0).rem_euclid(360.0) - 180.0;
            let inside = polygon(&corners).area().unwrap().contains(place.0, place.1);
            let turned: Vec<_> = corners.iter().map(|(north, east)| (*north, turn(*east))).collect();
            prop_assert_eq!(polygon(&turned).area().unwrap().contains(place.0, turn(place.1)), inside);
        }

        #[test]
        fn a_polygon_along_a_small_circle_is_that_circle(
            north in -60.0..60.0_f64, east in -180.0..180.0_f64, way in 0.0..std::f64::consts::TAU, part in 0.0..2.0_f64,
        ) {
            // On a plane that touches the earth; a degree is 111,195 m.
            let at = |way: f64, radius_m: f64| {
                let (up, right) = (radius_m * way.sin() / 111_195.0, radius_m * way.cos() / 111_195.0 / north.to_radians().cos());
                (north + up, (east + right + 540.0).rem_euclid(360.0) - 180.0)
            };
            let corners: Vec<_> = (0..200).map(|step| at(f64::from(step) * std::f64::consts::TAU / 200.0, 1_000.0)).collect();
            let circle = Shape::Circle { latitude: north, longitude: east, radius_m: 1_000.0 };
            let place = at(way, 1_000.0 * part);
            prop_assume!((part - 1.0).abs() > 0.01);
            let [polygon, circle] = [polygon(&corners), circle].map(|shape| shape.area().unwrap().contains(place.0, place.1));
            prop_assert_eq!((polygon, circle), (part < 1.0, part < 1.0));
        }
    }
}
