//! The bridge between rooms and stock Januses: seats, microphones, and whether both sides agree.
//!
//! Consumes `{s}:media` of all shards (what rooms have for the media server), as the holder of one lease; the orders of a room in their order, rooms
//! beside each other. Carries them out at Janus, pushes what came of microphones into `{s}:urgent`, and answers who asked for a seat on `out:<edge>`.
//! An order that comes again is known by its grant, or by the version of the user's rooms, and does nothing new. An order is tried once: Janus is
//! there or it is not, and a floor that waits is told so. Seats are noted on Redis (`seats`) with the session of Janus they belong to, so that a
//! bridge that begins anew claims them, and nobody hears that it did.
//!
//! Of several Januses each room has one: that of the highest weight among those that are there, which is noted, so that it stays there. One that is
//! away for five seconds loses its rooms to the others; who sat there is told, asks again, and is told where to.
//!
//! Janus is asked every few seconds who is in its rooms: who has no seat is thrown out, whoever lost theirs is told, a microphone that nobody was
//! granted is closed, and the owners of the rooms say who should not be there.

mod look;
mod order;
mod program;
mod seats;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker::{self, Reader, Redis, StreamEntry, StreamId, keys};
use crate::clock::Clock;
use crate::janus::{self, Event, HandleNumber, Janus, RoomSettings};
use crate::jobs::record::Wake;
use crate::model::{GroupId, TopicId};
use crate::retry::ErrorClass;
use crate::topic::frame::{InFrame, Input};
use crate::worker::{Classed, Ordered, Tenure, chain, measure_stream};
use seats::Seats;
use server::{Server, weight};

pub use program::settings;
pub use seats::{RoomSeats, seats_by_room, server_of};

/// How long it waits for orders; also how soon a stop is seen.
const BLOCK: Duration = Duration::from_millis(500);
/// The most frames that are read at once.
const FRAMES_MAX: usize = 64;
/// How long the streams outlive a bridge. Without them rooms know at once that there is none.
const STREAMS_LIFETIME: Duration = Duration::from_secs(6);
/// How often the streams are kept, and Janus is asked.
const LOOK: Duration = Duration::from_secs(2);
/// How long a Janus may be away before its rooms go to others.
const MOVE_AFTER: Duration = Duration::from_secs(5);

/// How the bridge works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many shards there are.
    pub shards: u32,
    /// How to reach each Janus; their addresses tell them apart.
    pub servers: Vec<janus::Settings>,
    /// What all rooms have in common.
    pub rooms: Arc<RoomSettings>,
    /// The longest a microphone may be open, whatever the floor says.
    pub open_max: Duration,
}

/// The job.
#[derive(Clone, Debug)]
pub struct Bridge {
    redis: Redis,
    clock: Clock,
    settings: Arc<Settings>,
    wake: Wake,
}

/// Why the bridge does not work just now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis did not do what it was asked.
    #[error("the bridge to Janus")]
    Broker(#[source] broker::Error),
    /// Janus did not do what it was asked.
    #[error("the bridge to Janus")]
    Janus(#[source] janus::Error),
    /// The client of a Janus is at its end.
    #[error("nothing is heard from {url} any more: a defect")]
    Deaf {
        /// Which.
        url: String,
    },
}

impl Classed for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Broker(source) => source.class(),
            Self::Janus(source) => source.class(),
            Self::Deaf { .. } => ErrorClass::Defect,
        }
    }
}

impl Bridge {
    /// The job. Hastens the recorder of this host by `wake`, if there is one.
    pub fn new(redis: Redis, clock: Clock, settings: Settings, wake: Wake) -> Self {
        Self { redis, clock, settings: Arc::new(settings), wake }
    }
}

impl Ordered for Bridge {
    const JOB: &'static str = "bridge";
    type Error = Error;

    async fn measure(&self, _shard: u32) -> Result<(), broker::Error> {
        for shard in 0..self.settings.shards {
            measure_stream(&self.redis, Self::JOB, keys::media(shard)).await?;
        }
        Ok(())
    }

    async fn serve(&self, tenure: Tenure) -> Result<(), Error> {
        let (mut servers, mut events) = (Vec::new(), Vec::new());
        for settings in &self.settings.servers {
            let (janus, told) = Janus::connect(settings.clone()).map_err(Error::Janus)?;
            servers.push(Server::new(janus));
            events.push(told);
        }
        let seats = Seats::load(self.redis.clone(), self.settings.shards).await?;
        tracing::info!(servers = servers.len(), seats = seats.count(), "works the rooms of Janus");
        let mut desk = Desk { job: self.clone(), servers, seats, looked: None };
        let served = desk.serve(&tenure, &mut events).await;
        // The next one claims the sessions: nobody who talks is to notice.
        desk.servers.iter_mut().for_each(Server::let_go);
        served
    }
}

