//! Resume tokens: random, shown to the client once, stored as their hash alone.

use blake2::{Blake2s256, Digest as _};

/// The bytes of a resume token; in text twice as many hexadecimal digits.
const BYTES: usize = 32;

/// A resume token. It has no `Debug`, so that none ends in a log.
pub(super) struct ResumeSecret([u8; BYTES]);

impl ResumeSecret {
    /// A new one.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    /// The one of a text; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * BYTES {
            return None;
        }
        let mut bytes = [0; BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Some(Self(bytes))
    }

    /// What the client is given.
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What is stored. A fast hash is enough: there are 2^256 of them to try.
    pub(super) fn hash(&self) -> [u8; 32] {
        Blake2s256::digest(self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_token_reads_back() {
        let secret = ResumeSecret::random();
        let again = ResumeSecret::parse(&secret.text()).unwrap();
        assert_eq!(again.hash(), secret.hash());
        assert_ne!(ResumeSecret::random().hash(), secret.hash());
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32), &secret.text()[1..]] {
            assert!(ResumeSecret::parse(bad).is_none(), "{bad}");
        }
    }
}
