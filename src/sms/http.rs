//! Texts by a call over HTTP, to a provider or to a company's own gateway that signs as its provider wants.

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::call::{Answer, Call};
use super::{Error, Provider, Text};
use crate::retry::ErrorClass;

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Makes the call that `sms.http_file` describes.
#[derive(Debug)]
pub struct HttpProvider {
    call: Call,
    client: reqwest::Client,
}

impl HttpProvider {
    /// As the file says; a call that takes longer than `timeout` has failed, and may yet have been taken.
    ///
    /// # Errors
    /// When the file, or a secret it names, cannot be used.
    pub fn read(path: &Path, timeout: Duration) -> Result<Self, Error> {
        let call = Call::read(path, |name| std::env::var(name).ok())?;
        // The programs that store objects set the same one: the first call counts.
        drop(rustls::crypto::ring::default_provider().install_default());
        // A redirect could take number and secrets to somebody else.
        let mut client = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).no_proxy();
        if let Some(authorities) = &call.authorities {
            client = client.tls_certs_only(authorities.iter().cloned());
        }
        Ok(Self { call, client: client.build().map_err(Error::Client)? })
    }

    async fn call(&self, text: &Text) -> Result<(), Error> {
        let filled = self.call.filled(text);
        let mut request = self.client.request(self.call.method.clone(), filled.url).body(filled.body);
        for (name, value) in filled.headers {
            let mut value =
                reqwest::header::HeaderValue::from_str(&value).map_err(|_| Error::Call { key: text.key.clone(), what: "a header" })?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let away =
            |source: reqwest::Error| Error::Away { key: text.key.clone(), host: self.call.host.clone(), source: source.without_url() };
        let mut response = request.send().await.map_err(away)?;
        let status = response.status().as_u16();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            answer.extend_from_slice(&chunk);
            if answer.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        let class = match self.call.judge(status, &answer) {
            Answer::Taken => return Ok(()),
            Answer::Later => ErrorClass::Transient,
            Answer::Never => ErrorClass::Permanent,
        };
        Err(Error::Refused { key: text.key.clone(), host: self.call.host.clone(), status, answer: self.call.shown(&answer, text), class })
    }
}

impl Provider for HttpProvider {
    fn send<'a>(&'a self, text: &'a Text) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.call(text))
    }
}
