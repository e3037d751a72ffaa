//! The items of a list of Janus, by their number: new recordings, some of them again, and every kind of what cannot be used.
//!
//! What an item is follows from its number alone, so nothing has to be remembered to tell afterwards what should have become of it.

use xxhash_rust::xxh3::xxh3_64;

use crate::model::{GroupId, UserId};

/// Of a hundred items these are bad, come again soon, and come again late.
const BAD: u64 = 5;
const SOON: u64 = 5;
const LATE: u64 = 5;
/// How far back what comes again soon was first.
const NEAR: u64 = 40;
/// Items change their places within so many.
pub(super) const SHUFFLED: u64 = 64;
/// No group and no account has this id.
const NOBODY: u64 = 9_000_000_000_000_000;

/// Who talks where in a run.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub(super) rooms: Vec<GroupId>,
    pub(super) speakers: Vec<UserId>,
    /// Of another company.
    pub(super) stranger: UserId,
    /// When the run began, UTC ms.
    pub(super) begun_ms: u64,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A recording that is told of for the first time, but for places that are changed.
    New,
    /// The recording of this number once more.
    Again(u64),
    /// Nothing that can be used.
    Bad(Fault),
}

/// Why an item cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    NoJson,
    UnknownType,
    NoFile,
    BadTime,
    UnknownGroup,
    UnknownSpeaker,
    ForeignCompany,
    UnaskedReply,
}

impl Fault {
    pub(super) const ALL: [Self; 8] = [
        Self::NoJson,
        Self::UnknownType,
        Self::NoFile,
        Self::BadTime,
        Self::UnknownGroup,
        Self::UnknownSpeaker,
        Self::ForeignCompany,
        Self::UnaskedReply,
    ];

    /// What the dead letter has to say.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoJson => "the item is no JSON object",
            Self::UnknownType => "msg_type 9 is none of 1 (recording), 2 (reply), 3 (quality)",
            Self::NoFile => "file_path is missing",
            Self::BadTime => "timestamp has to be a time in seconds since 1970",
            Self::UnknownGroup => "grp_id is no group",
            Self::UnknownSpeaker => "uid is no account",
            Self::ForeignCompany => "uid and grp_id are of two companies",
            Self::UnaskedReply => "a reply, and nobody asked",
        }
    }
}

fn hash(number: u64) -> u64 {
    xxh3_64(&number.to_le_bytes())
}

/// What the item of a number is.
pub(super) fn fate(number: u64) -> Fate {
    let hash = hash(number);
    let (kind, more) = (hash % 100, hash / 100);
    if kind < BAD {
        return Fate::Bad(Fault::ALL[(more % Fault::ALL.len() as u64) as usize]);
    }
    let back = match kind - BAD {
        kind if kind < SOON => 1 + more % NEAR,
        kind if kind < SOON + LATE => 1 + more % number.max(1),
        _ => return Fate::New,
    };
    // The next one before it that is new; with none there it is new itself.
    let first = (0..=number.saturating_sub(back)).rev().find(|first| *first < number && is_plain(*first));
    first.map_or(Fate::New, Fate::Again)
}

/// Whether an item is new whatever was before it.
fn is_plain(number: u64) -> bool {
    hash(number) % 100 >= BAD + SOON + LATE
}

/// The numbers of a block of [`SHUFFLED`] in the order in which they are said.
pub(super) fn block(from: u64, until: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (from..until).collect();
    numbers.sort_by_key(|number| hash(!*number));
    numbers
}

/// The file of a new item's recording.
pub(super) fn file(number: u64) -> String {
    format!("bench/M00/{number}.opus")
}

/// The number of the item whose recording has a file.
pub(super) fn number_of_file(file: &str) -> Option<u64> {
    file.strip_prefix("bench/M00/")?.strip_suffix(".opus")?.parse().ok()
}

/// The number of a bad item.
pub(super) fn number_of_bad(item: &str) -> Option<u64> {
    let (_, number) = item.split_once("bad-")?;
    number[..number.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(number.len())].parse().ok()
}

impl Cast {
    pub(super) fn room(&self, number: u64) -> GroupId {
        self.rooms[(hash(number) >> 40) as usize % self.rooms.len()]
    }

    pub(super) fn speaker(&self, number: u64) -> UserId {
        self.speakers[(hash(number) >> 20) as usize % self.speakers.len()]
    }

    /// The item of a number, as Janus puts it onto its list.
    pub(super) fn item(&self, number: u64) -> String {
        match fate(number) {
            Fate::New => self.recording(number, number),
            Fate::Again(first) => self.recording(first, number),
            Fate::Bad(fault) => self.bad(number, fault),
        }
    }

