//! What topics are told.
//!
//! Consumes the stream of tells (TellFrames, consumer group `sos`). The first one of an alert asks the inbox of who pressed to decide who hears it,
//! and to tell them; the answer comes to this program (`clockwork`). All others are posts to the alert topics, on the urgent lane. A
//! topic knows a post by alert and number, so a repeat is dropped there.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;

use super::{Alerts, Error};
use crate::alert::frame::TellFrame;
use crate::broker::keys;
use crate::model::{MessageKind, TopicId, UserId};
use crate::topic::frame::{InFrame, InItem, Input, Post, Raise};
use crate::worker::{Competing, Verdict, Work};

/// The job.
#[derive(Clone, Debug)]
pub struct Tell(pub Alerts);

impl Tell {
    async fn tell(&self, tell: TellFrame) -> Result<(), Error> {
        let alerts = &self.0;
        let mut frames: BTreeMap<u32, InFrame> = BTreeMap::new();
        if tell.raise {
            let inbox = TopicId::inbox(UserId(tell.device));
            let raise = Raise { topic: inbox.packed(), alert: tell.alert, body: tell.body.clone() };
            // The inbox answers to the name of an edge.
            let frame = InFrame { edge: alerts.boot.to_string(), items: vec![Input::Raise(raise).into()], ..InFrame::default() };
            frames.insert(inbox.shard(alerts.shards), frame);
        }
        for topic in tell.topics.iter().filter_map(|packed| TopicId::from_packed(*packed)) {
            frames.entry(topic.shard(alerts.shards)).or_default().items.push(post(topic, &tell));
        }
        if !frames.is_empty() {
            let entries: Vec<_> = frames.into_iter().map(|(shard, frame)| (keys::urgent(shard), frame.encode_to_vec())).collect();
            let what = format!("tell of alert {:x}", tell.alert);
            alerts.fleet.hand_over(&entries).await.map_err(Alerts::failed(what))?;
        }
        match tell.acted {
            Some(acted) => alerts.answer(&tell.edge, acted).await,
            None => Ok(()),
        }
    }
}

fn post(topic: TopicId, tell: &TellFrame) -> InItem {
    let post = Post {
        topic: topic.packed(),
        sender: tell.device,
        installation: tell.alert,
        client_seq: tell.number,
        predecessor: 0,
        kind: MessageKind::Alert as u32,
        body: tell.body.clone(),
        tenant: 0,
    };
    Input::Post(post).into()
}

impl Competing for Tell {
    const JOB: &'static str = "tell";
    const GROUP: &'static str = "sos";
    const DEADLINE: Duration = Duration::from_secs(2);
    const ATTEMPTS_MAX: u64 = u64::MAX;
    const DEATHS_MAX: u64 = u64::MAX;

    fn stream(&self) -> String {
        keys::alert_tells()
    }

    async fn run(&self, work: Work) -> Verdict {
        match work.entry.decode(&keys::alert_tells()) {
            Ok(tell) => match self.tell(tell).await {
                Ok(()) => Verdict::Done,
                Err(error) => Verdict::of(&error),
            },
            Err(error) => Verdict::of(&error),
        }
    }
}
