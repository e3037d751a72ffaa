//! Secrets, which stand in files of their own and are never shown.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The fewest and the most bytes of a secret.
const BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// The one that the sample configuration of Janus names, and everybody knows.
const SAMPLE: &str = "janusrocks";

/// A text that nobody is shown: 8 to 256 printable ASCII characters, without spaces at its ends.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum BadSecret {
    /// The file cannot be read.
    #[error("cannot read the secret in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be one.
    #[error("the secret in {} must be {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// What it has to be.
        rule: &'static str,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// The secret in a file. Line ends and spaces around it do not count.
    ///
    /// # Errors
    /// See [`BadSecret`].
    pub fn read(path: &Path) -> Result<Self, BadSecret> {
        Self::read_as(path, Self::new)
    }

    /// As [`Secret::read`], of the kind that `make` makes.
    ///
    /// # Errors
    /// See [`BadSecret`].
    pub fn read_as(path: &Path, make: impl Fn(&str) -> Result<Self, &'static str>) -> Result<Self, BadSecret> {
        let text = fs::read_to_string(path).map_err(|source| BadSecret::File { path: path.to_owned(), source })?;
        make(text.trim()).map_err(|rule| BadSecret::Rule { path: path.to_owned(), rule })
    }

    /// A password of SMPP, which is short.
    ///
    /// # Errors
    /// What it has to be; the text follows "must be".
    pub fn of_smpp(text: &str) -> Result<Self, &'static str> {
        let good = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(Self(text.to_owned())) } else { Err("1 to 8 printable ASCII characters, as SMPP has it") }
    }

    /// A secret of this text.
    ///
    /// # Errors
    /// What it has to be; the text follows "must be".
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if !BYTES.contains(&text.len()) || !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err("8 to 256 printable ASCII characters");
        }
        if text == SAMPLE {
            return Err("one of your own: this one stands in the sample configuration of Janus");
        }
        Ok(Self(text.to_owned()))
    }

    /// The text, for whom it is meant alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_knows_or_nobody_could_type_is_no_secret() {
        let check = |text: &str, expected: Result<(), &str>| assert_eq!(Secret::new(text).map(drop), expected, "{text}");
        let shape = Err("8 to 256 printable ASCII characters");
        check("correct horse", Ok(()));
        check("", shape);
        check("short", shape);
        check("line\nbreaks", shape);
        check(&"x".repeat(257), shape);
        check("janusrocks", Err("one of your own: this one stands in the sample configuration of Janus"));
        assert_eq!(format!("{:?}", Secret::new("correct horse").unwrap()), "Secret(…)");
    }

    #[test]
    fn a_file_holds_one_and_its_line_end_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(matches!(Secret::read(&path), Err(BadSecret::File { .. })));
        fs::write(&path, "correct horse\n").unwrap();
        assert_eq!(Secret::read(&path).unwrap().reveal(), "correct horse");
        fs::write(&path, "janusrocks\n").unwrap();
        assert!(matches!(Secret::read(&path), Err(BadSecret::Rule { .. })));
    }
}
