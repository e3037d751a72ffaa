//! The bridge between rooms and a stock Janus: seats, microphones, and whether both sides agree.
//!
//! Consumes `{s}:media` of all shards (what rooms have for the media server), as the holder of one lease; the orders of a room in their order, rooms
//! beside each other. Carries them out at Janus, pushes what came of microphones into `{s}:urgent`, and answers who asked for a seat on `out:<edge>`.
//! An order that comes again is known by its grant, or by the version of the user's rooms, and does nothing new. An order is tried once: Janus is
//! there or it is not, and a floor that waits is told so. Seats are noted on Redis (`seats`) with the session of Janus they belong to, so that a
//! bridge that begins anew claims them, and nobody hears that it did.
//!
//! Janus is asked every few seconds who is in its rooms: who has no seat is thrown out, whoever lost theirs is told, a microphone that nobody was
//! granted is closed, and the owners of the rooms say who should not be there.

mod look;
mod order;
mod program;
mod seats;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker::{self, Reader, Redis, StreamEntry, StreamId, keys};
use crate::clock::Clock;
use crate::janus::{self, Event, Janus, RoomSettings, Rooms, Session};
use crate::jobs::record::Wake;
use crate::model::TopicId;
use crate::retry::ErrorClass;
use crate::topic::frame::{InFrame, Input};
use crate::worker::{Classed, Ordered, Tenure, chain};
use seats::Seats;

pub use program::settings;
pub use seats::{RoomSeats, seats_by_room};

/// How long it waits for orders; also how soon a stop is seen.
const BLOCK: Duration = Duration::from_millis(500);
/// The most frames that are read at once.
const FRAMES_MAX: usize = 64;
/// How long the streams outlive a bridge. Without them rooms know at once that there is none.
const STREAMS_LIFETIME: Duration = Duration::from_secs(6);
/// How often the streams are kept, and Janus is asked.
const LOOK: Duration = Duration::from_secs(2);

/// How the bridge works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many shards there are.
    pub shards: u32,
    /// How to reach Janus.
    pub janus: janus::Settings,
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
    /// Janus has forgotten everything: it was restarted, or could not be reached for longer than it remembers.
    #[error("Janus lost its session, with all seats: beginning anew")]
    SessionLost,
}

impl Classed for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Broker(source) => source.class(),
            Self::Janus(source) => source.class(),
            Self::SessionLost => ErrorClass::Transient,
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

    async fn serve(&self, tenure: Tenure) -> Result<(), Error> {
        let (janus, events) = Janus::connect(self.settings.janus.clone()).map_err(Error::Janus)?;
        let seats = Seats::load(self.redis.clone(), self.settings.shards).await?;
        let now_ms = self.clock.now_ms();
        let (session, fresh) = seats.claim(&janus).await?;
        if fresh {
            // With the session before it went all seats, and what was recorded of them.
            self.wake.janus_began(now_ms);
        }
        let rooms = Rooms::new(session.attach("rooms").await.map_err(Error::Janus)?, self.settings.rooms.clone());
        tracing::info!(janus = janus.url(), seats = seats.count(), "works the rooms of Janus");
        let mut desk = Desk { job: self.clone(), session, rooms, seats, away: false, looked: None };
        let served = desk.serve(&tenure, events).await;
        // The next one claims it: nobody who talks is to notice.
        desk.session.forget();
        served
    }
}

/// The bridge at work, with a session at Janus.
struct Desk {
    job: Bridge,
    session: Session,
    rooms: Rooms,
    seats: Seats,
    /// Janus did not answer in time when it was asked last: nobody waits for it until it does.
    away: bool,
    looked: Option<Instant>,
}

impl Desk {
    async fn serve(&mut self, tenure: &Tenure, mut events: mpsc::Receiver<Event>) -> Result<(), Error> {
        let (redis, shards) = (self.job.redis.clone(), self.job.settings.shards);
        let mut reader = Reader::new(&redis, BLOCK);
        let mut after: BTreeMap<String, StreamId> = (0..shards).map(|shard| (keys::media(shard), StreamId::default())).collect();
        while !tenure.stop.is_cancelled() {
            if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                self.looked = Some(Instant::now());
                redis.keep_media_streams(shards, STREAMS_LIFETIME).await.map_err(Error::Broker)?;
                self.look().await?;
            }
            let read = tokio::select! {
                biased;
                () = tenure.stop.cancelled() => break,
                event = events.recv() => {
                    self.hear(event).await?;
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

    async fn hear(&mut self, event: Option<Event>) -> Result<(), Error> {
        match event {
            Some(Event::SessionLost(session)) if session == self.session.id() => return Err(Error::SessionLost),
            Some(Event::HungUp { handle, reason, .. }) => {
                tracing::info!(handle.id = handle.0, reason, "a seat hung up");
                self.seats.lose(handle).await?;
            }
            Some(Event::Detached { handle, .. }) => self.seats.lose(handle).await?,
            // After this they may differ.
            Some(Event::Connected | Event::Missed(_)) => self.looked = None,
            Some(_) => {}
            None => return Err(Error::SessionLost),
        }
        Ok(())
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
        self.away |= self.seats.take_silence();
        done.into_iter().collect()
    }
}
