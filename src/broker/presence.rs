//! Sessions on Redis: who has one, and until when without a heartbeat. The values are [`crate::session`]'s.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use prost::Message as _;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::{SESSION_BEAT, SESSION_CLOSE, SESSION_OPEN, SESSION_REVOKE};
use crate::model::{TopicId, UserId};
use crate::topic::frame::{Connection, FORMAT, InFrame, Input};

/// How many lapsed sessions one sweep takes.
const SWEPT_MAX: u32 = 500;
/// About how many sessions one scan looks at.
const SCANNED: u32 = 1_000;

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
    /// When its access token was signed, UTC ms.
    pub issued_ms: u64,
}

/// What became of a session that was to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenAnswer {
    /// It is open; the JSON of those it displaced.
    Displaced(Vec<String>),
    /// It was not opened again: others were opened since.
    Taken {
        /// One of the same installation.
        by_itself: bool,
    },
    /// Its token was called back.
    Revoked,
}

impl redis::FromRedisValue for OpenAnswer {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        match value {
            redis::Value::Nil => Ok(Self::Taken { by_itself: false }),
            redis::Value::Int(1) => Ok(Self::Taken { by_itself: true }),
            redis::Value::Int(_) => Ok(Self::Revoked),
            displaced => redis::FromRedisValue::from_redis_value(displaced).map(Self::Displaced),
        }
    }
}

/// What is void of a user's access tokens: for installations (hex), and for `0` that stands for all others, up to when signed ones are.
#[derive(Clone, Copy, Debug)]
pub struct Void<'a> {
    /// Whose.
    pub user: UserId,
    /// With UTC ms.
    pub void_ms: &'a [(String, u64)],
}

/// A session as Redis has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSession {
    /// The value of its field in the user's presence.
    pub json: String,
    /// When it lapses, UTC ms; in the past until it is swept.
    pub deadline_ms: u64,
}

impl Opening<'_> {
    fn call(&self, shards: u32) -> redis::Cmd {
        let Self { user, installation, json, member, deadline_ms, exclusive, again, issued_ms } = *self;
        let shard = TopicId::inbox(user).shard(shards);
        let (presence, deadlines) = (keys::presence(user, shards), keys::deadlines(shard));
        let mut call = SESSION_OPEN.call(&[&presence, &deadlines, &keys::input(shard), &keys::revoked(user, shards)]);
        call.arg(installation).arg(json).arg(deadline_ms).arg(member).arg(if exclusive { "1" } else { "0" });
        call.arg(if again { "1" } else { "0" }).arg(FORMAT).arg(connection(user, true)).arg(issued_ms);
        call
    }
}

/// The frame that tells the user's shard that the user came or went. It has no number: the script pushes it once.
fn connection(user: UserId, online: bool) -> Vec<u8> {
    let connection = Connection { topic: TopicId::inbox(user).packed(), online };
    InFrame { items: vec![Input::Connection(connection).into()], ..InFrame::default() }.encode_to_vec()
}

fn closing(user: UserId, shards: u32, installation: &str, member: &str, lapsed_ms: Option<u64>) -> redis::Cmd {
    let shard = TopicId::inbox(user).shard(shards);
    let (presence, live) = (keys::presence(user, shards), keys::live(user, shards));
    let mut call = SESSION_CLOSE.call(&[&presence, &keys::deadlines(shard), &keys::input(shard), &live]);
    call.arg(installation).arg(member).arg(lapsed_ms.map(|ms| ms.to_string()).unwrap_or_default());
    call.arg(FORMAT).arg(connection(user, false));
    call
}

impl Redis {
    /// Opens a session.
    pub async fn open_session(&self, shards: u32, opening: Opening<'_>) -> Result<OpenAnswer, Error> {
        self.command("open a session", opening.call(shards)).await
    }

