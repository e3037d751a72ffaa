//! What Janus calls its recordings: `audiobridge-<group>-user-<user>-<start, µs>-audio.mjr`, with `.tmp` behind it while it is written.

use crate::model::{GroupId, UserId};

const BEGIN: &str = "audiobridge-";
const END: &str = "-audio";
/// Of a recording that is finished.
const FINISHED: &str = ".mjr";
/// Of one that broke off, as the recorder names it.
const CUT: &str = ".cut.mjr";
/// Of one that is being written.
const WRITTEN: &str = ".mjr.tmp";

/// The name of a recording.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    /// When it began, UTC microseconds. First, so that names sort by it.
    pub(super) start_us: u64,
    /// All of it but the ending: what tells it from all others.
    pub(super) id: String,
    /// In whose room.
    pub(super) group: GroupId,
    /// Who talked.
    pub(super) user: UserId,
    /// Whether it broke off.
    pub(super) cut: bool,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A recording.
    Finished(Name),
    /// Janus writes it, or did when it died.
    Written(Name),
    /// It ends as a recording does, and has another name.
    Strange,
    /// None of ours.
    Other,
}

impl Name {
    fn of(stem: &str, cut: bool) -> Option<Self> {
        let (group, rest) = stem.strip_prefix(BEGIN)?.strip_suffix(END)?.split_once("-user-")?;
        let (user, start) = rest.split_once('-')?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0 && i64::try_from(*number).is_ok());
        Some(Self { start_us: number(start)?, id: stem.to_owned(), group: GroupId(number(group)?), user: UserId(number(user)?), cut })
    }

    /// The name of the file of a finished recording, or of one that broke off.
    pub(super) fn file(&self) -> String {
        format!("{}{}", self.id, if self.cut { CUT } else { FINISHED })
    }
}

/// What a file of the folder is, by its name.
pub(super) fn found(file: &str) -> Found {
    let ends = |ending| file.strip_suffix(ending);
    let (stem, cut, written) = match (ends(WRITTEN), ends(CUT), ends(FINISHED)) {
        (Some(stem), _, _) => (stem, false, true),
        (_, Some(stem), _) => (stem, true, false),
        (_, _, Some(stem)) => (stem, false, false),
        _ => return Found::Other,
    };
    match Name::of(stem, cut) {
        Some(name) if written => Found::Written(name),
        Some(name) => Found::Finished(name),
        // Janus writes it for somebody else, perhaps.
        None if written => Found::Other,
        None => Found::Strange,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_recording_it_is_and_how_far_it_is() {
        let name = Name {
            start_us: 1_700_000_000_123_456,
            id: "audiobridge-100-user-7-1700000000123456-audio".to_owned(),
            group: GroupId(100),
            user: UserId(7),
            cut: false,
        };
        let cut = Name { cut: true, ..name.clone() };
        for (ending, expected) in [
            (".mjr", Found::Finished(name.clone())),
            (".cut.mjr", Found::Finished(cut.clone())),
            (".mjr.tmp", Found::Written(name.clone())),
            (".opus", Found::Other),
        ] {
            assert_eq!(found(&format!("{}{ending}", name.id)), expected, "{ending}");
        }
        for name in [&name, &cut] {
            assert_eq!(found(&name.file()), Found::Finished(name.clone()));
        }
    }

    #[test]
    fn other_names_are_strange_when_they_end_as_recordings_do() {
        for (file, expected) in [
            ("holiday.mjr", Found::Strange),
            ("audiobridge-0-user-7-1-audio.mjr", Found::Strange),
            ("audiobridge-air-user-7-1-audio.mjr", Found::Strange),
            ("audiobridge-1-user--1-audio.mjr", Found::Strange),
            ("audiobridge-1-user-7-1-video.mjr", Found::Strange),
            ("audiobridge-1-user-18446744073709551615-1-audio.mjr", Found::Strange),
            ("holiday.mjr.tmp", Found::Other),
            (".lock", Found::Other),
        ] {
            assert_eq!(found(file), expected, "{file}");
        }
    }
}
