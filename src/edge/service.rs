//! The gRPC half: opening sessions, and what clients send in them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};

use super::beat;
use super::hub::Edge;
use super::session::{Session, Waiter};
use super::stream::Downstream;
use crate::location::REPORTS_MAX;
use crate::model::{FRAME_MARKS_MAX, FRAME_MESSAGES_MAX, GroupId, InstallationId, Reason, SessionId, TopicId};
use crate::proto::v1;
use crate::session::{self, OWN_GHOST_MS, Opened, Presence};

/// How long a client may take with its first frame.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How many refusals wait for a client at most; one that goes on without reading them is closed as a slow consumer.
const REFUSALS_MAX: usize = 4_096;
/// How long a unary call waits for receipts.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(10);

/// The edge's half of the service.
#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<Edge>);

type Frames = Pin<Box<dyn Stream<Item = Result<v1::ServerFrame, Status>> + Send>>;

#[tonic::async_trait]
impl v1::talk_cloud_server::TalkCloud for Service {
    type DataPublishStream = Frames;
    type SubscribeStream = Frames;

    async fn data_publish(&self, request: Request<Streaming<v1::ClientFrame>>) -> Result<Response<Frames>, Status> {
        let mut frames = request.into_inner();
        let first = tokio::time::timeout(HELLO_PATIENCE, frames.next()).await;
        let Ok(Some(first)) = first else { return Err(self.0.refused(Reason::HelloExpected, "hello")) };
        let mut first = first.inspect_err(count_unreadable)?;
        let Some(hello) = first.hello.take() else { return Err(self.0.refused(Reason::HelloExpected, "hello")) };
        let session = self.open(hello).await?;
        let leaving = take(&self.0, &session, first);
        tokio::spawn(read(self.0.clone(), session.clone(), frames, leaving));
        Ok(Response::new(Box::pin(Downstream::new(self.0.clone(), session))))
    }

    async fn subscribe(&self, request: Request<v1::Hello>) -> Result<Response<Frames>, Status> {
        let session = self.open(request.into_inner()).await?;
        Ok(Response::new(Box::pin(Downstream::new(self.0.clone(), session))))
    }

    async fn im_message_publish(
        &self,
        request: Request<v1::ImMessagePublishRequest>,
    ) -> Result<Response<v1::ImMessagePublishResponse>, Status> {
        let request = request.into_inner();
        let session = self.session(request.session_id)?;
        if request.messages.len() > FRAME_MESSAGES_MAX {
            return Err(self.0.refused(Reason::TooMany, "messages"));
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        {
            let mut state = session.lock();
            if state.closed {
                return Err(self.0.refused(Reason::UnknownSession, "session_id"));
            }
            state.heard_ms = self.0.clock.now_ms();
            let named = |message: &v1::Message| (message.to.and_then(v1::Topic::to_model), message.client_seq);
            let mut answer = v1::ImMessagePublishResponse::default();
            let mut open = Vec::new();
            for (index, message) in request.messages.iter().enumerate() {
                match named(message) {
                    (Some(topic), client_seq) => open.push((topic, client_seq)),
                    // Without a topic nothing could be told apart later: it is refused here.
                    (None, client_seq) => {
                        let refusal = self.0.refusal(Reason::FieldMissing, &format!("messages[{index}].to"));
                        answer.refusals.push(v1::Refusal { topic: message.to, client_seq, ..refusal });
                    }
                }
            }
            state.forget_callers_gone();
            state.waiters.push(Waiter { open, answer, done: Some(sender) });
            for (index, message) in request.messages.into_iter().enumerate().filter(|(_, message)| named(message).0.is_some()) {
                session.accept(&self.0, &mut state, message, index);
            }
            // Everything may have been refused, or answered, already.
            state.settle();
        }
        let answer = tokio::time::timeout(PUBLISH_PATIENCE, receiver).await;
        match answer {
            Ok(Ok(answer)) => Ok(Response::new(answer)),
            Ok(Err(_)) => Err(self.0.refused(Reason::UnknownSession, "session_id")),
            Err(_) => Err(self.0.refused(Reason::StoreUnavailable, "")),
        }
    }

    async fn acknowledge(&self, request: Request<v1::AcknowledgeRequest>) -> Result<Response<v1::AcknowledgeResponse>, Status> {
        let request = request.into_inner();
        let session = self.session(request.session_id)?;
        if request.marks.len() > FRAME_MARKS_MAX {
            return Err(self.0.refused(Reason::TooMany, "marks"));
        }
        session.heard(self.0.clock.now_ms());
        Ok(Response::new(v1::AcknowledgeResponse { refusals: take_marks(&self.0, &session, request.marks) }))
    }

    async fn heartbeat(&self, request: Request<v1::HeartbeatRequest>) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let session = self.session(request.session_id)?;
        session.heard(self.0.clock.now_ms());
        let beaten = session.lock().beat(request.beat.unwrap_or_default());
        beaten.map_err(|reason| self.0.refused(reason, "beat.battery_percent"))?;
        Ok(Response::new(v1::HeartbeatResponse {}))
    }

