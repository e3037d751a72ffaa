//! Access tokens: the directory signs them, edges verify them with a public key and can make none.
//!
//! A token is PASETO v4.public: Ed25519 over a JSON payload, [`Claims`]. It is good until its time is over; what was called back before is
//! known to the directory and, where sessions open, to Redis, for as long as such a token could live. That is why it lives for minutes, and
//! why the resume token behind it is kept in SQL. Times are compared with the caller's clock, never with the library's.

mod code;
mod release;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pasetors::keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate as _};
use pasetors::paserk::FormatAsPaserk;
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde::{Deserialize, Serialize};

use crate::model::{InstallationId, Reason, TenantId, UserId, UserKind};
use crate::retry::ErrorClass;

pub use code::{Code, code_hash};
pub use release::{RELEASE_PUBLIC_FILE, RELEASE_SECRET_FILE, ReleaseSigner, ReleaseVerifier, WrongSignature};

/// The name of the secret key in its folder.
pub const SECRET_FILE: &str = "token.secret";
/// The name of the public key in its folder.
pub const PUBLIC_FILE: &str = "token.pub";

/// The longest token that is looked at, in bytes. One of this fleet has about 600.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Signed with every token, so that whatever else these keys may sign one day is none.
const PURPOSE: &[u8] = b"roger access token 1";
/// What a file of secrets may be at most: its group may read it.
const MODE_MAX: u32 = 0o640;

/// What a token says of its bearer. The payload of the token as JSON; a reader ignores fields it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub user: UserId,
    /// Of which company.
    pub tenant: TenantId,
    /// Radio or dispatcher.
    pub kind: UserKind,
    /// The installation that logged in; a session must be of the same one.
    pub installation: InstallationId,
    /// The nickname at the time of the login.
    pub name: String,
    /// The first moment at which the token is no longer good, UTC milliseconds.
    pub expires_ms: u64,
    /// When it was signed, UTC milliseconds, behind whatever was called back before. Only held against what was called back since.
    pub issued_ms: u64,
    /// Random, to tell tokens apart in logs.
    pub token_id: u64,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, or not one that this fleet signed, or tampered with.
    #[error("not a token of this fleet")]
    Unknown,
    /// It was good and has run out.
    #[error("the token has run out")]
    Expired,
}

impl TokenError {
    /// What the client is told.
    pub fn reason(self) -> Reason {
        match self {
            Self::Unknown => Reason::TokenUnknown,
            Self::Expired => Reason::TokenExpired,
        }
    }
}

/// A key that cannot be used. None prints the key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {operation} the key file {}", path.display())]
    File {
        /// `read` or `write`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secret key is open to others.
    #[error("the mode of {} is {mode:04o}: make it 0640 or less", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds no key of its kind.
    #[error("{} holds no {expected} key; `roger keys create` makes a pair", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// `k4.secret` or `k4.public`.
        expected: &'static str,
    },
    /// The library failed to make a key or a signature.
    #[error("cannot {operation}: {cause}")]
    Library {
        /// What was tried.
        operation: &'static str,
        /// Why; the library's error is no `std` error.
        cause: pasetors::errors::Error,
    },
    /// Claims that are no JSON.
    #[error("cannot encode the claims of user {user}")]
    Claims {
        /// Whose.
        user: UserId,
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::File { .. } | Self::Mode { .. } | Self::Key { .. } => ErrorClass::Permanent,
            Self::Library { .. } | Self::Claims { .. } => ErrorClass::Defect,
        }
    }
}

/// The files of a pair of keys, in PASERK: `k4.secret.…` and `k4.public.…`, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// For the directory alone; mode 0600.
    pub secret: PathBuf,
    /// For the directory and the edges.
    pub public: PathBuf,
}

impl KeyPair {
    /// Makes a new pair in `dir`, as [`SECRET_FILE`] and [`PUBLIC_FILE`].
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be written, or is there already: a new pair makes every token void, so nothing is overwritten.
    pub fn create(dir: &Path) -> Result<Self, Error> {
        Self::create_named(dir, SECRET_FILE, PUBLIC_FILE)
    }

    fn create_named(dir: &Path, secret: &str, public: &str) -> Result<Self, Error> {
        let library = |cause| Error::Library { operation: "make a pair of keys", cause };
        let keys = AsymmetricKeyPair::<V4>::generate().map_err(library)?;
        let files = Self { secret: dir.join(secret), public: dir.join(public) };
        write_key(&files.secret, 0o600, &keys.secret)?;
        write_key(&files.public, 0o644, &keys.public)?;
        Ok(files)
    }
}

fn write_key(path: &Path, mode: u32, key: &dyn FormatAsPaserk) -> Result<(), Error> {
    let failed = |source| Error::File { operation: "write", path: path.to_owned(), source };
    let mut text = String::new();
    key.fmt(&mut text).map_err(|_| failed(io::Error::other("the key has no text form")))?;
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn read_secret(secret_file: &Path) -> Result<AsymmetricSecretKey<V4>, Error> {
    let path = || secret_file.to_owned();
    let failed = |source| Error::File { operation: "read", path: path(), source };
    let file = File::open(secret_file).map_err(failed)?;
    // Of the open file, so that what was judged is what is read.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & !MODE_MAX != 0 {
        return Err(Error::Mode { path: path(), mode });
    }
    let text = io::read_to_string(file).map_err(failed)?;
    AsymmetricSecretKey::try_from(text.trim()).map_err(|_| Error::Key { path: path(), expected: "k4.secret" })
}

