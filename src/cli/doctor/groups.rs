//! What the doctor says of consumer groups beyond who works on them: what the dead hold, what fails again and again, what was deleted unread.
//! Nothing is said of what is well.

use super::super::streams::Worked;
use super::{Checks, Verdict};
use crate::broker::{Error, Failing, GroupTrouble, Redis, StreamLook};

/// After how many failed attempts an entry is told.
const FAILURES_MIN: u64 = 3;

/// `name` is what the stream is called, `look` how it stood at `now_ms` or later.
pub(super) async fn judge(
    checks: &mut Checks,
    name: &'static str,
    redis: &Redis,
    stream: &Worked,
    look: &StreamLook,
    now_ms: u64,
) -> Result<(), Error> {
    for group in &look.groups {
        let trouble = redis.look_for_trouble(&look.stream, &group.name).await?;
        let are_known = trouble.held.iter().all(|(holder, _)| look.workers.contains(holder));
        // One that is not known may have begun since the look.
        let workers = if are_known { look.workers.clone() } else { stream.look(redis, now_ms).await?.workers };
        judge_trouble(checks, name, &workers, &trouble);
    }
    Ok(())
}

fn judge_trouble(checks: &mut Checks, name: &'static str, workers: &[String], trouble: &GroupTrouble) {
    let dead: Vec<_> = trouble.held.iter().filter(|(holder, _)| !workers.contains(holder)).collect();
    if !dead.is_empty() {
        let count: u64 = dead.iter().map(|(_, count)| count).sum();
        let names = dead.iter().map(|(holder, _)| holder.as_str()).collect::<Vec<_>>().join(", ");
        let seen = format!("{name}: {count} in the hands of {names}, who give no sign of life");
        let fix = "a living worker takes them over within a minute; if it stays, none lives, or it is paused, or has no room";
        checks.add("orphans", Verdict::Warn, seen, fix);
    }
    if let Some(Failing { id, failures, why }) = trouble.failing.first().filter(|failing| failing.failures >= FAILURES_MIN) {
        let more = trouble.failing.iter().filter(|failing| failing.failures >= FAILURES_MIN).count() - 1;
        let more = if more == 0 { String::new() } else { format!("; {more} more fail") };
        let seen = format!("{name}: {id} failed {failures} times, the first time: {why}{more}");
        let fix = "mend what it names; after the last attempt it becomes a dead letter, see `roger dead list`";
        checks.add("failing", Verdict::Warn, seen, fix);
    }
    if trouble.trimmed {
        let seen = format!("{name}: entries were deleted that nobody was given");
        let fix = "find out who trims or deletes on this Redis: the fleet does not; what was in them is lost";
        checks.add("trimmed", Verdict::Fail, seen, fix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_the_failing_and_the_deleted_are_named() {
        let judged = |trouble: &GroupTrouble| {
            let mut checks = Checks::default();
            judge_trouble(&mut checks, "replay", &["alive".to_owned()], trouble);
            checks.0.into_iter().map(|check| (check.check, check.reason)).collect::<Vec<_>>()
        };
        let failing = |id: &str, failures| Failing { id: id.to_owned(), failures, why: "SQL is away".to_owned() };
        let well = GroupTrouble { held: vec![("alive".to_owned(), 7)], failing: vec![failing("1-0", 2)], trimmed: false };
        assert_eq!(judged(&well), []);
        let ill = GroupTrouble {
            held: vec![("alive".to_owned(), 7), ("x".to_owned(), 2), ("y".to_owned(), 1)],
            failing: vec![failing("1-0", 9), failing("2-0", 3), failing("3-0", 1)],
            trimmed: true,
        };
        let said = judged(&ill);
        let names: Vec<_> = said.iter().map(|(check, _)| *check).collect();
        assert_eq!(names, ["orphans", "failing", "trimmed"]);
        assert!(said[0].1.contains("3 in the hands of x, y"), "{said:?}");
        assert!(said[1].1.contains("1-0 failed 9 times, the first time: SQL is away; 1 more fail"), "{said:?}");
    }
}
