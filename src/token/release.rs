//! Signatures of app releases: whoever builds the app signs its digest, and the gateway takes in nothing else.
//!
//! The signature is Ed25519 (RFC 8032) over the ASCII text `roger app release 1:` followed by the SHA-256 of the APK as 64 lower-case
//! hexadecimal digits; it is written as 128 hexadecimal digits. The keys stand in files of the form of token keys (PASERK `k4.secret`
//! and `k4.public`), and are no token keys: the text above is never the text of a token. The secret one belongs on no server.

use std::fmt;
use std::path::Path;

use ed25519_compact::{PublicKey, SecretKey, Signature};
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::version4::V4;

use super::{Error, KeyPair, read_public, read_secret};
use crate::model::Digest;

/// The name of the secret release key in its folder.
pub const RELEASE_SECRET_FILE: &str = "release.secret";
/// The name of the public release key in its folder.
pub const RELEASE_PUBLIC_FILE: &str = "release.pub";

/// Signed with every digest.
const PURPOSE: &str = "roger app release 1";

/// A signature that is none of this digest by this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a signature of this file by the release key")]
pub struct WrongSignature;

fn signed_text(digest: Digest) -> String {
    format!("{PURPOSE}:{digest}")
}

impl KeyPair {
    /// Makes a new pair for releases in `dir`, as [`RELEASE_SECRET_FILE`] and [`RELEASE_PUBLIC_FILE`].
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be written, or is there already.
    pub fn create_for_releases(dir: &Path) -> Result<Self, Error> {
        Self::create_named(dir, RELEASE_SECRET_FILE, RELEASE_PUBLIC_FILE)
    }
}

/// Signs releases.
pub struct ReleaseSigner(SecretKey);

impl fmt::Debug for ReleaseSigner {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReleaseSigner")
    }
}

impl ReleaseSigner {
    /// Reads a secret key.
    ///
    /// # Errors
    /// [`Error::Mode`] when the file is open to more than its owner and its group's reading.
    pub fn load(secret_file: &Path) -> Result<Self, Error> {
        let key: AsymmetricSecretKey<V4> = read_secret(secret_file)?;
        let wrong = |_| Error::Key { path: secret_file.to_owned(), expected: "k4.secret" };
        SecretKey::from_slice(key.as_bytes()).map(Self).map_err(wrong)
    }

    /// The signature of a digest, 128 hexadecimal digits.
    pub fn sign(&self, digest: Digest) -> String {
        // Without noise: the same file has the same signature.
        hex::encode(self.0.sign(signed_text(digest), None).as_ref())
    }
}

/// Judges signatures of releases.
#[derive(Clone)]
pub struct ReleaseVerifier(PublicKey);

impl fmt::Debug for ReleaseVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReleaseVerifier")
    }
}

impl ReleaseVerifier {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Key`].
    pub fn load(public_file: &Path) -> Result<Self, Error> {
        let key: AsymmetricPublicKey<V4> = read_public(public_file)?;
        let wrong = |_| Error::Key { path: public_file.to_owned(), expected: "k4.public" };
        PublicKey::from_slice(key.as_bytes()).map(Self).map_err(wrong)
    }

    /// Whether `signature`, 128 hexadecimal digits, is that of the digest.
    ///
    /// # Errors
    /// [`WrongSignature`] for anything else.
    pub fn verify(&self, digest: Digest, signature: &str) -> Result<(), WrongSignature> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(signature, &mut bytes).map_err(|_| WrongSignature)?;
        self.0.verify(signed_text(digest), &Signature::new(bytes)).map_err(|_| WrongSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Signer;

    #[test]
    fn a_signature_is_good_for_its_file_and_its_key_alone() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = KeyPair::create_for_releases(here.path()).unwrap();
        let other = KeyPair::create_for_releases(there.path()).unwrap();
        let (signer, verifier) = (ReleaseSigner::load(&files.secret).unwrap(), ReleaseVerifier::load(&files.public).unwrap());
        let digest = Digest([7; 32]);
        let signature = signer.sign(digest);
        assert_eq!(verifier.verify(digest, &signature), Ok(()));
        assert_eq!(signer.sign(digest), signature);
        let wrong = Err(WrongSignature);
        assert_eq!(verifier.verify(Digest([8; 32]), &signature), wrong);
        assert_eq!(ReleaseVerifier::load(&other.public).unwrap().verify(digest, &signature), wrong);
        for bad in ["", "00", &"0".repeat(128), &"z".repeat(128), &signature[1..], &format!("{signature}0")] {
            assert_eq!(verifier.verify(digest, bad), wrong, "{bad}");
        }
        // The bare digest, signed by the same key: the purpose is missing.
        let bare = SecretKey::from_slice(signer.0.as_ref()).unwrap().sign(digest.to_string(), None);
        assert_eq!(verifier.verify(digest, &hex::encode(bare.as_ref())), wrong);
        assert!(Signer::load(&files.secret).is_ok(), "the form of the files is one");
    }
}
