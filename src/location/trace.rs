//! What is made of a trace: distances, fewer points, stops and gaps.

use std::ops::Range;

/// The mean radius of the earth, metres (IUGG).
const EARTH_M: f64 = 6_371_008.8;

/// A point of the trace of one device, WGS 84.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// UTC milliseconds.
    pub time_ms: u64,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// A device stayed where it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// Of the first fix there.
    pub from_ms: u64,
    /// Of the last fix there.
    pub to_ms: u64,
    /// Degrees north, of the first fix there.
    pub latitude: f64,
    /// Degrees east, of the first fix there.
    pub longitude: f64,
}

/// The distance along the great circle, in metres, on a sphere: within 0.6 % of that on the ellipsoid.
pub fn distance_m(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (north, east) = ((to.0 - from.0).to_radians(), (to.1 - from.1).to_radians());
    let part = (north / 2.0).sin().powi(2) + from.0.to_radians().cos() * to.0.to_radians().cos() * (east / 2.0).sin().powi(2);
    // Rounding may take the part of opposite points above 1.
    2.0 * EARTH_M * part.min(1.0).sqrt().asin()
}

/// Where points stay, in the order of time: as long as each lies within `radius_m` of the first one, from `least_ms` on. 0 finds none.
pub fn stops(points: &[Point], least_ms: u64, radius_m: f64) -> Vec<Stop> {
    let (mut stops, mut at, mut outside) = (Vec::new(), 0, None::<usize>);
    while let Some(first) = points.get(at).filter(|_| least_ms > 0) {
        let near = |point: &Point| distance_m((first.latitude, first.longitude), (point.latitude, point.longitude)) <= radius_m;
        // What ended the last try too soon ends this one too: looking at all between them for each would take the square of their number.
        if outside.is_some_and(|outside| !near(&points[outside])) {
            at += 1;
            continue;
        }
        let staying = points[at..].iter().take_while(|point| near(point)).count().max(1);
        let (end, to_ms) = (at + staying, points[at + staying - 1].time_ms);
        if to_ms.saturating_sub(first.time_ms) >= least_ms {
            stops.push(Stop { from_ms: first.time_ms, to_ms, latitude: first.latitude, longitude: first.longitude });
            (at, outside) = (end, None);
        } else if end == points.len() {
            // Who comes later stays no longer.
            break;
        } else {
            (at, outside) = (at + 1, Some(end));
        }
    }
    stops
}

/// From which time to which there is nothing, where times in their order lie further apart than `most_ms`. 0 finds none.
pub fn gaps(times_ms: &[u64], most_ms: u64) -> Vec<Range<u64>> {
    let pairs = times_ms.windows(2).map(|pair| pair[0]..pair[1]);
    pairs.filter(|pair| most_ms > 0 && pair.end.saturating_sub(pair.start) > most_ms).collect()
}

/// The places of the points that stay, in order (Ramer, Douglas and Peucker): each other one lies within `tolerance_m` of the line between the
/// two that stay around it. First and last always stay; 0 leaves none out.
pub fn simplify(points: &[Point], tolerance_m: f64) -> Vec<usize> {
    if points.len() < 3 || tolerance_m <= 0.0 {
        return (0..points.len()).collect();
    }
    let mut stays = vec![false; points.len()];
    let mut pieces = vec![(0, points.len() - 1)];
    // By a list and not by recursion: a spiral would be as deep as it is long.
    while let Some((from, to)) = pieces.pop() {
        (stays[from], stays[to]) = (true, true);
        let far = |at: usize| (at, off_line_m(points[at], points[from], points[to]));
        let farthest = (from + 1..to).map(far).max_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some((at, _)) = farthest.filter(|(_, metres)| *metres > tolerance_m) {
            pieces.extend([(from, at), (at, to)]);
        }
    }
    (0..points.len()).filter(|at| stays[*at]).collect()
}

