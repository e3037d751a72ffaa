//! The streams that workers take from, for the commands that look at them.

use crate::broker::{Error, Redis, StreamLook, keys};
use crate::jobs::alert::{Keep, TakeSos, Tell, Texts};
use crate::jobs::bridge::Bridge;
use crate::jobs::floor::Floor;
use crate::jobs::locate::Locate;
use crate::jobs::media::Media;
use crate::jobs::replay::Replay;
use crate::jobs::talk::Talk;
use crate::worker::{Competing, Ordered};

/// A stream with a consumer group.
pub(super) struct Worked {
    /// Its key.
    pub(super) key: String,
    /// The job that takes from it, by which its workers say that they live.
    pub(super) job: &'static str,
}

fn worked<J: Competing>(key: String) -> Worked {
    Worked { key, job: J::JOB }
}

impl Worked {
    /// How it stands on that Redis.
    pub(super) async fn look(&self, redis: &Redis, now_ms: u64) -> Result<StreamLook, Error> {
        redis.look_at_stream(&self.key, Some(self.job), now_ms).await
    }
}

/// Reports of positions, on the Redis of the fleet.
pub(super) fn reports() -> Worked {
    worked::<Locate>(keys::fix())
}

/// What Janus says, on the Redis of the fleet.
pub(super) async fn talk(redis: &Redis, list: &str, now_ms: u64) -> Result<StreamLook, Error> {
    redis.look_at_talk(list, <Talk as Ordered>::JOB, now_ms).await
}

/// Commands to the media server, on the Redis of the fleet.
pub(super) async fn commands(redis: &Redis, list: &str, now_ms: u64) -> Result<StreamLook, Error> {
    redis.look_at_talk(list, <Media as Ordered>::JOB, now_ms).await
}

/// What the rooms of all shards have for the media server, on the Redis of the fleet: as one stream, by the name of what they have in common.
pub(super) async fn media(redis: &Redis, shards: u32, now_ms: u64) -> Result<StreamLook, Error> {
    let keys: Vec<String> = (0..shards).map(keys::media).collect();
    let length = redis.lengths(&keys).await?.into_iter().sum();
    let workers = redis.live_workers(<Bridge as Ordered>::JOB, now_ms).await?;
    Ok(StreamLook { stream: "media".to_owned(), length, workers, ..StreamLook::default() })
}

/// Requests to offline, on the Redis of the fleet.
pub(super) fn requests() -> [Worked; 2] {
    [worked::<Replay>(keys::replay()), worked::<Floor>(keys::floor())]
}

/// On the Redis of alerts: presses and acts, what topics are told, texts, and what SQL keeps.
pub(super) fn alerts() -> [Worked; 4] {
    [
        worked::<TakeSos>(keys::sos()),
        worked::<Tell>(keys::alert_tells()),
        worked::<Texts>(keys::alert_texts()),
        worked::<Keep>(keys::alert_events()),
    ]
}
