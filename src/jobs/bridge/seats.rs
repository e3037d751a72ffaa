//! Who sits where at Janus, and which microphone is open: in memory, and noted on Redis for the bridge that comes after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use super::server::weight;
use crate::broker::{self, Redis, keys};
use crate::janus::{self, HandleNumber, Janus, Session, SessionNumber};
use crate::model::{GroupId, InstallationId, TopicId, UserId};
use crate::topic::frame::{InFrame, Input, MediaIs, MicrophoneIs, OutFrame, Output, Seated};

/// Near how many frames the stream of an edge is capped.
const OUT_FRAMES_MAX: usize = 10_000;

/// A seat at Janus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seat {
    pub(super) group: GroupId,
    /// The address of the Janus it is at.
    #[serde(default)]
    pub(super) server: String,
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
    /// By the address of the Janus.
    sessions: BTreeMap<String, SessionNumber>,
    /// Sessions that are to be ended: their rooms went elsewhere.
    stale: BTreeMap<String, SessionNumber>,
    /// The address of the Janus that has the room of a group; of one of several.
    places: BTreeMap<GroupId, String>,
    /// Rooms that were told that their Janus is away.
    away: BTreeSet<GroupId>,
    seats: BTreeMap<UserId, Seat>,
    floors: BTreeMap<GroupId, Floor>,
}

