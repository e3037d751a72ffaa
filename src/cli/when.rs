//! Points in time as operators read them: UTC, `2026-11-24T03:35:23Z`.

const SECONDS_A_DAY: u64 = 86_400;

/// A time as text, to the second.
pub(super) fn utc(time_ms: u64) -> String {
    let seconds = time_ms / 1_000;
    let (year, month, day) = date_of(seconds / SECONDS_A_DAY);
    let clock = seconds % SECONDS_A_DAY;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", clock / 3_600, clock / 60 % 60, clock % 60)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59Z"),
            (1_795_491_323_000, "2026-11-24T03:35:23Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(time_ms), text);
        }
    }
}
