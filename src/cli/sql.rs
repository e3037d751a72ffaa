//! `roger sql`: the pair of SQL servers, and the switch from one to the other.

use std::os::unix::fs::MetadataExt as _;

use nix::sys::signal::{Signal, raise};
use serde_json::{Value, json};

use super::args::SqlCommand;
use super::context::{Context, os_user};
use super::error::Error;
use super::output::{note, table};
use crate::store::{Pair, PairAccounts, PairLook, ServerState, Wish};
use crate::worker::chain;

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

pub(super) async fn sql(context: &Context, command: SqlCommand) -> Result<(), Error> {
    if let SqlCommand::Backup { file } = command {
        return Ok(context.store()?.backup(&file).await?);
    }
    let pair = pair(context)?;
    match command {
        SqlCommand::Backup { .. } => Ok(()),
        SqlCommand::Status => status(context, &pair).await,
        SqlCommand::Rejoin => switch(context, &pair, Wish::Rejoin, None).await,
        SqlCommand::Switch { primary_is_dead: true, killed_after, .. } => switch(context, &pair, Wish::PrimaryIsDead, killed_after).await,
        SqlCommand::Switch { to, killed_after, .. } => switch(context, &pair, Wish::Switch { to: to.as_deref() }, killed_after).await,
    }
}

/// The pair of the configuration, as its administrator.
pub(super) fn pair(context: &Context) -> Result<Pair, Error> {
    let config = &context.config.sql;
    if config.standby_url.is_empty() {
        return Err(Error::Usage("sql.standby_url is empty: there is no pair. docs/sql.md says how to set one up".to_owned()));
    }
    let Some(path) = &config.admin_file else {
        return Err(Error::Usage(
            "sql.admin_file is empty: it names the file with the administrator's account, see docs/sql.md".to_owned(),
        ));
    };
    let failed = |source| Error::File { path: path.clone(), source };
    if std::fs::metadata(path).map_err(failed)?.mode() & OTHERS != 0 {
        return Err(Error::Usage(format!("{} may be read by others: chmod 600 it", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    // What does not parse may be a password.
    let accounts: PairAccounts = toml::from_str(&text).map_err(|error| {
        Error::Usage(format!(
            "{}: {}; it has admin_user, admin_password, replication_user and replication_password",
            path.display(),
            error.message()
        ))
    })?;
    Ok(Pair::new(&config.url, &config.standby_url, accounts)?)
}

/// The highest epoch that Redis knows, 0 for none; of a Redis that does not answer it is said.
async fn noted(context: &Context) -> Result<Option<u64>, Error> {
    match context.redis()?.note_sql_epoch(0).await {
        Ok(epoch) => Ok(Some(epoch)),
        Err(error) => {
            note(&format!("roger: Redis does not say which epoch it knows: {}", chain(&error)));
            Ok(None)
        }
    }
}

async fn switch(context: &Context, pair: &Pair, wish: Wish<'_>, killed_after: Option<u8>) -> Result<(), Error> {
    let redis = context.redis()?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let by = format!("{} on {}", os_user(), host.trim());
    let told = |step: u8, text: &str| {
        note(&format!("{step}. {text}"));
        if killed_after == Some(step) {
            let _never = raise(Signal::SIGKILL);
        }
    };
    let announce = async |epoch: u64| {
        let done = redis.note_sql_epoch(epoch).await;
        if let Err(error) = &done {
            note(&format!("roger: the epoch is not noted in Redis: {}", chain(error)));
        }
        done.is_ok()
    };
    let done = pair.switch(wish, noted(context).await?, (&by, context.clock.now_ms()), &told, announce).await?;
    let answer = json!({ "primary": done.primary, "epoch": done.epoch, "standby": done.standby });
    context.out.answer(&answer, |_| {
        let standby =
            if done.standby { "the other one follows it" } else { "the other one does not answer: `roger sql rejoin` when it does" };
        format!("{} is the primary of epoch {}; {standby}", done.primary, done.epoch)
    });
    Ok(())
}

async fn status(context: &Context, pair: &Pair) -> Result<(), Error> {
    let PairLook { servers } = pair.look().await;
    let known = noted(context).await?;
    let highest = servers.iter().flatten().map(|state| state.epoch).max().unwrap_or(0).max(known.unwrap_or(0));
    let rows: Vec<Value> = (servers.iter().zip(pair.names()))
        .map(|(server, name)| match server {
            Ok(state) => json!({ "server": name, "role": role(state, highest), "state": state }),
            Err(error) => json!({ "server": name, "role": "away", "error": chain(error) }),
        })
        .collect();
    context.out.answer(&json!({ "epoch_in_redis": known, "servers": rows }), |_| {
        let rows = servers.iter().zip(pair.names()).map(|(server, name)| match server {
            Err(error) => [name.to_owned(), "away".to_owned(), String::new(), String::new(), chain(error), String::new()],
            Ok(state) => [
                name.to_owned(),
                role(state, highest).to_owned(),
                (if state.read_only { "no" } else { "yes" }).to_owned(),
                state.epoch.to_string(),
                follows(state),
                state.gtid.clone(),
            ],
        });
        let text = table(&["SERVER", "IS", "WRITABLE", "EPOCH", "FOLLOWS", "GTID"], rows);
        let known = known.map_or_else(|| "Redis does not answer.".to_owned(), |known| format!("Redis knows epoch {known}."));
        format!("{text}\n{known}")
    });
    Ok(())
}

/// What a server is in the pair.
pub(super) fn role(state: &ServerState, highest: u64) -> &'static str {
    match state {
        _ if state.epoch < highest => "old: behind the primary",
        _ if state.is_named() => "primary",
        _ if state.replication.is_some() => "standby",
        _ => "standby that follows nobody",
    }
}

fn follows(state: &ServerState) -> String {
    let semi = |on: bool| if on { "semi-sync" } else { "not semi-sync" };
    let Some(held) = &state.replication else {
        return format!("nobody; {} standbys acknowledge, {}", state.semi_sync_standbys, semi(state.semi_sync_primary));
    };
    let behind = held.behind_s.map_or_else(|| "unknown s behind".to_owned(), |seconds| format!("{seconds} s behind"));
    let how = if held.runs() { behind } else { format!("does not run: {}", held.error) };
    format!("{}, {how}, {}", held.from, semi(state.semi_sync_standby))
}
