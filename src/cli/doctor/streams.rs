//! What the doctor says of the streams of reports and of alerts: whether somebody works on them, and what they hold.

use std::time::Duration;

use super::{Checks, Verdict, verdict};
use crate::broker::StreamLook;

/// Of how many hundredths of its bound on the backlog of reports is warned.
const NEAR_PERCENT: u64 = 80;

/// What is asked of a stream.
struct Asked {
    check: &'static str,
    /// For how long its oldest entry may stand there without a word.
    late: Duration,
    /// Whether somebody is worse off at once when nobody works on what waits.
    grave: bool,
    fix: &'static str,
}

const FIX: Asked = Asked {
    check: "fix",
    late: Duration::from_secs(60),
    grave: true,
    fix: "is gps up, and SQL, and fast enough? the log of gps says what it waits for",
};

const TALK: Asked = Asked {
    check: "talk",
    late: Duration::from_secs(60),
    grave: true,
    fix: "is janus up, and SQL? until they are nobody gets what was recorded; the log of janus says what it waits for",
};

/// Commands that came by the list, and what rooms have for the media server.
const MEDIA: [Asked; 2] = [
    Asked {
        check: "talk.commands",
        late: Duration::from_secs(10),
        grave: false,
        fix: "is janus up, and the Janus of janus.url? who gives commands waits for their answers; see the log of janus",
    },
    Asked {
        check: "talk.media",
        late: Duration::from_secs(10),
        grave: true,
        fix: "is janus up? until it is nobody can talk live; its log says what it waits for",
    },
];

const ALERTS: [Asked; 4] = [
    Asked {
        check: "sos",
        late: Duration::from_secs(10),
        grave: true,
        fix: "is sos up? until it is nobody hears an SOS; its log says what it waits for",
    },
    Asked {
        check: "sos.tell",
        late: Duration::from_secs(10),
        grave: true,
        fix: "are sos and the Redis of redis.url up? until they are nobody hears of alerts; see the log of sos",
    },
    Asked {
        check: "sos.text",
        late: Duration::from_secs(60),
        grave: true,
        fix: "is sos up, and does the provider of sms.provider take texts? see the log of sos",
    },
    Asked {
        check: "sos.events",
        late: Duration::from_secs(60),
        grave: false,
        fix: "are sos and SQL up? alerts go on, and SQL hears later what happened; see the log of sos",
    },
];

/// How the streams of alerts are called, in the order in which they are looked at.
pub(super) const ALERT_NAMES: [&str; 4] = [ALERTS[0].check, ALERTS[1].check, ALERTS[2].check, ALERTS[3].check];

/// Requests to offline: `name` is `replay` or `floor`.
pub(super) fn judge_requests(checks: &mut Checks, name: &'static str, look: &StreamLook, paused: bool) {
    let fix = "is offline up, and SQL fast enough? until it is, who comes back lacks what was said meanwhile; see the log of offline";
    judge(checks, &Asked { check: name, late: Duration::from_secs(30), grave: true, fix }, look, paused);
}

/// What Janus says. A deployment without Janus runs no janus, and nothing waits for one.
pub(super) fn judge_talk(checks: &mut Checks, look: &StreamLook) {
    if look.length == 0 && look.workers.is_empty() {
        return checks.add(TALK.check, Verdict::Ok, "nothing waits; nobody works on it".to_owned(), TALK.fix);
    }
    judge(checks, &TALK, look, false);
}

/// The way to the media server, where there is one: `commands` by the list, `orders` of rooms.
pub(super) fn judge_media(checks: &mut Checks, commands: &StreamLook, orders: &StreamLook) {
    for (asked, look) in MEDIA.iter().zip([commands, orders]) {
        judge(checks, asked, look, false);
    }
}

/// Reports of positions: `backlog_bytes` of them stand there, and at `bytes_max` no more are let in.
pub(super) fn judge_reports(checks: &mut Checks, look: &StreamLook, backlog_bytes: u64, bytes_max: u64, paused: bool) {
    judge(checks, &FIX, look, paused);
    let near = backlog_bytes > bytes_max / 100 * NEAR_PERCENT;
    let seen = format!("{backlog_bytes} of {bytes_max} bytes");
    let fix = "beyond gps.backlog_bytes_max reports are refused, and devices keep them: see what holds gps or SQL up";
    checks.add("fix.backlog", verdict(backlog_bytes > bytes_max, near), seen, fix);
}

