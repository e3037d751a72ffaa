//! Sessions on Redis: who has one, and until when without a heartbeat. The values are [`crate::session`]'s.

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::{SESSION_BEAT, SESSION_CLOSE, SESSION_OPEN, SWEEP};
use crate::model::{TopicId, UserId};

/// How many lapsed sessions one sweep takes.
const SWEPT_MAX: u32 = 1_000;

/// A session to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Whose.
    pub user: UserId,
    /// The field in the user's presence.
    pub installation: &'a str,
    /// The value of the field.
    pub json: &'a str,
    /// The member in the deadlines.
    pub member: &'a str,
    /// When it lapses, UTC ms.
    pub deadline_ms: u64,
    /// Whether it displaces the sessions of other installations too.
    pub exclusive: bool,
    /// Whether it was open before and must not displace what was opened since.
    pub again: bool,
}

impl Opening<'_> {
    fn call(&self, shards: u32) -> redis::Cmd {
        let Self { user, installation, json, member, deadline_ms, exclusive, again } = *self;
        let shard = TopicId::inbox(user).shard(shards);
        let mut call = SESSION_OPEN.call(&[&keys::presence(user, shards), &keys::deadlines(shard)]);
        call.arg(installation).arg(json).arg(deadline_ms).arg(member).arg(if exclusive { "1" } else { "0" });
        call.arg(if again { "1" } else { "0" });
        call
    }
}

impl Redis {
    /// Opens a session; returns the JSON of those it displaced, `None` when it was not opened again.
    pub async fn open_session(&self, shards: u32, opening: Opening<'_>) -> Result<Option<Vec<String>>, Error> {
        self.command("open a session", opening.call(shards)).await
    }

    /// Opens sessions in one round trip; of each what [`Redis::open_session`] returns. When it fails, any of them may have been opened.
    pub async fn open_sessions(&self, shards: u32, openings: &[Opening<'_>]) -> Result<Vec<Option<Vec<String>>>, Error> {
        let mut pipeline = redis::Pipeline::with_capacity(openings.len());
        for opening in openings {
            pipeline.add_command(opening.call(shards));
        }
        self.pipe("open sessions", &pipeline).await
    }

    /// Closes a session; false when another one took its place, or the sweep was faster.
    pub async fn close_session(&self, user: UserId, shards: u32, installation: &str, member: &str) -> Result<bool, Error> {
        let shard = TopicId::inbox(user).shard(shards);
        let mut call = SESSION_CLOSE.call(&[&keys::presence(user, shards), &keys::deadlines(shard)]);
        call.arg(installation).arg(member);
        self.command::<i64>("close a session", call).await.map(|closed| closed == 1)
    }

    /// Moves the deadlines of sessions that showed that they live, each with its member. Returns the members that were gone, and stay away:
    /// displaced, swept or lost.
    pub async fn beat_sessions(&self, shard: u32, beats: &[(u64, &str)]) -> Result<Vec<String>, Error> {
        let mut call = SESSION_BEAT.call(&[&keys::deadlines(shard)]);
        for (deadline_ms, member) in beats {
            call.arg(deadline_ms).arg(member);
        }
        self.command("move the deadlines of sessions", call).await
    }

    /// Takes lapsed sessions off; returns their members.
    pub async fn sweep_sessions(&self, shard: u32, now_ms: u64) -> Result<Vec<String>, Error> {
        let mut call = SWEEP.call(&[&keys::deadlines(shard)]);
        call.arg(now_ms).arg(SWEPT_MAX).arg(format!("{{s{shard}}}:presence:"));
        self.command("sweep sessions", call).await
    }

    /// The JSON of a user's sessions.
    pub async fn sessions_of(&self, user: UserId, shards: u32) -> Result<Vec<String>, Error> {
        let mut command = redis::cmd("HVALS");
        command.arg(keys::presence(user, shards));
        self.command("list the sessions of a user", command).await
    }

    /// The members of a shard's deadlines with their deadlines, at most `limit`, the earliest first.
    pub async fn session_deadlines(&self, shard: u32, limit: u32) -> Result<Vec<(String, u64)>, Error> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(keys::deadlines(shard)).arg(0).arg(i64::from(limit) - 1).arg("WITHSCORES");
        self.command("list sessions", command).await
    }
}
