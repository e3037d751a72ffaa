//! The two ways into an edge: frames of a session of both directions, and a browser's calls beside its subscription.

use roger::client::Login;
use roger::model::TopicId;
use roger::proto::v1;
use roger::proto::v1::talk_cloud_client::TalkCloudClient;
use tonic::transport::Channel;

use crate::messages::radio::{Radio, connect, message};
use crate::messages::stage::hello;

/// An open session, whichever way.
pub enum Door {
    Stream(Radio),
    Calls(Radio, TalkCloudClient<Channel>),
}

impl Door {
    pub async fn stream(address: &str, login: &Login) -> Self {
        Self::Stream(Radio::open(address, hello(login, 1)).await.unwrap())
    }

    pub async fn calls(address: &str, login: &Login) -> Self {
        Self::Calls(Radio::subscribe(address, hello(login, 1)).await.unwrap(), connect(address).await)
    }

    pub fn radio(&mut self) -> &mut Radio {
        match self {
            Self::Stream(radio) | Self::Calls(radio, _) => radio,
        }
    }

    /// Sends messages of which `refused` are refused; returns those refusals.
    pub async fn refused_messages(&mut self, messages: Vec<v1::Message>, refused: usize) -> Vec<v1::Refusal> {
        match self {
            Self::Stream(radio) => {
                radio.say_all(messages).await;
                refusals(radio, refused).await
            }
            Self::Calls(radio, client) => {
                let request = v1::ImMessagePublishRequest { session_id: radio.heard.welcome.session_id, messages };
                client.im_message_publish(request).await.unwrap().into_inner().refusals
            }
        }
    }

    /// Acknowledges what is refused; returns the refusals.
    pub async fn refused_marks(&mut self, marks: Vec<v1::Mark>) -> Vec<v1::Refusal> {
        match self {
            Self::Stream(radio) => {
                radio.send(v1::ClientFrame { marks, ..v1::ClientFrame::default() }).await;
                refusals(radio, 1).await
            }
            Self::Calls(radio, client) => {
                let request = v1::AcknowledgeRequest { session_id: radio.heard.welcome.session_id, marks };
                client.acknowledge(request).await.unwrap().into_inner().refusals
            }
        }
    }

    /// Shows that the session is alive: says a text behind the message `predecessor` and gets its receipt.
    pub async fn says(&mut self, topic: TopicId, client_seq: u64, predecessor: u64, text: &str) {
        let message = v1::Message { predecessor, ..message(topic, client_seq, text) };
        match self {
            Self::Stream(radio) => {
                radio.say_all(vec![message]).await;
                assert_eq!(radio.receipt(topic, client_seq).await.client_seq, client_seq);
            }
            Self::Calls(radio, client) => {
                let session_id = radio.heard.welcome.session_id;
                client.heartbeat(v1::HeartbeatRequest { session_id, beat: None }).await.unwrap();
                let request = v1::ImMessagePublishRequest { session_id, messages: vec![message] };
                let answer = client.im_message_publish(request).await.unwrap().into_inner();
                assert!(answer.refusals.is_empty() && answer.receipts.len() == 1, "{answer:?}");
                assert_eq!((answer.receipts[0].topic, answer.receipts[0].client_seq), (Some(topic.into()), client_seq));
            }
        }
    }
}

/// Takes the next refusals that were told in a session.
pub async fn refusals(radio: &mut Radio, count: usize) -> Vec<v1::Refusal> {
    radio.until(&format!("{count} refusals"), |heard| (heard.refusals.len() >= count).then_some(())).await;
    std::mem::take(&mut radio.heard.refusals)
}
