//! Where a device is by the access points it hears, and where access points are by the devices that hear them.
//!
//! A level says little about a distance: walls, bodies and antennas make ten decibels. So a point counts by how near it seems, one that does
//! not fit to the others is left out (it was carried elsewhere), and the accuracy says what remains.

use super::trace::distance_m;

/// The level at one metre, dBm, and how many decibels a tenfold distance costs, as radios and walls in towns have it.
const NEAR_DBM: f64 = -40.0;
const DECADE_DB: f64 = 30.0;
/// Between which a level is believed to tell distances, metres.
const BELIEVED_M: std::ops::RangeInclusive<f64> = 3.0..=150.0;
/// Access points further apart than this, metres, are not heard from one place.
const TOGETHER_M: f64 = 250.0;
/// The best accuracy that is claimed, metres.
const ACCURACY_LEAST_M: f64 = 10.0;
/// The share of the spread of the points that the place itself was found to be off, from generated towns (`roger bench wifi`).
const SPREAD_SHARE: f64 = 0.6;
/// The weight at which what was learned stops growing, so that a point that moves a little is followed.
const WEIGHT_MAX: f64 = 50.0;
/// Further from where it was learned than this, metres, a point was carried elsewhere, and is learned anew.
const CARRIED_M: f64 = 500.0;
const METRES_A_DEGREE: f64 = 111_195.0;

/// An access point that a device hears, and where that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// As the device says, -127 to 0.
    pub level_dbm: i32,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Metres, within which about two of three devices are.
    pub accuracy_m: f32,
}

/// Where an access point seems to be, after some fixes of devices that heard it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learned {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Rises with each fix, more with one from nearby; above 0, at most 50.
    pub weight: f64,
}

/// How far away something of a level seems, metres.
fn seems_m(level_dbm: i32) -> f64 {
    10_f64.powf((NEAR_DBM - f64::from(level_dbm)) / DECADE_DB).clamp(*BELIEVED_M.start(), *BELIEVED_M.end())
}

/// Where who hears these is; `None` when nothing of it is known.
pub fn place(heard: &[Heard]) -> Option<Placed> {
    let at = |heard: &Heard| (heard.latitude, heard.longitude);
    let weight = |heard: &Heard| seems_m(heard.level_dbm).recip();
    // The one to which the others are nearest, by their weights: those too far from it were carried elsewhere.
    let costs =
        heard.iter().map(|middle| heard.iter().map(|other| weight(other) * distance_m(at(middle), at(other)).min(TOGETHER_M)).sum::<f64>());
    let (middle, _) = heard.iter().zip(costs).min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let together: Vec<&Heard> = heard.iter().filter(|other| distance_m(at(middle), at(other)) <= TOGETHER_M).collect();
    let whole: f64 = together.iter().map(|heard| weight(heard)).sum();
    let (north, east) = together.iter().fold((0.0, 0.0), |(north, east), heard| {
        let (up, right) = offset_m(at(middle), at(heard));
        (north + up * weight(heard) / whole, east + right * weight(heard) / whole)
    });
    let (latitude, longitude) = moved(at(middle), north, east);
    // With one point it is somewhere around that; with more the points say themselves how well they agree.
    let apart: f64 = together.iter().map(|heard| weight(heard) / whole * distance_m((latitude, longitude), at(heard)).powi(2)).sum();
    let away: f64 = together.iter().map(|heard| weight(heard) / whole * seems_m(heard.level_dbm).powi(2)).sum();
    let accuracy_m = ((apart + away).sqrt() * SPREAD_SHARE * (1.0 + 1.0 / together.len() as f64)).max(ACCURACY_LEAST_M);
    Some(Placed { latitude, longitude, accuracy_m: accuracy_m as f32 })
}

/// Where an access point seems to be, once somebody at a place (degrees north and east) hears it too.
pub fn learn(known: Option<Learned>, place: (f64, f64), level_dbm: i32) -> Learned {
    // From ten metres away a fix tells the place of the point as well as it knows its own.
    let weight = (10.0 / seems_m(level_dbm)).powi(2).min(1.0);
    let fresh = Learned { latitude: place.0, longitude: place.1, weight };
    let Some(known) = known.filter(|known| distance_m((known.latitude, known.longitude), place) <= CARRIED_M) else { return fresh };
    let whole = (known.weight + weight).min(WEIGHT_MAX);
    let (north, east) = offset_m((known.latitude, known.longitude), place);
    let (latitude, longitude) = moved((known.latitude, known.longitude), north * weight / whole, east * weight / whole);
    Learned { latitude, longitude, weight: whole }
}

