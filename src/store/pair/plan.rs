//! What a switch has to do, from how both servers stand.

use super::acts::CATCH_UP;
use super::{PairError, Replication, ServerState};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// To the standby, or to the server at this place.
    Switch { to: Option<usize> },
    /// To the standby, for the primary is dead.
    PrimaryIsDead,
    /// The other server is to follow the primary again.
    Rejoin,
}

/// What there is to do; each step looks whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The server that is the primary afterwards.
    pub(super) new: usize,
    /// Its epoch afterwards.
    pub(super) epoch: u64,
    /// Whether the epoch has to be raised to that, and all before it done.
    pub(super) promote: bool,
}

fn refused<T>(why: impl Into<String>, todo: impl Into<String>) -> Result<T, PairError> {
    Err(PairError::Refused { why: why.into(), todo: todo.into() })
}

/// `noted` is the highest epoch that Redis knows, 0 for none; `None` when it does not answer. So is a server that did not.
pub(super) fn plan(servers: [Option<&ServerState>; 2], order: Order, noted: Option<u64>) -> Result<Plan, PairError> {
    let [first, second] = servers;
    let alone = first.is_none() || second.is_none();
    let highest = [first, second].into_iter().flatten().map(|state| state.epoch).max().unwrap_or(0);
    let epoch = highest.max(noted.unwrap_or(0));
    if first.is_none() && second.is_none() {
        return refused("neither server answers", "start one of them; `roger sql status` says why");
    }
    if alone && noted.is_none() {
        // Whoever reaches neither is perhaps cut off from a fleet that works.
        return refused(
            "one server does not answer, and Redis does not say whether the other one is the primary",
            "start Redis, or that server",
        );
    }
    if highest < epoch {
        let why = format!("Redis knows a primary of epoch {epoch}, and the servers that answer have epoch {highest}");
        return refused(
            why,
            "bring the server of that epoch back: what was written to it is not on the other one. If it is lost for good, see docs/sql.md",
        );
    }
    if epoch == 0 {
        return refused("there are no tables yet", "start a fleet on the primary first");
    }
    let state = |at: usize| if at == 0 { first } else { second };
    let holder = [0, 1].into_iter().find(|at| state(*at).is_some_and(|state| state.epoch == epoch && state.is_named()));
    let keep = |new| Ok(Plan { new, epoch, promote: false });
    match (holder, order) {
        (Some(held), _) if state(1 - held).is_some() => {
            let (Some(primary), Some(other)) = (state(held), state(1 - held)) else { unreachable!("both answered") };
            both(held, primary, other, order, epoch)
        }
        // The primary answers alone: it stays what it is.
        (Some(held), Order::PrimaryIsDead) => keep(held),
        (Some(held), Order::Switch { to: Some(to) }) if to == held => keep(held),
        (Some(held), _) => {
            let todo = match state(held) {
                Some(primary) if primary.read_only => {
                    format!("start it first; until then `roger sql switch --to {}` makes the primary take writes", primary.server)
                }
                _ => "start it first; the primary works on without it".to_owned(),
            };
            refused("the other server does not answer", todo)
        }
        (None, Order::PrimaryIsDead) if alone => {
            let at = usize::from(first.is_none());
            match state(at) {
                Some(standby) if standby.replication.is_some() => Ok(Plan { new: at, epoch: epoch + 1, promote: true }),
                _ => refused("the server that answers follows nobody", "it may lack what the primary had: see docs/sql.md"),
            }
        }
        (None, _) if alone => refused("the primary does not answer", "start it, or switch with --primary-is-dead when it is dead"),
        (None, _) => refused("neither server is named as the primary by its row", "see docs/sql.md, the pair was set up wrongly"),
    }
}

