//! The switch, step by step. Each step looks whether it was done, so a switch that was killed is run again and finishes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::look::{look, replication};
use super::plan::{Order, Plan, plan};
use super::{ANSWER_TIMEOUT, Pair, PairError, ServerState, Session, quoted, text};

/// How long the standby has to catch up with a primary that takes no more writes, and to apply what it fetched from a dead one.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How long writes that are under way have to end before their connections are killed.
const WRITES_END: Duration = Duration::from_secs(2);
/// How long a server has until it follows.
const FOLLOW: Duration = Duration::from_secs(30);
/// What the administrator must be allowed to.
const RIGHTS: [&str; 5] = ["READ_ONLY ADMIN", "REPLICATION SLAVE ADMIN", "RELOAD", "CONNECTION ADMIN", "PROCESS"];
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is wanted of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// Make the standby the primary, or the server of this `host:port`, which may be it already.
    Switch {
        /// Which; `None` for the one that is the standby now.
        to: Option<&'a str>,
    },
    /// Make the standby the primary without the primary, which is dead.
    PrimaryIsDead,
    /// Make the other server a standby of the primary again.
    Rejoin,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which server is the primary, as `host:port`.
    pub primary: String,
    /// Its epoch.
    pub epoch: u64,
    /// Whether the other server follows it; `false` when it does not answer.
    pub standby: bool,
}

/// What the steps tell and ask.
pub(super) struct Outside<'a, N> {
    /// Who raises the epoch, and when.
    pub(super) by: &'a str,
    pub(super) now_ms: u64,
    /// Is told after each step its number, from 1, and what was done.
    pub(super) told: &'a (dyn Fn(u8, &str) + Send + Sync),
    /// Notes the epoch where programs look.
    pub(super) note: N,
}

impl Pair {
    /// Switches, or finishes what a switch that was killed has left. `noted` is the highest epoch that Redis knows, 0 for none; `by` who does it,
    /// which is kept; `told` is told each step, by its number from 1, when it is done; `note` is to note the new epoch in Redis, before anybody
    /// can write to the new primary.
    ///
    /// # Errors
    /// [`PairError::Refused`] when the pair does not stand so that this is safe, [`PairError::Diverged`] when the other server cannot follow: the
    /// new primary works then. Others when a server fails meanwhile.
    pub async fn switch<F: Future<Output = ()> + Send>(
        &self,
        wish: Wish<'_>,
        noted: u64,
        (by, now_ms): (&str, u64),
        told: &(dyn Fn(u8, &str) + Send + Sync),
        note: impl FnOnce(u64) -> F + Send,
    ) -> Result<Done, PairError> {
        let looks = self.look().await.servers;
        let [first, second] = &looks;
        let order = match wish {
            Wish::Switch { to: None } => Order::Switch { to: None },
            Wish::Switch { to: Some(to) } => match self.names().iter().position(|name| *name == to) {
                Some(at) => Order::Switch { to: Some(at) },
                None => {
                    let why = format!("there is no server {to}, only {}", self.names().join(" and "));
                    return Err(PairError::Refused { why, todo: "name one of them, as in sql.url and sql.standby_url" });
                }
            },
            Wish::PrimaryIsDead => Order::PrimaryIsDead,
            Wish::Rejoin => Order::Rejoin,
        };
        let plan = plan([first.as_ref().ok(), second.as_ref().ok()], order, noted)?;
        self.carry_out(plan, Outside { by, now_ms, told, note }).await
    }

    async fn carry_out<F: Future<Output = ()> + Send>(
        &self,
        plan: Plan,
        outside: Outside<'_, impl FnOnce(u64) -> F + Send>,
    ) -> Result<Done, PairError> {
        let Outside { by, now_ms, told, note } = outside;
        let mut other = if plan.other { Some(Session::open(self.server(1 - plan.new)).await?) } else { None };
        let mut new = Session::open(self.server(plan.new)).await?;
        let name = new.server.name.clone();
        let mut end = None;
        check_rights(&mut new).await?;
        if let Some(old) = &mut other {
            check_rights(old).await?;
            take_no_writes(old).await?;
            told(1, &format!("{} takes no writes", old.server.name));
            end = Some(look(old).await?.gtid);
        }
        if plan.promote {
            catch_up(&mut new, end.as_deref()).await?;
            told(2, &format!("{name} has all that the primary had"));
            new.run("stop replication", "STOP SLAVE").await?;
            told(3, &format!("{name} stopped replicating"));
            raise(&mut new, plan.epoch, by, now_ms).await?;
            told(4, &format!("{name} has epoch {}", plan.epoch));
        }
        if replication(&mut new).await?.is_some() {
            new.run("forget whom it followed", "STOP SLAVE; RESET SLAVE ALL").await?;
        }
        told(5, &format!("{name} follows nobody"));
        note(plan.epoch).await;
        told(6, &format!("epoch {} is noted in Redis", plan.epoch));
        new.run("take writes", "SET GLOBAL read_only = 0").await?;
        told(7, &format!("{name} is the primary"));
        let standby = other.is_some();
        if !standby {
            settle(&mut new).await?;
        }
        if let Some(old) = &mut other {
            let from = self.server(plan.new);
            self.point(old, from).await?;
            told(8, &format!("{} was told to follow {name}", old.server.name));
            followed(old, &name, plan.epoch).await?;
            settle(&mut new).await?;
            told(9, &format!("{} follows {name}", old.server.name));
        }
        Ok(Done { primary: name, epoch: plan.epoch, standby })
    }

