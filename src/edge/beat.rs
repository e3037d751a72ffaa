//! The edge's own heartbeat; and once a second: sessions that are silent or do not read, and deadlines that move.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::hub::Edge;
use super::listen;
use super::session::Session;
use crate::broker::EdgeBeat;
use crate::model::{Reason, UserId};
use crate::session::{self, OWN_GHOST_MS, Opened};
use crate::shutdown::Shutdown;

/// How long an edge lives without a heartbeat, and how much lies between two.
const EDGE_LIFETIME: Duration = Duration::from_secs(10);
const EDGE_BEAT: Duration = Duration::from_secs(1);
/// How often sessions are looked after.
const TICK: Duration = Duration::from_secs(1);
/// After so many intervals without a frame a session is over.
pub(super) const BEATS_MISSED_MAX: u32 = 3;
/// How many deadlines move, and how many sessions open again, in one call.
const DEADLINES_A_CALL: usize = 1_000;
const OPENED_A_CALL: usize = 250;

/// Tells that the edge lives until it is time to stop. It does nothing else: however much there is to do for sessions, the edge's streams
/// must not lapse meanwhile.
pub(super) async fn heart(edge: &Arc<Edge>, listen: &str, shutdown: Shutdown) {
    let started_ms = edge.clock.now_ms();
    let mut known = false;
    while !shutdown.is_cancelled() {
        let (name, sessions) = (edge.config.name.clone(), edge.session_count() as u64);
        let beat = EdgeBeat { boot: edge.boot.clone(), name, listen: listen.to_owned(), sessions, started_ms };
        // Streams expire on Redis, so no hand moves the edge's entry in the set either.
        match edge.redis.beat_edge(&beat, edge.clock.unmoved_ms(), EDGE_LIFETIME).await {
            Ok(there) => {
                if known && !there {
                    edge.streams_made.fetch_add(1, Ordering::Relaxed);
                    edge.streams_gone.notify_one();
                }
                known = true;
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the edge's heartbeat did not reach Redis"),
        }
        edge.clock.sleep(EDGE_BEAT).await;
    }
}

/// Ticks until it is time to stop.
pub(super) async fn run(edge: &Arc<Edge>, shutdown: Shutdown) {
    let mut ticks = 0_u64;
    while !shutdown.is_cancelled() {
        if let Ok(facts) = if ticks.is_multiple_of(5) { edge.redis.refresh_facts().await } else { edge.redis.facts().await } {
            edge.set_durability(facts.durability);
        }
        ticks += 1;
        look_after(edge).await;
        tokio::select! {
            () = edge.clock.sleep(TICK) => {}
            () = edge.streams_gone.notified() => come_back(edge).await,
        }
    }
}

/// When a session lapses that was heard at `heard_ms`.
pub(super) fn deadline(edge: &Edge, heard_ms: u64) -> u64 {
    heard_ms + edge.config.heartbeat_interval.as_millis() as u64 * u64::from(BEATS_MISSED_MAX) + 5_000
}

async fn look_after(edge: &Arc<Edge>) {
    let now_ms = edge.clock.now_ms();
    let interval_ms = edge.config.heartbeat_interval.as_millis() as u64;
    let slow_ms = edge.config.slow_consumer.as_millis() as u64;
    let mut deadlines: HashMap<u32, Vec<(u64, Arc<Session>)>> = HashMap::new();
    let mut batteries: HashMap<u32, Vec<(UserId, u32, u64)>> = HashMap::new();
    for session in edge.sessions() {
        let mut state = session.lock();
        let silent_ms = now_ms.saturating_sub(state.heard_ms);
        let stuck = !state.queue.is_empty() && now_ms.saturating_sub(state.queue.drained_ms) > slow_ms;
        if silent_ms > interval_ms * u64::from(BEATS_MISSED_MAX) || stuck {
            drop(state);
            session.close(edge, if stuck { Reason::SlowConsumer } else { Reason::HeartbeatMissed }, 1_000);
            continue;
        }
        if state.queue.is_empty() {
            state.queue.drained_ms = now_ms;
        }
        session.give_up_waiting(edge, &mut state, now_ms);
        session.insist(edge, &mut state, now_ms);
        if !state.behind.is_empty() {
            session.pump(edge, &mut state);
        }
        if !state.queue.is_empty() {
            // What was found out here is told now, and not when something else is.
            session.wake();
        }
        if let Some(percent) = state.battery.take() {
            batteries.entry(session.presence.shard(edge.shards)).or_default().push((session.claims.user, percent, state.heard_ms));
        }
        if state.heard_ms >= state.beaten_ms + interval_ms / 2 {
            state.beaten_ms = state.heard_ms;
            let deadline_ms = deadline(edge, state.heard_ms);
            drop(state);
            deadlines.entry(session.presence.shard(edge.shards)).or_default().push((deadline_ms, session));
        }
    }
    for (shard, notes) in batteries {
        // The next heartbeat says it again.
        if let Err(error) = edge.redis.note_battery(shard, edge.shards, &notes).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "batteries were not noted");
        }
    }
    for (shard, beats) in deadlines {
        for beats in beats.chunks(DEADLINES_A_CALL) {
            beat_sessions(edge, shard, beats).await;
        }
    }
}

/// Moves deadlines. A session that has none any more was displaced and nobody could tell it, or Redis lost it.
async fn beat_sessions(edge: &Arc<Edge>, shard: u32, beats: &[(u64, Arc<Session>)]) {
    let moved: Vec<_> = beats.iter().map(|(deadline_ms, session)| (*deadline_ms, session.presence.member.as_str())).collect();
    match edge.redis.beat_sessions(shard, &moved).await {
        Ok(gone) => {
            let gone: HashSet<String> = gone.into_iter().collect();
            let again: Vec<_> =
                beats.iter().map(|(_, session)| session.clone()).filter(|one| gone.contains(&one.presence.member)).collect();
            for sessions in again.chunks(OPENED_A_CALL) {
                reopen(edge, sessions).await;
            }
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                shard,
                "deadlines of sessions did not move; they do with the next heartbeat"
            );
        }
    }
}

/// The edge's streams were gone: it slept, or Redis lost them. Sessions whose place nobody took open again and attach everything; the others
/// are over.
async fn come_back(edge: &Arc<Edge>) {
    tracing::warn!("the streams of this edge were gone; opening its sessions again");
    for sessions in edge.sessions().chunks(OPENED_A_CALL) {
        reopen(edge, sessions).await;
    }
    listen::attach_everything(edge);
}

/// Opens sessions again that are not on Redis any more, and closes those whose place another session took, or whose token was called back.
async fn reopen(edge: &Arc<Edge>, sessions: &[Arc<Session>]) {
    let deadline_ms = deadline(edge, edge.clock.now_ms());
    let presences: Vec<_> = sessions.iter().map(|session| (&session.presence, session.claims.kind, deadline_ms)).collect();
    match session::open_again(&edge.redis, edge.shards, &presences).await {
        Ok(opened) => {
            for (session, opened) in sessions.iter().zip(opened) {
                match opened {
                    Opened::Open(_) => {}
                    Opened::Taken { by_itself } => session.close(edge, Reason::Superseded, if by_itself { OWN_GHOST_MS } else { 0 }),
                    Opened::Revoked => session.close(edge, Reason::TokenRevoked, 0),
                }
            }
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                sessions = sessions.len(),
                "sessions were not opened again; they are with their next heartbeats"
            );
        }
    }
}