    async fn set_lock_group_id(&self, request: Request<v1::SetLockGroupIdRequest>) -> Result<Response<v1::SetLockGroupIdResponse>, Status> {
        let request = request.into_inner();
        let session = self.session(request.session_id)?;
        if request.group_id > TopicId::ID_MAX {
            return Err(self.0.refused(Reason::NotMember, "group_id"));
        }
        let entered = session.enter(&self.0, GroupId(request.group_id)).await?;
        Ok(Response::new(v1::SetLockGroupIdResponse { group_id: entered.group, version: entered.version }))
    }

    async fn login(&self, _: Request<v1::LoginRequest>) -> Result<Response<v1::LoginResponse>, Status> {
        Err(self.0.refused(Reason::WrongDoor, ""))
    }

    async fn logout(&self, _: Request<v1::LogoutRequest>) -> Result<Response<v1::LogoutResponse>, Status> {
        Err(self.0.refused(Reason::WrongDoor, ""))
    }

    async fn get_group_list(&self, _: Request<v1::GetGroupListRequest>) -> Result<Response<v1::GetGroupListResponse>, Status> {
        Err(self.0.refused(Reason::WrongDoor, ""))
    }
}

impl Service {
    fn session(&self, id: u64) -> Result<Arc<Session>, Status> {
        self.0.session(SessionId(id)).ok_or_else(|| self.0.refused(Reason::UnknownSession, "session_id"))
    }

    /// Checks a hello, displaces what it displaces, and follows the user's inbox; the rest follows from what the inbox says.
    async fn open(&self, hello: v1::Hello) -> Result<Arc<Session>, Status> {
        let edge = &self.0;
        let now_ms = edge.clock.now_ms();
        let refused = |reason, field| edge.refused(reason, field);
        let claims = edge.verifier.verify(&hello.token, now_ms).map_err(|error| refused(error.reason(), "hello.token"))?;
        if hello.installation_id == 0 || InstallationId(hello.installation_id) != claims.installation {
            return Err(refused(Reason::FieldMissing, "hello.installation_id"));
        }
        if hello.marks.len() > FRAME_MARKS_MAX {
            return Err(refused(Reason::TooMany, "hello.marks"));
        }
        let mut marks = HashMap::new();
        for mark in hello.marks {
            match (mark.topic.and_then(v1::Topic::to_model), mark.place) {
                (Some(topic), Some(place)) => drop(marks.insert(topic, place.into())),
                _ => return Err(refused(Reason::FieldMissing, "hello.marks")),
            }
        }
        let id = SessionId(rand::random());
        let presence = Presence::new(claims.user, claims.installation, id, &edge.boot, &edge.config.name, now_ms);
        let presence = Presence { issued_ms: claims.issued_ms, ..presence };
        let kind = claims.kind;
        let session = Session::new(edge, claims, presence, marks);
        edge.register(&session).map_err(|reason| refused(reason, ""))?;
        let opened = session.presence.open(&edge.redis, edge.shards, kind, beat::deadline(edge, now_ms)).await;
        let displaced = match opened {
            Ok(Opened::Open(displaced)) => displaced,
            Ok(Opened::Taken { .. }) => Vec::new(),
            Ok(Opened::Revoked) => {
                edge.forget(id);
                return Err(refused(Reason::TokenRevoked, "hello.token"));
            }
            Err(error) => {
                edge.forget(id);
                tracing::warn!(error = &error as &dyn std::error::Error, "a session was not opened");
                return Err(refused(Reason::StoreUnavailable, ""));
            }
        };
        let (own, others) = displaced.into_iter().partition(|presence| presence.installation == session.presence.installation);
        self.displace(own, OWN_GHOST_MS).await;
        self.displace(others, 0).await;
        {
            let mut state = session.lock();
            state.queue.welcome = Some(v1::Welcome {
                session_id: id.0,
                heartbeat_interval_ms: edge.config.heartbeat_interval.as_millis() as u32,
                user_id: session.claims.user.0,
                durability: v1::Durability::from(edge.durability()).into(),
            });
            let inbox: TopicId = session.inbox();
            session.follow(edge, &mut state, TopicId::alert_inbox(session.claims.user));
            session.follow(edge, &mut state, inbox);
            if (1..=TopicId::ID_MAX).contains(&hello.current_group_id) {
                session.wish(edge, &mut state, GroupId(hello.current_group_id), None);
            }
        }
        tracing::info!(session.id = id.for_logs(), user.id = session.claims.user.0, "session opened");
        metrics::counter!("roger_sessions_opened_total").increment(1);
        Ok(session)
    }

