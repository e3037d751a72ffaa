//! What a switch does to one server.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::error::server_number;
use super::look::{look, replication};
use super::{ANSWER_TIMEOUT, PairError, Replication, ServerState, Session, quoted, text};

/// How long the standby has to catch up with a primary that takes no more writes, and to apply what it fetched from a dead one.
pub(super) const CATCH_UP: Duration = Duration::from_secs(30);
/// How long writes that are under way have to end before their connections are killed.
const WRITES_END: Duration = Duration::from_secs(2);
/// How long a server has until it follows.
const FOLLOW: Duration = Duration::from_secs(30);
/// What the administrator must be allowed to.
const RIGHTS: [&str; 5] = ["READ_ONLY ADMIN", "REPLICATION SLAVE ADMIN", "RELOAD", "CONNECTION ADMIN", "PROCESS"];
/// MariaDB: this account may not do that to this database, table or column.
const DENIED: [u16; 3] = [1044, 1142, 1143];
/// MariaDB: there is no such table, and it is locked by somebody. The account may do it then.
const ALLOWED: [u16; 2] = [1146, 1205];
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What became of the new epoch.
pub(super) enum Raise {
    /// It holds.
    Holds,
    /// It does not, and what was done for it can be undone.
    Failed(PairError),
    /// It may hold.
    Undecided(PairError),
}

/// The server refuses what the fleet writes, and the fleet's connections to it end. What is under way has a moment to end by itself.
pub(super) async fn take_no_writes(old: &mut Session<'_>) -> Result<(), PairError> {
    let bound = WRITES_END.as_secs();
    let sql = format!("SET SESSION lock_wait_timeout = {bound}; SET GLOBAL read_only = 1");
    if old.rows_within("refuse writes", sql, WRITES_END + ANSWER_TIMEOUT).await.is_err() {
        // A write that does not end holds it up.
        old.mend().await?;
        end_connections(old).await?;
        old.run("refuse writes", format!("SET SESSION lock_wait_timeout = {bound}; SET GLOBAL read_only = 1")).await?;
    }
    end_connections(old).await
}

/// Undoes [`take_no_writes`].
pub(super) async fn take_writes_again(old: &mut Session<'_>) -> Result<(), PairError> {
    // Without the lock somebody else may be switching by now.
    old.mend().await?;
    old.run("take writes again", "SET GLOBAL read_only = 0").await
}

/// Starts replication again. That would throw away what was fetched and is not applied, which a dead primary gives nobody again: such a standby stays
/// as it is.
pub(super) async fn follow_again(new: &mut Session<'_>) -> Result<(), PairError> {
    new.mend().await?;
    let state = look(new).await?;
    if state.replication.as_ref().is_some_and(|held| held.applies || has_applied(&state, held)) {
        new.run("start replication", "START SLAVE").await?;
    }
    Ok(())
}

/// Kills the connections of clients: those of replication stay.
async fn end_connections(old: &mut Session<'_>) -> Result<(), PairError> {
    let sql = "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler') \
               AND command NOT LIKE 'Binlog Dump%' AND command NOT LIKE 'Slave%' AND command <> 'Daemon'";
    for row in old.rows("list connections", sql.to_owned()).await? {
        if let Some(id) = text(&row, "id") {
            // It may have ended by itself.
            let _ended = old.run("end a connection", format!("KILL {id}")).await;
        }
    }
    Ok(())
}

