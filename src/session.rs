//! Sessions and presence: who is connected, on which edge, until when.
//!
//! A user is present as long as the deadline of a session lies ahead; every frame of the client moves it. Deadlines are swept by the
//! owner of the user's shard, so a session also ends when its edge died. Two sessions of one device never stand beside each other:
//! opening one displaces the others in the same script, and their edge is told to close them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broker::{Error, FoundSession, OpenAnswer, Opening, Redis, Void, keys};
use crate::model::{InstallationId, Reason, SessionId, TopicId, UserId, UserKind};
use crate::topic::frame::{Displace, OutFrame, Output};

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
    /// When the access token that opened it was signed, UTC ms.
    #[serde(default)]
    pub issued_ms: u64,
}

/// After so long an installation comes back whose session was taken over by another one of its own: that one may be the ghost of an attempt that
/// came late, and nobody is behind it. Whoever is alive wins in the end. Milliseconds.
pub const OWN_GHOST_MS: u32 = 1_000;

/// What became of a session that was to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is open, and displaced these.
    Open(Vec<Presence>),
    /// It was open before, and another session has taken its place since.
    Taken {
        /// One of the same installation.
        by_itself: bool,
    },
    /// Its token was called back.
    Revoked,
}

impl From<OpenAnswer> for Opened {
    fn from(answer: OpenAnswer) -> Self {
        match answer {
            OpenAnswer::Displaced(displaced) => Self::Open(read_all(&displaced)),
            OpenAnswer::Taken { by_itself } => Self::Taken { by_itself },
            OpenAnswer::Revoked => Self::Revoked,
        }
    }
}

fn read_all(sessions: &[String]) -> Vec<Presence> {
    sessions.iter().filter_map(|json| serde_json::from_str(json).ok()).collect()
}

impl Presence {
    /// A session that begins now, with a token signed now.
    pub fn new(user: UserId, installation: InstallationId, session: SessionId, edge: &str, edge_name: &str, now_ms: u64) -> Self {
        let member = format!("{user} {:x} {:x}", installation.0, session.0);
        Self {
            user,
            installation,
            session,
            edge: edge.to_owned(),
            edge_name: edge_name.to_owned(),
            since_ms: now_ms,
            member,
            issued_ms: now_ms,
        }
    }

    fn field(&self) -> String {
        format!("{:x}", self.installation.0)
    }

    /// Opens it, until `deadline_ms` if nothing is heard. It displaces for a device all others, for a dispatcher and whoever stands above
    /// those of the same installation.
    pub async fn open(&self, redis: &Redis, shards: u32, kind: UserKind, deadline_ms: u64) -> Result<Opened, Error> {
        let (field, json) = (self.field(), self.json());
        redis.open_session(shards, self.opening(&field, &json, kind, deadline_ms, false)).await.map(Opened::from)
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("a presence is plain data")
    }

    fn opening<'a>(&'a self, installation: &'a str, json: &'a str, kind: UserKind, deadline_ms: u64, again: bool) -> Opening<'a> {
        let exclusive = kind == UserKind::Device;
        let Self { user, member, issued_ms, .. } = self;
        Opening { user: *user, installation, json, member, deadline_ms, exclusive, again, issued_ms: *issued_ms }
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

/// The open sessions of some installations, in one round trip; `None` for those without.
pub async fn held(redis: &Redis, shards: u32, installations: &[(UserId, InstallationId)]) -> Result<Vec<Option<SessionId>>, Error> {
    let fields: Vec<(UserId, String)> = installations.iter().map(|(user, at)| (*user, format!("{:x}", at.0))).collect();
    let found = redis.sessions_at(&fields, shards).await?;
    let session = |json: Option<String>| serde_json::from_str::<Presence>(&json?).ok().map(|presence| presence.session);
    Ok(found.into_iter().map(session).collect())
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

/// Opens sessions again that Redis lost or swept, each with its kind and its deadline, in one round trip; what became of each. None
/// displaces others.
pub async fn open_again(redis: &Redis, shards: u32, sessions: &[(&Presence, UserKind, u64)]) -> Result<Vec<Opened>, Error> {
    let written: Vec<_> = sessions.iter().map(|(presence, _, _)| (presence.field(), presence.json())).collect();
    let openings = sessions.iter().zip(&written);
    let openings = openings.map(|((presence, kind, deadline_ms), (field, json))| presence.opening(field, json, *kind, *deadline_ms, true));
    let opened = redis.open_sessions(shards, &openings.collect::<Vec<_>>()).await?;
    Ok(opened.into_iter().map(Opened::from).collect())
}

/// Notes for `lifetime` what is void of users' access tokens, and ends the sessions that were opened with such tokens: their edges are told
/// to close them. May be repeated. Returns how many were open.
pub async fn revoke(redis: &Redis, shards: u32, lifetime: Duration, void: &[(UserId, Vec<(InstallationId, u64)>)]) -> Result<u32, Error> {
    let hex = |rows: &[(InstallationId, u64)]| rows.iter().map(|(of, void_ms)| (format!("{:x}", of.0), *void_ms)).collect::<Vec<_>>();
    let void: Vec<_> = void.iter().map(|(user, rows)| (*user, hex(rows))).collect();
    let void: Vec<_> = void.iter().map(|(user, void_ms)| Void { user: *user, void_ms }).collect();
    let sessions = read_all(&redis.revoke_sessions(shards, lifetime, &void).await?);
    let mut closed = 0;
    for session in &sessions {
        closed += u32::from(session.close(redis, shards).await?);
    }
    tell(redis, sessions, Reason::SignedOut, 0).await;
    Ok(closed)
}

/// Tells edges to close sessions that no longer stand in Redis. One that cannot be told finds out when it next moves their deadlines.
pub async fn tell(redis: &Redis, sessions: Vec<Presence>, reason: Reason, retry_after_ms: u32) {
    let mut edges: BTreeMap<String, Vec<SessionId>> = BTreeMap::new();
    for presence in sessions {
        edges.entry(presence.edge).or_default().push(presence.session);
    }
    for (boot, sessions) in edges {
        let items = sessions.into_iter().map(|session| Displace { session: session.0, reason: reason as u32, retry_after_ms });
        let frame = OutFrame { items: items.map(|displace| Output::Displace(displace).into()).collect(), ..OutFrame::default() };
        let told = redis.add_existing(usize::MAX >> 1, [(keys::out_urgent(&boot), prost::Message::encode_to_vec(&frame))]).await;
        if let Err(error) = told {
            tracing::warn!(error = &error as &dyn std::error::Error, "sessions that are over were not told");
        }
    }
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