    /// Opens sessions in one round trip; of each what [`Redis::open_session`] returns. When it fails, any of them may have been opened.
    pub async fn open_sessions(&self, shards: u32, openings: &[Opening<'_>]) -> Result<Vec<OpenAnswer>, Error> {
        let mut pipeline = redis::Pipeline::with_capacity(openings.len());
        for opening in openings {
            pipeline.add_command(opening.call(shards));
        }
        self.pipe("open sessions", &pipeline).await
    }

    /// Whether a user's access token that was signed at `issued_ms`, for an installation (hex), was called back.
    pub async fn is_void(&self, user: UserId, installation: &str, issued_ms: u64, shards: u32) -> Result<bool, Error> {
        let mut command = redis::cmd("HMGET");
        command.arg(keys::revoked(user, shards)).arg(installation).arg("0");
        let [own, all]: [Option<u64>; 2] = self.command("ask whether a token is void", command).await?;
        Ok(own.or(all).is_some_and(|void_ms| issued_ms <= void_ms))
    }

    /// Notes what is void of users' access tokens for `lifetime`, in one round trip; the JSON of all sessions that were opened with such
    /// tokens. They stay.
    pub async fn revoke_sessions(&self, shards: u32, lifetime: Duration, void: &[Void<'_>]) -> Result<Vec<String>, Error> {
        let mut pipeline = redis::Pipeline::with_capacity(void.len());
        for Void { user, void_ms } in void {
            let mut call = SESSION_REVOKE.call(&[&keys::presence(*user, shards), &keys::revoked(*user, shards)]);
            call.arg(lifetime.as_millis() as u64);
            for (installation, void_ms) in *void_ms {
                call.arg(installation).arg(void_ms);
            }
            pipeline.add_command(call);
        }
        let found: Vec<Vec<String>> = self.pipe("revoke access", &pipeline).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Closes a session; false when another one took its place, or the sweep was faster.
    pub async fn close_session(&self, user: UserId, shards: u32, installation: &str, member: &str) -> Result<bool, Error> {
        let call = closing(user, shards, installation, member, None);
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

    /// Takes lapsed sessions off, some hundred at most: their edge died, or slept. Returns how many there were.
    pub async fn sweep_sessions(&self, shard: u32, shards: u32, now_ms: u64) -> Result<u64, Error> {
        let operation = "sweep sessions";
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(keys::deadlines(shard)).arg("-inf").arg(now_ms).arg("LIMIT").arg(0).arg(SWEPT_MAX);
        let lapsed: Vec<String> = self.command(operation, command).await?;
        if lapsed.is_empty() {
            return Ok(0);
        }
        let mut pipeline = redis::Pipeline::with_capacity(lapsed.len());
        for member in &lapsed {
            let mut words = member.split(' ');
            match (words.next().map(str::parse::<UserId>), words.next()) {
                // One that beats meanwhile stays.
                (Some(Ok(user)), Some(installation)) => {
                    pipeline.add_command(closing(user, shards, installation, member, Some(now_ms)));
                }
                _ => drop(pipeline.cmd("ZREM").arg(keys::deadlines(shard)).arg(member)),
            }
        }
        let closed: Vec<u64> = self.pipe(operation, &pipeline).await?;
        Ok(closed.into_iter().sum())
    }

    /// The sessions of a user.
    pub async fn sessions_of(&self, user: UserId, shards: u32) -> Result<Vec<FoundSession>, Error> {
        let operation = "list the sessions of a user";
        let presence = keys::presence(user, shards);
        let mut command = redis::cmd("HGETALL");
        command.arg(&presence);
        let sessions: HashMap<String, String> = self.command(operation, command).await?;
        let deadlines = keys::deadlines(TopicId::inbox(user).shard(shards));
        let mut found = Vec::new();
        for json in sessions.into_values() {
            let mut command = redis::cmd("ZSCORE");
            command.arg(&deadlines).arg(member_of(&json).unwrap_or_default());
            let deadline_ms: Option<f64> = self.command(operation, command).await?;
            found.extend(deadline_ms.map(|deadline_ms| FoundSession { json, deadline_ms: deadline_ms as u64 }));
        }
        Ok(found)
    }

    /// Which of some users have a session, each asked for once, some hundred in a round trip.
    pub async fn online_among(&self, users: &BTreeSet<UserId>, shards: u32) -> Result<BTreeSet<UserId>, Error> {
        let users: Vec<UserId> = users.iter().copied().collect();
        let mut online = BTreeSet::new();
        for users in users.chunks(SCANNED as usize) {
            let mut pipeline = redis::Pipeline::with_capacity(users.len());
            for user in users {
                pipeline.cmd("HLEN").arg(keys::presence(*user, shards));
            }
            let sessions: Vec<u64> = self.pipe("ask who is connected", &pipeline).await?;
            online.extend(users.iter().zip(sessions).filter(|(_, sessions)| *sessions > 0).map(|(user, _)| *user));
        }
        Ok(online)
    }

    /// The JSON of the sessions of some installations, each as the field in its user's presence, in one round trip; `None` for those without.
    pub async fn sessions_at(&self, installations: &[(UserId, String)], shards: u32) -> Result<Vec<Option<String>>, Error> {
        let mut pipeline = redis::Pipeline::with_capacity(installations.len());
        for (user, installation) in installations {
            pipeline.cmd("HGET").arg(keys::presence(*user, shards)).arg(installation);
        }
        if installations.is_empty() {
            return Ok(Vec::new());
        }
        self.pipe("look for the sessions of installations", &pipeline).await
    }

    /// About a thousand sessions of a shard, and where to go on: at 0 all were seen. Who is there all the while comes at least once.
    pub async fn scan_sessions(&self, shard: u32, shards: u32, cursor: u64) -> Result<(u64, Vec<FoundSession>), Error> {
        let operation = "list sessions";
        let mut command = redis::cmd("ZSCAN");
        command.arg(keys::deadlines(shard)).arg(cursor).arg("COUNT").arg(SCANNED);
        let (next, members): (u64, Vec<(String, f64)>) = self.command(operation, command).await?;
        let mut pipeline = redis::Pipeline::new();
        let mut asked = Vec::new();
        for (member, deadline_ms) in members {
            let mut words = member.split(' ');
            let (Some(Ok(user)), Some(installation)) = (words.next().map(str::parse::<UserId>), words.next()) else { continue };
            pipeline.cmd("HGET").arg(keys::presence(user, shards)).arg(installation);
            asked.push((member, deadline_ms as u64));
        }
        if asked.is_empty() {
            return Ok((next, Vec::new()));
        }
        let answers: Vec<Option<String>> = self.pipe(operation, &pipeline).await?;
        let found = asked.into_iter().zip(answers).filter_map(|((member, deadline_ms), json)| {
            // Closed meanwhile, or another session stands in its place.
            let json = json.filter(|json| member_of(json).as_deref() == Some(member.as_str()))?;
            Some(FoundSession { json, deadline_ms })
        });
        Ok((next, found.collect()))
    }
}

/// The member in the deadlines that a session's JSON names.
fn member_of(json: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        member: String,
    }
    serde_json::from_str::<Named>(json).ok().map(|named| named.member)
}
