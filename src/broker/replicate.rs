//! Whether what Redis answered is on replicas, too: one question at a time, for everybody who asks meanwhile.
//!
//! `WAIT` counts the replicas that have what its own connection wrote last. Replicas get writes in the order of the server, so a write made
//! after others, over a connection of its own, covers them all: nobody else's commands stand behind the wait, and one wait serves all who came
//! while the last one was under way.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::connection::Redis;
use super::error::Error;
use super::facts::Facts;
use super::keys;
use super::scripts::WHEN_FULL;
use super::server::{Live, Server};
use super::slots::slot_of;
use crate::model::Durability;

/// How many may wait for the next question.
const WAITING_MAX: usize = 1_024;
/// While replicas are missing they are looked for this often; who asks meanwhile is answered at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a look for missing replicas may hold somebody up.
const LOOK: Duration = Duration::from_millis(20);
/// So many numbers give keys of every slot, nearly surely.
const NUMBERS: u32 = 300_000;
/// How long the key lives that is written for the question.
const LIFETIME: Duration = Duration::from_secs(60);

/// Of what a receipt may speak: how many replicas, and how long they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    /// So many replicas must have it.
    pub replicas: u32,
    /// How long they may take, before it counts as not replicated.
    pub patience: Duration,
}

impl Replication {
    /// There are no replicas.
    pub fn none() -> Self {
        Self { replicas: 0, patience: Duration::ZERO }
    }
}

/// Asks for a server.
#[derive(Default)]
pub(super) struct Asker(OnceLock<mpsc::Sender<Question>>);

/// Where the key is to stand that is written for the question.
struct Place {
    server: String,
    cluster: Option<Weak<Cluster>>,
}

impl Place {
    /// A key that the server has; `None` when it has no slot any more.
    fn key(&self) -> Option<String> {
        let Some(cluster) = &self.cluster else { return Some(keys::replicated(0)) };
        let map = cluster.upgrade()?.known();
        // Some number has a slot of it, however few it has.
        map.masters.iter().find(|(address, _)| *address == self.server)?;
        (0..NUMBERS).map(keys::replicated).find(|key| map.owner(slot_of(key.as_bytes())) == Some(&self.server))
    }
}

struct Question {
    history: String,
    answer: oneshot::Sender<Result<bool, Error>>,
}

impl Redis {
    /// Whether all that the server of `facts` answered before this call is on as many replicas as wanted. False when they did not say so in
    /// time, or are known to be missing: it is as safe as that server alone.
    ///
    /// # Errors
    /// [`Error::Broken`] when that server is the primary no more, and what it answered may be lost; or why it could not be asked.
    pub async fn replicated(&self, facts: &Facts) -> Result<bool, Error> {
        let server = self.server_named(&facts.server)?;
        let asker = server.asker().0.get_or_init(|| {
            let (ask, questions) = mpsc::channel(WAITING_MAX);
            let place = Place { server: facts.server.clone(), cluster: self.cluster().map(Arc::downgrade) };
            tokio::spawn(serve(server.apart(), place, questions));
            ask
        });
        let (answer, answered) = oneshot::channel();
        let question = Question { history: facts.history.clone(), answer };
        asker.send(question).await.map_err(|_gone| Error::Broken)?;
        answered.await.map_err(|_gone| Error::Broken)?
    }
}

impl Redis {
    /// How safe is what the servers of `takers` answered before this call, once that is as safe as `wanted` or nothing more is to be had.
    ///
    /// # Errors
    /// As [`Redis::replicated`]: it has to be written again.
    pub async fn secured(&self, takers: &[Arc<Facts>], wanted: Durability) -> Result<Durability, Error> {
        let each = takers.iter().map(|facts| async {
            let replicated = wanted >= Durability::Replica && self.replicated(facts).await?;
            Ok(if replicated { Durability::Replica } else { facts.durability })
        });
        let reached = try_join_all(each).await?;
        Ok(reached.into_iter().min().unwrap_or(Durability::Memory))
    }

    /// Adds entries as [`Redis::add_all_when_full`], for somebody who then forgets them. One server loses the end of everything it took, so what
    /// was forgotten after it was added is remembered again; of two servers only one may lose something. So replicas are asked first, where
    /// there are several servers. Gives who took them.
    pub async fn hand_over(&self, entries: &[(String, Vec<u8>)]) -> Result<Vec<Arc<Facts>>, Error> {
        let takers = self.add_all_when_full(entries).await?;
        if self.is_cluster() {
            self.secured(&takers, Durability::Replica).await?;
        }
        Ok(takers)
    }
}

/// Answers until nobody is left who could ask.
async fn serve(server: Server, place: Place, mut questions: mpsc::Receiver<Question>) {
    let mut live: Option<Live> = None;
    // `WAIT` may rightly take the patience. Cut off before, a replica that hangs would look like a primary that does, for ever.
    let response_timeout = server.settings().response_timeout + server.settings().replication.patience;
    // Since when replicas are missing, or were looked for in vain.
    let mut missing: Option<Instant> = None;
    let mut waiting = Vec::with_capacity(WAITING_MAX);
    while questions.recv_many(&mut waiting, WAITING_MAX).await > 0 {
        let now = live.take().filter(|live| server.is_current(live));
        let connected = match now {
            Some(live) => Ok(live),
            None => server.connect(response_timeout).await.inspect(|live| missing = (live.facts.replicas == 0).then(Instant::now)),
        };
        let answer = match connected {
            Ok(mut connected) => {
                let asked = ask(&server, &place, &mut connected, &mut missing).await;
                if asked.is_ok() {
                    live = Some(connected.clone());
                }
                asked.map(|replicated| (connected.facts.history.clone(), replicated))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &answer {
            tracing::debug!(error = error as &dyn std::error::Error, "replicas could not be asked");
        }
        for Question { history, answer: told } in waiting.drain(..) {
            let verdict = match &answer {
                Ok((of, replicated)) if *of == history => Ok(*replicated),
                // Another server, or one that was a replica meanwhile.
                Ok(_) | Err(_) => Err(Error::Broken),
            };
            // Who asked may be gone.
            let _gone = told.send(verdict);
        }
    }
}

async fn ask(server: &Server, place: &Place, live: &mut Live, missing: &mut Option<Instant>) -> Result<bool, Error> {
    const OPERATION: &str = "wait for replicas";
    let Replication { replicas, patience } = server.settings().replication;
    if replicas == 0 {
        return Ok(false);
    }
    let patience = match missing {
        Some(since) if since.elapsed() < LOOK_EVERY => return Ok(false),
        Some(_) => LOOK,
        None => patience,
    };
    let mut pipeline = redis::Pipeline::with_capacity(2);
    // Also when memory is full: that something is committed has to be told then, too.
    let mut write = WHEN_FULL.call(&[&place.key().ok_or(Error::Broken)?]);
    write.arg("SET").arg("").arg("PX").arg(LIFETIME.as_millis() as u64);
    pipeline.add_command(write).ignore();
    pipeline.cmd("WAIT").arg(replicas).arg(patience.as_millis().max(1) as u64);
    let asked = pipeline.query_async::<(u32,)>(&mut live.connection).await;
    let (have,) = asked.map_err(|source| Error::of(OPERATION, source))?;
    let replicated = have >= replicas;
    match (replicated, missing.is_some()) {
        (false, false) => {
            tracing::warn!(have, wanted = replicas, "replicas do not follow; receipts promise no more than the primary alone keeps")
        }
        (true, true) => tracing::info!(have, wanted = replicas, "replicas follow again"),
        _ => {}
    }
    *missing = (!replicated).then(Instant::now);
    Ok(replicated)
}
