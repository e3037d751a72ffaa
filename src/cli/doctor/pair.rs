//! What the doctor says of a pair of SQL servers.

use super::{Checks, Verdict, verdict};
use crate::cli::context::Context;
use crate::cli::error::Error;
use crate::cli::sql::pair;
use crate::store::{PairError, ServerState};
use crate::worker::chain;

/// Seconds that a standby may be behind without a word.
const BEHIND_WARN_S: u64 = 30;

/// Nothing without a pair, or without the administrator's account, with which alone one sees how it stands.
pub(super) async fn judge(checks: &mut Checks, context: &Context) {
    let config = &context.config.sql;
    if config.standby_url.is_empty() || config.admin_file.is_none() {
        return;
    }
    match pair(context) {
        Err(error) => {
            let reason = if let Error::Usage(text) = &error { text.clone() } else { chain(&error) };
            checks.add("sql.pair", Verdict::Warn, reason, "see docs/sql.md");
        }
        Ok(pair) => judge_servers(checks, &pair.look().await.servers),
    }
}

fn judge_servers(checks: &mut Checks, servers: &[Result<ServerState, PairError>; 2]) {
    let states: Vec<&ServerState> = servers.iter().flatten().collect();
    let highest = states.iter().map(|state| state.epoch).max().unwrap_or(0);
    let primary = states.iter().find(|state| state.is_named() && state.epoch == highest);
    let writable: Vec<&str> = states.iter().filter(|state| !state.read_only).map(|state| state.server.as_str()).collect();
    let fix = fix_of(primary.copied(), &states);
    for error in servers.iter().filter_map(|server| server.as_ref().err()) {
        checks.add("sql.pair", Verdict::Fail, chain(error), format!("start it; until then {fix}"));
    }
    match primary {
        Some(primary) => {
            let seen = format!("{} in epoch {highest}{}", primary.server, if primary.read_only { ", read-only" } else { "" });
            checks.add("sql.primary", verdict(primary.read_only, false), seen, fix);
        }
        None => checks.add("sql.primary", Verdict::Fail, "no server that answers is the primary", fix),
    }
    if writable.len() > 1 {
        let seen = format!("{} both take writes; programs use the primary alone", writable.join(" and "));
        checks.add("sql.writers", Verdict::Fail, seen, "`roger sql rejoin` makes the other one read-only and a standby");
    }
    for standby in states.iter().filter(|state| primary.is_none_or(|primary| primary.server != state.server)) {
        judge_standby(checks, standby, highest);
    }
    if let (Some(primary), 2) = (primary, states.len()) {
        let off = !primary.semi_sync_primary || primary.semi_sync_standbys == 0;
        let seen = format!("{} standbys acknowledge commits", primary.semi_sync_standbys);
        let fix = "what is committed now is lost with the primary: set rpl_semi_sync_master_enabled and rpl_semi_sync_slave_enabled on both, and \
                   see why the standby does not acknowledge";
        checks.add("sql.semi-sync", verdict(false, off), seen, fix);
    }
}

/// How there is a primary again that takes writes: a command that is not refused as the pair stands.
fn fix_of(primary: Option<&ServerState>, states: &[&ServerState]) -> String {
    let alone = states.len() == 1;
    match primary {
        Some(primary) if alone && primary.read_only => format!("`roger sql switch --to {}` makes the primary take writes", primary.server),
        Some(_) if alone => "the primary works without it".to_owned(),
        Some(_) => "`roger sql switch` finishes what was left half-way".to_owned(),
        None if alone && states.iter().any(|state| state.replication.is_some()) => {
            "there is no primary; when it is dead, `roger sql switch --primary-is-dead` makes the standby the primary".to_owned()
        }
        None if states.is_empty() => "there is no primary".to_owned(),
        None => "there is no primary that is known, and none can be made by itself: see docs/sql.md".to_owned(),
    }
}

