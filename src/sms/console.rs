//! Texts into the log, for whoever tries things out.

use futures_util::future::BoxFuture;

use super::{Error, Provider, Text, masked};

/// Writes texts to the log, on stderr. What they say is shown: not for production.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsoleProvider;

impl Provider for ConsoleProvider {
    fn send<'a>(&'a self, text: &'a Text) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            tracing::info!(key = text.key, number = masked(&text.number), "text: {}", text.text);
            Ok(())
        })
    }
}
