//! What of a report counts. Time and place must be good, or the report is refused by the name of the field at fault; anything else that is wrong
//! is left out, and flagged by name.

use super::frame::{self, Scan};
use super::report::{Gps, Heard, Report};
use crate::model::{PositionSource, Reason, TenantId, UserId};

/// The first time that is none: the year 2100.
const TIME_END_MS: u64 = 4_102_444_800_000;
/// A clock that is further ahead than this, measured at the arrival, is wrong.
const AHEAD_MS: u64 = 5 * 60_000;
/// One that is further behind is wrong too, or the device was off for long. Devices keep what they could not send for two days.
const BEHIND_MS: u64 = 7 * 24 * 3_600_000;
/// The most access points, cells and beacons of a report, each.
const HEARD_MAX: usize = 64;

/// What of a report was set right, or stands out. The numbers are those of the client protocol, and bits in frames and SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// The device's clock is ahead: never the current position.
    ClockAhead = 1,
    /// The device's clock is behind, or it was off for long.
    ClockBehind = 2,
    /// The speed was left out.
    SpeedIgnored = 3,
    /// The course was left out.
    CourseIgnored = 4,
    /// The accuracy was left out.
    AccuracyIgnored = 5,
    /// The altitude was left out.
    AltitudeIgnored = 6,
    /// The battery was left out.
    BatteryIgnored = 7,
    /// Some of what was heard was left out.
    ScanIgnored = 8,
}

impl Flag {
    const ALL: [Self; 8] = [
        Self::ClockAhead,
        Self::ClockBehind,
        Self::SpeedIgnored,
        Self::CourseIgnored,
        Self::AccuracyIgnored,
        Self::AltitudeIgnored,
        Self::BatteryIgnored,
        Self::ScanIgnored,
    ];

    /// Its name in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClockAhead => "clock_ahead",
            Self::ClockBehind => "clock_behind",
            Self::SpeedIgnored => "speed_ignored",
            Self::CourseIgnored => "course_ignored",
            Self::AccuracyIgnored => "accuracy_ignored",
            Self::AltitudeIgnored => "altitude_ignored",
            Self::BatteryIgnored => "battery_ignored",
            Self::ScanIgnored => "scan_ignored",
        }
    }

    /// Its bit.
    pub fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Those of a set of bits.
    pub fn of(bits: u32) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |flag| bits & flag.bit() != 0)
    }
}

/// Why a report is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The field at fault, as a path in the report.
    pub field: &'static str,
}

/// What became of a report.
pub type Judged = Result<frame::Fix, Refusal>;

fn refused(reason: Reason, field: &'static str) -> Judged {
    Err(Refusal { reason, field })
}

/// Judges a report that `device` of `tenant` made, and that arrived at `arrival_ms`.
pub fn judge(report: &Report, device: UserId, tenant: TenantId, arrival_ms: u64) -> Judged {
    if report.device != 0 && report.device != device.0 {
        return refused(Reason::NotPermitted, "device_id");
    }
    let mut fix = frame::Fix { device: device.0, tenant: tenant.0, group: report.group, ..frame::Fix::default() };
    let mut flags = 0;
    let scan = scan(report, &mut flags);
    match &report.gps {
        Some(gps) => {
            check(gps)?;
            (fix.fix_ms, fix.source) = (gps.time_ms, PositionSource::Gps as u32);
            (fix.latitude, fix.longitude) = (gps.latitude, gps.longitude);
            let mut keep = |value: Option<f32>, low: f32, high: f32, flag: Flag| {
                let kept = value.filter(|value| (low..=high).contains(value));
                if value.is_some() && kept.is_none() {
                    flags |= flag.bit();
                }
                kept
            };
            fix.accuracy_m = keep(gps.accuracy_m, 0.0, 1_000_000.0, Flag::AccuracyIgnored).filter(|metres| *metres > 0.0);
            fix.altitude_m = keep(gps.altitude_m, -1_000.0, 100_000.0, Flag::AltitudeIgnored);
            fix.speed_mps = keep(gps.speed_mps, 0.0, 1_000.0, Flag::SpeedIgnored);
            fix.course_deg = keep(gps.course_deg, 0.0, 360.0, Flag::CourseIgnored);
        }
        None if scan == Scan::default() && report.battery.is_none() => return refused(Reason::FieldMissing, "fix"),
        None => {
            check_time(report.time_ms, "time_ms")?;
            fix.fix_ms = report.time_ms;
        }
    }
    if fix.fix_ms > arrival_ms + AHEAD_MS {
        flags |= Flag::ClockAhead.bit();
    } else if fix.fix_ms + BEHIND_MS < arrival_ms {
        flags |= Flag::ClockBehind.bit();
    }
    fix.battery = report.battery.and_then(|percent| u32::try_from(percent).ok()).filter(|percent| *percent <= 100);
    if report.battery.is_some() && fix.battery.is_none() {
        flags |= Flag::BatteryIgnored.bit();
    }
    fix.flags = flags;
    fix.scan = (scan != Scan::default()).then_some(scan);
    Ok(fix)
}