fn both(held: usize, primary: &ServerState, other: &ServerState, order: Order, epoch: u64) -> Result<Plan, PairError> {
    let keep = Ok(Plan { new: held, epoch, promote: false });
    let runs = other.replication.as_ref().is_some_and(Replication::runs);
    // One that runs and is of an older epoch has not come so far yet.
    let well = other.replication.as_ref().is_some_and(|replication| replication.error.is_empty());
    let follows = well && (other.epoch == epoch || runs);
    match order {
        Order::Rejoin => keep,
        Order::Switch { to: Some(to) } if to == held => keep,
        // Whoever says nothing more wants the one finished that is under way.
        Order::Switch { to: None } if !primary.settled => keep,
        Order::Switch { to } => {
            // A primary that is read-only beside a standby that stopped: a switch got as far as that.
            if follows && (runs || primary.read_only) && primary.replication.is_none() {
                near_enough(primary, other)?;
                return Ok(Plan { new: 1 - held, epoch: epoch + 1, promote: true });
            }
            match to {
                Some(_) => refused(format!("{} does not follow {}", other.server, primary.server), "`roger sql rejoin` first"),
                None => keep,
            }
        }
        // The old one came back while it was switched, or afterwards.
        Order::PrimaryIsDead if other.epoch < epoch => keep,
        Order::PrimaryIsDead => refused(format!("the primary {} answers", primary.server), "switch without --primary-is-dead"),
    }
}

