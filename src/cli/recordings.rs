//! Recorded bursts that `roger listen --audio` keeps: each a file, whole or not there, and once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::args::GatewayDoor;
use super::context::Context;
use super::error::Error;
use super::http::Gateway;
use super::output::note;
use crate::client::{ResumeTokens, Talk, Tokens as _};
use crate::worker::chain;

/// How often a recording is asked for.
const ATTEMPTS_MAX: u32 = 5;
/// Before the second attempt; twice as long before each one after it.
const AGAIN: Duration = Duration::from_millis(500);
/// The ending of a recording that has none.
const ENDING: &str = "opus";
/// The longest ending that is taken over, bytes.
const ENDING_BYTES_MAX: usize = 8;

/// The folder of recordings.
pub(super) struct Recordings<'a> {
    context: &'a Context,
    folder: PathBuf,
    door: GatewayDoor,
    tokens: Arc<ResumeTokens>,
}

impl<'a> Recordings<'a> {
    /// Makes the folder if it is not there. `tokens` are those of the session: a second holder would void its resume token.
    pub(super) fn new(context: &'a Context, folder: &Path, door: &GatewayDoor, tokens: Arc<ResumeTokens>) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
        Ok(Self { context, folder: folder.to_owned(), door: door.clone(), tokens })
    }

    /// Keeps a recording, unless it is kept already. What cannot be fetched is tried again, and said in the end.
    pub(super) async fn keep(&self, talk: &Talk) {
        let path = self.folder.join(name_of(talk));
        if path.exists() {
            return;
        }
        let mut again = AGAIN;
        for attempt in 1..=ATTEMPTS_MAX {
            let Err(error) = self.fetch(talk, &path).await else {
                note(&format!("roger: {} is kept", path.display()));
                return;
            };
            let (recording, file) = (talk.recording, &talk.file);
            note(&format!(
                "roger: recording {recording} ({file}) cannot be fetched, attempt {attempt} of {ATTEMPTS_MAX}: {}",
                chain(&error)
            ));
            if attempt < ATTEMPTS_MAX {
                tokio::time::sleep(again).await;
                again *= 2;
            }
        }
    }

    async fn fetch(&self, talk: &Talk, path: &Path) -> Result<(), Error> {
        let token = self.tokens.token(None).await?;
        match self.fetch_with(&token, talk, path).await {
            // It ran out.
            Err(Error::Refused { status: 401, .. }) => {
                let token = self.tokens.token(Some(&token)).await?;
                self.fetch_with(&token, talk, path).await
            }
            done => done,
        }
    }

    async fn fetch_with(&self, token: &str, talk: &Talk, path: &Path) -> Result<(), Error> {
        let gateway = Gateway::with_token(self.context, &self.door, token.to_owned())?;
        gateway.download_from(gateway.address_of(&talk.file), path).await.map(drop)
    }
}

/// `<recording>-<speaker>.<ending>`, with the ending of the announced file if that is a plain one.
fn name_of(talk: &Talk) -> String {
    let path = talk.file.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let ending = last.rsplit_once('.').map(|(_, ending)| ending);
    let plain = |ending: &&str| (1..=ENDING_BYTES_MAX).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
    format!("{}-{}.{}", talk.recording, talk.speaker, ending.filter(plain).unwrap_or(ENDING))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupId, UserId};

    #[test]
    fn a_recording_is_named_by_its_number_and_speaker_whatever_its_address_says() {
        for (file, expected) in [
            ("files/0123456789abcdef", "5-7.opus"),
            ("http://host/a/b.mp3?x=1.exe", "5-7.mp3"),
            ("group1/M00/1.ogg", "5-7.ogg"),
            ("a/../../etc/.x/y", "5-7.opus"),
            ("a.b c", "5-7.opus"),
            ("a.waytoolong", "5-7.opus"),
            ("", "5-7.opus"),
        ] {
            let talk = Talk {
                recording: 5,
                group: GroupId(3),
                speaker: UserId(7),
                nickname: String::new(),
                file: file.to_owned(),
                md5: String::new(),
                spoken_ms: 0,
                duration_ms: 0,
                cut: false,
            };
            assert_eq!(name_of(&talk), expected, "{file}");
        }
    }
}
