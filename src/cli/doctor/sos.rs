//! What the doctor says of SOS: whether the probe comes through.

use std::time::Duration;

use super::{Checks, Verdict};
use crate::broker::{Error, Probes};
use crate::worker::chain;

/// How many intervals may pass without a probe that came through.
const INTERVALS_MAX: u32 = 3;
const CHECK: &str = "sos.probe";
const FIX: &str = "until it is mended an SOS may not be heard: are sos, delivery and the Redis of sos.redis_url up? see the log of sos; \
                   sos.probe_interval_s = 0 stops the probe";

/// `interval` is how often it is probed; zero for never, of which nothing is said.
pub(super) fn judge(checks: &mut Checks, probes: Result<Option<Probes>, Error>, interval: Duration, now_ms: u64) {
    let probes = match probes {
        _ if interval.is_zero() => return,
        Err(error) => return checks.add(CHECK, Verdict::Fail, chain(&error), "start the Redis of sos.redis_url"),
        Ok(None) => return checks.add(CHECK, Verdict::Warn, "none was made yet", "start the program sos; its log says what it waits for"),
        Ok(Some(probes)) => probes,
    };
    let failed = match probes.failed {
        0 => String::new(),
        failed => format!("; {failed} failed since, the last one because {}", probes.why),
    };
    let Some(passed_ms) = probes.passed_ms else {
        let verdict = if probes.failed >= u64::from(INTERVALS_MAX) { Verdict::Fail } else { Verdict::Warn };
        return checks.add(CHECK, verdict, format!("none ever came through{failed}"), FIX);
    };
    let ago = Duration::from_millis(now_ms.saturating_sub(passed_ms));
    let verdict = match (ago > interval * INTERVALS_MAX, probes.failed) {
        (true, _) => Verdict::Fail,
        (false, 1..) => Verdict::Warn,
        (false, 0) => Verdict::Ok,
    };
    let seen = format!("one came through {} s ago, in {} ms{failed}", ago.as_secs(), probes.took_ms);
    checks.add(CHECK, verdict, seen, FIX);
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);
    const NOW_MS: u64 = 1_764_000_000_000;

    #[test]
    fn what_does_not_come_through_for_three_intervals_is_found() {
        let judged = |probes: Option<Probes>, interval| {
            let mut checks = Checks::default();
            judge(&mut checks, Ok(probes), interval, NOW_MS);
            checks.0.pop().map(|check| (check.verdict, check.reason))
        };
        let ago = |seconds: u64, failed| {
            let (passed_ms, why) = (Some(NOW_MS - seconds * 1_000), "of a wire".to_owned());
            Some(Probes { passed_ms, took_ms: 12, failed, why, ..Probes::default() })
        };
        let said = |verdict, reason: &str| Some((verdict, reason.to_owned()));
        assert_eq!(judged(ago(1_000, 9), Duration::ZERO), None, "off");
        assert_eq!(judged(None, INTERVAL), said(Verdict::Warn, "none was made yet"));
        assert_eq!(judged(ago(59, 0), INTERVAL), said(Verdict::Ok, "one came through 59 s ago, in 12 ms"));
        let failed = "one came through 70 s ago, in 12 ms; 1 failed since, the last one because of a wire";
        assert_eq!(judged(ago(70, 1), INTERVAL), said(Verdict::Warn, failed));
        // Whether they fail or are not made any more.
        for count in [0, 3] {
            assert_eq!(judged(ago(181, count), INTERVAL).unwrap().0, Verdict::Fail);
        }
        let never = |failed| judged(Some(Probes { failed, ..Probes::default() }), INTERVAL).unwrap().0;
        assert_eq!((never(2), never(3)), (Verdict::Warn, Verdict::Fail));
    }
}