/// Whether an address says that its owner made it up: telephones that share their connection, vehicles, visitors' networks. Such are not learned.
pub fn is_made_up(address: u64) -> bool {
    address >> 40 & 0b10 != 0
}

/// From one place to another nearby, metres north and east.
fn offset_m(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    // The shorter way around.
    let east = (to.1 - from.1 + 540.0).rem_euclid(360.0) - 180.0;
    ((to.0 - from.0) * METRES_A_DEGREE, east * METRES_A_DEGREE * from.0.to_radians().cos())
}

fn moved(from: (f64, f64), north_m: f64, east_m: f64) -> (f64, f64) {
    let latitude = (from.0 + north_m / METRES_A_DEGREE).clamp(-90.0, 90.0);
    let east = east_m / METRES_A_DEGREE / from.0.to_radians().cos().max(1e-6);
    (latitude, (from.1 + east + 540.0).rem_euclid(360.0) - 180.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metres north and east of a place in Ljubljana.
    fn heard(level_dbm: i32, north_m: f64, east_m: f64) -> Heard {
        let (latitude, longitude) = moved((46.05, 14.5), north_m, east_m);
        Heard { level_dbm, latitude, longitude }
    }

    fn off_m(placed: Placed, north_m: f64, east_m: f64) -> f64 {
        distance_m((placed.latitude, placed.longitude), moved((46.05, 14.5), north_m, east_m))
    }

    #[test]
    fn a_device_is_nearer_to_what_it_hears_better() {
        assert_eq!(place(&[]), None);
        let alone = place(&[heard(-70, 10.0, 0.0)]).unwrap();
        assert!(off_m(alone, 10.0, 0.0) < 0.01 && alone.accuracy_m >= 10.0);
        let between = place(&[heard(-50, 0.0, 0.0), heard(-80, 0.0, 60.0)]).unwrap();
        assert!(off_m(between, 0.0, 0.0) < 15.0 && off_m(between, 0.0, 60.0) > 40.0, "{between:?}");
        let worse = place(&[heard(-85, 0.0, 0.0), heard(-85, 0.0, 120.0)]).unwrap();
        assert!(worse.accuracy_m > between.accuracy_m);
    }

    #[test]
    fn one_that_was_carried_elsewhere_counts_for_nothing() {
        let mut all = vec![heard(-60, 0.0, 0.0), heard(-65, 20.0, 0.0), heard(-62, 0.0, 20.0)];
        let without = place(&all).unwrap();
        all.push(heard(-45, 9_000.0, 0.0));
        assert_eq!(place(&all).unwrap(), without);
    }

    #[test]
    fn it_works_at_the_date_line_and_near_the_pole() {
        let at = |latitude: f64, longitude: f64| Heard { level_dbm: -60, latitude, longitude };
        let placed = place(&[at(0.0, 179.9999), at(0.0, -179.9999)]).unwrap();
        assert!(distance_m((placed.latitude, placed.longitude), (0.0, 180.0)) < 1.0, "{placed:?}");
        assert!((-180.0..=180.0).contains(&placed.longitude));
        let placed = place(&[at(89.9999, 0.0), at(89.9999, 90.0)]).unwrap();
        assert!((89.9..=90.0).contains(&placed.latitude), "{placed:?}");
    }

    #[test]
    fn an_access_point_is_learned_from_who_hears_it_and_anew_when_it_was_carried_away() {
        let at = |north_m: f64, east_m: f64| moved((46.05, 14.5), north_m, east_m);
        let around = [(30.0, 0.0), (-30.0, 0.0), (0.0, 30.0), (0.0, -30.0)];
        let learned = around.iter().cycle().take(40).fold(None, |known, (north, east)| Some(learn(known, at(*north, *east), -75))).unwrap();
        assert!(distance_m((learned.latitude, learned.longitude), at(0.0, 0.0)) < 10.0, "{learned:?}");
        let elsewhere = learn(Some(learned), at(5_000.0, 0.0), -60);
        assert_eq!((elsewhere.latitude, elsewhere.longitude), at(5_000.0, 0.0));
        let long = (0..10_000).fold(None, |known, _| Some(learn(known, at(0.0, 0.0), -40))).unwrap();
        assert!(long.weight <= 50.0);
        assert!(is_made_up(0x02_00_00_00_00_01) && !is_made_up(0x00_1a_2b_3c_4d_5e));
    }
}
