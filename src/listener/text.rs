//! What a text says of changes: machine, programs, what happened, exit code or signal, since when, and the last line. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::event::{Change, Kind, Severity};
use super::redact::redact;
use crate::sms::gsm;

/// The most texts that tell one message; what does not fit is counted.
pub(super) const TEXTS_MAX: usize = 2;
/// The most characters of a last line, alone and beside other programs.
const LINE_CHARS: (usize, usize) = (110, 90);

/// What supervisord and the logs say beside the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// How it ended last, as `exit 3` or `SIGKILL`.
    pub(super) ended: Option<String>,
    /// Why it could not be started.
    pub(super) spawn_error: Option<String>,
    /// The last line that it printed.
    pub(super) last_line: Option<String>,
}

/// How a process ended last, as the log of supervisord has it; it says nowhere else by which signal.
pub(super) fn ended(log: &str, program: &str) -> Option<String> {
    static EXITED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"exited: (\S+) \((?:exit status (\d+)|terminated by (\w+)[^;]*); (?:not )?expected\)").expect("a pattern of our own")
    });
    let process = program.split_once(':').map_or(program, |(_, process)| process);
    let last = EXITED.captures_iter(log).filter(|found| &found[1] == process).last()?;
    Some(last.get(2).map_or_else(|| last[3].to_owned(), |status| format!("exit {}", status.as_str())))
}

/// The last line of what a program printed that says something.
pub(super) fn last_line(printed: &str) -> Option<String> {
    let line = printed.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().to_owned())
}

/// Who speaks, and how.
pub(super) struct Voice<'a> {
    /// The machine.
    pub(super) host: &'a str,
    /// Of a moment (UTC milliseconds), as `14:02`.
    pub(super) time_of_day: &'a dyn Fn(u64) -> String,
    /// Since when a program is in trouble, if that is before the changes.
    pub(super) since: &'a dyn Fn(&str) -> Option<u64>,
    /// The most parts on the air of one text.
    pub(super) parts_max: usize,
}

/// The texts that tell changes: one where that is enough.
pub(super) fn compose(changes: &[Change], facts: &BTreeMap<String, Facts>, voice: &Voice<'_>) -> Vec<String> {
    let mut programs: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        programs.entry(&change.program).or_default().push(change);
    }
    let mut ordered: Vec<(&str, Vec<&Change>)> = programs.into_iter().collect();
    // What is worst stands first, and what came first before what came later.
    let worst = |changes: &[&Change]| changes.iter().map(|change| change.severity).max().unwrap_or(Severity::Notice);
    ordered.sort_by_key(|(_, changes)| (std::cmp::Reverse(worst(changes)), changes.first().map(|change| change.seq)));
    let room = if ordered.len() == 1 { LINE_CHARS.0 } else { LINE_CHARS.1 };
    let clauses: Vec<(String, usize)> = ordered
        .iter()
        .map(|(program, changes)| {
            let facts = facts.get(*program).cloned().unwrap_or_default();
            (gsm::spelled(&clause(program, changes, &facts, voice, room)), changes.len())
        })
        .collect();
    let count = if changes.len() > 1 { format!(", {} changes", changes.len()) } else { String::new() };
    fit(
        &gsm::spelled(&format!("Roger {}{count}: ", voice.host)),
        &gsm::spelled(&format!("Roger {}, more: ", voice.host)),
        &clauses,
        voice.parts_max,
    )
}

