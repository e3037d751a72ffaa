//! Sessions and presence: who is connected, on which edge, until when.
//!
//! A user is present as long as the deadline of a session lies ahead; every frame of the client moves it. Deadlines are swept by the
//! owner of the user's shard, so a session also ends when its edge died. Two sessions of one device never stand beside each other:
//! opening one displaces the others in the same script, and their edge is told to close them.

use std::collections::BTreeMap;

use crate::broker::{Error, FoundSession, Opening, Redis};
use crate::model::{InstallationId, SessionId, TopicId, UserId, UserKind};

/// A session, as it stands in `{s}:presence:<user>` in JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Presence {
    /// Whose it is.
    pub user: UserId,
    /// Of which installation.
    pub installation: InstallationId,
    /// The session.
    pub session: SessionId,
    /// The boot name of its edge.
    pub edge: String,
    /// The configured name of its edge.
    pub edge_name: String,
    /// When it was opened, UTC ms.
    pub since_ms: u64,
    /// Its member in `{s}:deadlines`.
    pub member: String,
}

impl Presence {
    /// A session that begins now.
    pub fn new(user: UserId, installation: InstallationId, session: SessionId, edge: &str, edge_name: &str, now_ms: u64) -> Self {
        let member = format!("{user} {:x} {:x}", installation.0, session.0);
        Self { user, installation, session, edge: edge.to_owned(), edge_name: edge_name.to_owned(), since_ms: now_ms, member }
    }

    fn field(&self) -> String {
        format!("{:x}", self.installation.0)
    }

    /// Opens it, until `deadline_ms` if nothing is heard. Returns the sessions it displaced: for a device all others, for a dispatcher those
    /// of the same installation.
    pub async fn open(&self, redis: &Redis, shards: u32, kind: UserKind, deadline_ms: u64) -> Result<Vec<Self>, Error> {
        let (field, json) = (self.field(), self.json());
        let displaced = redis.open_session(shards, self.opening(&field, &json, kind, deadline_ms, false)).await?.unwrap_or_default();
        Ok(displaced.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("a presence is plain data")
    }

    fn opening<'a>(&'a self, installation: &'a str, json: &'a str, kind: UserKind, deadline_ms: u64, again: bool) -> Opening<'a> {
        let exclusive = kind == UserKind::Device;
        Opening { user: self.user, installation, json, member: &self.member, deadline_ms, exclusive, again }
    }

    /// Closes it; false when another one took its place already.
    pub async fn close(&self, redis: &Redis, shards: u32) -> Result<bool, Error> {
        redis.close_session(self.user, shards, &self.field(), &self.member).await
    }

    /// The shard that holds it.
    pub fn shard(&self, shards: u32) -> u32 {
        TopicId::inbox(self.user).shard(shards)
    }
}

/// A session and until when it lives without a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Live {
    /// The session.
    #[serde(flatten)]
    pub presence: Presence,
    /// UTC ms; in the past until the sweep.
    pub deadline_ms: u64,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this user alone.
    pub user: Option<UserId>,
    /// At the edge of this name or boot name alone.
    pub edge: Option<String>,
    /// The most to list; of more, any are left out.
    pub limit: usize,
}

/// Some sessions of a fleet, by edge, user and installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The sessions.
    pub sessions: Vec<Live>,
    /// More are there than the limit let through.
    pub more: bool,
}

/// What sessions are sorted by; a scan may show one twice.
type Order = (String, String, UserId, InstallationId, SessionId);

/// Takes what is wanted; false when more of it is there than the limit lets through.
fn take(sessions: &mut BTreeMap<Order, Live>, found: Vec<FoundSession>, wanted: &Wanted) -> bool {
    for FoundSession { json, deadline_ms } in found {
        let Ok(presence) = serde_json::from_str::<Presence>(&json) else { continue };
        if wanted.edge.as_ref().is_some_and(|edge| *edge != presence.edge_name && *edge != presence.edge) {
            continue;
        }
        let order = (presence.edge_name.clone(), presence.edge.clone(), presence.user, presence.installation, presence.session);
        if sessions.len() >= wanted.limit && !sessions.contains_key(&order) {
            return false;
        }
        sessions.insert(order, Live { presence, deadline_ms });
    }
    true
}

/// The sessions of a fleet. What is opened or closed meanwhile may be in it or not.
pub async fn list(redis: &Redis, shards: u32, wanted: &Wanted) -> Result<Listing, Error> {
    let mut sessions = BTreeMap::new();
    let more = match wanted.user {
        Some(user) => !take(&mut sessions, redis.sessions_of(user, shards).await?, wanted),
        None => scan(&mut sessions, redis, shards, wanted).await?,
    };
    Ok(Listing { sessions: sessions.into_values().collect(), more })
}

/// Takes from shard after shard; true when it stopped at the limit.
async fn scan(sessions: &mut BTreeMap<Order, Live>, redis: &Redis, shards: u32, wanted: &Wanted) -> Result<bool, Error> {
    for shard in 0..shards {
        let mut cursor = 0;
        loop {
            let (next, found) = redis.scan_sessions(shard, shards, cursor).await?;
            if !take(sessions, found, wanted) {
                return Ok(true);
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(false)
}

/// Opens sessions again that Redis lost or swept, each with its kind and its deadline, in one round trip; of each whether it is open now.
/// False when another session has taken its place.
pub async fn open_again(redis: &Redis, shards: u32, sessions: &[(&Presence, UserKind, u64)]) -> Result<Vec<bool>, Error> {
    let written: Vec<_> = sessions.iter().map(|(presence, _, _)| (presence.field(), presence.json())).collect();
    let openings = sessions.iter().zip(&written);
    let openings = openings.map(|((presence, kind, deadline_ms), (field, json))| presence.opening(field, json, *kind, *deadline_ms, true));
    let opened = redis.open_sessions(shards, &openings.collect::<Vec<_>>()).await?;
    Ok(opened.iter().map(Option::is_some).collect())
}

/// Ends the sessions of a shard whose deadline has passed.
pub async fn sweep(redis: &Redis, shard: u32, shards: u32, now_ms: u64) -> Result<(), Error> {
    let gone = redis.sweep_sessions(shard, shards, now_ms).await?;
    if gone > 0 {
        tracing::info!(shard, sessions = gone, "sessions lapsed without a heartbeat");
        metrics::counter!("roger_sessions_lapsed_total").increment(gone);
    }
    Ok(())
}
