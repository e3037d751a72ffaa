//! A fleet in memory, as small as the protocol allows: topics that never forget, and tricks to play on its clients.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roger::client::{TokenFuture, Tokens};
use roger::model::{Reason, TopicId, TopicKind, UserId};
use roger::proto::v1;
use roger::proto::v1::talk_cloud_server::{TalkCloud, TalkCloudServer};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Short, so that silence is noticed within a test.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// What the fleet does to its clients, once, as soon as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Ends every stream without a word.
    BreakConnections,
    /// Ends every stream with this, and a retry-after in ms.
    Close(Reason, u32),
    /// The next frame with receipts goes without them.
    LoseReceipts,
    /// The next entries come twice.
    RepeatEntries,
    /// The next entries do not come.
    LoseEntries,
    /// The next frame's first message is refused; those behind it lack their predecessor.
    RefuseMessages(Reason),
    /// Sessions that are open now get nothing more.
    FallSilent,
}

#[derive(Default)]
struct State {
    logs: BTreeMap<TopicId, Vec<v1::Entry>>,
    high: BTreeMap<(TopicId, u64), u64>,
    tricks: VecDeque<Trick>,
    expired: BTreeSet<String>,
    tokens: Vec<String>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    /// Rises when all streams are to end, with the close to end them with.
    generation: AtomicU64,
    close: Mutex<Option<v1::Close>>,
    silent: AtomicU64,
}

/// The fleet; stops with its runtime.
pub struct Fleet {
    inner: Arc<Inner>,
    edges: Vec<String>,
}

impl Fleet {
    /// With as many edges, over the same topics.
    pub async fn start(edges: usize) -> Self {
        let inner = Arc::new(Inner::default());
        let mut addresses = Vec::new();
        for _ in 0..edges {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(format!("http://{}", listener.local_addr().unwrap()));
            let service = TalkCloudServer::new(Edge(inner.clone()));
            tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        }
        Self { inner, edges: addresses }
    }

    pub fn edges(&self) -> Vec<String> {
        self.edges.clone()
    }

    pub fn play(&self, trick: Trick) {
        match trick {
            Trick::BreakConnections => self.end_streams(None),
            Trick::Close(reason, retry_after_ms) => {
                self.end_streams(Some(v1::Close { reason: reason as i32, retry_after_ms, text: String::new() }));
            }
            Trick::FallSilent => self.inner.silent.store(self.inner.generation.load(Ordering::SeqCst) + 1, Ordering::SeqCst),
            other => self.inner.state.lock().unwrap().tricks.push_back(other),
        }
        self.inner.changed.notify_waiters();
    }

    fn end_streams(&self, close: Option<v1::Close>) {
        *self.inner.close.lock().unwrap() = close;
        self.inner.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub fn expire(&self, token: &str) {
        self.inner.state.lock().unwrap().expired.insert(token.to_owned());
    }

    /// The tokens of sessions, in the order in which they were opened.
    pub fn tokens(&self) -> Vec<String> {
        self.inner.state.lock().unwrap().tokens.clone()
    }

    /// Whether every trick was played.
    pub fn has_played(&self) -> bool {
        self.inner.state.lock().unwrap().tricks.is_empty()
    }

    /// The texts of a topic.
    pub fn log(&self, topic: TopicId) -> Vec<String> {
        let state = self.inner.state.lock().unwrap();
        let entries = state.logs.get(&topic).into_iter().flatten();
        entries.map(|entry| String::from_utf8(entry.text.to_vec()).unwrap()).collect()
    }
}

struct Edge(Arc<Inner>);

fn topic_of(topic: Option<v1::Topic>) -> TopicId {
    let topic = topic.unwrap();
    let kind = if topic.kind == v1::TopicKind::User as i32 { TopicKind::Inbox } else { TopicKind::Group };
    TopicId::checked(kind, topic.id).unwrap()
}

fn wire(topic: TopicId) -> Option<v1::Topic> {
    Some(v1::Topic { kind: topic.kind() as i32, id: topic.id() })
}

impl State {
    fn take_trick(&mut self, wanted: impl Fn(&Trick) -> bool) -> Option<Trick> {
        let at = self.tricks.iter().position(wanted)?;
        self.tricks.remove(at)
    }

