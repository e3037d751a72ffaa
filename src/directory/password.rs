//! Passwords as Argon2id hashes, a bounded number at a time.
//!
//! A hash costs [`MEMORY_KIB`] and some 20 ms of a core on purpose, so whoever floods the login waits in a bounded line instead of taking
//! the machine. A check of a password against nothing costs as much as one against a hash: the time does not tell whether a name exists.

use std::sync::Arc;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::enrolment;
use crate::retry::ErrorClass;

/// Memory of one hash. This and the next two are the first choice of the OWASP password storage cheat sheet for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// How many may wait for their turn; more are refused.
const WAITING_MAX: usize = 256;

/// Why a password was neither hashed nor checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many wait already.
    #[error("{WAITING_MAX} passwords wait to be checked")]
    Busy,
    /// The library failed, or a stored hash is none.
    #[error("cannot {operation} a password")]
    Library {
        /// What was tried.
        operation: &'static str,
        /// Why.
        source: argon2::password_hash::Error,
    },
    /// The task panicked, or the runtime stops.
    #[error("the task that was to {operation} a password ended early")]
    Crashed {
        /// What was tried.
        operation: &'static str,
        /// Why.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Busy => ErrorClass::Transient,
            Self::Crashed { source, .. } if source.is_cancelled() => ErrorClass::Transient,
            Self::Library { .. } | Self::Crashed { .. } => ErrorClass::Defect,
        }
    }
}

/// Hashes and checks passwords. Clones share the turns.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// The hash of a password that nobody knows.
    nobody: Arc<str>,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    /// At most `at_once` at a time, at least one. Takes the time of one hash.
    ///
    /// # Errors
    /// Only defects.
    pub fn new(at_once: usize) -> Result<Self, Error> {
        let nobody = hash(&rand::random::<[u8; 32]>())?.into();
        Ok(Self { turns: Arc::new(Semaphore::new(at_once.max(1))), waiting: Arc::new(Semaphore::new(WAITING_MAX)), nobody })
    }

    /// As many at a time as the machine has cores.
    ///
    /// # Errors
    /// Only defects.
    pub fn for_this_machine() -> Result<Self, Error> {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The hash of a password in PHC form, with a salt of its own.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait.
    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        self.in_turn("hash", move || hash(password.as_bytes())).await
    }

    /// Whether the password is the one of the hash, or the code of the hash of an enrolment code. With no hash (an empty one counts as none)
    /// it takes as long and is false; a code takes as long too.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait; [`Error::Library`] when the hash is none.
    pub async fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool, Error> {
        let stored = stored.filter(|stored| !stored.is_empty());
        let (known, stored) = (stored.is_some(), stored.unwrap_or(&self.nobody).to_owned());
        let (password, nobody) = (password.to_owned(), self.nobody.clone());
        let check = move || {
            if enrolment::is_of_a_code(&stored) {
                verify(password.as_bytes(), &nobody)?;
                return Ok(enrolment::verify(&password, &stored));
            }
            verify(password.as_bytes(), &stored).map(|good| good && known)
        };
        self.in_turn("check", check).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Error::Busy)?;
        let Ok(turn) = self.turns.clone().acquire_owned().await else { return Err(Error::Busy) };
        let work = move || {
            // Held by the work and not by the caller: one who goes away does not stop it.
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|source| Error::Crashed { operation, source })?
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let library = |source: argon2::Error| Error::Library { operation: "set up the hash of", source: source.into() };
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(library)?))
}

fn hash(password: &[u8]) -> Result<String, Error> {
    let library = |source| Error::Library { operation: "hash", source };
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(library)?;
    Ok(argon2()?.hash_password(password, &salt).map_err(library)?.to_string())
}

fn verify(password: &[u8], stored: &str) -> Result<bool, Error> {
    let library = |source| Error::Library { operation: "check", source };
    let stored = PasswordHash::new(stored).map_err(library)?;
    match argon2()?.verify_password(password, &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(source) => Err(library(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_good_for_its_own_hash_alone() {
        let passwords = Passwords::new(2).unwrap();
        let (first, second) = (passwords.hash("tranquility").await.unwrap(), passwords.hash("tranquility").await.unwrap());
        assert_ne!(first, second, "the salt is missing");
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert!(passwords.verify("tranquility", Some(&first)).await.unwrap());
        assert!(!passwords.verify("Tranquility", Some(&first)).await.unwrap());
        assert!(!passwords.verify("tranquility", None).await.unwrap());
        assert!(!passwords.verify("", Some("")).await.unwrap());
        assert!(matches!(passwords.verify("x", Some("plain")).await, Err(Error::Library { .. })));
    }

    #[tokio::test]
    async fn an_enrolment_code_is_a_password_that_takes_as_long() {
        let passwords = Passwords::new(1).unwrap();
        let (code, hash) = (crate::token::Code::random(), passwords.hash("tranquility").await.unwrap());
        let stored = enrolment::stored(&code);
        assert!(passwords.verify(&code.text().to_lowercase(), Some(&stored)).await.unwrap());
        assert!(!passwords.verify("tranquility", Some(&stored)).await.unwrap());
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..9 {
            for (which, stored) in [stored.clone(), hash.clone()].iter().enumerate() {
                let begun = std::time::Instant::now();
                assert!(!passwords.verify("wrong", Some(stored)).await.unwrap());
                times[which].push(begun.elapsed().as_secs_f64());
            }
        }
        let [coded, hashed] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        assert!((0.5..2.0).contains(&(coded / hashed)), "codes take {coded:.4} s, passwords {hashed:.4} s");
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_refused() {
        let passwords = Passwords::new(1).unwrap();
        let _all = passwords.waiting.clone().try_acquire_many_owned(WAITING_MAX as u32).unwrap();
        assert!(matches!(passwords.hash("x").await, Err(Error::Busy)));
    }
}
