//! A client of the test's own, frame by frame: it can do what the client library never would.

use roger::model::TopicId;
use roger::proto::v1;
use roger::proto::v1::talk_cloud_client::TalkCloudClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::support::PATIENCE;

/// What a radio reads ahead. Small, so that one that does not read is soon known for it.
const WINDOW_BYTES: u32 = 65_535;

/// A session at an edge.
pub struct Radio {
    /// `None` in a session opened by Subscribe, which has nothing that goes up.
    up: Option<mpsc::Sender<v1::ClientFrame>>,
    down: Streaming<v1::ServerFrame>,
    pub heard: Heard,
}

/// Everything that came in a session so far.
#[derive(Debug, Default)]
pub struct Heard {
    pub welcome: v1::Welcome,
    pub entries: Vec<v1::Entry>,
    pub receipts: Vec<v1::Receipt>,
    pub refusals: Vec<v1::Refusal>,
    pub dispositions: Vec<v1::Disposition>,
    pub gaps: Vec<v1::Gap>,
    pub follows: Vec<v1::Follow>,
    pub presences: Vec<v1::Presence>,
    pub report_answers: Vec<v1::ReportAnswer>,
    pub positions: Vec<v1::DevicePosition>,
    pub beats: usize,
    pub close: Option<v1::Close>,
    /// How the stream ended, once it has.
    pub ended: Option<Result<(), Status>>,
}

impl Heard {
    /// The texts of a topic, in the order in which they came.
    pub fn texts(&self, topic: TopicId) -> Vec<String> {
        let of_topic = |entry: &&v1::Entry| entry.topic == Some(topic.into()) && entry.notice.is_none();
        self.entries.iter().filter(of_topic).map(|entry| String::from_utf8(entry.text.to_vec()).unwrap()).collect()
    }

    /// Where the text stands.
    #[track_caller]
    pub fn place_of(&self, text: &str) -> v1::Place {
        let entry = self.entries.iter().find(|entry| entry.text == text.as_bytes());
        let entry = entry.unwrap_or_else(|| panic!("no {text:?} in {self:?}"));
        v1::Place { epoch: entry.epoch, seq: entry.seq }
    }

    /// The last that was told of somebody as a member of a group, or (0) to who manages them.
    pub fn presence(&self, user: u64, group: u64) -> Option<&v1::Presence> {
        self.presences.iter().rfind(|presence| (presence.user_id, presence.group_id) == (user, group))
    }

    /// The last word on whether a topic is followed.
    pub fn follow(&self, topic: TopicId) -> Option<v1::Follow> {
        self.follows.iter().rfind(|follow| follow.topic == Some(topic.into())).copied()
    }

    fn take(&mut self, frame: v1::ServerFrame) {
        self.welcome = frame.welcome.unwrap_or(self.welcome);
        self.entries.extend(frame.entries);
        self.receipts.extend(frame.receipts);
        self.refusals.extend(frame.refusals);
        self.dispositions.extend(frame.dispositions);
        self.gaps.extend(frame.gaps);
        self.follows.extend(frame.follows);
        self.presences.extend(frame.presences);
        self.report_answers.extend(frame.report_answers);
        self.positions.extend(frame.positions);
        self.beats += usize::from(frame.beat);
        self.close = frame.close.or(self.close.take());
    }
}

/// A connection to an edge or the directory.
pub async fn connect(address: &str) -> TalkCloudClient<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned()).unwrap();
    let endpoint = endpoint.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    TalkCloudClient::new(endpoint.connect().await.unwrap())
}

/// A message behind the one with the number before its own.
pub fn message(topic: TopicId, client_seq: u64, text: impl Into<String>) -> v1::Message {
    v1::Message {
        to: Some(topic.into()),
        client_seq,
        predecessor: client_seq.saturating_sub(1),
        kind: v1::MessageKind::Text.into(),
        text: text.into().into_bytes().into(),
    }
}

impl Radio {
    /// Says hello in a session of both directions.
    pub async fn open(address: &str, hello: v1::Hello) -> Result<Self, Status> {
        Self::begin(address, v1::ClientFrame { hello: Some(hello), ..v1::ClientFrame::default() }).await
    }

    /// Begins a session with any frame.
    pub async fn begin(address: &str, first: v1::ClientFrame) -> Result<Self, Status> {
        let (up, frames) = mpsc::channel(64);
        up.send(first).await.unwrap();
        let down = connect(address).await.data_publish(ReceiverStream::new(frames)).await?.into_inner();
        Ok(Self { up: Some(up), down, heard: Heard::default() })
    }