/// Waits until the standby has applied all of the primary up to `end`, or, of a dead one, all that it fetched.
pub(super) async fn catch_up(new: &mut Session<'_>, end: Option<&str>) -> Result<(), PairError> {
    let server = new.server.name.clone();
    let late = |what| PairError::Late { server: server.clone(), what, seconds: CATCH_UP.as_secs() };
    let refused = |held: &Replication| PairError::Refused {
        why: format!("{server} does not apply what it fetched{}{}", if held.error.is_empty() { "" } else { ": " }, held.error),
        todo: "mend its replication first, see docs/sql.md".to_owned(),
    };
    let begun = Instant::now();
    if let Some(end) = end {
        new.run("start replication", "START SLAVE").await?;
        // In short turns: a statement that waits outlives its command, with the lock.
        let sql = format!("SELECT MASTER_GTID_WAIT({}, 1) AS done", quoted(end));
        loop {
            let rows = new.rows("catch up", sql.clone()).await?;
            if rows.first().and_then(|row| text(row, "done")).as_deref() == Some("0") {
                return Ok(());
            }
            let late_by_now = begun.elapsed() > CATCH_UP;
            match replication(new).await? {
                // A link that is not there yet is tried again by MariaDB.
                Some(held) if !held.error.is_empty() && (!held.applies || late_by_now) => return Err(refused(&held)),
                _ if late_by_now => return Err(late("catching up with the primary")),
                _ => {}
            }
        }
    }
    // Nothing more comes. START would throw away what was fetched and not applied, so a thread that does not run stays as it is.
    new.run("stop fetching", "STOP SLAVE IO_THREAD").await?;
    loop {
        let state = look(new).await?;
        let Some(held) = state.replication.as_ref() else { return Ok(()) };
        if has_applied(&state, held) {
            return Ok(());
        }
        if !held.applies {
            return Err(refused(held));
        }
        if begun.elapsed() > CATCH_UP {
            return Err(late("applying what was fetched"));
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn has_applied(state: &ServerState, held: &Replication) -> bool {
    held.fetched.is_empty() || covers(state, &held.fetched)
}

/// Whether what a standby applied reaches a GTID position: in each domain at least that sequence number.
fn covers(state: &ServerState, position: &str) -> bool {
    let parse = |text: &str| -> Vec<(u64, u64)> {
        let one = |gtid: &str| {
            let mut parts = gtid.trim().split('-');
            Some((parts.next()?.parse().ok()?, parts.nth(1)?.parse().ok()?))
        };
        text.split(',').filter_map(one).collect()
    };
    let applied = parse(&state.applied);
    parse(position).iter().all(|(domain, seq)| applied.iter().any(|(held, reached)| held == domain && reached >= seq))
}

/// Writes the row that makes a server the primary.
pub(super) async fn raise(new: &mut Session<'_>, epoch: u64, by: &str, now_ms: u64) -> Raise {
    let by: String = by.chars().take(200).collect();
    let sql = format!(
        "UPDATE sql_primary SET epoch = {epoch}, server = @@global.server_id, settled = 0, raised_ms = {now_ms}, raised_by = {} WHERE one = 1 AND epoch < {epoch}",
        quoted(&by)
    );
    let answer = new.run("raise the epoch", sql).await;
    // With the lock the statement is not under way any more, so what is seen is what it came to.
    let seen = async {
        new.mend().await?;
        look(new).await
    };
    let state = match seen.await {
        Ok(state) => state,
        Err(seen) => {
            let source = answer.err().unwrap_or(seen).into();
            return Raise::Undecided(PairError::Undecided { server: new.server.name.clone(), epoch, source });
        }
    };
    if state.epoch == epoch && state.is_named() {
        return Raise::Holds;
    }
    match answer {
        Err(error) if state.epoch < epoch => Raise::Failed(error),
        _ => Raise::Undecided(PairError::Refused {
            why: format!("{} has epoch {} of server {}", state.server, state.epoch, state.primary_id),
            todo: "somebody else switches at the same time: see `roger sql status`, and run this again".to_owned(),
        }),
    }
}

/// The switch is over: the next one is another one.
pub(super) async fn settle(new: &mut Session<'_>) -> Result<(), PairError> {
    new.run("note that the switch is over", "UPDATE sql_primary SET settled = 1 WHERE one = 1 AND settled = 0").await
}

/// What a switch does needs these rights, and finds out before it begins.
pub(super) async fn check_rights(session: &mut Session<'_>) -> Result<(), PairError> {
    let rows = session
        .rows("say what the administrator may do", "SELECT privilege_type AS name FROM information_schema.user_privileges".to_owned());
    let has: Vec<String> = rows.await?.iter().filter_map(|row| text(row, "name")).collect();
    let mut lacks: Vec<&str> = RIGHTS.into_iter().filter(|right| !has.iter().any(|held| held == right)).collect();
    let all = "SET STATEMENT lock_wait_timeout = 1 FOR UPDATE sql_primary SET epoch = epoch, server = server, settled = settled, \
               raised_ms = raised_ms, raised_by = raised_by WHERE 1 = 0";
    if let Err(error) = session.run("say whether the administrator may change sql_primary", all).await {
        let number = if let PairError::Server { source, .. } = &error { server_number(source) } else { None };
        match number {
            Some(number) if DENIED.contains(&number) => lacks.push("UPDATE on sql_primary"),
            Some(number) if ALLOWED.contains(&number) => {}
            // A read-only server says so, without the right to write to it.
            _ if !lacks.is_empty() => {}
            _ => return Err(error),
        }
    }
    if lacks.is_empty() {
        return Ok(());
    }
    let why = format!("the administrator's account lacks {} on {}", lacks.join(", "), session.server.name);
    Err(PairError::Refused { why, todo: "GRANT it, see docs/sql.md; nothing was done".to_owned() })
}

/// Waits until a server follows and has the row of the new epoch.
pub(super) async fn followed(old: &mut Session<'_>, primary: &str, epoch: u64) -> Result<(), PairError> {
    let begun = Instant::now();
    loop {
        let state = look(old).await?;
        if let Some(held) = &state.replication {
            if held.runs() && state.epoch == epoch {
                return Ok(());
            }
            // A link that is not there yet is tried again by MariaDB; what is behind or beside the primary never gets well.
            if !held.error.is_empty() && (!held.applies || held.error.contains("(1236)")) {
                let server = state.server;
                return Err(PairError::Diverged { server, primary: primary.to_owned(), reason: held.error.clone() });
            }
        }
        if begun.elapsed() > FOLLOW {
            let server = old.server.name.clone();
            return Err(PairError::Late { server, what: "following the new primary", seconds: FOLLOW.as_secs() });
        }
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_compared_by_domain() {
        let check = |applied: &str, position: &str, expected| {
            let state = ServerState { applied: applied.to_owned(), ..ServerState::default() };
            assert_eq!(covers(&state, position), expected, "{applied} {position}");
        };
        check("0-1-10", "0-1-10", true);
        check("0-2-11", "0-1-10", true);
        check("0-1-9", "0-1-10", false);
        check("0-1-9,1-1-4", "1-2-4", true);
        check("", "0-1-1", false);
        check("", "", true);
    }
}