/// Puts clauses into as few texts as they need.
fn fit(first: &str, further: &str, clauses: &[(String, usize)], parts_max: usize) -> Vec<String> {
    let mut texts = vec![first.to_owned()];
    let mut empty = true;
    for (at, (clause, _)) in clauses.iter().enumerate() {
        let rest: usize = clauses[at..].iter().map(|(_, count)| count).sum();
        let more = format!("; and {} more, {rest} changes", clauses.len() - at);
        let is_last_text = texts.len() == TEXTS_MAX;
        // The last text keeps room to say what is left out.
        let tail = |number: usize| if number == TEXTS_MAX && at + 1 < clauses.len() { more.as_str() } else { "" };
        let number = texts.len();
        let Some(text) = texts.last_mut() else { break };
        let longer = if empty { format!("{text}{clause}") } else { format!("{text}; {clause}") };
        if gsm::parts(&format!("{longer}{}", tail(number))) <= parts_max {
            (*text, empty) = (longer, false);
        } else if empty {
            (*text, empty) = (gsm::cut(&longer, tail(number), parts_max), false);
        } else if is_last_text {
            text.push_str(&more);
            break;
        } else {
            texts.push(gsm::cut(&format!("{further}{clause}"), tail(number + 1), parts_max));
        }
    }
    texts
}

fn clause(program: &str, changes: &[&Change], facts: &Facts, voice: &Voice<'_>, room: usize) -> String {
    let mut said = program.to_owned();
    let mut kinds: Vec<(Kind, u64, &Change)> = Vec::new();
    for change in changes {
        match kinds.iter_mut().find(|(kind, ..)| *kind == change.kind) {
            Some((_, count, last)) => (*count, *last) = (*count + 1, change),
            None => kinds.push((change.kind, 1, change)),
        }
    }
    kinds.sort_by_key(|(.., last)| last.seq);
    for (at, (kind, count, last)) in kinds.iter().enumerate() {
        said.push_str(if at == 0 { " " } else { ", " });
        said.push_str(kind.word());
        match kind {
            Kind::Lost | Kind::Unreadable => {
                said.push_str(&format!(" {}", changes.iter().filter(|c| c.kind == *kind).map(|c| c.count).sum::<u64>()))
            }
            Kind::Backoff if *count == 1 && last.count > 0 => said.push_str(&format!(" try {}", last.count)),
            _ if *count > 1 => said.push_str(&format!(" x{count}")),
            _ => {}
        }
        if matches!(kind, Kind::Running | Kind::SupervisorBegan | Kind::SupervisorDied | Kind::PeerBack) {
            said.push_str(&format!(" {}", (voice.time_of_day)(last.at_ms)));
        }
        if !last.detail.is_empty() {
            said.push_str(&format!(" {}", shortened(&last.detail, room)));
        }
    }
    let ends = kinds.iter().any(|(kind, ..)| matches!(kind, Kind::Exited | Kind::Fatal | Kind::Backoff));
    let began = (voice.since)(program).or_else(|| changes.iter().find(|change| change.kind.is_trouble()).map(|change| change.at_ms));
    if let Some(began) = began.filter(|_| ends || kinds.iter().any(|(kind, ..)| kind.is_trouble() && *kind != Kind::SupervisorDied)) {
        said.push_str(&format!(" since {}", (voice.time_of_day)(began)));
    }
    if ends {
        said.extend(facts.ended.iter().map(|ended| format!(", {ended}")));
        let usual = |error: &&String| !error.is_empty() && !error.starts_with("Exited too quickly");
        let line = facts.spawn_error.as_ref().filter(usual).or(facts.last_line.as_ref());
        said.extend(line.map(|line| format!(": {}", shortened(&redact(line), room))));
    }
    said
}