    /// Opens a session as a browser does.
    pub async fn subscribe(address: &str, hello: v1::Hello) -> Result<Self, Status> {
        let down = connect(address).await.subscribe(hello).await?.into_inner();
        Ok(Self { up: None, down, heard: Heard::default() })
    }

    /// Sends a frame; one that the edge no longer takes is lost, as on the air.
    pub async fn send(&self, frame: v1::ClientFrame) {
        let _lost = self.up.as_ref().unwrap().send(frame).await;
    }

    pub async fn say_all(&self, messages: Vec<v1::Message>) {
        self.send(v1::ClientFrame { messages, ..v1::ClientFrame::default() }).await;
    }

    pub async fn say(&self, topic: TopicId, client_seq: u64, text: &str) {
        self.say_all(vec![message(topic, client_seq, text)]).await;
    }

    /// Acknowledges everything of a topic up to a place.
    pub async fn mark(&self, topic: TopicId, place: v1::Place) {
        let marks = vec![v1::Mark { topic: Some(topic.into()), place: Some(place) }];
        self.send(v1::ClientFrame { marks, ..v1::ClientFrame::default() }).await;
    }

    /// Reads until `look` finds something in what was heard; panics with `what` when that takes too long or the stream ends before.
    pub async fn until<T>(&mut self, what: &str, look: impl Fn(&Heard) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = look(&self.heard) {
                    return Some(found);
                }
                if self.heard.ended.is_some() {
                    return None;
                }
                match self.down.message().await {
                    Ok(Some(frame)) => self.heard.take(frame),
                    Ok(None) => self.heard.ended = Some(Ok(())),
                    Err(status) => self.heard.ended = Some(Err(status)),
                }
            }
        })
        .await;
        match found {
            Ok(Some(found)) => found,
            Ok(None) => panic!("the session ended before {what}: {:?}", self.heard),
            Err(_) => panic!("waited in vain for {what}: {:?}", self.heard),
        }
    }

    /// Waits for the receipt of a message: the first that covers it.
    pub async fn receipt(&mut self, topic: TopicId, client_seq: u64) -> v1::Receipt {
        let covers = |known: &&v1::Receipt| known.topic == Some(topic.into()) && known.client_seq >= client_seq;
        self.until(&format!("the receipt of {client_seq} in {topic}"), |heard| heard.receipts.iter().find(covers).copied()).await
    }

    /// Waits for as many texts of a topic as are expected, which must be those.
    pub async fn hears(&mut self, topic: TopicId, expected: &[&str]) {
        let enough = |heard: &Heard| Some(heard.texts(topic)).filter(|texts| texts.len() >= expected.len());
        let texts = self.until(&format!("{expected:?} in {topic}"), enough).await;
        assert_eq!(texts, expected, "in {topic}");
    }

    /// Waits until the session follows a topic.
    pub async fn follows(&mut self, topic: TopicId) -> v1::Follow {
        self.until(&format!("{topic} is followed"), |heard| heard.follow(topic).filter(|follow| follow.following)).await
    }

    /// Waits until the fleet says that the session no longer follows a topic.
    pub async fn leaves(&mut self, topic: TopicId) -> v1::Follow {
        self.until(&format!("{topic} is no longer followed"), |heard| heard.follow(topic).filter(|follow| !follow.following)).await
    }

    /// Waits until everything that was on its way to this session has come.
    pub async fn beat(&mut self) {
        let before = self.heard.beats;
        self.send(v1::ClientFrame { beat: Some(v1::Beat::default()), ..v1::ClientFrame::default() }).await;
        self.until("the answer to a heartbeat", |heard| (heard.beats > before).then_some(())).await;
    }

    /// Moves into the room of a group, by an edge.
    pub async fn enter(&self, edge: &str, group_id: u64) -> Result<v1::SetLockGroupIdResponse, Status> {
        let session_id = self.heard.welcome.session_id;
        let request = v1::SetLockGroupIdRequest { session_id, group_id };
        Ok(connect(edge).await.set_lock_group_id(request).await?.into_inner())
    }

    /// Waits until somebody is known to be in a state, as a member of a group.
    pub async fn sees(&mut self, user: u64, group: u64, state: v1::PresenceState) -> v1::Presence {
        let is_so = |heard: &Heard| heard.presence(user, group).filter(|presence| presence.state() == state).cloned();
        self.until(&format!("user {user} is {state:?} in g:{group}"), is_so).await
    }

    /// Waits for the word that ends the session.
    pub async fn closed(&mut self) -> v1::Close {
        self.until("the session is closed", |heard| heard.close.clone()).await
    }
}