impl Known {
    fn read(notes: BTreeMap<String, Vec<u8>>) -> Self {
        let mut known = Self::default();
        for (name, what) in notes {
            match name.split_once(' ') {
                Some(("session", url)) => known.sessions.extend(read(&name, &what).map(|session| (url.to_owned(), session))),
                Some(("stale", url)) => known.stale.extend(read(&name, &what).map(|session| (url.to_owned(), session))),
                Some(("place", group)) => {
                    if let Some((group, url)) = group.parse().ok().zip(read(&name, &what)) {
                        known.places.insert(GroupId(group), url);
                    }
                }
                Some(("away", group)) => known.away.extend(group.parse().ok().map(GroupId)),
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
    /// The address of its Janus; empty when nobody sits there.
    pub server: String,
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
        let room = rooms.entry(seat.group).or_default();
        room.server = seat.server;
        room.seats.insert(user, seat.installation);
    }
    for (group, floor) in known.floors {
        if let Some(user) = floor.open {
            rooms.entry(group).or_default().open = Some((user, floor.since_ms));
        }
    }
    Ok(rooms)
}

/// Which of several Januses has the room of a group, or will most likely; `None` of none.
///
/// # Errors
/// Those of Redis.
pub async fn server_of(redis: &Redis, group: GroupId, urls: &[String]) -> Result<Option<usize>, broker::Error> {
    if urls.len() < 2 {
        return Ok((!urls.is_empty()).then_some(0));
    }
    let places = Known::read(redis.noted_seats().await?).places;
    let noted = places.get(&group).and_then(|place| urls.iter().position(|url| url == place));
    Ok(noted.or_else(|| (0..urls.len()).max_by_key(|at| weight(&urls[*at], group))))
}

#[derive(Debug)]
pub(super) struct Seats {
    redis: Redis,
    shards: u32,
    known: Mutex<Known>,
}

impl Seats {
    pub(super) async fn load(redis: Redis, shards: u32) -> Result<Self, Error> {
        let known = Known::read(redis.noted_seats().await.map_err(Error::Broker)?);
        Ok(Self { redis, shards, known: Mutex::new(known) })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // What a panic left is what was noted, or about to be.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().seats.len()
    }

    /// The session that the seats at a Janus belong to; or another one, in which there are none, and `true`.
    ///
    /// # Errors
    /// Those of Redis; inside, those of Janus.
    pub(super) async fn claim(&self, janus: &Janus) -> Result<Result<(Session, bool), janus::Error>, Error> {
        let url = janus.url();
        let (noted, stale) = {
            let known = self.lock();
            (known.sessions.get(url).copied(), known.stale.get(url).copied())
        };
        if let Some(session) = stale {
            match janus.claim(session).await {
                Ok(session) => drop(session.destroy().await),
                Err(error) if error.is_gone() => {}
                Err(error) => return Ok(Err(error)),
            }
            self.lock().stale.remove(url);
            self.note::<SessionNumber>(format!("stale {url}"), None).await?;
        }
        if let Some(session) = noted {
            match janus.claim(session).await {
                Ok(session) => return Ok(Ok((session, false))),
                Err(error) if error.is_gone() => {
                    tracing::warn!(session.id = session.0, janus = url, "Janus lost its session, with all seats")
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        let session = match janus.create_session().await {
            Ok(session) => session,
            Err(error) => return Ok(Err(error)),
        };
        self.lose_all(url).await?;
        self.lock().sessions.insert(url.to_owned(), session.id());
        self.note(format!("session {url}"), Some(&session.id())).await?;
        Ok(Ok((session, true)))
    }

    /// All seats at a Janus are lost.
    async fn lose_all(&self, url: &str) -> Result<(), Error> {
        let users: Vec<_> = self.lock().seats.iter().filter(|(_, seat)| seat.server == url).map(|(user, _)| *user).collect();
        for user in users {
            self.lose_user(user).await?;
        }
        Ok(())
    }

    /// The rooms of a Janus go elsewhere: who sat there is told, and its session is ended as soon as it can be.
    pub(super) async fn abandon(&self, url: &str) -> Result<(), Error> {
        self.lose_all(url).await?;
        let session = self.lock().sessions.remove(url);
        if let Some(session) = session {
            self.lock().stale.insert(url.to_owned(), session);
            self.note(format!("stale {url}"), Some(&session)).await?;
            self.note::<SessionNumber>(format!("session {url}"), None).await?;
        }
        let groups: Vec<_> = self.lock().places.iter().filter(|(_, at)| *at == url).map(|(group, _)| *group).collect();
        for group in groups {
            self.lock().places.remove(&group);
            self.note::<String>(format!("place {group}"), None).await?;
        }
        Ok(())
    }

    /// The address of the Janus that has the room of a group.
    pub(super) fn place(&self, group: GroupId) -> Option<String> {
        self.lock().places.get(&group).cloned()
    }

    /// From now on a Janus has the room of a group.
    pub(super) async fn put(&self, group: GroupId, url: &str) -> Result<(), Error> {
        self.lock().places.insert(group, url.to_owned());
        self.note(format!("place {group}"), Some(&url)).await
    }

    /// Rooms that were told that their Janus is away.
    pub(super) fn away(&self) -> Vec<GroupId> {
        self.lock().away.iter().copied().collect()
    }

    /// Tells a room that its Janus is away, or there again.
    pub(super) async fn tell_away(&self, group: GroupId, away: bool) -> Result<(), Error> {
        let changed = if away { self.lock().away.insert(group) } else { self.lock().away.remove(&group) };
        if changed {
            self.note(format!("away {group}"), away.then_some(&true)).await?;
        }
        let room = TopicId::room(group);
        self.push(room, Input::MediaIs(MediaIs { topic: room.packed(), away })).await
    }

    pub(super) fn seat(&self, user: UserId) -> Option<Seat> {
        self.lock().seats.get(&user).cloned()
    }

    /// All seats at a Janus, by room.
    pub(super) fn by_room(&self, url: &str) -> BTreeMap<GroupId, Vec<(UserId, Seat)>> {
        let mut rooms: BTreeMap<GroupId, Vec<_>> = BTreeMap::new();
        for (user, seat) in self.lock().seats.iter().filter(|(_, seat)| seat.server == url) {
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

    /// Whose seat a handle is.
    pub(super) fn of_handle(&self, handle: HandleNumber) -> Option<(UserId, Seat)> {
        self.lock().seats.iter().find(|(_, seat)| seat.handle == handle).map(|(user, seat)| (*user, seat.clone()))
    }

    /// The seat of somebody is gone: its session is told, and its room if it talks.
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
        self.redis.hand_over(&[entry]).await.map(drop).map_err(Error::Broker)
    }

    /// Tells a session about a seat.
    pub(super) async fn tell(&self, edge: &str, seated: Seated) -> Result<(), Error> {
        let frame = OutFrame { items: vec![Output::Seated(seated).into()], ..OutFrame::default() };
        let entry = (keys::out_urgent(edge), frame.encode_to_vec());
        self.redis.add_existing(OUT_FRAMES_MAX, [entry]).await.map_err(Error::Broker)
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