/// How far a point lies from the line between two others, in metres, on a plane that touches the earth at the point.
fn off_line_m(point: Point, from: Point, to: Point) -> f64 {
    let on_plane = |other: Point| {
        // The short way around, across the date line too.
        let east = (other.longitude - point.longitude + 540.0).rem_euclid(360.0) - 180.0;
        let scale = point.latitude.to_radians().cos();
        (EARTH_M * east.to_radians() * scale, EARTH_M * (other.latitude - point.latitude).to_radians())
    };
    let (a, b) = (on_plane(from), on_plane(to));
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length_2 = dx * dx + dy * dy;
    // Where on the line the point is nearest, which is the plane's (0, 0); a line of no length is a point.
    let along = if length_2 > 0.0 { (-(a.0 * dx + a.1 * dy) / length_2).clamp(0.0, 1.0) } else { 0.0 };
    (a.0 + along * dx).hypot(a.1 + along * dy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(time_ms: u64, latitude: f64, longitude: f64) -> Point {
        Point { time_ms, latitude, longitude }
    }

    #[test]
    fn distances_are_those_of_the_sphere() {
        for (from, to, metres) in [
            ((0.0, 0.0), (0.0, 1.0), 111_195.0),
            // Across the date line, over a pole, to the other side.
            ((0.0, 179.5), (0.0, -179.5), 111_195.0),
            ((89.5, 0.0), (89.5, 180.0), 111_195.0),
            ((0.0, 0.0), (0.0, 180.0), 20_015_114.0),
            // A sixth of the circle, by the law of cosines.
            ((45.0, 0.0), (45.0, 90.0), 6_671_705.0),
        ] {
            let found = distance_m(from, to);
            assert!((found - metres).abs() < 1.0, "{from:?} to {to:?}: {found}");
        }
        assert_eq!(distance_m((12.0, 34.0), (12.0, 34.0)), 0.0);
    }

    #[test]
    fn stops_and_gaps_are_found() {
        let points = [point(0, 45.0, 13.0), point(10, 45.1, 13.0), point(20, 45.1, 13.0001), point(90, 45.1, 13.0), point(100, 45.2, 13.0)];
        let stop = Stop { from_ms: 10, to_ms: 90, latitude: 45.1, longitude: 13.0 };
        assert_eq!(stops(&points, 80, 50.0), [stop]);
        assert_eq!(stops(&points, 81, 50.0), []);
        assert_eq!(stops(&points, 80, 5.0), []);
        assert_eq!(stops(&points, 0, 50.0), []);
        let times_ms = points.map(|point| point.time_ms);
        assert_eq!(gaps(&times_ms, 69), vec![20..90]);
        assert_eq!(gaps(&times_ms, 70), []);
        assert_eq!(gaps(&times_ms, 0), []);
        assert_eq!((stops(&[], 1, 1.0), gaps(&[], 1)), (vec![], vec![]));
        // Who creeps away does not stay.
        let creeping: Vec<Point> = (0..10).map(|step| point(step, 45.0 + step as f64 * 0.0004, 13.0)).collect();
        assert_eq!(stops(&creeping, 2, 50.0), []);
    }

    #[test]
    fn a_corner_stays_and_a_straight_line_goes() {
        let line = [point(0, 10.0, 179.99), point(1, 10.0, -180.0), point(2, 10.0, -179.99), point(3, 10.01, -179.99)];
        assert_eq!(simplify(&line, 5.0), [0, 2, 3]);
        assert_eq!(simplify(&line, 0.0), [0, 1, 2, 3]);
        assert_eq!(simplify(&line[..1], 5.0), [0]);
        assert_eq!(simplify(&[], 5.0), Vec::<usize>::new());
        // Back where it began: the way there is not lost.
        assert_eq!(simplify(&[line[0], line[3], line[0]], 5.0), [0, 1, 2]);
    }

    /// A walk around somewhere, in steps of up to some hundred metres.
    fn walk() -> impl Strategy<Value = Vec<Point>> {
        let start = (-80.0..80.0_f64, prop::sample::select(vec![-180.0, -179.999, 0.0, 77.0, 179.999]));
        (start, prop::collection::vec((-0.002..0.002_f64, -0.002..0.002_f64), 0..80)).prop_map(|(start, steps)| {
            let mut at = start;
            let step = |(time_ms, (north, east)): (u64, (f64, f64))| {
                at = (at.0 + north, at.1 + east);
                at.1 = (at.1 + 540.0).rem_euclid(360.0) - 180.0;
                point(time_ms, at.0, at.1)
            };
            (0..).zip(steps).map(step).collect()
        })
    }

    /// The least distance on the sphere from a point to any of many places on a line, the short way around.
    fn sampled_m(point: Point, from: Point, to: Point) -> f64 {
        let east = (to.longitude - from.longitude + 540.0).rem_euclid(360.0) - 180.0;
        let place = |part: f64| (from.latitude + (to.latitude - from.latitude) * part, from.longitude + east * part);
        let to_place = |step: u32| distance_m((point.latitude, point.longitude), place(f64::from(step) / 1_000.0));
        (0..=1_000).map(to_place).fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #[test]
        fn what_is_left_out_lies_near_the_line_that_stays(points in walk(), tolerance_m in 1.0..300.0_f64) {
            let stays = simplify(&points, tolerance_m);
            prop_assert_eq!(stays.first().copied(), (!points.is_empty()).then_some(0));
            prop_assert_eq!(stays.last().copied(), points.len().checked_sub(1));
            for pair in stays.windows(2) {
                let (from, to) = (points[pair[0]], points[pair[1]]);
                // Between two samples lies at most a thousandth of the line; the plane is off by less than a thousandth.
                let length_m = distance_m((from.latitude, from.longitude), (to.latitude, to.longitude));
                for left_out in &points[pair[0] + 1..pair[1]] {
                    let metres = sampled_m(*left_out, from, to);
                    prop_assert!(metres <= tolerance_m * 1.01 + length_m / 1_000.0, "{} m off", metres);
                }
            }
        }

        #[test]
        fn stops_are_found_as_by_looking_at_everything(points in walk(), least_ms in 1..20_u64, radius_m in 20.0..900.0_f64) {
            let (mut expected, mut at) = (Vec::new(), 0);
            while at < points.len() {
                let place = |point: &Point| (point.latitude, point.longitude);
                let staying = points[at..].iter().take_while(|point| distance_m(place(&points[at]), place(point)) <= radius_m).count();
                let (first, last) = (points[at], points[at + staying - 1]);
                let stays = last.time_ms - first.time_ms >= least_ms;
                if stays {
                    let (latitude, longitude) = place(&first);
                    expected.push(Stop { from_ms: first.time_ms, to_ms: last.time_ms, latitude, longitude });
                }
                at += if stays { staying } else { 1 };
            }
            prop_assert_eq!(stops(&points, least_ms, radius_m), expected);
        }
    }
}