/// The streams of alerts, in the order in which they are looked at; `letters` is how many dead letters stand beside them, when that is not the Redis of the fleet.
pub(super) fn judge_alerts(checks: &mut Checks, looks: &[StreamLook], letters: Option<u64>, paused: &[bool]) {
    for ((asked, look), paused) in ALERTS.iter().zip(looks).zip(paused) {
        judge(checks, asked, look, *paused);
    }
    if let Some(letters) = letters {
        let fix = "`roger dead --sos list`, then redrive or drop each";
        checks.add("sos.dead-letters", verdict(false, letters > 0), letters.to_string(), fix);
    }
}

/// What is paused waits because somebody wants it to, which is told elsewhere.
fn judge(checks: &mut Checks, asked: &Asked, look: &StreamLook, paused: bool) {
    let nobody = look.workers.is_empty();
    let oldest = look.oldest_ms.map(Duration::from_millis);
    let mut seen = match oldest {
        None if look.length > 0 => format!("{} wait", look.length),
        None => "nothing waits".to_owned(),
        Some(oldest) => format!("{} wait, the oldest for {} s", look.length, oldest.as_secs()),
    };
    seen.push_str(&match (nobody, look.pending()) {
        (false, _) => format!("; {} alive", look.workers.len()),
        (true, 0) => "; nobody works on it".to_owned(),
        (true, pending) => format!("; nobody works on it, and {pending} are in the hands of the dead"),
    });
    let late = !paused && oldest.is_some_and(|oldest| oldest > asked.late);
    checks.add(asked.check, verdict(nobody && look.length > 0 && asked.grave, nobody || late), seen, asked.fix);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::GroupState;

    fn look(oldest_s: Option<u64>, pending: u64, workers: usize) -> StreamLook {
        let group = GroupState { name: "g".to_owned(), consumers: 1, pending, lag: None, given: Default::default(), read: None };
        StreamLook {
            stream: "s".to_owned(),
            length: oldest_s.map_or(0, |_| 7),
            oldest_ms: oldest_s.map(|oldest_s| oldest_s * 1_000),
            groups: vec![group],
            workers: vec!["w".to_owned(); workers],
        }
    }

    #[test]
    fn who_is_missing_and_what_is_late_is_named() {
        let judged = |asked: &Asked, look: &StreamLook| {
            let mut checks = Checks::default();
            judge(&mut checks, asked, look, false);
            checks.0.pop().map(|check| (check.verdict, check.reason)).unwrap()
        };
        let said = |verdict, reason: &str| (verdict, reason.to_owned());
        assert_eq!(judged(&FIX, &look(None, 0, 2)), said(Verdict::Ok, "nothing waits; 2 alive"));
        assert_eq!(judged(&FIX, &look(Some(60), 3, 1)), said(Verdict::Ok, "7 wait, the oldest for 60 s; 1 alive"));
        assert_eq!(judged(&FIX, &look(Some(61), 3, 1)).0, Verdict::Warn);
        assert_eq!(judged(&FIX, &look(None, 0, 0)), said(Verdict::Warn, "nothing waits; nobody works on it"));
        let dead = said(Verdict::Fail, "7 wait, the oldest for 1 s; nobody works on it, and 3 are in the hands of the dead");
        assert_eq!(judged(&ALERTS[0], &look(Some(1), 3, 0)), dead);
        assert_eq!(judged(&ALERTS[3], &look(Some(1), 0, 0)).0, Verdict::Warn, "SQL only follows");
    }

    #[test]
    fn a_backlog_is_named_before_reports_are_refused() {
        let judged = |bytes| {
            let mut checks = Checks::default();
            judge_reports(&mut checks, &look(Some(1), 0, 1), bytes, 1_000, false);
            checks.0.pop().map(|check| check.verdict).unwrap()
        };
        assert_eq!([800, 801, 1_000, 1_001].map(judged), [Verdict::Ok, Verdict::Warn, Verdict::Warn, Verdict::Fail]);
    }
}