/// The end of a line is where it says what is wrong; its beginning is a time.
fn shortened(line: &str, room: usize) -> String {
    static TIME: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^[\[(]?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?[\])]?\s*").expect("a pattern of our own")
    });
    let line = TIME.replace(line, "");
    let chars: Vec<char> = line.chars().collect();
    if chars.len() <= room {
        return line.into_owned();
    }
    let kept = room - 2;
    // The beginning says where, the end says why.
    let (front, back) = (kept / 2, kept - kept / 2);
    format!("{}..{}", chars[..front].iter().collect::<String>(), chars[chars.len() - back..].iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::book::tests::change;
    use super::*;

    fn composed(changes: &[Change], facts: &[(&str, Facts)], parts_max: usize) -> Vec<String> {
        let facts = facts.iter().map(|(program, facts)| ((*program).to_owned(), facts.clone())).collect();
        let time_of_day = |at_ms: u64| format!("14:{at_ms:02}");
        compose(changes, &facts, &Voice { host: "oslo-1", time_of_day: &time_of_day, since: &|_| None, parts_max })
    }

    #[test]
    fn one_text_says_all_that_is_known() {
        let line = "2026-11-29T14:02:00.1Z ERROR edge: cannot bind 127.0.0.1:7701: Address already in use (os error 98), token=abc";
        let facts = Facts { ended: Some("exit 69".to_owned()), spawn_error: None, last_line: Some(line.to_owned()) };
        let texts = composed(&[change("roger:edge-0", Kind::Fatal, 2)], &[("roger:edge-0", facts)], 2);
        assert_eq!(
            texts,
            [
                "Roger oslo-1: roger:edge-0 FATAL since 14:02, exit 69: ERROR edge: cannot bind 127.0.0.1:7701: Address already in use (os error 98), token=***"
            ]
        );
        let facts = Facts { spawn_error: Some("can't find command '/opt/x'".to_owned()), ..Facts::default() };
        let texts = composed(&[change("gps", Kind::Fatal, 2)], &[("gps", facts)], 2);
        assert_eq!(texts, ["Roger oslo-1: gps FATAL since 14:02: can't find command '/opt/x'"]);
    }

    #[test]
    fn many_changes_are_counted_and_the_worst_stands_first() {
        let changes = [
            change("gps", Kind::Exited, 1),
            change("gps", Kind::Running, 2),
            change("gps", Kind::Exited, 3),
            change("gps", Kind::Running, 4),
            change("sos", Kind::Fatal, 5),
        ];
        let facts = [("gps", Facts { ended: Some("SIGKILL".to_owned()), ..Facts::default() })];
        let texts = composed(&changes, &facts, 2);
        assert_eq!(texts, ["Roger oslo-1, 5 changes: sos FATAL since 14:05; gps EXITED x2, up again x2 14:04 since 14:01, SIGKILL"]);
    }

    #[test]
    fn how_a_program_ended_is_read_from_the_log_of_supervisord() {
        let log = "2026-11-29 01:40:42,123 WARN exited: edge-0 (exit status 3; not expected)\n2026-11-29 01:40:43,123 WARN exited: gps (terminated by SIGABRT (core dumped); not expected)\n2026-11-29 01:40:44,1 INFO exited: edge-0 (terminated by SIGKILL; not expected)\nexited: edge-01 (exit status 9; expected)\n";
        let check = |program: &str, expected: Option<&str>| assert_eq!(ended(log, program).as_deref(), expected);
        check("roger:edge-0", Some("SIGKILL"));
        check("gps", Some("SIGABRT"));
        check("edge-01", Some("exit 9"));
        check("sos", None);
    }

    proptest! {
        #[test]
        fn texts_fit_and_their_counts_add_up(programs in prop::collection::vec("[a-z]{1,12}", 1..80), line in "\\PC{0,300}", parts_max in 1..4_usize) {
            let changes: Vec<Change> = programs.iter().zip(1..).map(|(program, seq)| change(program, Kind::Exited, seq)).collect();
            let facts: Vec<(&str, Facts)> =
                programs.iter().map(|program| (program.as_str(), Facts { last_line: Some(line.clone()), ..Facts::default() })).collect();
            let texts = composed(&changes, &facts, parts_max);
            prop_assert!(texts.len() <= TEXTS_MAX);
            for text in &texts {
                prop_assert!(gsm::parts(text) <= parts_max && text.starts_with("Roger oslo-1"), "{} {text}", gsm::parts(text));
            }
            if changes.len() > 1 {
                let total = format!("Roger oslo-1, {} changes: ", changes.len());
                prop_assert!(texts[0].starts_with(&total));
            }
        }
    }
}
