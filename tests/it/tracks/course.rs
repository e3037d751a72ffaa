//! GPX files as receivers and converters write them, with all they do to whoever reads them: segments without points, a segment without times
//! in front of others, waypoints, nine and ten decimals, fractions of a second, and points that come twice or contradict each other.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// 2020-12-18T06:00:00Z.
const START_S: u64 = 1_608_271_200;

/// A walk that is the same each time.
struct Walk {
    state: u64,
    latitude: f64,
    longitude: f64,
    metres: f64,
    second: u64,
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self { state: seed, latitude: 45.27, longitude: 13.71, metres: 213.07, second: START_S }
    }

    /// From 0 up to, and without, 1 (Knuth's MMIX generator).
    fn draw(&mut self) -> f64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn step(&mut self) {
        self.latitude += (self.draw() - 0.5) * 1e-3;
        self.longitude += (self.draw() - 0.5) * 1e-3;
        self.metres += (self.draw() - 0.5) * 10.0;
        self.second += 1 + (self.draw() * 20.0) as u64;
    }

    fn point(&self, decimals: usize, timed: bool) -> String {
        let Self { latitude, longitude, metres, second, .. } = self;
        let mut point = format!("<trkpt lat=\"{latitude:.decimals$}\" lon=\"{longitude:.decimals$}\"><ele>{metres:.6}</ele>");
        if timed {
            let (day, clock) = (second / 86_400 - START_S / 86_400 + 18, second % 86_400);
            let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
            write!(point, "<time>2020-12-{day:02}T{hour:02}:{minute:02}:{second:02}Z</time>").unwrap();
        }
        point.push_str("</trkpt>\n");
        point
    }

    fn segment(&mut self, points: usize, decimals: usize, timed: bool) -> String {
        let mut segment = String::new();
        for _ in 0..points {
            self.step();
            segment.push_str(&self.point(decimals, timed));
        }
        segment
    }
}

fn file(version: &str, marks: &str, segments: &[String]) -> String {
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gpx version=\"{version}\" creator=\"test\" ");
    writeln!(text, "xmlns=\"http://www.topografix.com/GPX/{}\">", version.replace('.', "/")).unwrap();
    text.push_str(marks);
    for (number, segment) in segments.iter().enumerate() {
        writeln!(text, "<trk><name>ACTIVE LOG {number}</name><trkseg>\n{segment}</trkseg></trk>").unwrap();
    }
    text.push_str("</gpx>\n");
    text
}

/// Writes three files into a folder: a short one as of a receiver, one of many pieces as of a converter, and a long one with everything; of
/// `long` points.
pub(super) fn write(folder: &Path, long: usize) {
    let mut walk = Walk::new(1);
    let receiver = file("1.1", "", &[walk.segment(104, 10, true)]);
    let pieces = [0, 173, 52, 2, 44, 2, 2, 21].map(|points| walk.segment(points, 9, true));
    let mark = "<wpt lat=\"45.757933259\" lon=\"14.294899916\"><ele>-0.114380</ele><name>002</name><cmt>a \u{2014} mark</cmt></wpt>\n";
    let converter = file("1.0", &mark.repeat(7), &pieces);

    let timeless = walk.segment(358, 9, false);
    let mut odd = walk.segment(long, 9, true);
    // The same point again; then another place at the same time, as a receiver that catches up says.
    odd.push_str(&walk.point(9, true));
    for _ in 0..3 {
        walk.latitude += 1e-9;
        odd.push_str(&walk.point(9, true));
    }
    // A second that lasts: its tenths are times of their own.
    for tenth in 1..10 {
        let point = walk.point(9, true);
        odd.push_str(&point.replace("Z</time>", &format!(".{tenth}Z</time>")));
    }
    odd.push_str(&walk.segment(20, 9, true));
    // From the start again, as when a receiver's memory is read out twice.
    let again: String = odd.split_inclusive('\n').take(50).collect();
    let everything = file("1.0", "", &[String::new(), timeless, odd, again]);
    for (name, text) in [("receiver", receiver), ("converter", converter), ("everything", everything)] {
        fs::write(folder.join(format!("{name}.gpx")), text).unwrap();
    }
}
