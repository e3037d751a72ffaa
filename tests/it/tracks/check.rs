//! Sends the files of a folder in one way, reads back what SQL has, and compares point by point.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use gpx::{Gpx, Waypoint};
use roger::broker::keys;
use serde_json::Value;
use time::OffsetDateTime;

use crate::support::fleet::{Answer, Fleet, FleetOptions, SqlServer};
use crate::support::{pause, wait_for};

/// A dead program's frames are taken over after 22 s, and SQL may have been away as long.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// How long a replay lasts that something is done to.
const PLAY: Duration = Duration::from_secs(8);

/// In which way tracks are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    InOrder,
    Shuffled,
    /// Every point twice.
    Doubled,
    /// By up to 48 hours, so that later points overtake it.
    Late,
    /// gps gets SIGKILL every second.
    Killed,
    /// SQL is away for so long in the middle.
    Outage(Duration),
}

impl Variant {
    fn name(self) -> String {
        match self {
            Self::InOrder => "in order".to_owned(),
            Self::Shuffled => "shuffled".to_owned(),
            Self::Doubled => "each point twice".to_owned(),
            Self::Late => "up to 48 h late".to_owned(),
            Self::Killed => "gps killed each second".to_owned(),
            Self::Outage(away) => format!("SQL away for {} s", away.as_secs()),
        }
    }

    fn copies(self) -> u64 {
        if self == Self::Doubled { 2 } else { 1 }
    }

    fn arguments(self, points: &[Waypoint]) -> Vec<String> {
        let within = |play: Duration| {
            let times: Vec<u64> = points.iter().filter_map(time_ms).collect();
            let span_ms = times.iter().max().unwrap_or(&0) - times.iter().min().unwrap_or(&0);
            let speed = (span_ms as f64 / play.as_millis() as f64).max(1.0);
            vec!["--speed".to_owned(), speed.to_string(), "--batch".to_owned(), "50".to_owned()]
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Self::InOrder => words(&[]),
            Self::Shuffled => words(&["--shuffle", "7", "--batch", "100"]),
            Self::Doubled => words(&["--double", "--batch", "77"]),
            Self::Late => words(&["--late", "48", "--batch", "100"]),
            Self::Killed => within(PLAY),
            Self::Outage(away) => within(PLAY + away),
        }
    }
}

/// A point as it is compared: latitude and longitude bit by bit, metres as reports carry them.
type Spot = (u64, u64, Option<u32>);

