//! Once a second: sessions that are silent or do not read, deadlines that move, and the edge's own heartbeat.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::hub::Edge;
use super::listen;
use super::session::Session;
use crate::broker::EdgeBeat;
use crate::model::Reason;
use crate::shutdown::Shutdown;

/// How long an edge lives without a heartbeat, and how many ticks lie between two.
const EDGE_LIFETIME: Duration = Duration::from_secs(10);
const TICKS_A_BEAT: u64 = 2;
/// After so many intervals without a frame a session is over.
pub(super) const BEATS_MISSED_MAX: u32 = 3;
/// How many deadlines move in one call.
const DEADLINES_A_CALL: usize = 1_000;

/// Ticks until it is time to stop.
pub(super) async fn run(edge: &Arc<Edge>, listen: &str, shutdown: Shutdown) {
    let (started_ms, mut ticks) = (edge.clock.now_ms(), 0_u64);
    let mut known = false;
    loop {
        if ticks % TICKS_A_BEAT == 0 {
            let (name, sessions) = (edge.config.name.clone(), edge.session_count() as u64);
            let beat = EdgeBeat { boot: edge.boot.clone(), name, listen: listen.to_owned(), sessions, started_ms };
            // Streams expire by the clock of Redis, so the edge's entry in the set goes by the system's clock as well.
            match edge.redis.beat_edge(&beat, crate::clock::Clock::system().now_ms(), EDGE_LIFETIME).await {
                Ok(true) => known = true,
                Ok(false) if known => come_back(edge).await,
                Ok(false) => known = true,
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the edge's heartbeat did not reach Redis"),
            }
        }
        if let Ok(facts) = if ticks % 5 == 0 { edge.redis.refresh_facts().await } else { edge.redis.facts().await } {
            edge.set_durability(facts.durability);
        }
        ticks += 1;
        look_after(edge).await;
        tokio::select! {
            () = edge.clock.sleep(Duration::from_secs(1)) => {}
            () = shutdown.cancelled() => return,
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
    let mut deadlines: HashMap<u32, Vec<(u64, String)>> = HashMap::new();
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
        if state.heard_ms >= state.beaten_ms + interval_ms / 2 {
            state.beaten_ms = state.heard_ms;
            let entry = (deadline(edge, state.heard_ms), session.presence.member.clone());
            deadlines.entry(session.presence.shard(edge.shards)).or_default().push(entry);
        }
    }
    for (shard, beats) in deadlines {
        for beats in beats.chunks(DEADLINES_A_CALL) {
            if let Err(error) = edge.redis.beat_sessions(shard, beats).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    shard,
                    "deadlines of sessions did not move; they do with the next heartbeat"
                );
            }
        }
    }
}

/// The edge's streams were gone: it slept, or Redis lost them. Sessions whose place nobody took open again and attach everything; the others
/// are over.
async fn come_back(edge: &Arc<Edge>) {
    tracing::warn!("the streams of this edge were gone; opening its sessions again");
    for session in edge.sessions() {
        if !reopen(edge, &session).await {
            session.close(edge, Reason::Superseded, 0);
        }
    }
    listen::attach_everything(edge);
}

async fn reopen(edge: &Arc<Edge>, session: &Arc<Session>) -> bool {
    let deadline_ms = deadline(edge, edge.clock.now_ms());
    let opened = session.presence.open_again(&edge.redis, edge.shards, session.claims.kind, deadline_ms).await;
    // Redis is away again: the next heartbeat finds the streams gone once more.
    opened.unwrap_or(true)
}
