//! Commands by way of the API of Janus.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::client::Janus;
use super::command::{Command, CommandError, ID_REUSED, MediaServer, Outcome, Request, RequestId};
use super::error::Error;
use super::rooms::{RoomSettings, Rooms};
use crate::clock::Clock;
use crate::retry::{Delays, ErrorClass};

/// How many requests are remembered with their answers. One that is older is carried out again, which a command bears.
const REMEMBERED_MAX: usize = 4096;

/// Carries commands to a stock Janus. What it was asked before is known only to itself, not to another process.
#[derive(Debug)]
pub struct Api {
    janus: Janus,
    settings: Arc<RoomSettings>,
    clock: Clock,
    rooms: tokio::sync::Mutex<Option<Rooms>>,
    memory: Mutex<Memory>,
}

type Answer = Result<Outcome, CommandError>;
/// What a request asked for, and its answer; empty while it is worked on.
type Remembered = Arc<tokio::sync::Mutex<Option<(Command, Answer)>>>;

#[derive(Debug, Default)]
struct Memory {
    by_id: HashMap<RequestId, Remembered>,
    order: VecDeque<RequestId>,
}

impl Memory {
    fn of(&mut self, id: &RequestId) -> Remembered {
        if let Some(known) = self.by_id.get(id) {
            return known.clone();
        }
        if self.order.len() >= REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.by_id.entry(id.clone()).or_default().clone()
    }
}

impl Api {
    /// By this client. The rooms it makes are those of `settings`.
    pub fn new(janus: Janus, settings: Arc<RoomSettings>, clock: Clock) -> Self {
        Self { janus, settings, clock, rooms: tokio::sync::Mutex::default(), memory: Mutex::default() }
    }

    /// The rooms by a handle of its own, which is made again when Janus lost it.
    async fn rooms(&self) -> Result<Rooms, Error> {
        let mut rooms = self.rooms.lock().await;
        if let Some(rooms) = &*rooms {
            return Ok(rooms.clone());
        }
        let session = self.janus.create_session().await?;
        let handle = session.attach("roger").await?;
        Ok(rooms.insert(Rooms::new(handle, self.settings.clone())).clone())
    }

    async fn once(&self, command: &Command, timeout: Duration) -> Result<Outcome, Error> {
        let rooms = self.rooms().await?;
        let done = act(&rooms.within(timeout), command).await;
        if done.as_ref().is_err_and(Error::is_gone) {
            let mut current = self.rooms.lock().await;
            if current.as_ref().is_some_and(|current| current.is_by(&rooms)) {
                rooms.forget();
                *current = None;
            }
        }
        done
    }

    async fn until_the_deadline(&self, request: &Request) -> Answer {
        let mut delays = Delays::reconnecting();
        let mut why = "it had passed before it began".to_owned();
        while let Some(left) = request.left(&self.clock) {
            let attempt = self.once(&request.command, left.min(self.janus.timeout()));
            match tokio::time::timeout(left, attempt).await {
                Ok(Ok(outcome)) => return Ok(outcome),
                Ok(Err(error)) if error.class() == ErrorClass::Transient => why = error.to_string(),
                Ok(Err(error)) => return Err(CommandError::Refused { id: request.id.clone(), code: error.code(), why: error.to_string() }),
                Err(_) => break,
            }
            tokio::time::sleep(delays.next_delay().min(left)).await;
        }
        Err(CommandError::Late { id: request.id.clone(), why })
    }

    async fn carry_out_once(&self, request: &Request) -> Answer {
        let known = self.memory.lock().unwrap_or_else(PoisonError::into_inner).of(&request.id);
        // Who says it again meanwhile waits for the same answer.
        let mut known = known.lock().await;
        match &*known {
            Some((command, answer)) if *command == request.command => return answer.clone(),
            Some(_) => return Err(reused(&request.id)),
            None => {}
        }
        let answer = self.until_the_deadline(request).await;
        // No answer is none: it may be asked again.
        if !matches!(answer, Err(CommandError::Late { .. })) {
            *known = Some((request.command.clone(), answer.clone()));
        }
        answer
    }
}

/// The refusal of an id that stood for another command before.
pub(super) fn reused(id: &RequestId) -> CommandError {
    CommandError::Refused { id: id.clone(), code: ID_REUSED, why: "this id was used for another command before".to_owned() }
}

async fn act(rooms: &Rooms, command: &Command) -> Result<Outcome, Error> {
    match command {
        Command::CreateRoom { group, name, .. } => rooms.ensure(*group, name).await.map(|_| Outcome::Done),
        Command::DestroyRoom { group, .. } => rooms.destroy(*group).await.map(|_| Outcome::Done),
        Command::AlterParticipant { group, .. } => rooms.participants(*group).await.map(|_| Outcome::Done),
        Command::Kick { group, user } => rooms.kick(*group, *user).await.map(|_| Outcome::Done),
        Command::Mute { group, user } => rooms.mute(*group, *user).await.map(|()| Outcome::Done),
        Command::Unmute { group, user } => rooms.unmute(*group, *user).await.map(|()| Outcome::Done),
        Command::ListRooms => rooms.list().await.map(Outcome::Rooms),
        Command::ListParticipants { group } => rooms.participants(*group).await.map(Outcome::Participants),
    }
}

impl MediaServer for Api {
    fn carry_out<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Answer> {
        Box::pin(self.carry_out_once(request))
    }
}