/// A primary that takes writes is not stopped for a standby that will not catch up in time. One that takes none has nothing to lose.
fn near_enough(primary: &ServerState, other: &ServerState) -> Result<(), PairError> {
    let bound_s = CATCH_UP.as_secs();
    let todo = format!("the primary works on; a switch gives it {bound_s} s to catch up: see its load and its disk, and try again later");
    match other.replication.as_ref().and_then(|held| held.behind_s) {
        _ if primary.read_only => Ok(()),
        Some(behind_s) if behind_s <= bound_s => Ok(()),
        Some(behind_s) => refused(format!("{} is {behind_s} s behind {}", other.server, primary.server), todo),
        None => refused(format!("MariaDB does not say how far {} is behind {}", other.server, primary.server), todo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(server_id: i64, epoch: u64, primary_id: i64, read_only: bool, follows: Option<bool>) -> ServerState {
        let replication =
            follows.map(|runs| Replication { fetches: runs, applies: runs, behind_s: runs.then_some(0), ..Replication::default() });
        ServerState {
            server: format!("s{server_id}"),
            server_id,
            epoch,
            primary_id,
            settled: true,
            read_only,
            replication,
            ..ServerState::default()
        }
    }

    #[test]
    fn whatever_was_done_the_rest_is_planned() {
        let go = Order::Switch { to: None };
        let (promote, finish) = (Some((1, 2, true)), Some((1, 2, false)));
        let standby = state(2, 1, 1, true, Some(true));
        let check = |first: Option<ServerState>, second: Option<ServerState>, order, noted, expected: Option<(usize, u64, bool)>| {
            let plan = plan([first.as_ref(), second.as_ref()], order, Some(noted));
            let seen = plan.as_ref().ok().map(|plan| (plan.new, plan.epoch, plan.promote));
            assert_eq!(seen, expected, "{first:?} {second:?} {order:?} {noted}: {plan:?}");
        };
        let old = |read_only| Some(state(1, 1, 1, read_only, None));
        // Planned, killed before it, and after each step.
        check(old(false), Some(standby.clone()), go, 1, promote);
        check(old(true), Some(standby.clone()), go, 1, promote);
        check(old(true), Some(state(2, 1, 1, true, Some(false))), go, 1, promote);
        check(old(true), Some(state(2, 2, 2, true, Some(false))), go, 1, finish);
        check(old(true), Some(state(2, 2, 2, true, None)), go, 1, finish);
        check(old(true), Some(state(2, 2, 2, true, None)), go, 2, finish);
        check(old(true), Some(state(2, 2, 2, false, None)), go, 2, finish);
        check(Some(state(1, 1, 1, true, Some(false))), Some(state(2, 2, 2, false, None)), go, 2, finish);
        let unsettled = || Some(ServerState { settled: false, ..state(2, 2, 2, false, None) });
        check(Some(state(1, 1, 1, true, Some(true))), unsettled(), go, 2, finish);
        check(Some(state(1, 2, 2, true, Some(true))), unsettled(), go, 2, finish);
        // A standby that lags.
        check(old(false), Some(state(2, 0, 0, true, Some(true))), go, 1, promote);
        // It was done: this is the way back, unless it is said where to.
        let done = || (Some(state(1, 2, 2, true, Some(true))), Some(state(2, 2, 2, false, None)));
        check(done().0, done().1, go, 2, Some((0, 3, true)));
        check(done().0, done().1, Order::Switch { to: Some(1) }, 2, finish);
        // A dead primary.
        check(None, Some(standby.clone()), Order::PrimaryIsDead, 1, promote);
        check(None, Some(standby.clone()), go, 1, None);
        check(None, Some(state(2, 1, 1, true, None)), Order::PrimaryIsDead, 1, None);
        check(None, Some(state(2, 2, 2, true, Some(false))), Order::PrimaryIsDead, 1, finish);
        check(None, Some(standby.clone()), Order::PrimaryIsDead, 2, None);
        check(old(false), Some(standby.clone()), Order::PrimaryIsDead, 1, None);
        check(old(false), Some(state(2, 2, 2, false, None)), Order::PrimaryIsDead, 2, finish);
        check(old(false), Some(state(2, 2, 2, false, None)), Order::Rejoin, 2, finish);
        check(old(false), None, go, 1, None);
        check(None, None, Order::PrimaryIsDead, 0, None);
        // A standby that cannot follow is not promoted by mistake.
        check(old(false), Some(state(2, 1, 1, true, Some(false))), Order::Switch { to: Some(1) }, 1, None);
        check(old(false), Some(state(2, 1, 1, true, Some(false))), go, 1, Some((0, 1, false)));
    }

    #[test]
    fn a_refusal_says_what_works() {
        let check = |first: Option<ServerState>, second: Option<ServerState>, order, noted, expected: Option<&str>| {
            let seen = plan([first.as_ref(), second.as_ref()], order, noted).err().map(|error| error.to_string());
            let fits = match (&seen, expected) {
                (Some(seen), Some(expected)) => seen.contains(expected),
                (seen, expected) => seen.is_none() && expected.is_none(),
            };
            assert!(fits, "{first:?} {second:?} {order:?} {noted:?}: {seen:?}, not {expected:?}");
        };
        let go = Order::Switch { to: None };
        let old = |read_only| Some(state(1, 1, 1, read_only, None));
        let standby = |behind_s| {
            let replication = Some(Replication { fetches: true, applies: true, behind_s, ..Replication::default() });
            Some(ServerState { replication, ..state(2, 1, 1, true, None) })
        };
        // A switch was killed after it made the primary read-only, and the standby died.
        for order in [go, Order::Switch { to: Some(1) }, Order::Rejoin] {
            check(old(true), None, order, Some(1), Some("`roger sql switch --to s1` makes the primary take writes"));
            check(old(false), None, order, Some(1), Some("the primary works on without it"));
        }
        check(old(true), None, Order::Switch { to: Some(0) }, Some(1), None);
        // What cannot catch up in time is not waited for; a primary that takes no writes has nothing to lose by it.
        check(old(false), standby(Some(30)), go, Some(1), None);
        check(old(false), standby(Some(31)), go, Some(1), Some("s2 is 31 s behind s1"));
        check(old(false), standby(None), go, Some(1), Some("does not say how far s2 is behind s1"));
        check(old(true), standby(Some(31)), go, Some(1), None);
        check(old(true), standby(None), go, Some(1), None);
        // Redis does not answer: with both servers nothing is hidden, with one there may be a primary of a later epoch.
        check(old(false), standby(Some(0)), go, None, None);
        check(None, standby(Some(0)), Order::PrimaryIsDead, None, Some("Redis does not say"));
        check(old(true), None, Order::Switch { to: Some(0) }, None, Some("Redis does not say"));
    }
}