fn read_public(public_file: &Path) -> Result<AsymmetricPublicKey<V4>, Error> {
    let failed = |source| Error::File { operation: "read", path: public_file.to_owned(), source };
    let text = fs::read_to_string(public_file).map_err(failed)?;
    AsymmetricPublicKey::try_from(text.trim()).map_err(|_| Error::Key { path: public_file.to_owned(), expected: "k4.public" })
}

/// Makes tokens.
pub struct Signer(AsymmetricSecretKey<V4>);

impl std::fmt::Debug for Signer {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads a secret key.
    ///
    /// # Errors
    /// [`Error::Mode`] when the file is open to more than its owner and its group's reading.
    pub fn load(secret_file: &Path) -> Result<Self, Error> {
        read_secret(secret_file).map(Self)
    }

    /// The public half: what this signs, that verifies.
    ///
    /// # Errors
    /// [`Error::Library`] when the library refuses a key that it accepted before.
    pub fn verifier(&self) -> Result<Verifier, Error> {
        let library = |cause| Error::Library { operation: "derive the public key", cause };
        AsymmetricPublicKey::try_from(&self.0).map(Verifier).map_err(library)
    }

    /// Makes the token of the claims.
    ///
    /// # Errors
    /// Only defects.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let payload = serde_json::to_vec(claims).map_err(|source| Error::Claims { user: claims.user, source })?;
        let library = |cause| Error::Library { operation: "sign a token", cause };
        PublicToken::sign(&self.0, &payload, None, Some(PURPOSE)).map_err(library)
    }
}

/// Judges tokens.
#[derive(Clone, PartialEq)]
pub struct Verifier(AsymmetricPublicKey<V4>);

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Key`].
    pub fn load(public_file: &Path) -> Result<Self, Error> {
        read_public(public_file).map(Self)
    }

    /// What a token says, if this fleet signed it and `now_ms` (UTC milliseconds) is before its end.
    ///
    /// # Errors
    /// [`TokenError::Unknown`] for anything that is not such a token, [`TokenError::Expired`] for one whose time is over.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Unknown);
        }
        let untrusted = UntrustedToken::try_from(token).map_err(|_| TokenError::Unknown)?;
        // A footer is signed too, so one that was added later does not pass.
        let trusted = PublicToken::verify(&self.0, &untrusted, None, Some(PURPOSE)).map_err(|_| TokenError::Unknown)?;
        let claims: Claims = serde_json::from_str(trusted.payload()).map_err(|_| TokenError::Unknown)?;
        if now_ms < claims.expires_ms { Ok(claims) } else { Err(TokenError::Expired) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            user: UserId(7),
            tenant: TenantId(1),
            kind: UserKind::Device,
            installation: InstallationId(u64::MAX),
            name: "Mike Collins 🛰".to_owned(),
            expires_ms: 2_000,
            issued_ms: 1_000,
            token_id: 99,
        }
    }

    fn pair() -> (tempfile::TempDir, Signer, Verifier) {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyPair::create(dir.path()).unwrap();
        let (signer, verifier) = (Signer::load(&files.secret).unwrap(), Verifier::load(&files.public).unwrap());
        (dir, signer, verifier)
    }

    #[test]
    fn a_token_is_good_until_its_time_is_over() {
        let (_dir, signer, verifier) = pair();
        let token = signer.sign(&claims()).unwrap();
        assert!(token.len() < TOKEN_BYTES_MAX);
        assert_eq!(verifier.verify(&token, 0), Ok(claims()));
        assert_eq!(verifier.verify(&token, 1_999), Ok(claims()));
        assert_eq!(verifier.verify(&token, 2_000), Err(TokenError::Expired));
        assert!(signer.verifier().unwrap() == verifier);
    }

    #[test]
    fn what_this_fleet_did_not_sign_is_unknown() {
        let (_dir, signer, verifier) = pair();
        let (_other_dir, other, _) = pair();
        let token = signer.sign(&claims()).unwrap();
        let check = |token: &str, what: &str| assert_eq!(verifier.verify(token, 1_500), Err(TokenError::Unknown), "{what}");
        check(&other.sign(&claims()).unwrap(), "another fleet's");
        check("", "nothing");
        check("v4.public.", "nothing signed");
        check("v4.public.AAAA", "too short");
        check("Bearer abc", "no token");
        check(&format!("{token}.Zm9vdGVy"), "a footer");
        check(&"v4.public.A".repeat(1_000), "too long");
        for at in 10..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            check(&String::from_utf8(bytes).unwrap(), &format!("changed at {at}"));
        }
        // Expiry is told only to whom the token belonged.
        let mut forged = claims();
        forged.expires_ms = 1;
        check(&other.sign(&forged).unwrap(), "another fleet's, run out");
    }

    #[test]
    fn keys_are_not_overwritten_and_not_open_to_others() {
        let (dir, _, _) = pair();
        assert!(matches!(KeyPair::create(dir.path()), Err(Error::File { operation: "write", .. })));
        let secret = dir.path().join(SECRET_FILE);
        let set_mode = |mode| fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        set_mode(0o640);
        assert!(Signer::load(&secret).is_ok());
        for mode in [0o644, 0o660, 0o641] {
            set_mode(mode);
            assert!(matches!(Signer::load(&secret), Err(Error::Mode { .. })), "{mode:o}");
        }
        let public = dir.path().join(PUBLIC_FILE);
        assert!(matches!(Verifier::load(&secret), Err(Error::Key { .. })));
        assert!(matches!(Verifier::load(&dir.path().join("none")), Err(Error::File { .. })));
        assert!(matches!(Signer::load(&public), Err(Error::Mode { .. })));
    }
}
