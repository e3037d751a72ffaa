//! The switch, step by step. Each step looks whether it was done, so a switch that was killed is run again and finishes. One that fails before the
//! epoch is raised undoes what it did: nothing is decided until then, and the primary works on.

use super::acts::{Raise, catch_up, check_rights, follow_again, followed, raise, settle, take_no_writes, take_writes_again};
use super::look::{look, replication};
use super::plan::{Order, Plan, plan};
use super::{Pair, PairError, ServerState, Session, quoted};

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
    /// Notes the epoch where programs look; whether it is noted.
    pub(super) note: N,
}

impl Pair {
    /// Switches, or finishes what a switch that was killed has left. `noted` is the highest epoch that Redis knows, 0 for none, and `None` when it
    /// does not answer; `by` who does it, which is kept; `told` is told each step, by its number from 1, when it is done; `note` is to note the new
    /// epoch in Redis, before anybody can write to the new primary, and answers whether it is noted.
    ///
    /// # Errors
    /// [`PairError::Refused`] when the pair does not stand so that this is safe, [`PairError::Busy`] while somebody else is at it,
    /// [`PairError::Undone`] when it failed before anything was decided, [`PairError::Diverged`] when the other server cannot follow: the new
    /// primary works then. Others when a server fails meanwhile.
    pub async fn switch<F: Future<Output = bool> + Send>(
        &self,
        wish: Wish<'_>,
        noted: Option<u64>,
        (by, now_ms): (&str, u64),
        told: &(dyn Fn(u8, &str) + Send + Sync),
        note: impl FnOnce(u64) -> F + Send,
    ) -> Result<Done, PairError> {
        let order = match wish {
            Wish::Switch { to: None } => Order::Switch { to: None },
            Wish::Switch { to: Some(to) } => match self.names().iter().position(|name| *name == to) {
                Some(at) => Order::Switch { to: Some(at) },
                None => {
                    let why = format!("there is no server {to}, only {}", self.names().join(" and "));
                    let todo = "name one of them, as in sql.url and sql.standby_url".to_owned();
                    return Err(PairError::Refused { why, todo });
                }
            },
            Wish::PrimaryIsDead => Order::PrimaryIsDead,
            Wish::Rejoin => Order::Rejoin,
        };
        // Locked before anybody looks: else the plan would be for a pair that somebody else has changed since.
        // One after the other, so that of two that begin at once one goes on.
        let (first, second) = (self.hold(0).await?, self.hold(1).await?);
        let states = [&first, &second].map(|held| held.as_ref().map(|(_, state)| state));
        let plan = plan(states, order, noted)?;
        let sessions = [first, second].map(|held| held.map(|(session, _)| session));
        self.carry_out(plan, sessions, Outside { by, now_ms, told, note }).await
    }

    /// A locked connection to a server, and how it stands; `None` when it does not answer.
    async fn hold(&self, at: usize) -> Result<Option<(Session<'_>, ServerState)>, PairError> {
        let held = async {
            let mut session = Session::open(self.server(at)).await?;
            session.lock().await?;
            let state = look(&mut session).await?;
            Ok((session, state))
        };
        match held.await {
            Ok(held) => Ok(Some(held)),
            Err(busy @ PairError::Busy { .. }) => Err(busy),
            Err(_) => Ok(None),
        }
    }

    async fn carry_out<F: Future<Output = bool> + Send>(
        &self,
        plan: Plan,
        [first, second]: [Option<Session<'_>>; 2],
        outside: Outside<'_, impl FnOnce(u64) -> F + Send>,
    ) -> Result<Done, PairError> {
        let (new, mut other) = if plan.new == 0 { (first, second) } else { (second, first) };
        let Some(mut new) = new else { unreachable!("a server that answered becomes the primary") };
        let name = new.server.name.clone();
        check_rights(&mut new).await?;
        if let Some(old) = &mut other {
            check_rights(old).await?;
        }
        let told = outside.told;
        if plan.promote {
            self.promote(plan, &mut new, other.as_mut(), &outside).await?;
        } else if let Some(old) = &mut other {
            take_no_writes(old).await?;
            told(1, &format!("{} takes no writes", old.server.name));
        }
        if replication(&mut new).await?.is_some() {
            new.run("forget whom it followed", "STOP SLAVE; RESET SLAVE ALL").await?;
        }
        told(5, &format!("{name} follows nobody"));
        if (outside.note)(plan.epoch).await {
            told(6, &format!("epoch {} is noted in Redis", plan.epoch));
        } else if other.is_some() {
            told(6, &format!("Redis does not answer: programs learn of epoch {} from the servers alone", plan.epoch));
        } else {
            // The other one may work for everybody but us, and nobody would hear that it is the primary no more.
            let why = format!("{name} has epoch {}, Redis does not answer, and neither does the other server", plan.epoch);
            return Err(PairError::Refused { why, todo: "run this again when Redis answers, it goes on from there".to_owned() });
        }
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

    /// The steps until the epoch is raised. A failure before leaves the primary as it was.
    async fn promote<N>(
        &self,
        plan: Plan,
        new: &mut Session<'_>,
        mut old: Option<&mut Session<'_>>,
        outside: &Outside<'_, N>,
    ) -> Result<(), PairError> {
        let raised = match self.make_ready(plan, new, old.as_deref_mut(), outside.told).await {
            Ok(()) => raise(new, plan.epoch, outside.by, outside.now_ms).await,
            Err(error) => Raise::Failed(error),
        };
        match raised {
            Raise::Holds => {
                (outside.told)(4, &format!("{} has epoch {}", new.server.name, plan.epoch));
                Ok(())
            }
            Raise::Failed(error) => Err(undo(new, old, error).await),
            Raise::Undecided(error) => Err(error),
        }
    }

    async fn make_ready(
        &self,
        plan: Plan,
        new: &mut Session<'_>,
        old: Option<&mut Session<'_>>,
        told: &(dyn Fn(u8, &str) + Send + Sync),
    ) -> Result<(), PairError> {
        let name = new.server.name.clone();
        let mut end = None;
        if let Some(old) = old {
            take_no_writes(old).await?;
            told(1, &format!("{} takes no writes", old.server.name));
            end = Some(look(old).await?.gtid);
        }
        catch_up(new, end.as_deref()).await?;
        told(2, &format!("{name} has all that the primary had"));
        new.run("stop replication", "STOP SLAVE").await?;
        told(3, &format!("{name} stopped replicating"));
        // It had half a minute to come back, and takes writes when it did.
        if end.is_none()
            && let Ok(back) = self.state(1 - plan.new).await
        {
            let why = format!("the primary {} answers again: nothing was promoted", back.server);
            return Err(PairError::Refused { why, todo: "see `roger sql status`; switch without --primary-is-dead".to_owned() });
        }
        Ok(())
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

/// Leaves the pair as it was before a switch, as far as it can be reached: nothing was decided.
async fn undo(new: &mut Session<'_>, old: Option<&mut Session<'_>>, error: PairError) -> PairError {
    // First of all the primary: the fleet waits for it.
    let undone = match old {
        Some(old) => {
            let primary = old.server.name.clone();
            match take_writes_again(old).await {
                Ok(()) => PairError::Undone { primary, source: error.into() },
                Err(undo) => PairError::LeftReadOnly { primary, undo: undo.into(), source: error.into() },
            }
        }
        None => error,
    };
    // A standby that does not answer follows by itself once it is started.
    let _follows = follow_again(new).await;
    undone
}