    /// The recording of an item in one of the shapes in which it may come: bare or in an envelope, with texts or with numbers; and every fourth
    /// with an id of its own.
    fn recording(&self, of: u64, number: u64) -> String {
        let (seconds, ms, shape) = (self.begun_ms / 1_000, self.begun_ms, hash(number));
        let own = if hash(of) & 3 == 0 { format!(r#""id":"own-{of}","timestamp_ms":"{ms}","#) } else { String::new() };
        let quote = if shape & 4 == 0 { r#"""# } else { "" };
        let text = format!(
            r#"{{{own}"uid":{quote}{speaker}{quote},"m_type":"ptt","md5":"{of:032x}","grp_id":{quote}{room}{quote},"file_path":"{file}","timestamp":{quote}{seconds}{quote},"duration":{quote}{duration}{quote}}}"#,
            speaker = self.speaker(of),
            room = self.room(of),
            file = file(of),
            duration = 500 + of % 20_000,
        );
        if shape & 8 == 0 { text } else { enveloped(&text) }
    }

    fn bad(&self, number: u64, fault: Fault) -> String {
        let (room, speaker, stranger) = (self.room(number).0, self.speaker(number).0, self.stranger.0);
        let seconds = (self.begun_ms / 1_000).to_string();
        let said = |speaker: u64, room: u64, file: &str, seconds: &str| {
            let text = format!(
                r#"{{"uid":"{speaker}","m_type":"ptt","md5":"bad-{number}","grp_id":"{room}",{file}"timestamp":"{seconds}","duration":"1500"}}"#
            );
            if number.is_multiple_of(2) { text } else { enveloped(&text) }
        };
        let file = r#""file_path":"bench/bad.opus","#;
        match fault {
            Fault::NoJson => format!("bad-{number} is no JSON"),
            Fault::UnknownType => format!(r#"{{"msg_type":9,"ip":"bad-{number}"}}"#),
            Fault::UnaskedReply => format!(r#"{{"msg_type":2,"ip":"bad-{number}","signal_msg":{{"signal_type":1}}}}"#),
            Fault::NoFile => said(speaker, room, "", &seconds),
            Fault::BadTime => said(speaker, room, file, "soon"),
            Fault::UnknownGroup => said(speaker, NOBODY, file, &seconds),
            Fault::UnknownSpeaker => said(NOBODY, room, file, &seconds),
            Fault::ForeignCompany => said(stranger, room, file, &seconds),
        }
    }
}

fn enveloped(text: &str) -> String {
    format!(r#"{{"msg_type":1,"ip":"127.0.0.1","ptt_msg":{text}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talk::{Said, parse};

    const ITEMS: u64 = 20_000;

    fn cast() -> Cast {
        Cast { rooms: vec![GroupId(7), GroupId(8)], speakers: vec![UserId(1), UserId(2)], stranger: UserId(3), begun_ms: 1_700_000_000_123 }
    }

    #[test]
    fn what_comes_again_is_the_same_recording_and_what_is_new_another() {
        let (cast, mut ids, mut again, mut bad) = (cast(), std::collections::BTreeSet::new(), 0, 0);
        let burst = |number: u64| match parse(cast.item(number).as_bytes()) {
            Ok(Said::Burst(burst)) => burst,
            other => panic!("{number}: {other:?}"),
        };
        for number in 0..ITEMS {
            match fate(number) {
                Fate::New => {
                    let burst = burst(number);
                    assert_eq!((number_of_file(&burst.file), burst.group), (Some(number), cast.room(number)));
                    assert!(ids.insert(burst.id), "{number}");
                }
                Fate::Again(first) => {
                    assert!(first < number && fate(first) == Fate::New, "{number}: {first}");
                    assert_eq!(burst(first).id, burst(number).id, "{number}: {first}");
                    again += 1;
                }
                Fate::Bad(_) => bad += 1,
            }
        }
        assert!((1_800..2_200).contains(&again) && (900..1_100).contains(&bad), "{again} {bad}");
    }

    #[test]
    fn what_is_bad_says_its_number_and_is_refused_for_what_can_be_seen_in_it() {
        let cast = cast();
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..ITEMS {
            let Fate::Bad(fault) = fate(number) else { continue };
            let item = cast.item(number);
            assert_eq!(number_of_bad(&item), Some(number), "{item}");
            match (fault, parse(item.as_bytes())) {
                (Fault::UnaskedReply, Ok(Said::Reply(None))) => {}
                // These only SQL can tell.
                (Fault::UnknownGroup | Fault::UnknownSpeaker | Fault::ForeignCompany, Ok(Said::Burst(_))) => {}
                (fault, Err(error)) => assert_eq!(error.to_string(), fault.reason()),
                (fault, said) => panic!("{fault:?}: {said:?}"),
            }
            seen.insert(fault);
        }
        assert_eq!(seen.len(), Fault::ALL.len());
    }

    #[test]
    fn a_block_has_every_number_once() {
        let mut numbers = block(128, 192);
        assert!(!numbers.is_sorted());
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(128..192));
    }
}
