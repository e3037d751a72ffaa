//! Uploads to the gateway and downloads from it.

use std::path::Path;

use futures_util::TryStreamExt as _;
use reqwest::header::{CONTENT_LENGTH, IF_RANGE, RANGE};
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value as Json;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::args::{As, GatewayDoor};
use super::context::Context;
use super::error::Error;
use super::radio;
use super::state::State;
use crate::client::Tokens as _;

/// A token that runs out so soon is renewed first: an upload takes its time.
const TOKEN_LEFT_MS: u64 = 120_000;

/// The gateway, as a client that is logged in.
pub(super) struct Gateway<'a> {
    context: &'a Context,
    http: Client,
    base: Url,
    token: String,
}

impl<'a> Gateway<'a> {
    pub(super) async fn open(context: &'a Context, door: &GatewayDoor, who: &As) -> Result<Self, Error> {
        let state = State::chosen(who.account.as_deref())?;
        let kept = state.load()?;
        let soon = kept.login.token_expires_ms < context.clock.now_ms() + TOKEN_LEFT_MS;
        let token = radio::tokens(&state, &kept)?.token(soon.then_some(kept.login.token.as_str())).await?;
        Self::with_token(context, door, token)
    }

    /// With a token that is at hand.
    pub(super) fn with_token(context: &'a Context, door: &GatewayDoor, token: String) -> Result<Self, Error> {
        let text = door.gateway.clone().unwrap_or_else(|| format!("http://{}", context.config.gateway.listen));
        let base = Url::parse(&text).map_err(|error| Error::Usage(format!("{text:?} is no address of a gateway: {error}")))?;
        crate::objects::use_ring();
        Ok(Self { context, http: Client::builder().build()?, base, token })
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Sends a file; the answer.
    pub(super) async fn upload(&self, path: &[&str], query: &[(&str, &str)], file: &Path) -> Result<Json, Error> {
        let failed = |source| Error::File { path: file.to_owned(), source };
        let open = tokio::fs::File::open(file).await.map_err(failed)?;
        let bytes = open.metadata().await.map_err(failed)?.len();
        let bar = self.context.out.progress(bytes, "sent");
        let chunks = ReaderStream::with_capacity(open, 65_536).inspect_ok({
            let bar = bar.clone();
            move |chunk| bar.inc(chunk.len() as u64)
        });
        let request = self.http.post(self.url(path, query)).bearer_auth(&self.token);
        // Told beforehand, so that what is too large is refused before it is sent.
        let answer = request.header(CONTENT_LENGTH, bytes).body(Body::wrap_stream(chunks)).send().await?;
        bar.finish_and_clear();
        Ok(good(answer).await?.json().await?)
    }

    /// Where something that was announced is: an address, or a path of the gateway.
    pub(super) fn address_of(&self, file: &str) -> Url {
        match Url::parse(file) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            // Dots for the folder above are left out.
            _ => self.url(&file.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>(), &[]),
        }
    }

    /// Takes a file; one that is there in part, as `<out>.part`, is gone on with. Returns its length.
    pub(super) async fn download(&self, path: &[&str], out: &Path) -> Result<u64, Error> {
        self.download_from(self.url(path, &[]), out).await
    }

    fn get(&self, url: &Url) -> RequestBuilder {
        let request = self.http.get(url.clone());
        // The token is for the gateway alone.
        if url.origin() == self.base.origin() { request.bearer_auth(&self.token) } else { request }
    }

    /// As [`Gateway::download`], from an address that may be elsewhere.
    pub(super) async fn download_from(&self, url: Url, out: &Path) -> Result<u64, Error> {
        let part = out.with_added_extension("part");
        let failed = |source| Error::File { path: part.clone(), source };
        let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(&part).await.map_err(failed)?;
        let mut bytes = file.metadata().await.map_err(failed)?.len();
        let mut request = self.get(&url);
        if bytes > 0 {
            request = request.header(RANGE, format!("bytes={bytes}-"));
        }
        let mut answer = request.send().await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // All of it is there: nothing lies behind.
            answer = self.get(&url).header(IF_RANGE, "\"\"").send().await?;
        }
        let mut answer = good(answer).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            file.set_len(0).await.map_err(failed)?;
            bytes = 0;
        }
        let bar = self.context.out.progress(bytes + answer.content_length().unwrap_or(0), "received");
        bar.set_position(bytes);
        while let Some(chunk) = answer.chunk().await? {
            file.write_all(&chunk).await.map_err(failed)?;
            bytes += chunk.len() as u64;
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        file.sync_all().await.map_err(failed)?;
        tokio::fs::rename(&part, out).await.map_err(|source| Error::File { path: out.to_owned(), source })?;
        Ok(bytes)
    }
}

/// An answer that is no refusal.
async fn good(answer: Response) -> Result<Response, Error> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status().as_u16();
    let refusal: Json = answer.json().await.unwrap_or_default();
    let text = |key: &str| refusal[key].as_str().unwrap_or_default().to_owned();
    Err(Error::Refused { status, reason: text("reason"), field: text("field"), text: text("text") })
}
