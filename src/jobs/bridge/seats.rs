//! Who sits where at Janus, and which microphone is open: in memory, and noted on Redis for the bridge that comes after.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::broker::{self, Redis, keys};
use crate::janus::{self, HandleNumber, Janus, Session, SessionNumber};
use crate::model::{GroupId, InstallationId, TopicId, UserId};
use crate::topic::frame::{InFrame, Input, MicrophoneIs, OutFrame, Output, Seated};

/// Near how many frames the stream of an edge is capped.
const OUT_FRAMES_MAX: usize = 10_000;

/// A seat at Janus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seat {
    pub(super) group: GroupId,
    pub(super) installation: InstallationId,
    pub(super) handle: HandleNumber,
    /// Of the user's rooms: older orders say nothing of this seat.
    pub(super) version: u64,
    /// Whose session is told of it, and where that is.
    pub(super) edge: String,
    pub(super) session: u64,
    pub(super) name: String,
}

/// What was done last with the microphones of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Floor {
    /// The last grant that was begun or ended.
    pub(super) grant: u64,
    /// Whose microphone is open by it.
    pub(super) open: Option<UserId>,
    /// Since when, UTC ms.
    pub(super) since_ms: u64,
}

#[derive(Debug, Default)]
struct Known {
    session: Option<SessionNumber>,
    seats: BTreeMap<UserId, Seat>,
    floors: BTreeMap<GroupId, Floor>,
}

impl Known {
    fn read(notes: BTreeMap<String, Vec<u8>>) -> Self {
        let mut known = Self::default();
        for (name, what) in notes {
            match name.split_once(' ') {
                None if name == "session" => known.session = read(&name, &what),
                Some(("user", user)) => {
                    if let Some((user, seat)) = user.parse().ok().zip(read(&name, &what)) {
                        known.seats.insert(UserId(user), seat);
                    }
                }
                Some(("room", group)) => {
                    if let Some((group, floor)) = group.parse().ok().zip(read(&name, &what)) {
                        known.floors.insert(GroupId(group), floor);
                    }
                }
                _ => tracing::warn!(name, "a note on seats that nobody knows"),
            }
        }
        known
    }
}

/// Who sits in the room of a group at the media server, and whose microphone is open there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomSeats {
    /// Who has a seat, at which installation.
    pub seats: BTreeMap<UserId, InstallationId>,
    /// Whose microphone is open, and since when, UTC ms; `None` for nobody's.
    pub open: Option<(UserId, u64)>,
}

/// The rooms in which somebody sits or talks, as the bridge noted it on Redis last. For people: whoever acts on it is the bridge.
///
/// # Errors
/// Those of Redis.
pub async fn seats_by_room(redis: &Redis) -> Result<BTreeMap<GroupId, RoomSeats>, broker::Error> {
    let known = Known::read(redis.noted_seats().await?);
    let mut rooms: BTreeMap<GroupId, RoomSeats> = BTreeMap::new();
    for (user, seat) in known.seats {
        rooms.entry(seat.group).or_default().seats.insert(user, seat.installation);
    }
    for (group, floor) in known.floors {
        if let Some(user) = floor.open {
            rooms.entry(group).or_default().open = Some((user, floor.since_ms));
        }
    }
    Ok(rooms)
}

#[derive(Debug)]
pub(super) struct Seats {
    redis: Redis,
    shards: u32,
    known: Mutex<Known>,
    /// Janus did not answer in time.
    silent: AtomicBool,
}