fn time_ms(point: &Waypoint) -> Option<u64> {
    let time = OffsetDateTime::from(point.time?);
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

fn spot(point: &Waypoint) -> Spot {
    let place = point.point();
    (place.y().to_bits(), place.x().to_bits(), point.elevation.map(|metres| (metres as f32).to_bits()))
}

fn points(gpx: Gpx) -> Vec<Waypoint> {
    gpx.tracks.into_iter().flat_map(|track| track.segments).flat_map(|segment| segment.points).collect()
}

/// What became of one file in one way.
#[derive(Debug, Default)]
struct Row {
    file: String,
    variant: String,
    points: u64,
    timed: u64,
    /// Times at which the file has more than one place: only one of them can be stored.
    contradicted: u64,
    /// Reports without a time, refused by its name.
    refused_by_name: u64,
    /// Stored points that are in the file, bit by bit.
    equal: u64,
    missing: u64,
    wrong: u64,
    calls_repeated: u64,
    received: u64,
    stored: u64,
    duplicate: u64,
    refused: u64,
    /// Another place at a time that is taken.
    conflicts: u64,
    sound: bool,
}

/// A fleet, and the files.
pub(super) struct Site {
    fleet: Fleet,
    files: Vec<PathBuf>,
    rows: Vec<Row>,
}

impl Site {
    pub(super) fn start(sql: SqlServer, folder: &Path) -> Self {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "gpx")).collect();
        files.sort();
        assert!(!files.is_empty(), "no GPX file in {}", folder.display());
        let fleet = Fleet::start(FleetOptions { edges: 1, delivery: 0, offline: 0, gps: 1, sql, ..FleetOptions::default() });
        Self { fleet, files, rows: Vec::new() }
    }

    /// Sends all files at once, each as a device of its own, and compares what came of them.
    pub(super) fn run(&mut self, variant: Variant) {
        let number = self.rows.len();
        let all: Vec<(String, Vec<Waypoint>)> = (self.files.iter().enumerate())
            .map(|(file, path)| (format!("track-{number}-{file}"), points(gpx::read(BufReader::new(File::open(path).unwrap())).unwrap())))
            .collect();
        let mut replays: Vec<Child> = (self.files.iter().zip(&all))
            .map(|(path, (device, points))| {
                let edge = self.fleet.edge(0);
                let mut args =
                    vec!["--json", "replay", "track", path.to_str().unwrap(), "--as", device, "--tenant", "tracks", "--edge", &edge];
                let more = variant.arguments(points);
                args.extend(more.iter().map(String::as_str));
                self.fleet.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        match variant {
            Variant::Killed => self.kill_each_second(&mut replays),
            Variant::Outage(away) => self.take_sql_away(&all, away),
            Variant::InOrder | Variant::Shuffled | Variant::Doubled | Variant::Late => {}
        }
        let replayed: Vec<Value> = replays.into_iter().map(|replay| output(replay).succeeded().json()).collect();
        wait_for("all reports in SQL", SETTLED_WITHIN, || (self.fleet.redis.cli(&["XLEN", &keys::fix()]).trim() == "0").then_some(()));
        for ((path, (device, points)), replayed) in self.files.clone().iter().zip(&all).zip(replayed) {
            let row = self.compare(path, device, points, variant, &replayed);
            self.rows.push(row);
        }
    }

    fn kill_each_second(&mut self, replays: &mut [Child]) {
        let mut kills = 0;
        while replays.iter_mut().any(|replay| replay.try_wait().unwrap().is_none()) {
            sleep(Duration::from_secs(1));
            self.fleet.relaunch("gps-0");
            kills += 1;
        }
        assert!(kills > 3, "gps was killed only {kills} times");
        self.fleet.program("gps-0").wait_for_log("ready");
    }

    /// From when some of each file is in.
    fn take_sql_away(&mut self, all: &[(String, Vec<Waypoint>)], away: Duration) {
        for (device, _) in all {
            wait_for("the first points in SQL", SETTLED_WITHIN, || {
                let fate = self.fleet.roger(&["--json", "fate", device, "today"]);
                (fate.code == 0 && fate.json()["received"].as_u64()? > 0).then_some(())
            });
        }
        let mariadb = self.fleet.mariadb.as_ref().expect("SQL is a server");
        mariadb.stop();
        sleep(away);
        mariadb.resume();
    }

    fn compare(&self, path: &Path, device: &str, points: &[Waypoint], variant: Variant, replayed: &Value) -> Row {
        let mut wanted: BTreeMap<u64, Vec<Spot>> = BTreeMap::new();
        for (time_ms, point) in points.iter().filter_map(|point| Some((time_ms(point)?, point))) {
            wanted.entry(time_ms).or_default().push(spot(point));
        }
        let trace = self.fleet.roger(&["trace", device, "--from", "1970-01-01", "--format", "gpx"]).succeeded();
        let stored = self::points(gpx::read(trace.stdout.as_bytes()).unwrap());
        let fits =
            |point: &&Waypoint| time_ms(point).and_then(|time_ms| wanted.get(&time_ms)).is_some_and(|all| all.contains(&spot(point)));
        let fate = self.fleet.roger(&["--json", "fate", device, "today"]).json();
        let count = |key: &str| fate[key].as_u64().unwrap();
        let refusals = |reason: &str, field: &str| -> u64 {
            let all = fate["refusals"].as_array().unwrap().iter();
            all.filter(|refusal| refusal["reason"] == reason && refusal["field"] == field)
                .map(|refusal| refusal["reports"].as_u64().unwrap())
                .sum()
        };
        let mut row = Row {
            file: path.file_name().unwrap().to_string_lossy().into_owned(),
            variant: variant.name(),
            points: points.len() as u64,
            timed: wanted.values().map(|all| all.len() as u64).sum(),
            contradicted: wanted.values().filter(|all| all.iter().any(|spot| (spot.0, spot.1) != (all[0].0, all[0].1))).count() as u64,
            refused_by_name: refusals("field_missing", "fix.time_ms"),
            equal: stored.iter().filter(fits).count() as u64,
            calls_repeated: replayed["repeated_calls"].as_u64().unwrap(),
            received: count("received"),
            stored: count("stored"),
            duplicate: count("duplicate"),
            refused: count("refused"),
            conflicts: refusals("fix_conflict", "fix"),
            ..Row::default()
        };
        row.wrong = stored.len() as u64 - row.equal;
        let there: std::collections::BTreeSet<u64> = stored.iter().filter_map(time_ms).collect();
        row.missing = wanted.keys().filter(|time_ms| !there.contains(time_ms)).count() as u64;
        let (copies, times) = (variant.copies(), wanted.len() as u64);
        let untimed = (row.points - row.timed) * copies;
        // What was sent again counts as often as it came.
        let exact = row.calls_repeated > 0 || (row.received == row.points * copies && row.refused_by_name == untimed);
        row.sound = exact
            && (row.equal, row.missing, row.wrong, row.stored) == (times, 0, 0, times)
            && row.received == row.stored + row.duplicate + row.refused
            && row.refused == row.refused_by_name + row.conflicts
            && (row.conflicts == 0) == (row.contradicted == 0)
            && fate["adds_up"] == true
            && replayed["points"] == row.points;
        row
    }

    /// Prints what came of each file in each way, and panics unless all of it is sound.
    pub(super) fn verdict(&self) {
        println!(
            "| file | sent | points | with a time | times with two places | refused: no time | equal | missing | wrong | received | stored | duplicate | refused | of these conflicts | calls sent again | sound |"
        );
        println!("|{}", "---|".repeat(16));
        for row in &self.rows {
            let Row { file, variant, points, timed, contradicted, refused_by_name, equal, missing, wrong, .. } = row;
            let Row { calls_repeated, received, stored, duplicate, refused, conflicts, sound, .. } = row;
            print!("| {file} | {variant} | {points} | {timed} | {contradicted} | {refused_by_name} | {equal} | {missing} | {wrong} |");
            println!(
                " {received} | {stored} | {duplicate} | {refused} | {conflicts} | {calls_repeated} | {} |",
                if *sound { "yes" } else { "NO" }
            );
        }
        let unsound: Vec<_> = self.rows.iter().filter(|row| !row.sound).collect();
        assert!(unsound.is_empty(), "{unsound:#?}");
    }
}

fn output(child: Child) -> Answer {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The duration is what is tested: a pace of kills, an outage.
fn sleep(duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until {
        pause();
    }
}
