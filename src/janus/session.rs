//! Sessions and their handles.

use serde_json::{Value, json};

use super::client::{Janus, unreadable};
use super::error::Error;
use super::wire::{Description, Expect, HandleNumber, SessionNumber};

/// The plug-in that mixes what is said in a room.
const AUDIOBRIDGE: &str = "janus.plugin.audiobridge";

/// A session of Janus. Dropping it changes nothing: it lives as long as the client keeps it alive.
#[derive(Clone, Debug)]
pub struct Session {
    janus: Janus,
    id: SessionNumber,
}

/// A seat at the AudioBridge. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    session: Session,
    id: HandleNumber,
}

impl Session {
    pub(super) fn new(janus: Janus, id: SessionNumber) -> Self {
        Self { janus, id }
    }

    /// Its number, to claim it by.
    pub fn id(&self) -> SessionNumber {
        self.id
    }

    /// The client that keeps it.
    pub fn janus(&self) -> &Janus {
        &self.janus
    }

    /// The same session with another deadline for each request.
    pub fn within(&self, timeout: std::time::Duration) -> Self {
        Self { janus: self.janus.within(timeout), id: self.id }
    }

    /// Attaches a handle to the AudioBridge. `opaque_id` comes back in the events of Janus, as `uid:7` for whom the seat is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn attach(&self, opaque_id: &str) -> Result<Handle, Error> {
        const OPERATION: &str = "attach a handle";
        let body = json!({ "janus": "attach", "plugin": AUDIOBRIDGE, "opaque_id": opaque_id });
        let answer = self.janus.ask(OPERATION, Expect::Outcome, Some(self.id), None, body).await?;
        let id = answer.data.ok_or_else(|| unreadable(OPERATION, "no id of the handle"))?.id;
        Ok(self.handle(HandleNumber(id)))
    }

    /// A handle by its number. Whether Janus has it shows with the first request.
    pub fn handle(&self, id: HandleNumber) -> Handle {
        Handle { session: self.clone(), id }
    }

    /// Ends the session with all its handles and seats.
    ///
    /// # Errors
    /// See [`Error`]. A session that was gone is no error.
    pub async fn destroy(&self) -> Result<(), Error> {
        self.janus.forget(self.id);
        let body = json!({ "janus": "destroy" });
        match self.janus.ask("destroy a session", Expect::Outcome, Some(self.id), None, body).await {
            Err(Error::SessionGone { .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Keeps it alive no longer, and leaves it to Janus, or to whoever claims it.
    pub fn forget(&self) {
        self.janus.forget(self.id);
    }
}

impl Handle {
    /// Its number within the session.
    pub fn id(&self) -> HandleNumber {
        self.id
    }

    /// The session it is part of.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The same handle with another deadline for each request.
    pub fn within(&self, timeout: std::time::Duration) -> Self {
        Self { session: self.session.within(timeout), id: self.id }
    }

    /// Sends a message to the plug-in, with a description of a WebRTC session if there is one; what the plug-in says to it.
    ///
    /// # Errors
    /// See [`Error`]. That the plug-in refuses is part of what it says.
    pub(super) async fn message(
        &self,
        operation: &'static str,
        body: Value,
        jsep: Option<&Description>,
    ) -> Result<(Value, Option<Description>), Error> {
        let mut message = json!({ "janus": "message", "body": body });
        if let Some(jsep) = jsep {
            message["jsep"] = json!(jsep);
        }
        let answer = self.request(operation, Expect::Outcome, message).await?;
        let said = answer.plugindata.ok_or_else(|| unreadable(operation, "nothing of the plug-in"))?;
        Ok((said.data, answer.jsep))
    }

    /// Hands a candidate of the peer on, as the browser gives it; `None` says that there are no more.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn trickle(&self, candidate: Option<Value>) -> Result<(), Error> {
        let candidate = candidate.unwrap_or_else(|| json!({ "completed": true }));
        let body = json!({ "janus": "trickle", "candidate": candidate });
        self.request("hand a candidate on", Expect::Ack, body).await.map(drop)
    }

    /// Gives the seat up, with whatever it is in.
    ///
    /// # Errors
    /// See [`Error`]. A handle that was gone is no error.
    pub async fn detach(&self) -> Result<(), Error> {
        match self.request("detach a handle", Expect::Outcome, json!({ "janus": "detach" })).await {
            Err(error) if error.is_gone() => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn request(&self, operation: &'static str, expect: Expect, body: Value) -> Result<super::wire::Message, Error> {
        self.session.janus.ask(operation, expect, Some(self.session.id), Some(self.id), body).await
    }
}
