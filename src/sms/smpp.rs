//! Texts by SMPP 3.4, to a short message centre or to whoever sells access to one.
//!
//! A session for each text: they are few, and several programs send them. SMPP knows no key, so a text whose answer was lost is sent again.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use rusmpp::extra::concatenation::SubmitSmMultipartExt as _;
use rusmpp::extra::encoding::ucs2::Ucs2;
use rusmpp::pdus::{BindTransmitter, SubmitSm};
use rusmpp::types::COctetString;
use rusmpp::values::{EsmClass, InterfaceVersion, Npi, Ton};
use rusmppc::{Client, ConnectionBuilder, error};
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::call::{RawSecret, is_loopback};
use super::{Error, Provider, Text};
use crate::config::Secret;
use crate::retry::ErrorClass;

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: String,
    #[serde(default)]
    cleartext: bool,
    system_id: String,
    #[serde(default)]
    system_type: String,
    password: RawSecret,
    source: String,
    #[serde(default)]
    never: Vec<u32>,
}

/// Submits texts to a short message centre.
#[derive(Debug)]
pub struct SmppProvider {
    url: String,
    host: String,
    system_id: COctetString<1, 16>,
    system_type: COctetString<1, 13>,
    password: Secret,
    source: COctetString<1, 21>,
    source_ton: Ton,
    never: Vec<u32>,
    timeout: Duration,
}

impl SmppProvider {
    /// As the file of `sms.smpp_file` says; a text that takes longer than `timeout` has failed, and may yet have been taken.
    ///
    /// # Errors
    /// When the file, or the secret it names, cannot be used.
    pub fn read(path: &Path, timeout: Duration) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::CallFile { path: path.to_owned(), source })?;
        let raw: Raw = toml::from_str(&text).map_err(|source| Error::CallSyntax { path: path.to_owned(), source: Box::new(source) })?;
        let refuse = |key: &str, rule: &str| Error::CallValue { path: path.to_owned(), key: key.to_owned(), rule: rule.to_owned() };
        let host = reqwest::Url::parse(&raw.url).ok().filter(|url| url.password().is_none() && url.port().is_some());
        let Some((scheme, host)) = host.and_then(|url| Some((url.scheme().to_owned(), url.host_str()?.to_owned()))) else {
            return Err(refuse("url", "smpps://HOST:PORT, without a password"));
        };
        if scheme != "smpps" && !(scheme == "smpp" && (raw.cleartext || is_loopback(&host))) {
            return Err(refuse("url", "an smpps URL; smpp only on this machine, or with cleartext = true"));
        }
        let password = raw.password.read(path, "password", |name| std::env::var(name).ok(), Secret::of_smpp)?;
        let source_ton = match raw.source.strip_prefix('+') {
            Some(_) => Ton::International,
            None if raw.source.bytes().all(|byte| byte.is_ascii_digit()) => Ton::Unknown,
            None => Ton::Alphanumeric,
        };
        // Clients of TLS want it. The first call of a process counts.
        drop(rustls::crypto::ring::default_provider().install_default());
        Ok(Self {
            host,
            system_id: octets(&raw.system_id).ok_or_else(|| refuse("system_id", "at most 15 characters of ASCII"))?,
            system_type: octets(&raw.system_type).ok_or_else(|| refuse("system_type", "at most 12 characters of ASCII"))?,
            password,
            source: octets(raw.source.trim_start_matches('+')).ok_or_else(|| refuse("source", "at most 20 characters of ASCII"))?,
            source_ton,
            never: raw.never,
            timeout,
            url: raw.url,
        })
    }

    async fn submit(&self, text: &Text) -> Result<(), Error> {
        let failed = |source: error::Error| self.failed(text, source);
        let builder = ConnectionBuilder::new().response_timeout(self.timeout).disable_interface_version_check();
        let (client, events) = builder.connect(&self.url).await.map_err(failed)?;
        // Nobody reads what the centre says beside its answers.
        tokio::spawn(events.for_each(|_| std::future::ready(())));
        let submitted = self.talk(&client, text).await;
        let _the_text_was_taken = client.unbind().await;
        let _gone = client.close().await;
        submitted
    }

    async fn talk(&self, client: &Client, text: &Text) -> Result<(), Error> {
        let failed = |source: error::Error| self.failed(text, source);
        let unfit = |what| Error::Unfit { key: text.key.clone(), what };
        let bind = BindTransmitter::builder()
            .system_id(self.system_id.clone())
            .password(octets::<9>(self.password.reveal()).ok_or_else(|| unfit("the password"))?)
            .system_type(self.system_type.clone())
            .interface_version(InterfaceVersion::Smpp3_4)
            .build();
        client.bind_transmitter(bind).await.map_err(failed)?;
        let parts = SubmitSm::builder()
            .source_addr_ton(self.source_ton)
            .source_addr_npi(if self.source_ton == Ton::Alphanumeric { Npi::Unknown } else { Npi::Isdn })
            .source_addr(self.source.clone())
            .dest_addr_ton(Ton::International)
            .dest_addr_npi(Npi::Isdn)
            .destination_addr(octets(text.number.trim_start_matches('+')).ok_or_else(|| unfit("the number"))?)
            // What the library has as the default says that a text is a delivery acknowledgement.
            .esm_class(EsmClass::from(0))
            .build()
            .multipart(&text.text)
            // The same for the same text: the parts of two attempts fit together.
            .reference_u8(xxh3_64(text.key.as_bytes()).to_be_bytes()[0])
            .gsm7bit_unpacked()
            .fallback(Ucs2::new())
            .build()
            .map_err(|_| unfit("its length"))?;
        for part in parts {
            client.submit_sm(part).await.map_err(failed)?;
        }
        Ok(())
    }

    fn failed(&self, text: &Text, source: error::Error) -> Error {
        let (key, host) = (text.key.clone(), self.host.clone());
        match source {
            error::Error::UnexpectedResponse { response } => {
                let status = u32::from(response.status());
                let class = if self.never.contains(&status) { ErrorClass::Permanent } else { ErrorClass::Transient };
                Error::Status { key, host, status, class }
            }
            source => Error::NoCentre { key, host, source: Box::new(source) },
        }
    }
}