impl Seats {
    pub(super) async fn load(redis: Redis, shards: u32) -> Result<Self, Error> {
        let known = Known::read(redis.noted_seats().await.map_err(Error::Broker)?);
        Ok(Self { redis, shards, known: Mutex::new(known), silent: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // What a panic left is what was noted, or about to be.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().seats.len()
    }

    /// The session that the seats belong to; or another one, in which there are none, and `true`.
    pub(super) async fn claim(&self, janus: &Janus) -> Result<(Session, bool), Error> {
        let noted = self.lock().session;
        if let Some(session) = noted {
            match janus.claim(session).await {
                Ok(session) => return Ok((session, false)),
                Err(error) if error.is_gone() => tracing::warn!(session.id = session.0, "Janus lost its session, with all seats"),
                Err(error) => return Err(Error::Janus(error)),
            }
        }
        let session = janus.create_session().await.map_err(Error::Janus)?;
        let users: Vec<_> = self.lock().seats.keys().copied().collect();
        for user in users {
            self.lose_user(user).await?;
        }
        self.lock().session = Some(session.id());
        self.note("session".to_owned(), Some(&session.id())).await?;
        Ok((session, true))
    }

    pub(super) fn seat(&self, user: UserId) -> Option<Seat> {
        self.lock().seats.get(&user).cloned()
    }

    /// All seats, by room.
    pub(super) fn by_room(&self) -> BTreeMap<GroupId, Vec<(UserId, Seat)>> {
        let mut rooms: BTreeMap<GroupId, Vec<_>> = BTreeMap::new();
        for (user, seat) in &self.lock().seats {
            rooms.entry(seat.group).or_default().push((*user, seat.clone()));
        }
        rooms
    }

    pub(super) fn floor(&self, group: GroupId) -> Floor {
        self.lock().floors.get(&group).copied().unwrap_or_default()
    }

    pub(super) async fn sit(&self, user: UserId, seat: Seat) -> Result<(), Error> {
        self.lock().seats.insert(user, seat.clone());
        self.note(format!("user {user}"), Some(&seat)).await
    }

    /// Nobody sits there any more, if it is still this handle's seat.
    pub(super) async fn stand_up(&self, user: UserId, handle: HandleNumber) -> Result<Option<Seat>, Error> {
        let seat = {
            let mut known = self.lock();
            match known.seats.get(&user) {
                Some(seat) if seat.handle == handle => known.seats.remove(&user),
                _ => None,
            }
        };
        if seat.is_some() {
            self.note::<Seat>(format!("user {user}"), None).await?;
        }
        Ok(seat)
    }

    pub(super) async fn set_floor(&self, group: GroupId, floor: Floor) -> Result<(), Error> {
        self.lock().floors.insert(group, floor);
        self.note(format!("room {group}"), Some(&floor)).await
    }

    /// The seat of a handle is gone: its session is told, and its room if it talks.
    pub(super) async fn lose(&self, handle: HandleNumber) -> Result<(), Error> {
        let user = self.lock().seats.iter().find(|(_, seat)| seat.handle == handle).map(|(user, _)| *user);
        match user {
            Some(user) => self.lose_user(user).await,
            None => Ok(()),
        }
    }

    pub(super) async fn lose_user(&self, user: UserId) -> Result<(), Error> {
        let Some(seat) = self.seat(user) else { return Ok(()) };
        if self.stand_up(user, seat.handle).await?.is_some() {
            metrics::counter!("roger_seats_lost_total").increment(1);
            tracing::warn!(user.id = user.0, group.id = seat.group.0, "a seat is lost");
            self.tell(&seat.edge, Seated { topic: TopicId::room(seat.group).packed(), session: seat.session, ..Seated::default() }).await?;
            self.close_lost(seat.group, user).await?;
        }
        Ok(())
    }

    /// The microphone of somebody who is gone is not open any more.
    async fn close_lost(&self, group: GroupId, user: UserId) -> Result<(), Error> {
        let floor = self.floor(group);
        if floor.open == Some(user) {
            self.set_floor(group, Floor { open: None, ..floor }).await?;
            self.say(group, floor.grant, false).await?;
        }
        Ok(())
    }

    /// Tells a room how it stands with the microphone of a grant.
    pub(super) async fn say(&self, group: GroupId, grant: u64, open: bool) -> Result<(), Error> {
        let room = TopicId::room(group);
        self.push(room, Input::MicrophoneIs(MicrophoneIs { topic: room.packed(), grant, open })).await
    }

    /// Into the room, before messages. Without a number: to hear it twice does no harm.
    pub(super) async fn push(&self, room: TopicId, input: Input) -> Result<(), Error> {
        let frame = InFrame { items: vec![input.into()], ..InFrame::default() };
        let entry = (keys::urgent(room.shard(self.shards)), frame.encode_to_vec());
        self.redis.add_all_when_full(&[entry]).await.map_err(Error::Broker)
    }

    /// Tells a session about a seat.
    pub(super) async fn tell(&self, edge: &str, seated: Seated) -> Result<(), Error> {
        let frame = OutFrame { items: vec![Output::Seated(seated).into()], ..OutFrame::default() };
        let entry = (keys::out_urgent(edge), frame.encode_to_vec());
        self.redis.add_existing(OUT_FRAMES_MAX, [entry]).await.map_err(Error::Broker)
    }

    /// Remembers that Janus was asked in vain.
    pub(super) fn failed(&self, error: &janus::Error) {
        if matches!(error, janus::Error::NoAnswer { .. } | janus::Error::Unreachable { .. }) {
            self.silent.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    pub(super) fn take_silence(&self) -> bool {
        self.silent.swap(false, Ordering::Relaxed)
    }

    async fn note<T: Serialize>(&self, name: String, what: Option<&T>) -> Result<(), Error> {
        let text = what.and_then(|what| serde_json::to_vec(what).ok());
        self.redis.note_seat(&name, text.as_deref()).await.map_err(Error::Broker)
    }
}

/// A note; `None` for one that this program cannot read.
fn read<T: DeserializeOwned>(name: &str, what: &[u8]) -> Option<T> {
    serde_json::from_slice(what).inspect_err(|error| tracing::warn!(name, %error, "a note on seats cannot be read")).ok()
}
