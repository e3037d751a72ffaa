//! What the doctor says of the shards, from two looks a moment apart.

use super::{ARCHIVE_LAG_WARN, Checks, INPUT_WARN, verdict};
use crate::broker::{Pauses, ShardLook};

/// `run_ids` are the servers': a shard whose epoch began in another run has not been taken over since.
/// What operators paused stands still because they want it to, which is told elsewhere.
pub(super) fn judge(checks: &mut Checks, run_ids: &[&str], before: &[ShardLook], after: &[ShardLook], pauses: &Pauses) {
    let named = |wanted: &dyn Fn(&ShardLook, &ShardLook) -> bool| -> Vec<String> {
        before.iter().zip(after).filter(|(before, after)| wanted(before, after)).map(|(_, after)| after.shard.to_string()).collect()
    };
    judge_owners(checks, &named, &|look| pauses.of_shard("deliver", look.shard).is_some());
    judge_epochs(checks, run_ids, before, after);
    judge_archive(checks, &named, &|look| pauses.of_shard("archive", look.shard).is_some());
}

type Named<'a> = dyn Fn(&dyn Fn(&ShardLook, &ShardLook) -> bool) -> Vec<String> + 'a;

fn seen(shards: &[String], what: &str) -> String {
    if shards.is_empty() { "all shards".to_owned() } else { format!("{what}: {}", shards.join(", ")) }
}

fn judge_owners(checks: &mut Checks, named: &Named<'_>, paused: &dyn Fn(&ShardLook) -> bool) {
    let unowned = named(&|before, after| before.deliver.is_none() && after.deliver.is_none() && !paused(after));
    checks.add(
        "deliver.owned",
        verdict(!unowned.is_empty(), false),
        seen(&unowned, "nobody owns"),
        "start delivery; its log says what it waits for",
    );
    let waits = |look: &ShardLook| look.input + look.urgent > 0 && !paused(look);
    let stuck = named(&|before, after| waits(before) && waits(after) && (before.epoch, before.commit) == (after.epoch, after.commit));
    checks.add(
        "deliver.moving",
        verdict(!stuck.is_empty(), false),
        seen(&stuck, "input waits and nothing is committed"),
        "see the log of delivery",
    );
    let full = named(&|_, after| after.input + after.urgent > INPUT_WARN);
    checks.add(
        "deliver.backlog",
        verdict(false, !full.is_empty()),
        seen(&full, "much input waits"),
        "add delivery processes, or see what slows Redis",
    );
}

/// Shards whose state cannot be trusted, and shards whose owners die.
fn judge_epochs(checks: &mut Checks, run_ids: &[&str], before: &[ShardLook], after: &[ShardLook]) {
    let due = before.iter().zip(after).filter_map(|(before, after)| {
        // Between a loss and the new epoch lies about a second: only what lasts is told.
        why_new_epoch(before, run_ids)?;
        Some(format!("{} ({})", after.shard, why_new_epoch(after, run_ids)?))
    });
    let due: Vec<String> = due.collect();
    checks.add(
        "deliver.epoch",
        verdict(false, !due.is_empty()),
        seen(&due, "Redis may have lost a part, and a new epoch has not begun"),
        "start offline and SQL: the owner needs them to begin the epoch, and until then nothing moves; see the log of delivery",
    );
    let dying: Vec<String> =
        after.iter().filter(|look| look.deaths > 1).map(|look| format!("{} ({} times)", look.shard, look.deaths)).collect();
    checks.add(
        "deliver.deaths",
        verdict(false, !dying.is_empty()),
        seen(&dying, "owners died in a row over the input in front, without a commit"),
        "see the log of delivery for what it dies of, a kill for lack of memory included; input that goes on killing is put aside, \
         see `roger dead list`",
    );
}