fn octets<const MAX: usize>(text: &str) -> Option<COctetString<1, MAX>> {
    text.parse().ok()
}

impl Provider for SmppProvider {
    fn send<'a>(&'a self, text: &'a Text) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            // With all its parts; what stalls in the middle is not waited for part by part.
            let timed_out = |_| Error::Slow { key: text.key.clone(), host: self.host.clone(), seconds: self.timeout.as_secs() };
            tokio::time::timeout(self.timeout, self.submit(text)).await.map_err(timed_out)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Result<SmppProvider, String> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("secret"), "open").unwrap();
        std::fs::set_permissions(at("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let text = format!("system_id = \"roger\"\npassword = {{ file = {:?} }}\n{more}", at("secret").display().to_string());
        std::fs::write(at("sms-smpp.toml"), text).unwrap();
        let read = SmppProvider::read(&at("sms-smpp.toml"), Duration::from_secs(1));
        read.map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let good = read("url = \"smpps://smsc.example:3550\"\nsource = \"Roger\"").unwrap();
        assert_eq!((good.host.as_str(), good.source_ton), ("smsc.example", Ton::Alphanumeric));
        assert_eq!(read("url = \"smpp://127.0.0.1:2775\"\nsource = \"+4790\"").unwrap().source_ton, Ton::International);
        for (more, complaint) in [
            ("url = \"smpp://smsc.example:2775\"\nsource = \"Roger\"", "url must be an smpps URL"),
            ("url = \"smpps://smsc.example\"\nsource = \"Roger\"", "url must be smpps://HOST:PORT"),
            ("url = \"smpps://smsc.example:1\"\nsource = \"a name of more than twenty\"", "source must be at most 20"),
            ("url = \"smpps://smsc.example:1\"", "does not say how texts are sent"),
        ] {
            let said = read(more).unwrap_err();
            assert!(said.contains(complaint), "{said}");
        }
    }
}
