//! Points in time as operators write and read them: UTC, `2026-11-24T03:35:23Z`.

use std::time::Duration;

const SECONDS_A_DAY: u64 = 86_400;

/// A time as text, to the second.
pub(super) fn utc(time_ms: u64) -> String {
    let seconds = time_ms / 1_000;
    let (year, month, day) = date_of(seconds / SECONDS_A_DAY);
    let clock = seconds % SECONDS_A_DAY;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", clock / 3_600, clock / 60 % 60, clock % 60)
}

/// From when on: so long before now, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    Ago(Duration),
    At(u64),
}

impl Since {
    /// In UTC ms.
    pub(super) fn time_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(duration) => now_ms.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            Self::At(time_ms) => time_ms,
        }
    }
}

/// `90s`, `30m`, `12h`, `7d`; or `2026-11-24`, `2026-11-24T03:35`, `2026-11-24T03:35:23Z`.
pub(super) fn since(text: &str) -> Result<Since, String> {
    let at = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let seconds = match &text[at..] {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(SECONDS_A_DAY),
        _ => None,
    };
    if let (Some(seconds), Ok(number)) = (seconds, text[..at].parse::<u64>()) {
        return Ok(Since::Ago(Duration::from_secs(number.saturating_mul(seconds))));
    }
    let wrong = || "write how long ago (90s, 30m, 12h, 7d) or when in UTC (2026-11-24 or 2026-11-24T03:35)".to_owned();
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let date = numbers(date, '-', 3).ok_or_else(wrong)?;
    let clock = clock.strip_suffix('Z').unwrap_or(clock);
    let clock = numbers(clock, ':', 2).or_else(|| numbers(clock, ':', 3)).ok_or_else(wrong)?;
    let (year, month, day) = (date[0], date[1], date[2]);
    let second = clock.get(2).copied().unwrap_or(0);
    let sound = (1970..=9999).contains(&year) && clock[0] < 24 && clock[1] < 60 && second < 60;
    let days = if sound { days_of(year, month, day) } else { None }.ok_or_else(wrong)?;
    Ok(Since::At((days * SECONDS_A_DAY + clock[0] * 3_600 + clock[1] * 60 + second) * 1_000))
}

/// A day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Day {
    Ago(u64),
    At(u64),
}

impl Day {
    /// Since the first of 1970.
    pub(super) fn number(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(days) => (now_ms / 1_000 / SECONDS_A_DAY).saturating_sub(days),
            Self::At(day) => day,
        }
    }
}

/// `today`, `yesterday`, or `2026-11-25`.
pub(super) fn day(text: &str) -> Result<Day, String> {
    match (text, since(text)) {
        ("today", _) => Ok(Day::Ago(0)),
        ("yesterday", _) => Ok(Day::Ago(1)),
        (date, Ok(Since::At(time_ms))) if !date.contains(['T', ' ']) => Ok(Day::At(time_ms / 1_000 / SECONDS_A_DAY)),
        _ => Err("write a day in UTC: 2026-11-25, today or yesterday".to_owned()),
    }
}

fn numbers(text: &str, between: char, count: usize) -> Option<Vec<u64>> {
    let parts: Vec<&str> = text.split(between).collect();
    let digits = |part: &&str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() != count || !parts.iter().all(digits) {
        return None;
    }
    parts.iter().map(|part| part.parse().ok()).collect()
}

fn is_leap(year: u64) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the first of 1970 to the first of a year.
fn days_before(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

fn date_of(days: u64) -> (u64, u64, u64) {
    // At most one too high.
    let mut year = 1970 + days / 365;
    while days_before(year) > days {
        year -= 1;
    }
    let (mut day, mut month) = (days - days_before(year), 1);
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    let there = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    there.then(|| days_before(year) + (1..month).map(|month| days_in(year, month)).sum::<u64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59Z"),
            (1_795_491_323_000, "2026-11-24T03:35:23Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(time_ms), text);
            assert_eq!(since(text), Ok(Since::At(time_ms)));
        }
        assert_eq!(since("2026-11-24"), Ok(Since::At(1_795_478_400_000)));
        assert_eq!(since("2026-11-24 03:35"), Ok(Since::At(1_795_491_300_000)));
        assert_eq!(since("7d").map(|since| since.time_ms(700_000_000)), Ok(95_200_000));
        assert_eq!(day("2026-11-24"), Ok(Day::At(20_781)));
        assert_eq!(day("yesterday").map(|day| day.number(1_795_491_323_000)), Ok(20_780));
        assert!(day("7d").is_err() && day("2026-11-24T03:35").is_err());
        for wrong in ["", "7", "d", "-1d", "2026-02-29", "2026-13-01", "2026-1", "2026-11-24T24:00", "yesterday", "2026-11-24T3"] {
            assert!(since(wrong).is_err(), "{wrong:?}");
        }
    }
}
