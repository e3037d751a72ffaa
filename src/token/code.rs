//! Codes that people read out and type: random, told once, and kept as a hash.
//!
//! A code has 100 random bits, so a fast hash of it is as safe as a slow one of a password. It reads well over the phone: no I, L, O or U, in
//! groups of five; hyphens, spaces and case do not matter.

use blake2::{Blake2s256, Digest as _};

/// The digits of Crockford's base32 (crockford.com/base32.html).
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of a code.
const LENGTH: usize = 20;
/// Digits between hyphens.
const GROUP: usize = 5;

/// A code. It has no `Debug`, so that none ends in a log.
pub struct Code([u8; LENGTH]);

impl Code {
    /// A new one.
    pub fn random() -> Self {
        Self(rand::random::<[u8; LENGTH]>().map(|byte| DIGITS[usize::from(byte % 32)]))
    }

    /// What is told: `7ZK3M-0Q2WX-…`.
    pub fn text(&self) -> String {
        let groups = self.0.chunks(GROUP).map(|group| String::from_utf8_lossy(group));
        groups.collect::<Vec<_>>().join("-")
    }

    /// What is kept.
    pub fn hash(&self) -> [u8; 32] {
        Blake2s256::digest(self.0).into()
    }
}

/// The hash of a code as somebody wrote it down; that of no code for any other text.
pub fn code_hash(text: &str) -> [u8; 32] {
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')).map(digit).collect();
    Blake2s256::digest(&digits).into()
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
    fn a_code_is_the_same_however_it_is_written_down() {
        let code = Code::random();
        let (text, hash) = (code.text(), code.hash());
        assert_eq!((text.len(), text.matches('-').count()), (LENGTH + 3, 3), "{text}");
        assert!(text.bytes().all(|byte| byte == b'-' || DIGITS.contains(&byte)), "{text}");
        for written in [text.clone(), text.to_lowercase(), text.replace('-', ""), text.replace('-', " ")] {
            assert_eq!(code_hash(&written), hash, "{written}");
        }
        assert_eq!(code_hash("oioio-LOlOL-oioio-Iolo1"), Code(*b"01010101010101010101").hash());
        assert_ne!(code_hash(&text[1..]), hash);
        assert_ne!(Code::random().hash(), hash);
    }
}
