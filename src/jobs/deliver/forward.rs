//! Outcomes for other shards: pushed after the commit that decided them and before the next checkpoint; the next owner pushes again what lies
//! behind the checkpoint.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::broker::{self, Redis, StreamId, keys};
use crate::model::TopicId;
use crate::topic::frame::{InFrame, InItem, Input, Lane, LogFrame, Outcome, forward_number, shard_producer};

/// What a shard owes to others.
#[derive(Debug)]
pub(super) struct Forwards {
    shard: u32,
    shards: u32,
    /// Commits whose forwards were not pushed yet, in order.
    owed: Vec<(StreamId, Vec<InItem>)>,
}

impl Forwards {
    pub(super) fn new(shard: u32, shards: u32) -> Self {
        Self { shard, shards, owed: Vec::new() }
    }

    /// Notes what a commit forwards.
    pub(super) fn collect(&mut self, frame: &LogFrame) {
        let forward = |outcome: &Outcome| match outcome {
            Outcome::Forward(forward) => Some(forward.item.clone()),
            _ => None,
        };
        let items: Vec<_> = frame.outcomes.iter().filter_map(|item| forward(item.outcome.as_ref()?)).collect();
        if !items.is_empty() {
            self.owed.push((StreamId(frame.epoch, frame.commit), items));
        }
    }

    /// Pushes what is owed. A call that fails is made again as it was: the other shard knows a frame by its number.
    pub(super) async fn push(&mut self, redis: &Redis) -> Result<(), broker::Error> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let mut frames = Vec::new();
        for (at, items) in &self.owed {
            let mut targets: BTreeMap<(u32, Lane), Vec<InItem>> = BTreeMap::new();
            for item in items {
                if let Some(topic) = item.input.as_ref().and_then(target) {
                    targets.entry((topic.shard(self.shards), Lane::of(topic))).or_default().push(item.clone());
                }
            }
            for ((shard, lane), items) in targets {
                let key = match lane {
                    Lane::Urgent => keys::urgent(shard),
                    Lane::Normal => keys::input(shard),
                };
                let (producer, number) = (shard_producer(self.shard), forward_number(at.0, at.1));
                frames.push((key, InFrame { producer, number, items, ..InFrame::default() }.encode_to_vec()));
            }
        }
        redis.add_all_when_full(&frames).await?;
        self.owed.clear();
        Ok(())
    }
}

fn target(input: &Input) -> Option<TopicId> {
    let packed = match input {
        Input::Notice(notice) => notice.topic,
        Input::Post(post) => post.topic,
        Input::Membership(membership) => membership.topic,
        Input::Move(step) => step.topic,
        Input::Presence(presence) => presence.topic,
        Input::Moved(moved) => moved.topic,
        // Of edges, sos and the directory alone.
        _ => return None,
    };
    TopicId::from_packed(packed)
}
