//! What a stored file is for, and its id.

use std::fmt;
use std::str::FromStr;

/// A stored file: 128 random bits, so that nobody guesses one. As text 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(pub u128);

/// A text that is no id of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a file has 32 lower-case hexadecimal digits")]
pub struct FileIdParseError;

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FileId {
    type Err = FileIdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            return Err(FileIdParseError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| FileIdParseError)
    }
}

impl serde::Serialize for FileId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a file is for. The numbers are those in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilePurpose {
    /// Goes with a message: for those of its topic.
    Attachment = 1,
    /// The log of a device or app: for whoever manages the account.
    Log = 2,
    /// Talk that was recorded in the room of a group: for those of the group, and for the account it belongs to.
    Recording = 3,
}

impl FilePurpose {
    /// The purpose of a number in SQL.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Attachment, Self::Log, Self::Recording].into_iter().find(|purpose| *purpose as u32 == number)
    }

    /// The purpose of a word that clients may say, `attachment` or `log`.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Attachment, Self::Log].into_iter().find(|purpose| purpose.as_str() == word)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attachment => "attachment",
            Self::Log => "log",
            Self::Recording => "recording",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written() {
        assert_eq!(FileId(0xab).to_string().parse(), Ok(FileId(0xab)));
        for bad in ["", "ab", &"g".repeat(32), &"A".repeat(32), &"+".repeat(32), &"0".repeat(33), "../../../../../../../../etc/pass"] {
            assert_eq!(bad.parse::<FileId>(), Err(FileIdParseError), "{bad:?}");
        }
    }
}