    /// Takes messages in as DESIGN's rules of receipts say.
    fn accept(&mut self, user: u64, messages: Vec<v1::Message>) -> v1::ServerFrame {
        let mut frame = v1::ServerFrame::default();
        // Acknowledgements and heartbeats come in frames without messages: no trick is spent on them.
        let played = if messages.is_empty() { None } else { self.take_trick(|trick| matches!(trick, Trick::RefuseMessages(_))) };
        let mut refuse = match played {
            Some(Trick::RefuseMessages(reason)) => Some(reason),
            _ => None,
        };
        let mut highs = BTreeMap::new();
        for message in messages {
            let topic = topic_of(message.to);
            let high = self.high.entry((topic, user)).or_default();
            let refused = refuse.take().or((message.predecessor > *high).then_some(Reason::PredecessorMissing));
            if let Some(reason) = refused {
                let refusal = v1::Refusal {
                    reason: reason as i32,
                    topic: message.to,
                    client_seq: message.client_seq,
                    client_seq_high: *high,
                    retry_after_ms: 20,
                    ..Default::default()
                };
                frame.refusals.push(refusal);
                continue;
            }
            if message.client_seq > *high {
                *high = message.client_seq;
                let log = self.logs.entry(topic).or_default();
                log.push(v1::Entry {
                    topic: wire(topic),
                    epoch: 1,
                    seq: log.len() as u64 + 1,
                    sender_id: user,
                    installation_id: user,
                    client_seq: message.client_seq,
                    kind: message.kind,
                    text: message.text,
                    ..Default::default()
                });
            }
            highs.insert(topic, *high);
        }
        if highs.is_empty() || self.take_trick(|trick| *trick == Trick::LoseReceipts).is_none() {
            let receipt = |(topic, client_seq)| v1::Receipt { topic: wire(topic), client_seq, durability: 3 };
            frame.receipts = highs.into_iter().map(receipt).collect();
        }
        frame
    }

