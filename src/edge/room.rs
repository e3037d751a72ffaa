//! A session's wish to be in another room, and the owner's answer.

use std::time::Duration;

use tonic::Status;

use super::hub::Edge;
use super::session::{Session, State};
use crate::model::{GroupId, Reason};
use crate::topic::frame::{Enter, Entered, Input};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many wishes of a session may be open at a time; a further one is refused as too many.
const OPEN_MAX: usize = 8;

/// Wishes without an answer, in their order.
#[derive(Default)]
pub(super) struct Wishes {
    last: u64,
    open: Vec<Wish>,
}

struct Wish {
    enter: Enter,
    /// Who waits for the answer, if anybody does.
    done: Option<tokio::sync::oneshot::Sender<Entered>>,
}

impl Session {
    /// Wants the user in the room of a group, or in none (0).
    pub(super) fn wish(&self, edge: &Edge, state: &mut State, group: GroupId, done: Option<tokio::sync::oneshot::Sender<Entered>>) {
        state.wishes.last += 1;
        let inbox = self.inbox();
        let enter = Enter { topic: inbox.packed(), group: group.0, session: self.id.0, request: state.wishes.last };
        state.wishes.open.push(Wish { enter, done });
        edge.pusher.push(inbox, Input::Enter(enter), None);
    }

    /// Another owner of the inbox knows nothing of what was wished.
    pub(super) fn wish_again(&self, edge: &Edge, state: &State) {
        for wish in &state.wishes.open {
            edge.pusher.push(self.inbox(), Input::Enter(wish.enter), None);
        }
    }

    /// Wants the user in the room of a group, or in none (0), and waits until it is so.
    pub(super) async fn enter(&self, edge: &Edge, group: GroupId) -> Result<Entered, Status> {
        let (done, answer) = tokio::sync::oneshot::channel();
        {
            let mut state = self.lock();
            if state.closed {
                return Err(edge.refused(Reason::UnknownSession, "session_id"));
            }
            state.heard_ms = edge.clock.now_ms();
            state.wishes.open.retain(|wish| wish.done.as_ref().is_none_or(|done| !done.is_closed()));
            if state.wishes.open.len() >= OPEN_MAX {
                return Err(edge.refused(Reason::TooMany, ""));
            }
            self.wish(edge, &mut state, group, Some(done));
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(entered)) => match Reason::from_number(entered.reason) {
                None => Ok(entered),
                Some(reason) => Err(edge.refused(reason, "group_id")),
            },
            Ok(Err(_)) => Err(edge.refused(Reason::UnknownSession, "session_id")),
            Err(_) => Err(edge.refused(Reason::StoreUnavailable, "")),
        }
    }
}

impl State {
    /// The owner's answer. That of a wish nobody waits for is seen in the inbox.
    pub(super) fn entered(&mut self, entered: Entered) {
        let answered = self.wishes.open.iter().position(|wish| wish.enter.request == entered.request);
        if let Some(done) = answered.and_then(|at| self.wishes.open.remove(at).done) {
            // A caller that is gone needs no answer.
            let _gone = done.send(entered);
        }
    }
}
