//! Sends a pipeline to the servers of a cluster: to each what it has the keys of, and on to where it sends what it does not have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use redis::aio::ConnectionLike;
use redis::{Cmd, FromRedisValue, Pipeline, RedisFuture, Value};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Hold};
use super::error::Error;
use super::facts::Facts;
use super::server::Server;
use super::slots::{key_of, slot_of};

/// How long to wait before a command is sent again whose keys are just being moved.
const MOVING: Duration = Duration::from_millis(20);

/// One command of a pipeline, or all of a transaction.
struct Part {
    slot: Option<u16>,
    /// Whom a server named for this once, while it gives the slot away.
    ask: Option<String>,
    answer: Option<Value>,
}

/// As [`super::Redis::pipe_to`]. What a server sends on was not executed, and is sent again; all else is not.
pub(super) async fn pipe<T: FromRedisValue>(
    cluster: &Arc<Cluster>,
    hold: Option<&Hold>,
    operation: &'static str,
    pipeline: &Pipeline,
) -> Result<(T, Vec<Arc<Facts>>), Error> {
    let (answers, facts) = send(cluster, hold, operation, pipeline).await?;
    let answer = pipeline.query_async(&mut Answered(answers)).await.map_err(|source| Error::of(operation, source))?;
    Ok((answer, facts))
}

async fn send(
    cluster: &Arc<Cluster>,
    hold: Option<&Hold>,
    operation: &'static str,
    pipeline: &Pipeline,
) -> Result<(Vec<Value>, Vec<Arc<Facts>>), Error> {
    let mut parts = parts_of(pipeline);
    let deadline = Instant::now() + cluster.settings().response_timeout;
    let mut servers: BTreeMap<String, Arc<Facts>> = BTreeMap::new();
    loop {
        let rounds = groups(cluster, hold, &parts).await?.into_iter().map(|((_, asking), (server, group))| async move {
            let part = cut(pipeline, &group, asking);
            let answered = match &part {
                Some(part) => server.exchange(operation, part).await,
                None => server.exchange(operation, pipeline).await,
            };
            (group, asking, answered)
        });
        for (group, asking, answered) in join_all(rounds).await {
            let (answers, facts) = match answered {
                Ok(answered) => answered,
                Err(error) => {
                    // It may have been replaced by a replica of its own.
                    cluster.look_again().await;
                    return Err(error);
                }
            };
            servers.insert(facts.server.clone(), facts);
            // Each command was preceded by one that says that it was sent on.
            let answers = answers.into_iter().enumerate().filter(|(index, _)| !asking || index % 2 == 1).map(|(_, answer)| answer);
            for (index, answer) in group.into_iter().zip(answers) {
                parts[index].ask = None;
                parts[index].answer = Some(answer);
            }
        }
        let late = Instant::now() >= deadline;
        if late || !redirect(cluster, hold, &mut parts).await {
            break;
        }
    }
    Ok((parts.into_iter().filter_map(|part| part.answer).collect(), servers.into_values().collect()))
}

/// A transaction goes to one server as a whole. What has no key goes where what stands before it goes.
fn parts_of(pipeline: &Pipeline) -> Vec<Part> {
    let slot = |command: &Cmd| key_of(command).map(slot_of);
    let part = |slot| Part { slot, ask: None, answer: None };
    let first = pipeline.cmd_iter().find_map(slot);
    if pipeline.is_transaction() {
        return vec![part(first)];
    }
    let mut last = first;
    let parts = pipeline.cmd_iter().map(|command| {
        last = slot(command).or(last);
        part(last)
    });
    parts.collect()
}

type Groups = BTreeMap<(String, bool), (Arc<Server>, Vec<usize>)>;

/// What is not answered yet, by server, and apart what is sent where another server said to ask.
async fn groups(cluster: &Arc<Cluster>, hold: Option<&Hold>, parts: &[Part]) -> Result<Groups, Error> {
    let map = cluster.map().await?;
    let mut groups = Groups::new();
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.answer.is_none()) {
        let name = match (&part.ask, part.slot) {
            (Some(address), _) => address.as_str(),
            (None, Some(slot)) => map.owner(slot).ok_or(Error::NoOwner { slot })?,
            (None, None) => "",
        };
        let key = (name.to_owned(), part.ask.is_some());
        if let Some((_, group)) = groups.get_mut(&key) {
            group.push(index);
            continue;
        }
        let server = match (&part.ask, part.slot, hold) {
            (Some(address), ..) => cluster.server_sent_to(address)?,
            (None, Some(slot), Some(hold)) => cluster.held_server(hold, slot).await?,
            (None, slot, _) => cluster.server_at(slot).await?,
        };
        groups.insert(key, (server, vec![index]));
    }
    Ok(groups)
}

/// The commands of a group as a pipeline of its own; `None` for the whole.
fn cut(pipeline: &Pipeline, group: &[usize], asking: bool) -> Option<Pipeline> {
    if pipeline.is_transaction() || (group.len() == pipeline.len() && !asking) {
        return None;
    }
    let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
    let mut part = Pipeline::with_capacity(group.len() * 2);
    for command in group.iter().filter_map(|index| commands.get(*index)) {
        if asking {
            part.cmd("ASKING");
        }
        part.add_command((*command).clone());
    }
    Some(part)
}

/// Takes back the answers that say to go elsewhere, or to come again; false when there are none.
async fn redirect(cluster: &Arc<Cluster>, hold: Option<&Hold>, parts: &mut [Part]) -> bool {
    let (mut again, mut moved, mut moving) = (false, false, false);
    for part in parts.iter_mut() {
        let Some(Value::ServerError(error)) = &part.answer else { continue };
        let code = error.code();
        if !matches!(code, "MOVED" | "ASK" | "TRYAGAIN") {
            continue;
        }
        if let Some(hold) = hold
            && part.slot == Some(hold.home())
        {
            // What the hold is about is not where it was.
            hold.give_up();
            moved = true;
            continue;
        }
        match code {
            "ASK" => part.ask = error.details().and_then(|details| details.split(' ').nth(1)).map(str::to_owned),
            "MOVED" => moved = true,
            _ => moving = true,
        }
        part.answer = None;
        again = true;
    }
    if moved {
        cluster.look_again().await;
    }
    if moving || moved && again {
        sleep(MOVING).await;
    }
    again
}

/// Answers that have come, for the client to read as those of a connection.
struct Answered(Vec<Value>);

impl ConnectionLike for Answered {
    fn req_packed_command<'a>(&'a mut self, _command: &'a Cmd) -> RedisFuture<'a, Value> {
        let answer = self.0.pop().unwrap_or_default();
        async move { Ok(answer) }.boxed()
    }

    fn req_packed_commands<'a>(&'a mut self, _pipeline: &'a Pipeline, _offset: usize, _count: usize) -> RedisFuture<'a, Vec<Value>> {
        let answers = std::mem::take(&mut self.0);
        async move { Ok(answers) }.boxed()
    }

    fn get_db(&self) -> i64 {
        0
    }
}
