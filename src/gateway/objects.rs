//! Where the bytes of releases and files lie: a folder, or S3. An object appears as a whole or not at all, and never changes.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, GetOptions, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig, WriteMultipart};
use tokio::io::AsyncReadExt as _;

use super::Error;
use super::refuse::Refusal;
use crate::retry::ErrorClass;

/// How much of an object is read at a time; about twice that is in memory while it is written.
const PART_BYTES: usize = 8 * 1_048_576;
/// How long S3 may say nothing.
const S3_SILENCE: Duration = Duration::from_secs(10);

/// The objects. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Objects(Arc<dyn ObjectStore>);

impl Objects {
    /// Of a URL: `file:///absolute/path` or `s3://bucket/prefix`. The folder is made when it is not there; S3 is asked for nothing yet.
    pub(super) fn open(url: &str) -> Result<Self, Error> {
        let failed = |source| Error::Objects { url: url.to_owned(), source };
        if let Some(path) = url.strip_prefix("file://") {
            let path = PathBuf::from(path);
            std::fs::create_dir_all(&path).map_err(|source| Error::Folder { path: path.clone(), source })?;
            // Synced: a release or file that was said to be there must be there after a power cut.
            let folder = LocalFileSystem::new_with_prefix(path).map_err(failed)?.with_fsync(true);
            return Ok(Self(Arc::new(folder)));
        }
        super::use_ring();
        // In clear text only when the endpoint says so.
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_connect_timeout(S3_SILENCE)
            .with_read_timeout(S3_SILENCE)
            .with_timeout_disabled();
        let retry = RetryConfig { max_retries: 3, retry_timeout: S3_SILENCE, ..RetryConfig::default() };
        let builder = AmazonS3Builder::from_env().with_url(url).with_retry(retry).with_client_options(options);
        let bucket = builder.build().map_err(failed)?;
        let prefix = url.trim_start_matches("s3://").split_once('/').map_or("", |(_, prefix)| prefix);
        Ok(Self(Arc::new(PrefixStore::new(bucket, prefix))))
    }

    /// Writes a file as an object, from where it stands.
    pub(super) async fn put(&self, key: &str, file: File) -> Result<(), Refusal> {
        let unread = |error: std::io::Error| Refusal::unavailable("read an upload", ErrorClass::Defect, &error);
        let unwritten = |error: object_store::Error| Refusal::unavailable("write an object", ErrorClass::Defect, &error);
        let (mut file, key) = (tokio::fs::File::from_std(file), Path::from(key));
        let mut part = next_part(&mut file).await.map_err(unread)?;
        if part.len() < PART_BYTES {
            return self.0.put(&key, part.into()).await.map(drop).map_err(unwritten);
        }
        let upload = self.0.put_multipart(&key).await.map_err(unwritten)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        while !part.is_empty() {
            if let Err(error) = writer.wait_for_capacity(1).await {
                // What cannot be given up either, S3 removes by its own rule for parts.
                drop(writer.abort().await);
                return Err(unwritten(error));
            }
            writer.put(part);
            part = match next_part(&mut file).await {
                Ok(part) => part,
                Err(error) => {
                    drop(writer.abort().await);
                    return Err(unread(error));
                }
            };
        }
        writer.finish().await.map(drop).map_err(unwritten)
    }

    /// The bytes of an object, as they come.
    pub(super) async fn get(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = object_store::Result<Bytes>> + Send + use<>, Refusal> {
        let options = GetOptions { range: (!range.is_empty()).then(|| range.into()), ..GetOptions::default() };
        match self.0.get_opts(&Path::from(key), options).await {
            Ok(object) => Ok(object.into_stream()),
            Err(error) => Err(Refusal::unavailable("read an object", ErrorClass::Defect, &error)),
        }
    }

    /// Removes an object; one that is not there is none.
    pub(super) async fn delete(&self, key: &str) -> object_store::Result<()> {
        match self.0.delete(&Path::from(key)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    /// Whether an object can be written.
    pub(super) async fn probe(&self) -> object_store::Result<()> {
        self.0.put(&Path::from("health/probe"), PutPayload::from_static(b"roger")).await.map(drop)
    }
}

/// Up to [`PART_BYTES`] of a file; fewer only at its end.
async fn next_part(file: &mut tokio::fs::File) -> std::io::Result<Bytes> {
    let mut part = Vec::new();
    file.take(PART_BYTES as u64).read_to_end(&mut part).await?;
    Ok(part.into())
}
