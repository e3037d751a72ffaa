//! Tokens as the directory gives them, without its being asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use roger::client::{TokenFuture, Tokens};
use roger::clock::Clock;
use roger::model::InstallationId;
use roger::token::{Claims, Signer};

/// Tokens signed when they are asked for.
#[derive(Debug)]
pub struct Minted {
    signer: Arc<Signer>,
    clock: Clock,
    lifetime: Duration,
    claims: Claims,
    expired: Mutex<u64>,
}

impl Minted {
    /// For whom the claims say, but for their times.
    pub fn new(signer: Arc<Signer>, clock: Clock, lifetime: Duration, claims: Claims) -> Self {
        Self { signer, clock, lifetime, claims, expired: Mutex::default() }
    }

    /// The installation they are for.
    pub fn installation(&self) -> InstallationId {
        self.claims.installation
    }

    /// How often the fleet called one expired.
    pub fn expired(&self) -> u64 {
        *self.expired.lock().unwrap()
    }
}

impl Tokens for Minted {
    fn token<'a>(&'a self, expired: Option<&'a str>) -> TokenFuture<'a> {
        *self.expired.lock().unwrap() += u64::from(expired.is_some());
        let (issued_ms, token_id) = (self.clock.now_ms(), rand::random());
        let expires_ms = issued_ms + self.lifetime.as_millis() as u64;
        let token = self.signer.sign(&Claims { issued_ms, expires_ms, token_id, ..self.claims.clone() }).unwrap();
        Box::pin(std::future::ready(Ok(token)))
    }
}