    /// Makes a server follow another, unless it does.
    async fn point(&self, old: &mut Session<'_>, from: &super::Server) -> Result<(), PairError> {
        let (host, port) = (from.connect.get_host(), from.connect.get_port());
        let state = look(old).await?;
        if state.replication.as_ref().is_some_and(|held| held.runs() && held.from == format!("{host}:{port}")) {
            return Ok(());
        }
        if state.replication.is_some() {
            old.run("stop replication", "STOP SLAVE").await?;
        }
        if state.applied != state.gtid {
            // A primary has written more than it ever got: that is from where it goes on.
            old.run("set gtid_slave_pos", "SET GLOBAL gtid_slave_pos = @@global.gtid_current_pos").await?;
        }
        let (user, password) = (quoted(&self.accounts.replication_user), quoted(&self.accounts.replication_password));
        let sql = format!(
            "CHANGE MASTER TO MASTER_HOST = {}, MASTER_PORT = {port}, MASTER_USER = {user}, MASTER_PASSWORD = {password}, \
             MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
            quoted(host)
        );
        old.run("set whom it follows", sql).await?;
        old.run("start replication", "START SLAVE").await
    }
}

/// The server refuses what the fleet writes, and the fleet's connections to it end. What is under way has a moment to end by itself.
async fn take_no_writes(old: &mut Session<'_>) -> Result<(), PairError> {
    let bound = WRITES_END.as_secs();
    let sql = format!("SET SESSION lock_wait_timeout = {bound}; SET GLOBAL read_only = 1");
    if old.rows_within("refuse writes", sql, WRITES_END + ANSWER_TIMEOUT).await.is_err() {
        // A write that does not end holds it up. A new connection, for the statement may have been left half-way.
        *old = Session::open(old.server).await?;
        end_connections(old).await?;
        old.run("refuse writes", format!("SET SESSION lock_wait_timeout = {bound}; SET GLOBAL read_only = 1")).await?;
    }
    end_connections(old).await
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
async fn catch_up(new: &mut Session<'_>, end: Option<&str>) -> Result<(), PairError> {
    let server = new.server.name.clone();
    let late = |what| PairError::Late { server: server.clone(), what, seconds: CATCH_UP.as_secs() };
    let refused = |held: &super::Replication| PairError::Refused {
        why: format!("{server} does not apply what it fetched{}{}", if held.error.is_empty() { "" } else { ": " }, held.error),
        todo: "mend its replication first, see docs/sql.md",
    };
    if let Some(end) = end {
        new.run("start replication", "START SLAVE").await?;
        let sql = format!("SELECT MASTER_GTID_WAIT({}, {}) AS done", quoted(end), CATCH_UP.as_secs());
        let rows = new.rows_within("catch up", sql, CATCH_UP + ANSWER_TIMEOUT).await?;
        return match rows.first().and_then(|row| text(row, "done")).as_deref() {
            Some("0") => Ok(()),
            _ => match replication(new).await? {
                Some(held) if !held.error.is_empty() => Err(refused(&held)),
                _ => Err(late("catching up with the primary")),
            },
        };
    }
    // Nothing more comes. START would throw away what was fetched and not applied, so a thread that does not run stays as it is.
    new.run("stop fetching", "STOP SLAVE IO_THREAD").await?;
    let begun = Instant::now();
    loop {
        let state = look(new).await?;
        let Some(held) = state.replication.as_ref() else { return Ok(()) };
        if held.fetched.is_empty() || covers(&state, &held.fetched) {
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
async fn raise(new: &mut Session<'_>, epoch: u64, by: &str, now_ms: u64) -> Result<(), PairError> {
    let by: String = by.chars().take(200).collect();
    let sql = format!(
        "UPDATE sql_primary SET epoch = {epoch}, server = @@global.server_id, settled = 0, raised_ms = {now_ms}, raised_by = {} WHERE one = 1 AND epoch < {epoch}",
        quoted(&by)
    );
    new.run("raise the epoch", sql).await?;
    let state = look(new).await?;
    if state.epoch == epoch && state.is_named() {
        return Ok(());
    }
    Err(PairError::Refused {
        why: format!("{} has epoch {} of server {}", state.server, state.epoch, state.primary_id),
        todo: "somebody else switches at the same time: see `roger sql status`, and run this again",
    })
}

/// The switch is over: the next one is another one.
async fn settle(new: &mut Session<'_>) -> Result<(), PairError> {
    new.run("note that the switch is over", "UPDATE sql_primary SET settled = 1 WHERE one = 1 AND settled = 0").await
}

/// What a switch does needs these rights, and finds out before it begins.
async fn check_rights(session: &mut Session<'_>) -> Result<(), PairError> {
    let rows = session
        .rows("say what the administrator may do", "SELECT privilege_type AS name FROM information_schema.user_privileges".to_owned());
    let has: Vec<String> = rows.await?.iter().filter_map(|row| text(row, "name")).collect();
    let lacks: Vec<&str> = RIGHTS.into_iter().filter(|right| !has.iter().any(|held| held == right)).collect();
    if lacks.is_empty() {
        return Ok(());
    }
    let why = format!("the administrator's account lacks {} on {}", lacks.join(", "), session.server.name);
    Err(PairError::Refused { why, todo: "GRANT it, see docs/sql.md; nothing was done" })
}

/// Waits until a server follows and has the row of the new epoch.
async fn followed(old: &mut Session<'_>, primary: &str, epoch: u64) -> Result<(), PairError> {
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
