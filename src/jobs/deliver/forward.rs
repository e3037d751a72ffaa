//! Outcomes for other shards: pushed after the commit that decided them and before the next checkpoint; the next owner pushes again what lies
//! behind the checkpoint.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::broker::{self, Redis, StreamId, keys};
use crate::model::TopicId;
use crate::topic::frame::{InFrame, InItem, Input, Lane, LogFrame, Outcome, forward_number, shard_producer};
use crate::worker::chain;

/// Near how many frames the stream for the media server is capped: whoever is so far behind does nothing in time.
const MEDIA_FRAMES_MAX: usize = 1_000;

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
        let (mut frames, mut media) = (Vec::new(), Vec::new());
        for (at, items) in &self.owed {
            let mut targets: BTreeMap<(u32, Lane), Vec<InItem>> = BTreeMap::new();
            let orders: Vec<_> = items.iter().filter(|item| is_for_media(item)).cloned().collect();
            if !orders.is_empty() {
                media.push((keys::media(self.shard), self.frame(*at, orders)));
            }
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
                frames.push((key, self.frame(*at, items)));
            }
        }
        // Without anybody who works the media server there is no stream: the floor sees that nothing comes of it.
        if !media.is_empty()
            && let Err(error) = redis.add_existing(MEDIA_FRAMES_MAX, media).await
        {
            tracing::warn!(
                shard = self.shard,
                error = chain(&error),
                "the media server was not told; grants of the floor fail or end by themselves"
            );
        }
        if !frames.is_empty() {
            redis.hand_over(&frames).await?;
        }
        self.owed.clear();
        Ok(())
    }

    fn frame(&self, at: StreamId, items: Vec<InItem>) -> Vec<u8> {
        let (producer, number) = (shard_producer(self.shard), forward_number(at.0, at.1));
        InFrame { producer, number, items, ..InFrame::default() }.encode_to_vec()
    }
}

/// For whoever works the media server of the shard's own rooms.
fn is_for_media(item: &InItem) -> bool {
    matches!(item.input, Some(Input::Microphone(_) | Input::Seat(_) | Input::Unseat(_)))
}

fn target(input: &Input) -> Option<TopicId> {
    let packed = match input {
        Input::Notice(notice) => notice.topic,
        Input::Post(post) => post.topic,
        Input::Membership(membership) => membership.topic,
        Input::Move(step) => step.topic,
        Input::Presence(presence) => presence.topic,
        Input::Moved(moved) => moved.topic,
        // Of edges, sos and the directory alone; what is for the media server is of the shard's own rooms.
        _ => return None,
    };
    TopicId::from_packed(packed)
}
