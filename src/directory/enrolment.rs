//! Enrolment codes: the first passwords of devices, random, told once to whoever registers them.
//!
//! A code has 100 random bits, so a fast hash of it is as safe as a slow one of a password, and ten thousand devices are registered in a
//! second. It reads well over the phone: no I, L, O or U, in groups of five; hyphens, spaces and case do not matter.

use blake2::{Blake2s256, Digest as _};

/// What stands before the hash of a code in `account.password`, where a password has `$argon2id$`.
const PREFIX: &str = "$enrol$";
/// The digits of Crockford's base32 (crockford.com/base32.html).
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of a code.
const LENGTH: usize = 20;
/// Digits between hyphens.
const GROUP: usize = 5;

/// A code. It has no `Debug`, so that none ends in a log.
pub(super) struct EnrolmentCode([u8; LENGTH]);

impl EnrolmentCode {
    /// A new one.
    pub(super) fn random() -> Self {
        Self(rand::random::<[u8; LENGTH]>().map(|byte| DIGITS[usize::from(byte % 32)]))
    }

    /// What is told: `7ZK3M-0Q2WX-…`.
    pub(super) fn text(&self) -> String {
        let groups = self.0.chunks(GROUP).map(|group| String::from_utf8_lossy(group));
        groups.collect::<Vec<_>>().join("-")
    }

    /// What is stored.
    pub(super) fn hash(&self) -> String {
        let digits = digest(&self.0).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{PREFIX}{digits}")
    }
}

/// Whether a stored hash is that of a code.
pub(super) fn is_of_a_code(stored: &str) -> bool {
    stored.starts_with(PREFIX)
}

/// Whether a text is the code of a hash. Takes as long however much of it is right.
pub(super) fn verify(text: &str, stored: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')).map(digit).collect();
    let offered: String = digest(&digits).iter().map(|byte| format!("{byte:02x}")).collect();
    let stored = stored.strip_prefix(PREFIX).unwrap_or_default().as_bytes();
    let differing = offered.bytes().zip(stored).fold(0, |differing, (one, other)| differing | (one ^ other));
    differing == 0 && stored.len() == offered.len()
}

fn digest(digits: &[u8]) -> [u8; 32] {
    Blake2s256::digest(digits).into()
}

/// A digit as it is meant: letters that look like digits are read as these.
fn digit(written: u8) -> u8 {
    match written.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        digit => digit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_however_it_is_written_down() {
        let code = EnrolmentCode::random();
        let (text, hash) = (code.text(), code.hash());
        assert_eq!((text.len(), text.matches('-').count()), (LENGTH + 3, 3), "{text}");
        assert!(text.bytes().all(|byte| byte == b'-' || DIGITS.contains(&byte)), "{text}");
        assert!(is_of_a_code(&hash) && !hash.contains(&text.replace('-', "")));
        for written in [text.clone(), text.to_lowercase(), text.replace('-', ""), text.replace('-', " ")] {
            assert!(verify(&written, &hash), "{written}");
        }
        assert!(verify("oioio-LOlOL-oioio-Iolo1", &EnrolmentCode(*b"01010101010101010101").hash()));
    }

    #[test]
    fn a_code_is_good_for_its_own_hash_alone() {
        let (code, other) = (EnrolmentCode::random(), EnrolmentCode::random());
        assert_ne!(code.text(), other.text());
        for bad in ["", "-", &other.text(), &code.text()[1..], &format!("{}0", code.text()), &code.hash()] {
            assert!(!verify(bad, &code.hash()), "{bad}");
        }
        for stored in ["", PREFIX, &code.hash()[..20], "$argon2id$v=19$m=19456,t=2,p=1$x"] {
            assert!(!verify(&code.text(), stored), "{stored}");
        }
    }
}
