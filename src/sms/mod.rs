//! Texts to telephones, by whoever carries them: one small trait, and the providers behind it.
//!
//! A provider is asked once for each attempt; who asks repeats, with growing delays, what is transient. The key of a text is the same in every
//! attempt, so that a provider that knows it sends it once. Numbers may be limited to a list (`sms.allow`), and no number is ever logged in full.

mod call;
mod console;
mod error;
mod file;
pub mod gsm;
mod http;
mod smpp;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use console::ConsoleProvider;
pub use error::Error;
pub use file::FileProvider;
pub use http::HttpProvider;
pub use smpp::SmppProvider;

use crate::config::{Sms, SmsProvider};

/// A text to a telephone.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Text {
    /// Names the text in every attempt.
    pub key: String,
    /// As `+4712345678`.
    pub number: String,
    /// At most 160 characters of GSM 03.38 for one message; [`gsm::parts`] counts.
    pub text: String,
}

/// Somebody who carries texts.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Hands a text over. When it answers, the provider has it.
    fn send<'a>(&'a self, text: &'a Text) -> BoxFuture<'a, Result<(), Error>>;
}

/// The provider of a configuration; `None` when there is none.
///
/// # Errors
/// When `sms.http_file` or `sms.smpp_file`, or a secret it names, cannot be used.
pub fn provider(config: &Sms) -> Result<Option<Arc<dyn Provider>>, Error> {
    let provider: Arc<dyn Provider> = match config.provider {
        SmsProvider::Off => return Ok(None),
        SmsProvider::File => Arc::new(FileProvider::new(config.file.clone())),
        SmsProvider::Console => Arc::new(ConsoleProvider),
        SmsProvider::Http => Arc::new(HttpProvider::read(config.http_file.as_deref().unwrap_or("".as_ref()), config.timeout)?),
        SmsProvider::Smpp => Arc::new(SmppProvider::read(config.smpp_file.as_deref().unwrap_or("".as_ref()), config.timeout)?),
    };
    if config.allow.is_empty() {
        return Ok(Some(provider));
    }
    Ok(Some(Arc::new(Allowed { allow: config.allow.clone(), provider })))
}

/// A number as a log may show it: its last two digits.
pub fn masked(number: &str) -> String {
    let last: Vec<char> = number.chars().rev().take(2).collect();
    format!("…{}", last.iter().rev().collect::<String>())
}

/// Refuses numbers that are not on a list.
#[derive(Debug)]
struct Allowed {
    allow: Vec<String>,
    provider: Arc<dyn Provider>,
}

impl Provider for Allowed {
    fn send<'a>(&'a self, text: &'a Text) -> BoxFuture<'a, Result<(), Error>> {
        let matches = |allowed: &String| match allowed.strip_suffix('*') {
            Some(start) => text.number.starts_with(start),
            None => *allowed == text.number,
        };
        if self.allow.iter().any(matches) {
            return self.provider.send(text);
        }
        Box::pin(async { Err(Error::NotAllowed { key: text.key.clone() }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_allowed_numbers_get_texts() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = crate::config::Config::defaults().unwrap().sms;
        config.file = folder.path().join("texts.jsonl");
        config.allow = vec!["+4712345678".to_owned(), "+4670*".to_owned()];
        let provider = provider(&config).unwrap().unwrap();
        for (number, allowed) in [("+4712345678", true), ("+47123456789", false), ("+46701", true), ("+4671", false)] {
            let sent = provider.send(&Text { key: "k".to_owned(), number: number.to_owned(), text: "t".to_owned() }).await;
            assert_eq!(sent.is_ok(), allowed, "{number}");
        }
        assert_eq!(std::fs::read_to_string(&config.file).unwrap().lines().count(), 2);
        assert_eq!(masked("+4712345678"), "…78");
    }
}
