//! Uploads on their way in: into a file without a name, so that whatever is torn leaves nothing, and never into memory as a whole.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt as _;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::refuse::{Refusal, Why};
use crate::model::Digest;
use crate::retry::ErrorClass;

/// How much of the beginning is kept to judge the type by.
pub(super) const HEAD_BYTES: usize = 8_192;

/// What came in, whole.
#[derive(Debug)]
pub(super) struct Spooled {
    /// At its beginning.
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    /// The first [`HEAD_BYTES`], or all.
    pub(super) head: Vec<u8>,
}

/// Refuses what says itself that it is too large, before a byte of it is read.
pub(super) fn check_declared(headers: &HeaderMap, bytes_max: u64) -> Result<(), Refusal> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > bytes_max) { Err(Refusal::of(Why::TooLarge, "content-length")) } else { Ok(()) }
}

/// Takes in a body of 1 to `bytes_max` bytes, in a file of `folder`. One that says nothing for `stall` is given up.
pub(super) async fn receive(body: Body, bytes_max: u64, folder: &Path, stall: Duration) -> Result<Spooled, Refusal> {
    let failed = |error: std::io::Error| Refusal::unavailable("spool an upload", ErrorClass::Defect, &error);
    let folder = folder.to_owned();
    let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder)).await;
    let file = file.map_err(|error| Refusal::unavailable("spool an upload", ErrorClass::Defect, &error))?.map_err(failed)?;
    let mut file = tokio::fs::File::from_std(file);
    let (mut bytes, mut hash, mut head) = (0_u64, Sha256::new(), Vec::new());
    let mut chunks = body.into_data_stream();
    loop {
        let chunk = match tokio::time::timeout(stall, chunks.next()).await {
            Err(_) => return Err(Why::Stalled.into()),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Why::BodyTorn.into()),
            Ok(Some(Ok(chunk))) => chunk,
        };
        bytes += chunk.len() as u64;
        // Counted, whatever was declared.
        if bytes > bytes_max {
            return Err(Why::TooLarge.into());
        }
        hash.update(&chunk);
        head.extend_from_slice(&chunk[..chunk.len().min(HEAD_BYTES - head.len())]);
        file.write_all(&chunk).await.map_err(failed)?;
    }
    if bytes == 0 {
        return Err(Why::BodyTorn.into());
    }
    file.flush().await.map_err(failed)?;
    file.rewind().await.map_err(failed)?;
    Ok(Spooled { file: file.into_std().await, bytes, sha256: Digest(hash.finalize().into()), head })
}