fn judge_standby(checks: &mut Checks, standby: &ServerState, highest: u64) {
    let fix = "`roger sql rejoin`, which says what to do when it cannot follow any more";
    let Some(held) = &standby.replication else {
        return checks.add("sql.standby", Verdict::Fail, format!("{} follows nobody", standby.server), fix);
    };
    if !held.runs() {
        return checks.add("sql.standby", Verdict::Fail, format!("{} does not replicate: {}", standby.server, held.error), fix);
    }
    let behind = held.behind_s.unwrap_or(u64::MAX);
    let seen = match held.behind_s {
        _ if standby.epoch < highest => format!("{} is of epoch {}, the primary of {highest}", standby.server, standby.epoch),
        None => format!("{} follows, and MariaDB does not say how far it is behind", standby.server),
        Some(seconds) => format!("{} is {seconds} s behind", standby.server),
    };
    let fix = "a switch waits 30 s for it at most: see its load and its disk";
    checks.add("sql.standby", verdict(false, behind > BEHIND_WARN_S || standby.epoch < highest), seen, fix);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Replication;

    fn server(id: i64, read_only: bool, replication: Option<Replication>) -> ServerState {
        ServerState {
            server: format!("s{id}"),
            server_id: id,
            epoch: 3,
            primary_id: 1,
            read_only,
            replication,
            semi_sync_primary: true,
            semi_sync_standbys: 1,
            ..ServerState::default()
        }
    }

    #[test]
    fn each_trouble_has_its_name() {
        let follows = |behind_s| Some(Replication { fetches: true, applies: true, behind_s: Some(behind_s), ..Replication::default() });
        let check = |first: ServerState, second: ServerState, expected: &[(&str, Verdict)]| {
            let mut checks = Checks::default();
            judge_servers(&mut checks, &[Ok(first), Ok(second)]);
            let seen: Vec<(&str, Verdict)> =
                checks.0.iter().map(|check| (check.check, check.verdict)).filter(|(_, verdict)| *verdict != Verdict::Ok).collect();
            assert_eq!(seen, expected);
        };
        check(server(1, false, None), server(2, true, follows(0)), &[]);
        check(server(1, true, None), server(2, true, follows(0)), &[("sql.primary", Verdict::Fail)]);
        check(server(1, false, None), server(2, false, follows(0)), &[("sql.writers", Verdict::Fail)]);
        check(server(1, false, None), server(2, true, None), &[("sql.standby", Verdict::Fail)]);
        check(server(1, false, None), server(2, true, Some(Replication::default())), &[("sql.standby", Verdict::Fail)]);
        check(server(1, false, None), server(2, true, follows(31)), &[("sql.standby", Verdict::Warn)]);
        let alone = ServerState { semi_sync_standbys: 0, ..server(1, false, None) };
        check(alone, server(2, true, follows(0)), &[("sql.semi-sync", Verdict::Warn)]);
        check(server(3, false, None), server(2, true, follows(0)), &[("sql.primary", Verdict::Fail), ("sql.standby", Verdict::Fail)]);
    }

    #[test]
    fn what_is_to_be_done_is_not_refused() {
        let away = || Err(PairError::Late { server: "s2".to_owned(), what: "an answer", seconds: 3 });
        let standby = || server(2, true, Some(Replication { fetches: true, applies: true, behind_s: Some(0), ..Replication::default() }));
        let check = |first, second, expected: &[(&str, &str)]| {
            let mut checks = Checks::default();
            judge_servers(&mut checks, &[first, second]);
            for (name, expected) in expected {
                let fix = checks.0.iter().find(|check| check.check == *name).map(|check| check.fix.as_ref());
                assert!(fix.is_some_and(|fix| fix.contains(expected)), "{name}: {fix:?}, not {expected}");
            }
        };
        check(Ok(server(1, true, None)), Ok(standby()), &[("sql.primary", "`roger sql switch` finishes")]);
        let writes = "`roger sql switch --to s1` makes the primary take writes";
        check(Ok(server(1, true, None)), away(), &[("sql.pair", writes), ("sql.primary", writes)]);
        check(Ok(server(1, false, None)), away(), &[("sql.pair", "the primary works without it")]);
        let dead = "`roger sql switch --primary-is-dead`";
        check(Ok(standby()), away(), &[("sql.pair", dead), ("sql.primary", dead)]);
        check(Ok(server(2, true, None)), away(), &[("sql.primary", "see docs/sql.md")]);
    }
}