fn check_time(time_ms: u64, field: &'static str) -> Result<(), Refusal> {
    match time_ms {
        0 => Err(Refusal { reason: Reason::FieldMissing, field }),
        1..TIME_END_MS => Ok(()),
        _ => Err(Refusal { reason: Reason::FieldInvalid, field }),
    }
}

fn check(gps: &Gps) -> Result<(), Refusal> {
    check_time(gps.time_ms, "fix.time_ms")?;
    // NaN lies in no range.
    if !(-90.0..=90.0).contains(&gps.latitude) {
        return Err(Refusal { reason: Reason::FieldInvalid, field: "fix.latitude" });
    }
    if !(-180.0..=180.0).contains(&gps.longitude) {
        return Err(Refusal { reason: Reason::FieldInvalid, field: "fix.longitude" });
    }
    // What receivers without a fix say. Nobody is there: it is a place in the sea.
    if gps.latitude == 0.0 && gps.longitude == 0.0 {
        return Err(Refusal { reason: Reason::FieldMissing, field: "fix.latitude" });
    }
    Ok(())
}

fn scan(report: &Report, flags: &mut u32) -> Scan {
    let mut ignored = false;
    let mut heard = |all: &[Heard]| {
        let read = all.iter().take(HEARD_MAX).filter_map(|one| {
            let address = address_of(&one.address).filter(|_| (-127..=0).contains(&one.level_dbm))?;
            Some(frame::Heard { address, level_dbm: one.level_dbm })
        });
        let read: Vec<_> = read.collect();
        ignored |= read.len() < all.len();
        read
    };
    let (wifi, bluetooth) = (heard(&report.wifi), heard(&report.bluetooth));
    let cells = report.cells.iter().take(HEARD_MAX).filter(|cell| (-200..=0).contains(&cell.level_dbm));
    let cells: Vec<_> = cells
        .map(|cell| frame::Cell {
            country: cell.country,
            operator: cell.operator,
            area: cell.area,
            cell: cell.cell,
            level_dbm: cell.level_dbm,
        })
        .collect();
    if ignored || cells.len() < report.cells.len() {
        *flags |= Flag::ScanIgnored.bit();
    }
    Scan { wifi, cells, bluetooth }
}

/// Six bytes in hexadecimal, with or without colons or hyphens, as a number; `None` for anything else, and for no address at all (0).
pub fn address_of(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|letter| !matches!(letter, ':' | '-')).collect();
    if digits.len() != 12 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(&digits, 16).ok().filter(|address| *address != 0)
}

