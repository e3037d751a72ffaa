//! Who is told, when, and what is looked for in what programs print, as `config/alerts.toml` documents.

use std::path::{Path, PathBuf};

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use regex::Regex;
use serde::Deserialize;

use super::event::{Channel, Severity};

/// Rules that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadRules {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// `listener.rules_file`.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has a key that is not known or lacks one.
    #[error("{} does not hold rules", path.display())]
    Syntax {
        /// `listener.rules_file`.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value cannot be used.
    #[error("{}: {key} = {value:?}: must be {rule}", path.display())]
    Value {
        /// `listener.rules_file`.
        path: PathBuf,
        /// Which key.
        key: String,
        /// What stands there.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default = "utc")]
    time_zone: String,
    host: Option<String>,
    quiet: Option<RawHours>,
    #[serde(default)]
    person: Vec<RawPerson>,
    #[serde(default)]
    always: Vec<String>,
    #[serde(default)]
    shift: Vec<RawShift>,
    #[serde(default)]
    pattern: Vec<RawPattern>,
    #[serde(default)]
    never_revive: Vec<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHours {
    from: String,
    until: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    name: String,
    number: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShift {
    people: Vec<String>,
    #[serde(default)]
    days: Vec<String>,
    #[serde(default = "midnight")]
    from: String,
    #[serde(default = "midnight")]
    until: String,
    weekly_from: Option<String>,
}

fn midnight() -> String {
    "00:00".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPattern {
    name: String,
    regex: String,
    #[serde(default)]
    program: String,
    #[serde(default = "warning")]
    severity: Severity,
    #[serde(default)]
    tagged: bool,
}

fn warning() -> Severity {
    Severity::Warning
}

/// Hours of a day, which may pass midnight; from and until alike: the whole day.
#[derive(Clone, Copy, Debug)]
struct Hours {
    from: Time,
    until: Time,
}

#[derive(Debug)]
struct Shift {
    numbers: Vec<String>,
    /// Those on which it begins; empty for all.
    days: Vec<Weekday>,
    hours: Hours,
    /// The day from which the people take turns, a week each; all at once without.
    weekly_from: Option<Date>,
}

#[derive(Debug)]
struct Pattern {
    name: String,
    regex: Regex,
    program: String,
    severity: Severity,
    tagged: bool,
}

/// The rules of a deployment.
#[derive(Debug)]
pub struct Rules {
    zone: TimeZone,
    /// What texts call this machine; `None` for its name.
    pub(super) host: Option<String>,
    quiet: Option<Hours>,
    always: Vec<String>,
    shifts: Vec<Shift>,
    patterns: Vec<Pattern>,
    never_revive: Vec<String>,
}

impl Rules {
    /// Those without a file: nobody is told, nothing is looked for but what is printed between tags.
    pub(super) fn none() -> Self {
        let (always, shifts, patterns, never_revive) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { zone: TimeZone::UTC, host: None, quiet: None, always, shifts, patterns, never_revive }
    }

    /// Reads and judges a file.
    ///
    /// # Errors
    /// See [`BadRules`].
    pub fn read(path: &Path) -> Result<Self, BadRules> {
        let text = std::fs::read_to_string(path).map_err(|source| BadRules::File { path: path.to_owned(), source })?;
        let raw: Raw = toml::from_str(&text).map_err(|source| BadRules::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        Self::judge(raw).map_err(|(key, value, rule)| BadRules::Value { path: path.to_owned(), key, value, rule })
    }

    fn judge(raw: Raw) -> Result<Self, (String, String, &'static str)> {
        let bad = |key: &str, value: &str, rule| (key.to_owned(), value.to_owned(), rule);
        let zone = TimeZone::get(&raw.time_zone);
        let zone = zone.map_err(|_| bad("time_zone", &raw.time_zone, "a time zone of this machine, as Europe/Oslo (Debian: tzdata)"))?;
        let hours = |key: &str, from: &str, until: &str| {
            let time = |text: &str| {
                let shaped = text.len() == 5 && text.as_bytes()[2] == b':';
                Time::strptime("%H:%M", text).ok().filter(|_| shaped).ok_or_else(|| bad(key, text, "a time of day, as 22:00"))
            };
            Ok(Hours { from: time(from)?, until: time(until)? })
        };
        for person in &raw.person {
            if !is_number(&person.number) {
                // Who, and not which: errors go into logs.
                return Err(bad(&format!("number of {}", person.name), "…", "a telephone number, as +4712345678"));
            }
        }
        let numbers = |key: &str, names: &[String]| {
            let number = |name: &String| {
                let known = raw.person.iter().find(|person| person.name == *name);
                known.map(|person| person.number.clone()).ok_or_else(|| bad(key, name, "the name of a [[person]]"))
            };
            names.iter().map(number).collect::<Result<Vec<_>, _>>()
        };
        let mut shifts = Vec::new();
        for shift in &raw.shift {
            let days =
                shift.days.iter().map(|day| weekday(day).ok_or_else(|| bad("shift.days", day, "mon, tue, wed, thu, fri, sat or sun")));
            let date = |text: &String| text.parse::<Date>().map_err(|_| bad("shift.weekly_from", text, "a day, as 2026-01-05"));
            shifts.push(Shift {
                numbers: numbers("shift.people", &shift.people)?,
                days: days.collect::<Result<_, _>>()?,
                hours: hours("shift", &shift.from, &shift.until)?,
                weekly_from: shift.weekly_from.as_ref().map(date).transpose()?,
            });
        }
        let mut patterns = Vec::new();
        for pattern in raw.pattern {
            let regex = Regex::new(&pattern.regex).map_err(|_| bad("pattern.regex", &pattern.regex, "a regular expression"))?;
            let RawPattern { name, program, severity, tagged, .. } = pattern;
            patterns.push(Pattern { name, regex, program, severity, tagged });
        }
        Ok(Self {
            zone,
            host: raw.host,
            quiet: raw.quiet.as_ref().map(|quiet| hours("quiet", &quiet.from, &quiet.until)).transpose()?,
            always: numbers("always", &raw.always)?,
            shifts,
            patterns,
            never_revive: raw.never_revive,
        })
    }

    /// Whose telephones are told at a time (UTC milliseconds), each once: those who are always told, and those on shift.
    pub(super) fn on_call(&self, now_ms: u64) -> Vec<String> {
        let now = self.local(now_ms);
        let mut numbers = self.always.clone();
        for shift in &self.shifts {
            let Some(began) = shift.began(&now) else { continue };
            match shift.weekly_from {
                None => numbers.extend(shift.numbers.iter().cloned()),
                Some(first) => {
                    let weeks = first.until(began).map_or(0, |span| i64::from(span.get_days())).div_euclid(7);
                    let turn = weeks.rem_euclid(shift.numbers.len().max(1) as i64) as usize;
                    numbers.extend(shift.numbers.get(turn).cloned());
                }
            }
        }
        let mut once = Vec::new();
        for number in numbers {
            if !once.contains(&number) {
                once.push(number);
            }
        }
        once
    }

    /// Whether only what is critical is told at a time.
    pub(super) fn is_quiet(&self, now_ms: u64) -> bool {
        self.quiet.is_some_and(|hours| hours.began(&self.local(now_ms)).is_some())
    }

    /// The time of day of a moment, as `14:02`.
    pub(super) fn time_of_day(&self, at_ms: u64) -> String {
        self.local(at_ms).strftime("%H:%M").to_string()
    }

    /// The first pattern that a line matches: its name, and how much it matters. What stands between tags matters without any pattern for tags.
    pub(super) fn matched(&self, program: &str, channel: Channel, line: &str) -> Option<(&str, Severity)> {
        let tagged = channel == Channel::Tagged;
        let fits =
            |pattern: &&Pattern| (!pattern.tagged || tagged) && is_program(&pattern.program, program) && pattern.regex.is_match(line);
        let found = self.patterns.iter().find(fits).map(|pattern| (pattern.name.as_str(), pattern.severity));
        let none_for_tags = !self.patterns.iter().any(|pattern| pattern.tagged);
        found.or((tagged && none_for_tags).then_some(("", Severity::Warning)))
    }

    /// Whether a program that is FATAL is started again.
    pub(super) fn revives(&self, program: &str) -> bool {
        !self.never_revive.iter().any(|name| is_program(name, program))
    }

    /// Whether lines that programs print are looked into.
    pub fn looks_into_lines(&self) -> bool {
        self.patterns.iter().any(|pattern| !pattern.tagged)
    }

    /// Whether anybody can ever be told.
    pub fn tells_anybody(&self) -> bool {
        !self.always.is_empty() || self.shifts.iter().any(|shift| !shift.numbers.is_empty())
    }

    fn local(&self, at_ms: u64) -> Zoned {
        let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        at.unwrap_or(Timestamp::MAX).to_zoned(self.zone.clone())
    }
}

impl Hours {
    /// On which day the hours began that last at `now`; `None` when they do not.
    fn began(self, now: &Zoned) -> Option<Date> {
        let (today, time) = (now.date(), now.time());
        let yesterday = || today.checked_sub(1.day()).ok();
        match (self.from < self.until, time >= self.from, time < self.until) {
            (true, true, true) | (false, true, _) => Some(today),
            (false, _, true) => yesterday(),
            // From midnight to midnight.
            _ => None,
        }
    }
}

impl Shift {
    fn began(&self, now: &Zoned) -> Option<Date> {
        self.hours.began(now).filter(|day| self.days.is_empty() || self.days.contains(&day.weekday()))
    }
}

/// Whether a name in a rule means a process, `roger:edge-0`: all of it, its group, its process, or the start of either with `*`; empty means any.
fn is_program(rule: &str, program: &str) -> bool {
    let (group, process) = program.split_once(':').unwrap_or((program, program));
    let is = |name: &str| rule.strip_suffix('*').map_or(rule == name, |start| name.starts_with(start));
    rule.is_empty() || is(program) || is(group) || is(process)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+');
    digits.is_some_and(|digits| (4..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEOPLE: &str = "[[person]]\nname = \"Kari\"\nnumber = \"+471111\"\n[[person]]\nname = \"Ola\"\nnumber = \"+472222\"\n[[person]]\nname = \"Boss\"\nnumber = \"+479999\"\n";

    fn read(text: &str) -> Result<Rules, String> {
        let raw = toml::from_str(text).map_err(|error| error.to_string())?;
        Rules::judge(raw).map_err(|(key, value, rule)| format!("{key} = {value:?}: must be {rule}"))
    }

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond() as u64
    }

    #[test]
    fn who_is_on_call_follows_days_hours_and_weeks_where_they_live() {
        let shifts = "time_zone = \"Europe/Oslo\"\nalways = [\"Boss\"]\n[[shift]]\npeople = [\"Kari\", \"Ola\"]\nweekly_from = \"2026-01-05\"\nfrom = \"16:00\"\nuntil = \"08:00\"\n[[shift]]\npeople = [\"Ola\"]\ndays = [\"mon\"]\nfrom = \"08:00\"\nuntil = \"16:00\"\n";
        let rules = read(&format!("{shifts}{PEOPLE}")).unwrap();
        let check = |at: &str, expected: &[&str]| assert_eq!(rules.on_call(ms(at)), expected, "{at}");
        check("2026-01-05T08:00:00Z", &["+479999", "+472222"]);
        check("2026-01-06T08:00:00Z", &["+479999"]);
        check("2026-01-05T15:00:00Z", &["+479999", "+471111"]);
        // The night from Sunday belongs to the week in which it began.
        check("2026-01-12T06:59:00Z", &["+479999", "+471111"]);
        check("2026-01-12T15:00:00Z", &["+479999", "+472222"]);
        check("2026-01-19T15:00:00Z", &["+479999", "+471111"]);
        // In summer the clock is another hour ahead.
        check("2026-07-07T14:30:00Z", &["+479999", "+471111"]);
        assert_eq!(rules.time_of_day(ms("2026-07-07T14:30:00Z")), "16:30");
    }

    #[test]
    fn quiet_hours_pass_midnight() {
        let rules = read("[quiet]\nfrom = \"22:00\"\nuntil = \"06:30\"").unwrap();
        let check = |at: &str, expected: bool| assert_eq!(rules.is_quiet(ms(&format!("2026-01-05T{at}Z"))), expected, "{at}");
        check("21:59:59", false);
        check("22:00:00", true);
        check("00:00:00", true);
        check("06:29:59", true);
        check("06:30:00", false);
        assert!(!Rules::none().is_quiet(0));
    }

    #[test]
    fn patterns_look_where_they_should() {
        let rules = read("[[pattern]]\nname = \"disk\"\nregex = \"No space\"\nprogram = \"edge*\"\nseverity = \"critical\"\n[[pattern]]\nname = \"stuck\"\nregex = \"^SOS_STUCK\"\ntagged = true").unwrap();
        let check = |program, channel, line, expected| assert_eq!(rules.matched(program, channel, line), expected, "{program} {line}");
        check("roger:edge-0", Channel::Stdout, "err: No space left", Some(("disk", Severity::Critical)));
        check("roger:sos", Channel::Stdout, "err: No space left", None);
        check("roger:sos", Channel::Tagged, "SOS_STUCK 7", Some(("stuck", Severity::Warning)));
        check("roger:sos", Channel::Stdout, "SOS_STUCK 7", None);
        check("roger:sos", Channel::Tagged, "other", None);
        assert_eq!(Rules::none().matched("x", Channel::Tagged, "any"), Some(("", Severity::Warning)));
        assert_eq!(Rules::none().matched("x", Channel::Stdout, "any"), None);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let check = |text: &str, expected: &str| assert!(read(text).unwrap_err().contains(expected), "{:?}", read(text));
        check("time_zone = \"Oslo\"", "time_zone = \"Oslo\": must be a time zone of this machine");
        check("[quiet]\nfrom = \"24:00\"\nuntil = \"1:00\"", "quiet = \"24:00\": must be a time of day");
        check("always = [\"Kari\"]", "always = \"Kari\": must be the name of a [[person]]");
        check("[[person]]\nname = \"K\"\nnumber = \"12\"", "number of K = \"…\": must be a telephone number");
        check("[[pattern]]\nname = \"x\"\nregex = \"(\"", "pattern.regex = \"(\": must be a regular expression");
        check("[[shift]]\npeople = []\ndays = [\"Monday\"]", "shift.days = \"Monday\": must be mon");
        check("nobody = 1", "unknown field");
    }

    #[test]
    fn the_sample_can_be_used() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/alerts.toml");
        assert!(Rules::read(&path).unwrap().tells_anybody());
    }
}