    /// Closes the sessions that a new one displaced, here or wherever they are.
    async fn displace(&self, displaced: Vec<Presence>, retry_after_ms: u32) {
        let (here, elsewhere) = displaced.into_iter().partition::<Vec<_>, _>(|presence| presence.edge == self.0.boot);
        for session in here.into_iter().filter_map(|presence| self.0.session(presence.session)) {
            session.close(&self.0, Reason::Superseded, retry_after_ms);
        }
        session::tell(&self.0.redis, elsewhere, Reason::Superseded, retry_after_ms).await;
    }
}

/// Whether a client broke its framing: what it sent is too long to be looked at, or is no frame.
fn is_unreadable(status: &Status) -> bool {
    matches!(status.code(), Code::OutOfRange | Code::Internal)
}

fn count_unreadable(status: &Status) {
    if is_unreadable(status) {
        metrics::counter!("roger_refusals_total", "reason" => "unreadable").increment(1);
    }
}

/// Reads what a client sends until it goes. Every session has one of these for all its life: what it holds while it waits is kept small.
async fn read(edge: Arc<Edge>, session: Arc<Session>, mut frames: Streaming<v1::ClientFrame>, mut leaving: bool) {
    while !leaving {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = session.over.cancelled() => return,
        };
        match frame {
            Some(Ok(frame)) => leaving = take(&edge, &session, frame),
            Some(Err(status)) if is_unreadable(&status) => {
                count_unreadable(&status);
                return session.break_off(&edge, status);
            }
            // The connection is gone. The presence stays until it lapses: radios come back.
            Some(Err(_)) | None => return session.close(&edge, Reason::SignedOut, 0),
        }
    }
    Box::pin(leave(&edge, &session)).await;
}

/// The client said goodbye.
async fn leave(edge: &Arc<Edge>, session: &Arc<Session>) {
    if let Err(error) = session.presence.close(&edge.redis, edge.shards).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the presence of a session that said goodbye stays until it lapses");
    }
    session.close(edge, Reason::SignedOut, 0);
}

/// Takes a frame in; true when it was a goodbye.
fn take(edge: &Arc<Edge>, session: &Arc<Session>, mut frame: v1::ClientFrame) -> bool {
    let marks = std::mem::take(&mut frame.marks);
    let many = marks.len() > FRAME_MARKS_MAX;
    let marks_refused = if many { Vec::new() } else { take_marks(edge, session, marks) };
    let deaf = {
        let mut state = session.lock();
        if state.closed {
            return false;
        }
        state.heard_ms = edge.clock.now_ms();
        state.queue.refusals.extend(marks_refused);
        if frame.hello.is_some() {
            state.refuse(edge.refusal(Reason::HelloExpected, "hello"));
        }
        if many {
            state.refuse(edge.refusal(Reason::TooMany, "marks"));
        }
        state.queue.beat |= frame.beat.is_some();
        if let Some(Err(reason)) = frame.beat.map(|beat| state.beat(beat)) {
            state.refuse(edge.refusal(reason, "beat.battery_percent"));
        }
        for (index, message) in std::mem::take(&mut frame.messages).into_iter().enumerate() {
            if index < FRAME_MESSAGES_MAX {
                session.accept(edge, &mut state, message, index);
            } else {
                let refusal = edge.refusal(Reason::TooMany, "messages");
                state.refuse(v1::Refusal { topic: message.to, client_seq: message.client_seq, ..refusal });
            }
        }
        session.report(edge, &mut state, frame.reports);
        session.press_all(edge, &mut state, frame.presses);
        state.queue.refusals.len() > REFUSALS_MAX || state.queue.report_answers.len() > 2 * REPORTS_MAX
    };
    if deaf {
        session.close(edge, Reason::SlowConsumer, 1_000);
        return false;
    }
    if !frame.goodbye {
        session.wake();
    }
    frame.goodbye
}

/// Takes acknowledgements in; returns those that are refused.
fn take_marks(edge: &Edge, session: &Arc<Session>, marks: Vec<v1::Mark>) -> Vec<v1::Refusal> {
    if marks.is_empty() {
        return Vec::new();
    }
    let mut refusals = Vec::new();
    let mut state = session.lock();
    for (index, mark) in marks.into_iter().enumerate() {
        let topic = mark.topic.and_then(v1::Topic::to_model);
        let taken = match (topic, mark.place) {
            (Some(topic), Some(place)) => session.acknowledge(edge, &mut state, topic, place.into()),
            _ => Err(Reason::FieldMissing),
        };
        if let Err(reason) = taken {
            refusals.push(v1::Refusal { topic: mark.topic, field: format!("marks[{index}]"), ..edge.refusal(reason, "") });
        }
    }
    session.pump(edge, &mut state);
    refusals
}
