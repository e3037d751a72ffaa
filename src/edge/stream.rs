//! The frames down to one client: everything that waits shares a frame; a frame leaves when the client's connection takes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tonic::Status;

use super::hub::Edge;
use super::session::Session;
use crate::model::Reason;
use crate::proto::v1;

/// What tonic writes to a client.
pub(super) struct Downstream {
    edge: Arc<Edge>,
    session: Arc<Session>,
    ended: bool,
    /// What is left to say after the last frame.
    unreadable: Option<Status>,
}

impl Downstream {
    pub(super) fn new(edge: Arc<Edge>, session: Arc<Session>) -> Self {
        Self { edge, session, ended: false, unreadable: None }
    }
}

impl Stream for Downstream {
    type Item = Result<v1::ServerFrame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(self.unreadable.take().map(Err));
        }
        self.session.waker.register(context.waker());
        let session = self.session.clone();
        let mut state = session.lock();
        let now_ms = self.edge.clock.now_ms();
        let next = state.queue.next_frame();
        state.queue.drained_ms = now_ms;
        let Some((mut frame, last)) = next else { return Poll::Pending };
        if !state.behind.is_empty() {
            session.pump(&self.edge, &mut state);
        }
        let unreadable = state.unreadable.take_if(|_| last);
        drop(state);
        if unreadable.is_some() {
            // The status says why, and the receipts that waited go before it.
            frame.close = None;
        }
        self.unreadable = unreadable;
        self.ended = last;
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Drop for Downstream {
    /// The client's connection is gone. Its presence stays until it lapses: radios come back.
    fn drop(&mut self) {
        self.session.close(&self.edge, Reason::SignedOut, 0);
    }
}
