//! What the doctor says of SQL.

use super::{Checks, Verdict, verdict};
use crate::store::{Store, TablesLook};
use crate::worker::chain;

/// Rows of the outbox that count as a backlog.
const OUTBOX_WARN: usize = 100;

pub(super) async fn judge(checks: &mut Checks, store: &Store, shards: u32) {
    let fix = "start the database, or set sql.url; messages flow meanwhile, and nothing is archived";
    let look = match store.look_at_tables().await {
        Err(error) => return checks.add("sql", Verdict::Fail, chain(&error), fix),
        Ok(look) => look,
    };
    checks.add("sql", Verdict::Ok, "answers", "");
    if look.read_only {
        let fix = "it is a standby, or was made one: point sql.url at the primary, or SET GLOBAL read_only = 0 on it; messages flow meanwhile, \
                   and nothing is archived";
        checks.add("sql.read-only", Verdict::Fail, "the server takes no writes", fix);
    }
    judge_tables(checks, look);
    if look.tables.is_none() {
        return;
    }
    match store.pinned_shards().await {
        Err(error) => checks.add("sql.shards", Verdict::Fail, chain(&error), "see the log of the database"),
        Ok(None) => checks.add("sql.shards", Verdict::Warn, "not pinned: no fleet has started on this database", "start the fleet"),
        Ok(Some(pinned)) => {
            let seen = format!("{pinned} pinned, {shards} configured");
            let fix = "set fleet.shards to what is pinned, or sql.url to the database of this fleet: topics are spread by that number, \
                       and with another one they are not found";
            checks.add("sql.shards", verdict(pinned != shards.to_string(), false), seen, fix);
        }
    }
    match store.outbox(0, OUTBOX_WARN as u32).await {
        Err(error) => checks.add("outbox", Verdict::Fail, chain(&error), "see the log of the database"),
        Ok(rows) => {
            let seen = if rows.len() >= OUTBOX_WARN { format!("{OUTBOX_WARN} or more wait") } else { format!("{} wait", rows.len()) };
            let fix = "is the directory up? it relays changes of groups to the shards";
            checks.add("outbox", verdict(false, rows.len() >= OUTBOX_WARN), seen, fix);
        }
    }
}

fn judge_tables(checks: &mut Checks, TablesLook { program, tables, broken, .. }: TablesLook) {
    let mut add = |verdict, seen: String, fix| checks.add("sql.tables", verdict, seen, fix);
    let up = "start offline or the directory of this release once: they bring the tables up to date";
    if let Some(broken) = broken {
        let seen = format!("the migration to version {broken} began and did not end");
        return add(
            Verdict::Fail,
            seen,
            "see the log of the program that did it; bring the database back from its backup, and start that program again",
        );
    }
    match tables {
        None => add(Verdict::Fail, "none yet: no program has set this database up".to_owned(), up),
        Some(tables) if tables < program => {
            add(Verdict::Fail, format!("of version {tables}, older than this program, which wants {program}"), up)
        }
        Some(tables) if tables > program => {
            let seen = format!("of version {tables}, newer than this program, which knows {program}");
            let fix = "upgrade this program to the release that brought the tables up, and all others with it: older ones do not start";
            add(Verdict::Fail, seen, fix);
        }
        Some(tables) => add(Verdict::Ok, format!("of version {tables}, as this program wants them"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_side_is_named() {
        let judged = |tables, broken| {
            let mut checks = Checks::default();
            judge_tables(&mut checks, TablesLook { program: 4, tables, broken, read_only: false });
            let check = checks.0.remove(0);
            (check.verdict, check.reason)
        };
        for (tables, broken, expected, word) in [
            (Some(4), None, Verdict::Ok, "as this program wants"),
            (Some(3), None, Verdict::Fail, "older than this program"),
            (Some(5), None, Verdict::Fail, "newer than this program"),
            (None, None, Verdict::Fail, "none yet"),
            (Some(4), Some(4), Verdict::Fail, "did not end"),
        ] {
            let (verdict, reason) = judged(tables, broken);
            assert_eq!(verdict, expected, "{reason}");
            assert!(reason.contains(word), "{reason}");
        }
    }
}
