//! What a radio is known by.

use std::fmt;
use std::str::FromStr;

/// An IMEI: 15 digits, the last of which checks the others (ISO/IEC 7812-1 Annex B, which 3GPP TS 23.003 Annex B takes over): a wrong digit
/// is always seen, and of two neighbours that changed places all but 09 and 90.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Imei([u8; Self::DIGITS]);

/// A text is no IMEI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImeiParseError {
    /// It is not made of 15 digits.
    #[error("an IMEI has 15 digits, and nothing else")]
    NotDigits,
    /// The last digit is not the one that the others ask for.
    #[error("the check digit of the IMEI should be {expected}")]
    CheckDigit {
        /// What it should be.
        expected: u8,
    },
}

impl Imei {
    /// How many digits it has.
    pub const DIGITS: usize = 15;

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The last six digits: what a radio is called until somebody names it. They are on its label, and differ within a batch.
    pub fn last_six(&self) -> &str {
        &self.as_str()[Self::DIGITS - 6..]
    }

    /// The digit that belongs behind fourteen others: it makes the sum of all digits, every second one doubled and its own digits summed, a
    /// multiple of ten.
    fn check_digit(others: &[u8]) -> u8 {
        let weighed = others.iter().rev().enumerate().map(|(at, digit)| {
            let doubled = if at % 2 == 0 { 2 * (digit - b'0') } else { digit - b'0' };
            doubled / 10 + doubled % 10
        });
        (10 - weighed.sum::<u8>() % 10) % 10
    }
}

impl FromStr for Imei {
    type Err = ImeiParseError;

    fn from_str(text: &str) -> Result<Self, ImeiParseError> {
        let digits: [u8; Self::DIGITS] = text.as_bytes().try_into().map_err(|_| ImeiParseError::NotDigits)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(ImeiParseError::NotDigits);
        }
        let [others @ .., last] = &digits;
        match Self::check_digit(others) {
            expected if expected == last - b'0' => Ok(Self(digits)),
            expected => Err(ImeiParseError::CheckDigit { expected }),
        }
    }
}

impl fmt::Display for Imei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Imei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Imei({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sound() -> impl Strategy<Value = Imei> {
        prop::array::uniform14(b'0'..=b'9').prop_map(|others| {
            let mut digits = [0; Imei::DIGITS];
            digits[..14].copy_from_slice(&others);
            digits[14] = b'0' + Imei::check_digit(&others);
            Imei(digits)
        })
    }

    #[test]
    fn the_examples_of_others_are_sound() {
        for text in ["260531793113837", "490154203237518", "356938035643809", "000000000000000"] {
            assert_eq!(text.parse::<Imei>().map(|imei| imei.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("490154203237518".parse::<Imei>().unwrap().last_six(), "237518");
        assert_eq!("490154203237517".parse::<Imei>(), Err(ImeiParseError::CheckDigit { expected: 8 }));
        for bad in ["", "49015420323751", "4901542032375180", "49015420323751x", "４９０１５", "-90154203237518"] {
            assert_eq!(bad.parse::<Imei>(), Err(ImeiParseError::NotDigits), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_wrong_digit_is_seen(imei in sound(), at in 0..Imei::DIGITS, by in 1u8..10) {
            prop_assert_eq!(imei.as_str().parse::<Imei>(), Ok(imei));
            let mut digits = imei.0;
            digits[at] = b'0' + (digits[at] - b'0' + by) % 10;
            let text = std::str::from_utf8(&digits).unwrap();
            prop_assert!(text.parse::<Imei>().is_err(), "{} passes for {}", text, imei);
        }

        #[test]
        fn neighbours_that_changed_places_are_seen(imei in sound(), at in 0..Imei::DIGITS - 1) {
            let mut digits = imei.0;
            digits.swap(at, at + 1);
            let blind = digits == imei.0 || matches!(&imei.0[at..at + 2], b"09" | b"90");
            prop_assert_eq!(std::str::from_utf8(&digits).unwrap().parse::<Imei>().is_ok(), blind);
        }
    }
}
