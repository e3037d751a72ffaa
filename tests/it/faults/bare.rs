//! A client without a library.

use roger::proto::v1;
use roger::proto::v1::talk_cloud_client::TalkCloudClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::cast::{Cast, within};

/// A client as small as the protocol allows, which says and beats when it is told to.
pub struct Bare {
    up: mpsc::Sender<v1::ClientFrame>,
    down: Streaming<v1::ServerFrame>,
    pub session: u64,
}

impl Bare {
    pub async fn open(edge: &str, cast: &Cast, name: &str) -> Self {
        let (up, frames) = mpsc::channel(8);
        let (token, installation_id) = cast.token(name).await;
        let hello = v1::Hello { token, installation_id, ..v1::Hello::default() };
        up.send(v1::ClientFrame { hello: Some(hello), ..v1::ClientFrame::default() }).await.unwrap();
        let mut client = TalkCloudClient::connect(edge.to_owned()).await.unwrap();
        let down = client.data_publish(ReceiverStream::new(frames)).await.unwrap().into_inner();
        let mut bare = Self { up, down, session: 0 };
        bare.session = bare.until("welcome", |frame| frame.welcome.map(|welcome| welcome.session_id)).await;
        bare
    }

    /// Reads frames until one has what is looked for.
    pub async fn until<T>(&mut self, what: &str, mut find: impl FnMut(v1::ServerFrame) -> Option<T>) -> T {
        let look = async {
            loop {
                let frame = self.down.message().await.unwrap().unwrap_or_else(|| panic!("the session ended before {what}"));
                assert_eq!(frame.close, None, "instead of {what}");
                if let Some(found) = find(frame) {
                    return found;
                }
            }
        };
        within(what, look).await
    }

    pub async fn beat(&mut self) {
        self.up.send(v1::ClientFrame { beat: Some(v1::Beat::default()), ..v1::ClientFrame::default() }).await.unwrap();
        self.until("the answer to a beat", |frame| frame.beat.then_some(())).await;
    }

    /// Sends messages, each given by its number and that of the one before it, in one frame.
    pub async fn say<const N: usize>(&mut self, to: v1::Topic, messages: [(u64, u64); N]) {
        let message = |(client_seq, predecessor)| {
            let (kind, text) = (v1::MessageKind::Text as i32, format!("word {client_seq}").into());
            v1::Message { to: Some(to), client_seq, predecessor, kind, text }
        };
        let messages = messages.map(message).into();
        self.up.send(v1::ClientFrame { messages, ..v1::ClientFrame::default() }).await.unwrap();
    }
}
