//! Texts to telephones, by whoever carries them: one small trait, and the providers behind it.
//!
//! A provider is asked once for each attempt; who asks repeats. The key of a text is the same in every attempt, so that a provider that knows it
//! sends it once.

mod error;
mod file;

use futures_util::future::BoxFuture;

pub use error::Error;
pub use file::FileProvider;

/// A text to a telephone.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Text {
    /// Names the text in every attempt.
    pub key: String,
    /// As `+4712345678`.
    pub number: String,
    /// At most 160 characters of GSM 03.38 for one message.
    pub text: String,
}

/// Somebody who carries texts.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Hands a text over. When it answers, the provider has it.
    fn send<'a>(&'a self, text: &'a Text) -> BoxFuture<'a, Result<(), Error>>;
}

/// The provider of a configuration; `None` when there is none.
pub fn provider(config: &crate::config::Sms) -> Option<std::sync::Arc<dyn Provider>> {
    match config.provider {
        crate::config::SmsProvider::Off => None,
        crate::config::SmsProvider::File => Some(std::sync::Arc::new(FileProvider::new(config.file.clone()))),
    }
}