/// The bridge at work.
struct Desk {
    job: Bridge,
    servers: Vec<Server>,
    seats: Seats,
    looked: Option<Instant>,
}

impl Desk {
    async fn serve(&mut self, tenure: &Tenure, events: &mut [mpsc::Receiver<Event>]) -> Result<(), Error> {
        let (redis, shards) = (self.job.redis.clone(), self.job.settings.shards);
        let mut reader = Reader::new(&redis, BLOCK);
        let mut after: BTreeMap<String, StreamId> = (0..shards).map(|shard| (keys::media(shard), StreamId::default())).collect();
        while !tenure.stop.is_cancelled() {
            if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                self.looked = Some(Instant::now());
                redis.keep_media_streams(shards, STREAMS_LIFETIME).await.map_err(Error::Broker)?;
                self.look().await?;
            }
            reader.rewind(&mut after).await.map_err(Error::Broker)?;
            let told = futures_util::future::select_all(events.iter_mut().map(|events| Box::pin(events.recv())));
            let read = tokio::select! {
                biased;
                () = tenure.stop.cancelled() => break,
                (event, server, _) = told => {
                    self.hear(server, event).await?;
                    continue;
                }
                read = reader.read(FRAMES_MAX, &after) => read.map_err(Error::Broker)?,
            };
            if !read.is_empty() {
                self.carry_out(&read).await?;
                for (key, entries) in read {
                    if let Some(last) = entries.last() {
                        after.insert(key, last.id);
                    }
                }
                // What stays a little longer is known when it comes again.
                let trimmed = redis.trim_all(after.iter().map(|(key, id)| (key, id.next()))).await;
                if let Err(error) = trimmed {
                    tracing::debug!(error = chain(&error), "orders that were carried out stay a little longer");
                }
            }
            tenure.progress.turn();
        }
        Ok(())
    }

    async fn hear(&mut self, server: usize, event: Option<Event>) -> Result<(), Error> {
        let at = &self.servers[server];
        match event {
            Some(Event::SessionLost(session)) if at.is_session(session) => {
                at.lost_session();
                self.looked = None;
            }
            Some(Event::HungUp { handle, reason, .. }) => {
                tracing::info!(handle.id = handle.0, reason, "a seat hung up");
                self.lose(server, handle).await?;
            }
            Some(Event::Detached { handle, .. }) => self.lose(server, handle).await?,
            // After this they may differ.
            Some(Event::Connected | Event::Missed(_)) => self.looked = None,
            Some(_) => {}
            None => return Err(Error::Deaf { url: at.url().to_owned() }),
        }
        Ok(())
    }

    async fn lose(&self, server: usize, handle: HandleNumber) -> Result<(), Error> {
        let url = self.servers[server].url();
        match self.seats.of_handle(handle).filter(|(_, seat)| seat.server == url) {
            Some((user, _)) => self.seats.lose_user(user).await,
            None => Ok(()),
        }
    }

    /// The Janus of that address, if there is one.
    fn server(&self, url: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.url() == url)
    }

    /// The Janus that has the room of a group, or is to have it, if it is there.
    async fn place(&self, group: GroupId) -> Result<Option<&Server>, Error> {
        if let [only] = self.servers.as_slice() {
            return Ok(Some(only).filter(|only| only.is_there()));
        }
        if let Some(server) = self.seats.place(group).and_then(|url| self.server(&url)) {
            return Ok(Some(server).filter(|server| server.is_there()));
        }
        let there = self.servers.iter().filter(|server| server.is_there());
        let Some(server) = there.max_by_key(|server| weight(server.url(), group)) else { return Ok(None) };
        self.seats.put(group, server.url()).await?;
        Ok(Some(server))
    }

    /// Carries orders out: those of a room in their order, rooms beside each other.
    async fn carry_out(&mut self, read: &[(String, Vec<StreamEntry>)]) -> Result<(), Error> {
        let mut orders: BTreeMap<u64, Vec<Input>> = BTreeMap::new();
        for (key, entries) in read {
            for entry in entries.iter().filter(|entry| entry.payload.is_some()) {
                match entry.decode::<InFrame>(key) {
                    Ok(frame) => {
                        for order in frame.items.into_iter().filter_map(|item| item.input) {
                            orders.entry(order::room_of(&order)).or_default().push(order);
                        }
                    }
                    Err(error) => tracing::error!(error = chain(&error), "an order for the media server does not decode"),
                }
            }
        }
        let desk = &*self;
        let rooms = orders.into_iter().filter_map(|(room, orders)| Some((TopicId::from_packed(room)?.room_of()?, orders)));
        let carried = rooms.map(|(group, orders)| async move {
            for order in orders {
                desk.order(group, order).await?;
            }
            Ok::<(), Error>(())
        });
        let done = futures_util::future::join_all(carried).await;
        for server in &mut self.servers {
            if server.take_silence() || server.needs_session() {
                self.looked = None;
            }
        }
        done.into_iter().collect()
    }
}
