//! What every request may need, and the questions each asks first: who is it, and how often.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::health::Pulse;
use super::nodes::Nodes;
use super::objects::Objects;
use super::refuse::{Refusal, Why};
use super::serve::Peer;
use crate::clock::Clock;
use crate::config;
use crate::model::UserKind;
use crate::store::{Author, Store};
use crate::throttle::Throttle;
use crate::token::{Claims, ReleaseVerifier, Verifier};

/// Behind every route.
pub(super) struct Desk {
    pub(super) store: Store,
    pub(super) objects: Objects,
    pub(super) verifier: Verifier,
    pub(super) release_key: Option<ReleaseVerifier>,
    pub(super) clock: Clock,
    pub(super) settings: config::Gateway,
    pub(super) uploads: Semaphore,
    pub(super) throttle: Throttle,
    pub(super) nodes: Arc<Nodes>,
    pub(super) pulse: Arc<Pulse>,
}

impl Desk {
    /// Who sends a request, by its access token.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Claims, Refusal> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        let Some((_, token)) = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err(Refusal::of(Why::TokenMissing, "authorization"));
        };
        Ok(self.verifier.verify(token.trim(), self.clock.now_ms())?)
    }

    /// The store, whose changes name the caller.
    pub(super) fn store_of(&self, caller: &Claims) -> Store {
        self.store.on_behalf_of(Author::Account(caller.user), self.clock.clone())
    }

    /// Room for an upload.
    pub(super) fn room(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.uploads.try_acquire().map_err(|_| Refusal::retry(Why::Busy, Duration::from_secs(2)))
    }

    /// Counts a question that anybody may ask.
    pub(super) fn count(&self, peer: Peer) -> Result<(), Refusal> {
        self.throttle.attempt("", Some(peer.0)).map_err(|wait| Refusal::retry(Why::RateLimited, wait))
    }
}

/// Whether an account of this kind may upload releases.
pub(super) fn may_release(kind: UserKind) -> bool {
    kind == UserKind::Root
}

/// The parameters of a request.
pub(super) struct Params(HashMap<String, String>);

impl Params {
    pub(super) fn of(query: Result<Query<HashMap<String, String>>, QueryRejection>) -> Result<Self, Refusal> {
        query.map(|Query(params)| Self(params)).map_err(|_| Refusal::of(Why::FieldInvalid, "query"))
    }

    /// One that may be left out, or be empty.
    pub(super) fn optional(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub(super) fn text(&self, field: &'static str) -> Result<&str, Refusal> {
        self.optional(field).ok_or(Refusal::of(Why::FieldMissing, field))
    }
}