/// Why the next owner of a shard has to begin a new epoch, as far as that shows from outside; `None` when it need not.
fn why_new_epoch(look: &ShardLook, run_ids: &[&str]) -> Option<String> {
    if let Some(lost) = &look.lost {
        return Some(lost.clone());
    }
    let asked_for = look.deliver.is_some() || look.input + look.urgent > 0;
    match look.epoch {
        0 => asked_for.then(|| "Redis has no state of it".to_owned()),
        _ => (!run_ids.contains(&look.run_id.as_str())).then(|| "Redis was restarted or replaced".to_owned()),
    }
}

fn judge_archive(checks: &mut Checks, named: &Named<'_>, paused: &dyn Fn(&ShardLook) -> bool) {
    let unowned = named(&|before, after| before.archive.is_none() && after.archive.is_none() && !paused(after));
    checks.add(
        "archive.owned",
        verdict(!unowned.is_empty(), false),
        seen(&unowned, "nobody archives"),
        "start offline; its log says what it waits for",
    );
    let stands = |before: &ShardLook, after: &ShardLook| {
        let behind = |look: &ShardLook| look.archive_lag != Some(0);
        let moved = match (before.archive_lag, after.archive_lag) {
            (Some(then), Some(now)) => now < then + (after.commit - before.commit.min(after.commit)),
            _ => before.archive_lag != after.archive_lag,
        };
        behind(before) && behind(after) && !moved && !paused(after)
    };
    let stuck = named(&stands);
    checks.add(
        "archive.moving",
        verdict(!stuck.is_empty(), false),
        seen(&stuck, "the log grows and SQL does not"),
        "is SQL up? see the log of offline",
    );
    let late = named(&|_, after| after.archive_lag.is_none_or(|lag| lag > ARCHIVE_LAG_WARN));
    checks.add(
        "archive.lag",
        verdict(false, !late.is_empty()),
        seen(&late, "far behind"),
        "is SQL slow? nothing is lost, but Redis keeps growing",
    );
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const RUN: &str = "run";

    fn look(commit: u64, input: u64, archive_lag: Option<u64>) -> ShardLook {
        let owner = Some("w".to_owned());
        let run_id = RUN.to_owned();
        ShardLook { epoch: 1, commit, input, archive_lag, deliver: owner.clone(), archive: owner, run_id, ..ShardLook::default() }
    }

    fn failing(before: ShardLook, after: ShardLook) -> Vec<&'static str> {
        let mut checks = Checks::default();
        judge(&mut checks, &[RUN], &[before], &[after], &Pauses::default());
        checks.0.iter().filter(|check| check.verdict != Verdict::Ok).map(|check| check.check).collect()
    }

    #[test]
    fn a_shard_that_stands_still_is_named() {
        assert!(failing(look(5, 0, Some(0)), look(5, 0, Some(0))).is_empty(), "idle");
        assert!(failing(look(5, 9, Some(3)), look(8, 9, Some(4))).is_empty(), "busy");
        assert_eq!(failing(look(5, 9, Some(0)), look(5, 9, Some(0))), ["deliver.moving"]);
        assert_eq!(failing(look(5, 0, Some(3)), look(8, 0, Some(6))), ["archive.moving"]);
        let nobody = |look: ShardLook| ShardLook { deliver: None, archive: None, ..look };
        assert_eq!(failing(nobody(look(5, 0, Some(0))), nobody(look(5, 0, Some(0)))), ["deliver.owned", "archive.owned"]);
    }

    #[test]
    fn a_shard_that_lost_something_is_named_when_it_lasts() {
        let good = || look(5, 0, Some(0));
        let lost = ShardLook { lost: Some("a commit is gone".to_owned()), ..good() };
        let other = ShardLook { run_id: "before".to_owned(), ..good() };
        let empty = ShardLook { epoch: 0, ..good() };
        for bad in [lost, other, empty] {
            assert_eq!(failing(bad.clone(), bad.clone()), ["deliver.epoch"]);
            assert!(failing(bad, good()).is_empty(), "a new epoch has begun");
        }
        assert_eq!(failing(good(), ShardLook { deaths: 2, ..good() }), ["deliver.deaths"]);
        assert!(failing(good(), ShardLook { deaths: 1, ..good() }).is_empty(), "one may be chance");
    }
}
