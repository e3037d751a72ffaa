//! Where the bytes of releases, files and recordings lie: a folder, or S3. An object appears as a whole or not at all, and never changes. The
//! only room that names `object_store`.

mod keep;

use std::fs::File;
use std::io;
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

pub use keep::NotKept;

use crate::retry::ErrorClass;

/// How much of an object is read at a time; about twice that is in memory while it is written.
const PART_BYTES: usize = 8 * 1_048_576;
/// How long S3 may say nothing.
const S3_SILENCE: Duration = Duration::from_secs(10);

/// Why objects cannot be used, or one not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Where objects should lie cannot be used.
    #[error("gateway.object_url = {url:?}: cannot be used")]
    Open {
        /// The URL.
        url: String,
        /// Why.
        source: object_store::Error,
    },
    /// A folder cannot be made.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What should become an object cannot be read.
    #[error("cannot read what should become the object {key}")]
    Source {
        /// The object.
        key: String,
        /// Why.
        source: io::Error,
    },
    /// An object cannot be written: no room, no right, no answer.
    #[error("cannot write the object {key}")]
    Write {
        /// The object.
        key: String,
        /// Why.
        source: object_store::Error,
    },
    /// An object cannot be read.
    #[error("cannot read the object {key}")]
    Read {
        /// The object.
        key: String,
        /// Why.
        source: object_store::Error,
    },
}

impl Error {
    /// What trying again would change. What fails here needs an operator, and may go well once that one has acted.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Open { .. } | Self::Folder { .. } => ErrorClass::Permanent,
            Self::Source { .. } | Self::Write { .. } | Self::Read { .. } => ErrorClass::Defect,
        }
    }
}

/// Makes TLS towards others use ring; the first call of a process counts.
pub(crate) fn use_ring() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The objects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects(Arc<dyn ObjectStore>);

impl Objects {
    /// Of a URL: `file:///absolute/path` or `s3://bucket/prefix`. The folder is made when it is not there; S3 is asked for nothing yet.
    ///
    /// # Errors
    /// When the URL or the folder cannot be used.
    pub fn open(url: &str) -> Result<Self, Error> {
        let failed = |source| Error::Open { url: url.to_owned(), source };
        if let Some(path) = url.strip_prefix("file://") {
            let path = PathBuf::from(path);
            std::fs::create_dir_all(&path).map_err(|source| Error::Folder { path: path.clone(), source })?;
            // Synced: a release or file that was said to be there must be there after a power cut.
            let folder = LocalFileSystem::new_with_prefix(path).map_err(failed)?.with_fsync(true);
            return Ok(Self(Arc::new(folder)));
        }
        use_ring();
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
    ///
    /// # Errors
    /// When the file cannot be read or the object not be written; then there is none.
    pub async fn put(&self, key: &str, file: File) -> Result<(), Error> {
        let name = key.to_owned();
        let unread = |source| Error::Source { key: name.clone(), source };
        let unwritten = |source| Error::Write { key: name.clone(), source };
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

    /// The bytes of an object, as they come; of an empty range all.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub async fn get(&self, key: &str, range: Range<u64>) -> Result<impl Stream<Item = object_store::Result<Bytes>> + Send + use<>, Error> {
        let options = GetOptions { range: (!range.is_empty()).then(|| range.into()), ..GetOptions::default() };
        match self.0.get_opts(&Path::from(key), options).await {
            Ok(object) => Ok(object.into_stream()),
            Err(source) => Err(Error::Read { key: key.to_owned(), source }),
        }
    }

    /// Removes an object; one that is not there is none.
    ///
    /// # Errors
    /// When it may still be there.
    pub async fn delete(&self, key: &str) -> object_store::Result<()> {
        match self.0.delete(&Path::from(key)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    /// Whether an object can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn probe(&self) -> object_store::Result<()> {
        self.0.put(&Path::from("health/probe"), PutPayload::from_static(b"roger")).await.map(drop)
    }
}

/// Up to [`PART_BYTES`] of a file; fewer only at its end.
async fn next_part(file: &mut tokio::fs::File) -> std::io::Result<Bytes> {
    let mut part = Vec::new();
    file.take(PART_BYTES as u64).read_to_end(&mut part).await?;
    Ok(part.into())
}
