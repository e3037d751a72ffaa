//! `roger redis`: which server is the primary, who follows it, and the planned switch to another one.

use super::args;
use super::context::Context;
use super::error::Error;
use super::operate::confirmed;
use super::output::table;
use crate::broker::{Primary, Redis, Replica};

pub(super) async fn run(context: &Context, command: &args::RedisCommand) -> Result<(), Error> {
    match command {
        args::RedisCommand::Status { sos } => status(context, &redis(context, *sos)?).await,
        args::RedisCommand::Switch { sos, yes } => switch(context, &redis(context, *sos)?, *yes).await,
    }
}

fn redis(context: &Context, sos: bool) -> Result<Redis, Error> {
    if sos { context.sos_redis() } else { context.redis() }
}

async fn status(context: &Context, redis: &Redis) -> Result<(), Error> {
    let primaries = redis.primaries().await?;
    let text = |primaries: &Vec<Primary>| primaries.iter().map(describe).collect::<Vec<_>>().join("\n\n");
    match primaries.as_slice() {
        // As it always was for one.
        [primary] => context.out.answer(primary, describe),
        _ => context.out.answer(&primaries, text),
    }
    Ok(())
}

fn describe(primary: &Primary) -> String {
    let row = |one: &Replica| [one.address.clone(), one.state.clone(), one.behind.to_string(), one.silent_s.to_string()];
    let replicas = match primary.replicas.as_slice() {
        [] => "no replica: what is lost with this server is lost but for what SQL has".to_owned(),
        replicas => table(&["REPLICA", "STATE", "BEHIND (BYTES)", "SILENT (S)"], replicas.iter().map(row)),
    };
    format!("{} is the primary, at {} bytes\n{replicas}", primary.address, primary.offset)
}

async fn switch(context: &Context, redis: &Redis, yes: bool) -> Result<(), Error> {
    confirmed(yes, "nothing is written for about two seconds; messages wait that long, and none is lost")?;
    let switched = redis.switch().await?;
    context.out.answer(&switched, |switched| {
        format!("{} is the primary now, {} was; writes waited for {} ms", switched.to, switched.from, switched.paused_ms)
    });
    Ok(())
}