    /// What of the followed topics lies behind the cursors. Tricks on entries are played on user 2, who only receives.
    fn fresh(&mut self, user: u64, cursors: &mut BTreeMap<TopicId, usize>) -> Vec<v1::Entry> {
        let mut entries = Vec::new();
        for (topic, cursor) in cursors.iter_mut() {
            let log = self.logs.get(topic).map(Vec::as_slice).unwrap_or_default();
            entries.extend(log[*cursor..].iter().take(100).cloned());
            *cursor = log.len().min(*cursor + 100);
        }
        if user == 2 && !entries.is_empty() && self.take_trick(|trick| *trick == Trick::RepeatEntries).is_some() {
            entries.extend(entries.clone());
        }
        if user == 2 && !entries.is_empty() && self.take_trick(|trick| *trick == Trick::LoseEntries).is_some() {
            entries.clear();
        }
        entries
    }
}

async fn converse(inner: Arc<Inner>, mut up: Streaming<v1::ClientFrame>, down: mpsc::Sender<Result<v1::ServerFrame, Status>>) {
    let generation = inner.generation.load(Ordering::SeqCst);
    let hello = up.message().await.unwrap().unwrap().hello.unwrap();
    if inner.state.lock().unwrap().expired.contains(&hello.token) {
        let mut status = Status::unauthenticated("the token has run out");
        status.metadata_mut().insert("roger-reason", "token_expired".parse().unwrap());
        return drop(down.send(Err(status)).await);
    }
    let user: u64 = hello.token.split('.').next().unwrap().parse().unwrap();
    inner.state.lock().unwrap().tokens.push(hello.token);
    let welcome = v1::Welcome { session_id: 1, heartbeat_interval_ms: HEARTBEAT.as_millis() as u32, user_id: user, durability: 3 };
    let mut first = v1::ServerFrame { welcome: Some(welcome), ..Default::default() };
    let mut cursors = BTreeMap::new();
    for topic in [TopicId::inbox(UserId(user)), "g:5".parse().unwrap()] {
        let mark = hello.marks.iter().find(|mark| topic_of(mark.topic) == topic).and_then(|mark| mark.place);
        let state = inner.state.lock().unwrap();
        first.follows.push(v1::Follow {
            topic: wire(topic),
            head: Some(v1::Place { epoch: 1, seq: state.logs.get(&topic).map_or(0, |log| log.len() as u64) }),
            mark: Some(mark.unwrap_or(v1::Place { epoch: 1, seq: 0 })),
            client_seq_high: 0,
            following: true,
        });
        cursors.insert(topic, mark.map_or(0, |mark| mark.seq as usize));
    }
    let _gone = down.send(Ok(first)).await;
    let silenced = AtomicBool::new(false);
    loop {
        let changed = inner.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if inner.generation.load(Ordering::SeqCst) != generation {
            let close = inner.close.lock().unwrap().clone();
            if let Some(close) = close {
                let _gone = down.send(Ok(v1::ServerFrame { close: Some(close), ..Default::default() })).await;
            }
            return;
        }
        if inner.silent.load(Ordering::SeqCst) == generation + 1 && !silenced.load(Ordering::SeqCst) {
            inner.silent.store(0, Ordering::SeqCst);
            silenced.store(true, Ordering::SeqCst);
        }
        if silenced.load(Ordering::SeqCst) {
            match up.message().await {
                Ok(Some(_)) => continue,
                _ => return,
            }
        }
        let entries = inner.state.lock().unwrap().fresh(user, &mut cursors);
        if !entries.is_empty() {
            if down.send(Ok(v1::ServerFrame { entries, ..Default::default() })).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            () = &mut changed => {}
            frame = up.message() => {
                let Ok(Some(frame)) = frame else { return };
                let mut answer = inner.state.lock().unwrap().accept(user, frame.messages);
                answer.beat = frame.beat.is_some();
                inner.changed.notify_waiters();
                if frame.goodbye || down.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl TalkCloud for Edge {
    type DataPublishStream = ReceiverStream<Result<v1::ServerFrame, Status>>;
    type SubscribeStream = ReceiverStream<Result<v1::ServerFrame, Status>>;

    async fn data_publish(&self, request: Request<Streaming<v1::ClientFrame>>) -> Result<Response<Self::DataPublishStream>, Status> {
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(converse(self.0.clone(), request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn login(&self, _: Request<v1::LoginRequest>) -> Result<Response<v1::LoginResponse>, Status> {
        Err(Status::unimplemented("wrong door"))
    }

    async fn logout(&self, _: Request<v1::LogoutRequest>) -> Result<Response<v1::LogoutResponse>, Status> {
        Err(Status::unimplemented("wrong door"))
    }

    async fn get_group_list(&self, _: Request<v1::GetGroupListRequest>) -> Result<Response<v1::GetGroupListResponse>, Status> {
        Err(Status::unimplemented("wrong door"))
    }

    async fn subscribe(&self, _: Request<v1::Hello>) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn im_message_publish(&self, _: Request<v1::ImMessagePublishRequest>) -> Result<Response<v1::ImMessagePublishResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn acknowledge(&self, _: Request<v1::AcknowledgeRequest>) -> Result<Response<v1::AcknowledgeResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn set_lock_group_id(&self, _: Request<v1::SetLockGroupIdRequest>) -> Result<Response<v1::SetLockGroupIdResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn heartbeat(&self, _: Request<v1::HeartbeatRequest>) -> Result<Response<v1::HeartbeatResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

/// Tokens that can be renewed once.
pub struct Renewing(String);

impl Renewing {
    pub fn new(token: &str) -> Self {
        Self(token.to_owned())
    }
}

impl Tokens for Renewing {
    fn token<'a>(&'a self, expired: Option<&'a str>) -> TokenFuture<'a> {
        let token = if expired.is_some() { format!("{}.renewed", self.0) } else { self.0.clone() };
        Box::pin(std::future::ready(Ok(token)))
    }
}
