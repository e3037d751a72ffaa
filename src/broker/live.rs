//! What was last heard of users beside their messages: battery, position, and how well they hear and are heard.

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::QUALITY;
use crate::model::{Position, TalkQuality, TopicId, UserId};

/// How many users one round trip asks for.
const ASKED: usize = 1_000;

/// What was last heard of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Live {
    /// Percent, and when it was said, UTC milliseconds.
    pub battery: Option<(u32, u64)>,
    /// The last fix.
    pub position: Option<Position>,
    /// The newest report while the user is on the air.
    pub quality: Option<TalkQuality>,
}

impl Redis {
    /// What was last heard of some users, in their order; some hundred in a round trip.
    pub async fn live_of(&self, users: &[UserId], shards: u32) -> Result<Vec<Live>, Error> {
        let mut live = Vec::with_capacity(users.len());
        for users in users.chunks(ASKED) {
            let mut pipeline = redis::Pipeline::with_capacity(users.len());
            for user in users {
                pipeline.cmd("HMGET").arg(keys::live(*user, shards)).arg(["battery", "battery_ms", "position", "quality"].as_slice());
            }
            let found: Vec<[Option<String>; 4]> = self.pipe("ask what was last heard", &pipeline).await?;
            live.extend(found.into_iter().map(read));
        }
        Ok(live)
    }

    /// Notes the batteries of users of one shard: percent, and when it was said, UTC milliseconds. One round trip.
    pub async fn note_battery(&self, shard: u32, shards: u32, notes: &[(UserId, u32, u64)]) -> Result<(), Error> {
        debug_assert!(notes.iter().all(|(user, ..)| TopicId::inbox(*user).shard(shards) == shard), "a note of another shard");
        if notes.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::Pipeline::with_capacity(notes.len());
        for (user, percent, said_ms) in notes {
            pipeline.cmd("HSET").arg(keys::live(*user, shards)).arg("battery").arg(percent).arg("battery_ms").arg(said_ms).ignore();
        }
        self.pipe("note batteries", &pipeline).await
    }

    /// Notes how well users hear and are heard, of those that are on the air; how many those were. Some hundred in a round trip.
    pub async fn note_quality(&self, shards: u32, notes: &[(UserId, TalkQuality)]) -> Result<u64, Error> {
        let mut noted = 0;
        for notes in notes.chunks(ASKED) {
            let mut pipeline = redis::Pipeline::with_capacity(notes.len());
            for (user, quality) in notes {
                let mut call = QUALITY.call(&[&keys::presence(*user, shards), &keys::live(*user, shards)]);
                call.arg(serde_json::to_string(quality).unwrap_or_default());
                pipeline.add_command(call);
            }
            let answers: Vec<u64> = self.pipe("note how well talk is heard", &pipeline).await?;
            noted += answers.into_iter().sum::<u64>();
        }
        Ok(noted)
    }

    /// Notes where a user is.
    pub async fn note_position(&self, user: UserId, shards: u32, position: &Position) -> Result<(), Error> {
        let json = serde_json::to_string(position).unwrap_or_default();
        let mut command = redis::cmd("HSET");
        command.arg(keys::live(user, shards)).arg("position").arg(json);
        self.command::<i64>("note a position", command).await.map(drop)
    }
}

/// What does not read is not known.
fn read([percent, said_ms, position, quality]: [Option<String>; 4]) -> Live {
    let battery = percent.zip(said_ms).and_then(|(percent, said_ms)| Some((percent.parse().ok()?, said_ms.parse().ok()?)));
    let position = position.and_then(|json| serde_json::from_str(&json).ok());
    Live { battery, position, quality: quality.and_then(|json| serde_json::from_str(&json).ok()) }
}
