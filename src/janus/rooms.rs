//! Rooms of the AudioBridge: the room of a group goes by the id of the group.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::bridge::{Participant, Refusal, accepted, id, participants};
use super::client::unreadable;
use super::error::Error;
use super::seat::{Join, Joined};
use super::session::Handle;
use crate::config::Secret;
use crate::model::{GroupId, UserId};
use crate::retry::Delays;

/// At what rate rooms are mixed, Hz: wideband, as radios talk.
const SAMPLING_RATE_HZ: u32 = 16_000;
/// How often a ghost is thrown out before whoever wants its seat is told.
const GHOSTS_MAX: usize = 5;

/// What all rooms have in common.
#[derive(Clone, Debug)]
pub struct RoomSettings {
    /// What whoever throws out, mutes or destroys has to name.
    pub secret: Secret,
    /// The folder, on the machine of Janus, for what is recorded; `None` for where Janus puts it by itself. Janus names each burst
    /// `audiobridge-<group>-user-<user>-<start, µs>-audio.mjr`, with `.tmp` behind it while it is being written.
    pub recordings: Option<PathBuf>,
}

impl RoomSettings {
    /// Rooms whose secret follows from that of the API, so that there is one secret to keep. It changes with it, when rooms are gone anyway.
    pub fn new(api: &Secret, recordings: Option<PathBuf>) -> Self {
        use sha2::Digest as _;
        let digest = sha2::Sha256::new().chain_update(b"roger rooms\0").chain_update(api.reveal()).finalize();
        let secret = Secret::new(&hex::encode(digest)).expect("64 digits are a secret");
        Self { secret, recordings }
    }
}

/// A room, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Room {
    /// Whose it is.
    pub group: GroupId,
    /// The name it was given.
    pub name: String,
    /// How many are in it.
    pub participants: u64,
}

/// The rooms of a Janus, by way of a handle that sits in none of them. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Rooms {
    handle: Handle,
    settings: Arc<RoomSettings>,
}

impl Rooms {
    /// By this handle.
    pub fn new(handle: Handle, settings: Arc<RoomSettings>) -> Self {
        Self { handle, settings }
    }

    /// The same with another deadline for each request.
    pub fn within(&self, timeout: Duration) -> Self {
        Self { handle: self.handle.within(timeout), settings: self.settings.clone() }
    }

    /// Whether both go by the same handle.
    pub(super) fn is_by(&self, other: &Self) -> bool {
        self.handle.id() == other.handle.id()
    }

    /// Keeps the session alive no longer.
    pub(super) fn forget(&self) {
        self.handle.session().forget();
    }

    /// Makes the room of a group, unless there is one; whether there was none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ensure(&self, group: GroupId, name: &str) -> Result<bool, Error> {
        let mut body = self.of("create", group);
        let more = json!({
            "permanent": false,
            "description": name,
            "sampling_rate": SAMPLING_RATE_HZ,
            "allow_rtp_participants": true,
            "mjrs": false,
        });
        merge(&mut body, more);
        if let Some(folder) = &self.settings.recordings {
            body["mjrs_dir"] = folder.display().to_string().into();
        }
        match self.ask("create a room", body).await {
            Err(Error::Bridge { refusal: Refusal::RoomExists, .. }) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// Ends a room and with it all seats in it; whether there was one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn destroy(&self, group: GroupId) -> Result<bool, Error> {
        match self.ask("destroy a room", self.of("destroy", group)).await {
            Err(Error::Bridge { refusal: Refusal::NoSuchRoom, .. }) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// All rooms, without those whose name is no id of a group.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self) -> Result<Vec<Room>, Error> {
        const OPERATION: &str = "list rooms";
        let answer = self.ask(OPERATION, json!({ "request": "list" })).await?;
        let list = answer["list"].as_array().ok_or_else(|| unreadable(OPERATION, "no list"))?;
        let one = |value: &Value| {
            Some(Room {
                group: GroupId(id(&value["room"])?),
                name: value["description"].as_str().unwrap_or_default().to_owned(),
                participants: value["num_participants"].as_u64().unwrap_or(0),
            })
        };
        Ok(list.iter().filter_map(one).collect())
    }

    /// Who is in a room, without those whose id is none of a user.
    ///
    /// # Errors
    /// [`Refusal::NoSuchRoom`]; see [`Error`].
    pub async fn participants(&self, group: GroupId) -> Result<Vec<Participant>, Error> {
        let answer = self.ask("list participants", self.of("listparticipants", group)).await?;
        Ok(participants(&answer["participants"]))
    }

    /// Throws somebody out; whether they were there. A moment later, not at once, they are gone from the room and their seat is in none.
    ///
    /// # Errors
    /// [`Refusal::NoSuchRoom`]; see [`Error`].
    pub async fn kick(&self, group: GroupId, user: UserId) -> Result<bool, Error> {
        match self.ask("throw somebody out", self.of_one("kick", group, user)).await {
            Err(Error::Bridge { refusal: Refusal::NoSuchUser, .. }) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// Lets nobody hear somebody any more. They can take that back themselves.
    ///
    /// # Errors
    /// [`Refusal::NoSuchRoom`], [`Refusal::NoSuchUser`]; see [`Error`].
    pub async fn mute(&self, group: GroupId, user: UserId) -> Result<(), Error> {
        self.ask("mute somebody", self.of_one("mute", group, user)).await.map(drop)
    }

    /// Lets all hear somebody again.
    ///
    /// # Errors
    /// As [`Rooms::mute`].
    pub async fn unmute(&self, group: GroupId, user: UserId) -> Result<(), Error> {
        self.ask("unmute somebody", self.of_one("unmute", group, user)).await.map(drop)
    }

    /// Takes a seat as [`Handle::join`] does, and throws out who has it: the ghost of a radio that died, which Janus would keep until its session
    /// ends.
    ///
    /// # Errors
    /// As [`Handle::join`]; [`Refusal::IdExists`] when it is taken again and again.
    pub async fn seat(&self, handle: &Handle, join: &Join) -> Result<Joined, Error> {
        let mut delays = Delays::reconnecting();
        for _ in 0..GHOSTS_MAX {
            match handle.join(join).await {
                Err(Error::Bridge { refusal: Refusal::IdExists, .. }) => {
                    let was_there = self.kick(join.room, join.user).await?;
                    tracing::info!(group.id = %join.room, user.id = %join.user, was_there, "threw out who had the seat");
                }
                answer => return answer,
            }
            tokio::time::sleep(delays.next_delay()).await;
        }
        handle.join(join).await
    }

    fn of(&self, request: &str, group: GroupId) -> Value {
        json!({ "request": request, "room": group.to_string(), "secret": self.settings.secret.reveal() })
    }

    fn of_one(&self, request: &str, group: GroupId, user: UserId) -> Value {
        let mut body = self.of(request, group);
        body["id"] = user.to_string().into();
        body
    }

    async fn ask(&self, operation: &'static str, body: Value) -> Result<Value, Error> {
        accepted(operation, self.handle.message(operation, body, None).await?.0)
    }
}

pub(super) fn merge(body: &mut Value, more: Value) {
    if let (Value::Object(body), Value::Object(more)) = (body, more) {
        body.extend(more);
    }
}