/// As [`address_of`] reads it: `00:1a:2b:3c:4d:5e`.
pub fn address_text(address: u64) -> String {
    let [_, _, bytes @ ..] = address.to_be_bytes();
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_764_000_000_000;

    fn gps() -> Gps {
        Gps { time_ms: NOW_MS - 1_000, latitude: 45.27, longitude: 13.71, ..Gps::default() }
    }

    fn judged(gps: Gps) -> Judged {
        judge(&Report { gps: Some(gps), ..Report::default() }, UserId(7), TenantId(1), NOW_MS)
    }

    #[track_caller]
    fn check_refused(gps: Gps, reason: Reason, field: &'static str) {
        assert_eq!(judged(gps).map(|fix| fix.fix_ms), Err(Refusal { reason, field }));
    }

    #[test]
    fn a_fix_without_a_good_time_or_place_is_refused_by_name() {
        check_refused(Gps { time_ms: 0, ..gps() }, Reason::FieldMissing, "fix.time_ms");
        check_refused(Gps { time_ms: TIME_END_MS, ..gps() }, Reason::FieldInvalid, "fix.time_ms");
        for latitude in [91.0, -90.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            check_refused(Gps { latitude, ..gps() }, Reason::FieldInvalid, "fix.latitude");
        }
        for longitude in [180.000_001, -181.0, f64::NAN, f64::INFINITY] {
            check_refused(Gps { longitude, ..gps() }, Reason::FieldInvalid, "fix.longitude");
        }
        check_refused(Gps { latitude: 0.0, longitude: -0.0, ..gps() }, Reason::FieldMissing, "fix.latitude");
    }

    #[test]
    fn poles_and_the_date_line_are_places() {
        for (latitude, longitude) in [(90.0, 0.0), (-90.0, 77.0), (0.0, 180.0), (0.0, -180.0), (1e-9, 0.0)] {
            let fix = judged(Gps { latitude, longitude, ..gps() }).unwrap();
            assert_eq!((fix.latitude, fix.longitude, fix.flags), (latitude, longitude, 0));
        }
    }

    #[test]
    fn what_else_is_wrong_is_left_out_and_flagged() {
        let check = |gps: Gps, flag: Flag| {
            let fix = judged(gps).unwrap();
            assert_eq!(Flag::of(fix.flags).collect::<Vec<_>>(), [flag]);
            assert_eq!((fix.speed_mps, fix.course_deg, fix.accuracy_m, fix.altitude_m), (None, None, None, None));
        };
        check(Gps { speed_mps: Some(-1.0), ..gps() }, Flag::SpeedIgnored);
        check(Gps { speed_mps: Some(f32::NAN), ..gps() }, Flag::SpeedIgnored);
        check(Gps { course_deg: Some(360.5), ..gps() }, Flag::CourseIgnored);
        check(Gps { accuracy_m: Some(-1.0), ..gps() }, Flag::AccuracyIgnored);
        check(Gps { altitude_m: Some(f32::INFINITY), ..gps() }, Flag::AltitudeIgnored);
        check(Gps { time_ms: NOW_MS + AHEAD_MS + 1, ..gps() }, Flag::ClockAhead);
        check(Gps { time_ms: 1, ..gps() }, Flag::ClockBehind);
        for percent in [-1, 101] {
            let report = Report { gps: Some(gps()), battery: Some(percent), ..Report::default() };
            let fix = judge(&report, UserId(7), TenantId(1), NOW_MS).unwrap();
            assert_eq!((fix.battery, fix.flags), (None, Flag::BatteryIgnored.bit()));
        }
    }

    #[test]
    fn a_report_is_the_callers_own_and_says_something() {
        let judge = |report: Report| judge(&report, UserId(7), TenantId(1), NOW_MS);
        let stranger = judge(Report { device: 8, gps: Some(gps()), ..Report::default() });
        assert_eq!(stranger, Err(Refusal { reason: Reason::NotPermitted, field: "device_id" }));
        assert!(judge(Report { device: 7, gps: Some(gps()), ..Report::default() }).is_ok());
        let empty = judge(Report { time_ms: NOW_MS, ..Report::default() });
        assert_eq!(empty, Err(Refusal { reason: Reason::FieldMissing, field: "fix" }));
        let heard = |address: &str| Heard { address: address.to_owned(), level_dbm: -60 };
        let scanned = Report { time_ms: NOW_MS, wifi: vec![heard("00:1a:2B:3c:4d:5e"), heard("home")], ..Report::default() };
        let fix = judge(scanned).unwrap();
        assert_eq!((fix.source, fix.flags), (0, Flag::ScanIgnored.bit()));
        assert_eq!(fix.scan.unwrap().wifi, [frame::Heard { address: 0x001a_2b3c_4d5e, level_dbm: -60 }]);
    }
}
