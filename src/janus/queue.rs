//! Commands by way of a list of Redis.
//!
//! Each asking process has a stream of its own for answers, and says of each request under which name it waits. Whoever works the list of
//! Janus off hands answers on to it. A request is pushed again while its answer is missing; the far end knows it by its id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::command::{CommandError, MediaServer, Outcome, Request, RequestId};
use super::envelope;
use crate::broker::{self, Reader, Redis, StreamId};
use crate::clock::Clock;
use crate::retry::Delays;
use crate::talk::{Said, parse};

/// How long the stream of answers outlives its process.
const STREAM_LIFETIME: Duration = Duration::from_secs(30);
/// How long one read waits for answers.
const BLOCK: Duration = Duration::from_secs(1);
/// The most answers of one read.
const ANSWERS_MAX: usize = 256;
/// How long a request waits for its answer before it is pushed again, at first and at last.
const PUSH_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

type Waiting = Arc<Mutex<HashMap<RequestId, Vec<oneshot::Sender<Vec<u8>>>>>>;

/// Carries commands by a list that the far end of a media server takes them from. Dropping it ends its reading.
#[derive(Debug)]
pub struct Queue {
    redis: Redis,
    clock: Clock,
    list: String,
    name: String,
    waiting: Waiting,
    _reading: DropGuard,
}

impl Queue {
    /// By this list, in the name of this process, which has to be another one at each start. Must be called within a tokio runtime.
    pub fn start(redis: Redis, clock: Clock, list: String, name: String) -> Self {
        let waiting = Waiting::default();
        let stop = CancellationToken::new();
        tokio::spawn(read(redis.clone(), name.clone(), waiting.clone(), stop.clone()));
        Self { redis, clock, list, name, waiting, _reading: stop.drop_guard() }
    }

    fn expect(&self, id: &RequestId) -> oneshot::Receiver<Vec<u8>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Of those who gave up nothing is kept.
        waiting.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        waiting.entry(id.clone()).or_default().push(sender);
        receiver
    }

    async fn until_the_deadline(&self, request: &Request) -> Result<Outcome, CommandError> {
        let payload = envelope::command(request);
        let mut answer = self.expect(&request.id);
        let mut delays = Delays::new(PUSH_AGAIN.0, PUSH_AGAIN.1).expect("the first is below the last");
        let mut why = "it had passed before it began".to_owned();
        while let Some(left) = request.left(&self.clock) {
            let asked = self.redis.push_command(&self.list, request.id.as_str(), &self.name, left, &payload);
            why = match tokio::time::timeout(left, asked).await {
                Ok(Ok(())) => "the far end does not answer".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "Redis does not answer".to_owned(),
            };
            let Some(left) = request.left(&self.clock) else { break };
            match tokio::time::timeout(left.min(delays.next_delay()), &mut answer).await {
                Ok(Ok(item)) => match envelope::read_answer(&item, request) {
                    Some(answer) => return answer,
                    None => {
                        why = "its answer cannot be read".to_owned();
                        answer = self.expect(&request.id);
                    }
                },
                Ok(Err(_)) => answer = self.expect(&request.id),
                Err(_) => {}
            }
        }
        Err(CommandError::Late { id: request.id.clone(), why })
    }
}

impl MediaServer for Queue {
    fn carry_out<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Outcome, CommandError>> {
        Box::pin(self.until_the_deadline(request))
    }
}

/// Takes answers and gives them to whoever waits.
async fn read(redis: Redis, name: String, waiting: Waiting, stop: CancellationToken) {
    let mut reader = Reader::new(&redis, BLOCK);
    let mut after = StreamId::default();
    let mut delays = Delays::reconnecting();
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = take(&redis, &mut reader, &name, &mut after, &waiting) => taken,
        };
        match taken {
            Ok(()) => delays.reset(),
            // Whoever waits says what was in the way once it gives up.
            Err(error) => {
                tracing::debug!(%error, "answers of the media server cannot be read, trying again");
                tokio::time::sleep(delays.next_delay()).await;
            }
        }
    }
}

async fn take(redis: &Redis, reader: &mut Reader, name: &str, after: &mut StreamId, waiting: &Waiting) -> Result<(), broker::Error> {
    if redis.keep_answers(name, STREAM_LIFETIME).await? {
        // It is a new one: ids may begin anew.
        *after = StreamId::default();
    }
    for entry in reader.read_answers(name, *after, ANSWERS_MAX).await? {
        *after = entry.id;
        let Some(item) = entry.payload else { continue };
        let Ok(Said::Reply(Some(id))) = parse(&item) else { continue };
        let Some(id) = RequestId::new(&id) else { continue };
        let senders = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        for sender in senders.into_iter().flatten() {
            // Whoever gave up meanwhile needs none.
            drop(sender.send(item.to_vec()));
        }
    }
    redis.drop_answers(name, *after).await
}
