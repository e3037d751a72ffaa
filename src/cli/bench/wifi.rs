//! How far off a device is placed that has no fix and hears access points: in a generated town, for devices that taught nothing.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

use super::report::Findings;
use crate::location::trace::distance_m;
use crate::location::wifi::{Heard, Learned, learn, place};

/// Where the town lies, degrees, and how far its streets go in each direction, metres.
const TOWN: (f64, f64) = (46.05, 14.5);
const HALF_M: f64 = 500.0;
/// The path loss of the town: at one metre, dBm; for each tenfold distance; and how much walls, bodies and antennas scatter it (one sigma).
const NEAR_DBM: f64 = -38.0;
const DECADE_DB: f64 = 32.0;
const SHADOW_DB: f64 = 7.0;
/// What a radio hears, dBm.
const FAINTEST_DBM: f64 = -90.0;
/// One sigma of a fix's error in each direction, metres, of which devices say 5 m.
const FIX_SIGMA_M: f64 = 4.0;
const METRES_A_DEGREE: f64 = 111_195.0;

/// How far off placements were.
#[derive(Debug, Default, Serialize)]
pub(super) struct Wifi {
    /// By how access points are known.
    pub(super) by: BTreeMap<&'static str, Errors>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Errors {
    /// Access points whose positions were known.
    pub(super) known: usize,
    /// How far off their positions were, the median, metres.
    pub(super) known_error_p50_m: f64,
    /// Of the held-out reports, those that were placed.
    pub(super) placed: usize,
    pub(super) unplaced: usize,
    pub(super) error_p50_m: f64,
    pub(super) error_p90_m: f64,
    pub(super) error_max_m: f64,
    /// The share of placements within the accuracy they claimed.
    pub(super) within_accuracy: f64,
    pub(super) accuracy_p50_m: f64,
}

struct Town {
    random: StdRng,
    points: Vec<(f64, f64)>,
}

impl Town {
    /// Metres north and east of the middle.
    fn spot(&mut self) -> (f64, f64) {
        (self.random.random_range(-HALF_M..HALF_M), self.random.random_range(-HALF_M..HALF_M))
    }

    /// A normal variate (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (u, v): (f64, f64) = (self.random.random_range(f64::MIN_POSITIVE..1.0), self.random.random_range(0.0..std::f64::consts::TAU));
        (-2.0 * u.ln()).sqrt() * v.cos()
    }

    /// What is heard at a spot: the number of the access point, and its level.
    fn heard(&mut self, at: (f64, f64)) -> Vec<(usize, i32)> {
        let mut heard = Vec::new();
        for point in 0..self.points.len() {
            let (north, east) = self.points[point];
            let distance_m = (north - at.0).hypot(east - at.1).max(1.0);
            let level = NEAR_DBM - DECADE_DB * distance_m.log10() + SHADOW_DB * self.normal();
            if level >= FAINTEST_DBM {
                heard.push((point, level.min(0.0) as i32));
            }
        }
        heard
    }
}

fn degrees((north_m, east_m): (f64, f64)) -> (f64, f64) {
    (TOWN.0 + north_m / METRES_A_DEGREE, TOWN.1 + east_m / METRES_A_DEGREE / TOWN.0.to_radians().cos())
}

/// Teaches with `lessons` reports that have a fix, and holds out `held_out` others.
pub(super) fn measure(seed: u64, points: u32, lessons: u32, held_out: u32) -> Findings {
    let mut town = Town { random: StdRng::seed_from_u64(seed), points: Vec::new() };
    town.points = (0..points).map(|_| town.spot()).collect();
    let mut learned: Vec<Option<Learned>> = vec![None; town.points.len()];
    for _ in 0..lessons {
        let at = town.spot();
        let fix = (at.0 + FIX_SIGMA_M * town.normal(), at.1 + FIX_SIGMA_M * town.normal());
        for (point, level_dbm) in town.heard(at) {
            learned[point] = Some(learn(learned[point], degrees(fix), level_dbm));
        }
    }
    let posted: Vec<Option<(f64, f64)>> = town.points.iter().map(|point| Some(degrees(*point))).collect();
    let learned: Vec<Option<(f64, f64)>> = learned.iter().map(|known| known.map(|known| (known.latitude, known.longitude))).collect();
    let mut test = || {
        let at = town.spot();
        (at, town.heard(at))
    };
    let tests: Vec<_> = (0..held_out).map(|_| test()).collect();
    let by = [("posted", posted), ("learned", learned)].map(|(name, known)| (name, errors(&town.points, &known, &tests)));
    let settings = [("seed", seed), ("access_points", points.into()), ("lessons", lessons.into()), ("held_out", held_out.into())];
    Findings { bench: "wifi", settings: settings.into(), wifi: Some(Wifi { by: by.into() }), ..Findings::default() }
}

/// Where somebody was, and the levels at which they heard access points, by number.
type Tried = ((f64, f64), Vec<(usize, i32)>);

fn errors(points: &[(f64, f64)], known: &[Option<(f64, f64)>], tests: &[Tried]) -> Errors {
    let known_off: Vec<f64> = points.iter().zip(known).filter_map(|(point, known)| Some(distance_m(degrees(*point), (*known)?))).collect();
    let (mut off, mut accuracies, mut within) = (Vec::new(), Vec::new(), 0);
    for (at, heard) in tests {
        let heard: Vec<Heard> = heard
            .iter()
            .filter_map(|(point, level_dbm)| {
                let (latitude, longitude) = known[*point]?;
                Some(Heard { level_dbm: *level_dbm, latitude, longitude })
            })
            .collect();
        let Some(placed) = place(&heard) else { continue };
        let error_m = distance_m(degrees(*at), (placed.latitude, placed.longitude));
        within += usize::from(error_m <= f64::from(placed.accuracy_m));
        off.push(error_m);
        accuracies.push(f64::from(placed.accuracy_m));
    }
    Errors {
        known: known_off.len(),
        known_error_p50_m: quantile(known_off, 0.5),
        placed: off.len(),
        unplaced: tests.len() - off.len(),
        error_p50_m: quantile(off.clone(), 0.5),
        error_p90_m: quantile(off.clone(), 0.9),
        within_accuracy: within as f64 / off.len().max(1) as f64,
        error_max_m: quantile(off, 1.0),
        accuracy_p50_m: quantile(accuracies, 0.5),
    }
}

fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * at).round() as usize).copied().unwrap_or_default()
}
