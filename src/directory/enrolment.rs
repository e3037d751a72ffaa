//! Enrolment codes: the first passwords of devices, told once to whoever registers them.
//!
//! Their hash is a fast one ([`Code`] says why), so ten thousand devices are registered in a second.

use crate::token::{Code, code_hash};

/// What stands before the hash of a code in `account.password`, where a password has `$argon2id$`.
const PREFIX: &str = "$enrol$";

/// What is stored of a code.
pub(super) fn stored(code: &Code) -> String {
    format!("{PREFIX}{}", hex::encode(code.hash()))
}

/// Whether a stored hash is that of a code.
pub(super) fn is_of_a_code(stored: &str) -> bool {
    stored.starts_with(PREFIX)
}

/// Whether a text is the code of a hash. Takes as long however much of it is right.
pub(super) fn verify(text: &str, stored: &str) -> bool {
    let offered = hex::encode(code_hash(text));
    let stored = stored.strip_prefix(PREFIX).unwrap_or_default().as_bytes();
    let differing = offered.bytes().zip(stored).fold(0, |differing, (one, other)| differing | (one ^ other));
    differing == 0 && stored.len() == offered.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_for_its_own_hash_alone() {
        let (code, other) = (Code::random(), Code::random());
        let hash = stored(&code);
        assert!(is_of_a_code(&hash) && !hash.contains(&code.text().replace('-', "")));
        assert!(verify(&code.text(), &hash) && verify(&code.text().to_lowercase().replace('-', " "), &hash));
        for bad in ["", "-", &other.text(), &code.text()[1..], &format!("{}0", code.text()), &hash] {
            assert!(!verify(bad, &hash), "{bad}");
        }
        for stored in ["", PREFIX, &hash[..20], "$argon2id$v=19$m=19456,t=2,p=1$x"] {
            assert!(!verify(&code.text(), stored), "{stored}");
        }
    }
}
