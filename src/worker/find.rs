//! Dead letters by what is known of them, and all of them at once.

use super::deadletter::{self, Error, Filed};
use crate::broker::Redis;

/// How many letters are read at a time.
const PAGE: usize = 500;

/// Which letters are meant: those that fit all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The key of the stream they came from begins so.
    pub stream: Option<String>,
    /// The job that gave them up.
    pub job: Option<String>,
    /// A user whose words, presses or reports are in them.
    pub sender: Option<u64>,
    /// It stands in the reason or the summary, in whatever case.
    pub text: Option<String>,
    /// They were given up before this time, UTC ms.
    pub before_ms: Option<u64>,
    /// They were given up then or later, UTC ms.
    pub since_ms: Option<u64>,
}

impl Wanted {
    /// Whether nothing is said: then all are meant.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a letter is meant.
    pub fn fits(&self, filed: &Filed) -> bool {
        let letter = &filed.letter;
        let holds = |text: &String| {
            let text = text.to_lowercase();
            [&letter.reason, &letter.summary].iter().any(|held| held.to_lowercase().contains(&text))
        };
        self.stream.as_ref().is_none_or(|stream| letter.stream.starts_with(stream.as_str()))
            && self.job.as_ref().is_none_or(|job| letter.job == *job)
            && self.sender.is_none_or(|sender| letter.senders().contains(&sender))
            && self.text.as_ref().is_none_or(holds)
            && self.before_ms.is_none_or(|before_ms| letter.time_ms < before_ms)
            && self.since_ms.is_none_or(|since_ms| letter.time_ms >= since_ms)
    }
}

/// At most `count` of the letters that are meant, behind `after`, in the order in which they were filed.
///
/// # Errors
/// Those of Redis; [`Error::BadId`].
pub async fn find(from: &Redis, wanted: &Wanted, after: Option<&str>, count: usize) -> Result<Vec<Filed>, Error> {
    let (mut found, mut after) = (Vec::new(), after.map(str::to_owned));
    while found.len() < count {
        let page = deadletter::list(from, after.as_deref(), PAGE).await?;
        let Some(last) = page.last().map(|filed| filed.id.clone()) else { break };
        found.extend(page.into_iter().filter(|filed| wanted.fits(filed)).take(count - found.len()));
        after = Some(last);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::broker::StreamId;
    use crate::topic::frame::{InFrame, Input, Post};
    use crate::worker::deadletter::DeadLetter;

    #[test]
    fn a_letter_fits_when_all_that_is_said_does() {
        let post = Post { topic: 17 << 3 | 2, sender: 5, client_seq: 9, ..Post::default() };
        let frame = InFrame { items: vec![Input::Post(post).into()], ..InFrame::default() };
        let letter = DeadLetter {
            job: "deliver".into(),
            reason: "Panicked three times".into(),
            time_ms: 1_000,
            ..DeadLetter::about("{s3}:in", StreamId(5, 1), Some(&frame.encode_to_vec()))
        };
        let filed = Filed { id: "1-1".into(), letter };
        let fits = |wanted: Wanted| wanted.fits(&filed);
        let text = |text: &str| Some(text.to_owned());
        assert!(fits(Wanted::default()) && Wanted::default().is_all());
        let all = Wanted {
            stream: text("{s3}"),
            job: text("deliver"),
            sender: Some(5),
            text: text("PANIC"),
            before_ms: Some(1_001),
            since_ms: Some(1_000),
        };
        assert!(fits(all.clone()) && !all.is_all());
        for wanted in [
            Wanted { stream: text("{s4}"), ..all.clone() },
            Wanted { job: text("talk"), ..all.clone() },
            Wanted { sender: Some(6), ..all.clone() },
            Wanted { text: text("stuck"), ..all.clone() },
            Wanted { before_ms: Some(1_000), ..all.clone() },
            Wanted { since_ms: Some(1_001), ..all },
        ] {
            assert!(!fits(wanted.clone()), "{wanted:?}");
        }
        assert!(fits(Wanted { text: text("g:17 from 5"), ..Wanted::default() }), "the summary counts too");
    }
}
