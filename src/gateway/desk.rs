//! What every request may need, and the questions each asks first: who is it, and how often.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::enrolled::Phones;
use super::health::Pulse;
use super::nodes::Nodes;
use super::refuse::{Refusal, Why};
use super::serve::Peer;
use super::talk;
use crate::broker::Redis;
use crate::clock::Clock;
use crate::config;
use crate::model::{TenantId, UserId, UserKind};
use crate::objects::Objects;
use crate::store::{Account, Author, Store};
use crate::throttle::Throttle;
use crate::token::{ReleaseVerifier, Verifier};

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
    pub(super) phones: Phones,
    pub(super) redis: Redis,
    pub(super) talk: talk::Settings,
    pub(super) pulse: Arc<Pulse>,
}

/// The account behind a token, as SQL has it now.
pub(super) struct Caller {
    pub(super) user: UserId,
    pub(super) tenant: TenantId,
    pub(super) kind: UserKind,
    /// The store, whose changes name the account as their author and are refused where it manages nothing.
    pub(super) store: Store,
}

impl Desk {
    /// Who sends a request, by its access token. An account that was disabled or deleted is nobody, and so is a token
    /// that was called back, whatever it says.
    pub(super) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        let Some((_, token)) = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err(Refusal::of(Why::TokenMissing, "authorization"));
        };
        let claims = self.verifier.verify(token.trim(), self.clock.now_ms())?;
        let account = self.store.caller(claims.user, claims.installation, claims.issued_ms).await?;
        let Account { id, tenant, kind, .. } = account.ok_or(Refusal::of(Why::TokenRevoked, "authorization"))?;
        let store = self.store.on_behalf_of(Author::Account(id), self.clock.clone());
        Ok(Caller { user: id, tenant, kind, store })
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
