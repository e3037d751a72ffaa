//! The store, every check over both databases.

mod archive;
mod audit;
mod calls;
mod changes;
mod devices;
mod directory;
mod faults;
mod fences;
mod files;
mod fixes;
mod floor;
mod friends;
mod groups;
mod letters;
mod migrations;
mod ownership;
mod pair;
mod releases;
mod revocations;
mod traces;
mod transfer;
mod tree;
mod wifi;

use std::sync::Arc;
use std::time::Duration;

use roger::model::{Place, TopicId};
use roger::store::{ArchiveBatch, Archived, Error, Options, Store};
use roger::topic::frame::{Entry, LogFrame, Outcome};

use crate::support::mariadb::MariaDb;

/// Makes of each check two tests, one over SQLite and one over MariaDB.
macro_rules! over_both {
    ($($check:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    super::$check(&crate::store::Database::sqlite().await).await;
                }
            )*
        }
        mod mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    super::$check(&crate::store::Database::mariadb().await).await;
                }
            )*
        }
    };
}
pub(crate) use over_both;

/// An empty database of one test, with its tables.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) url: String,
    _folder: Option<tempfile::TempDir>,
    _server: Option<Arc<MariaDb>>,
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("roger.db").display());
        let store = open(&url);
        store.migrate().await.unwrap();
        Self { store, url, _folder: Some(folder), _server: None }
    }

    pub(crate) async fn mariadb() -> Self {
        let server = MariaDb::shared();
        let url = server.database().await;
        let store = open(&url);
        store.migrate().await.unwrap();
        Self { store, url, _folder: None, _server: Some(server) }
    }
}

/// A store that waits for longer than a server stands still beside other tests; for every test that is not about that.
pub(crate) fn open(url: &str) -> Store {
    Store::open_with(&patient(url)).unwrap()
}

/// The options of [`open`].
pub(crate) fn patient(url: &str) -> Options {
    let (acquire_timeout, deadline) = (Duration::from_secs(30), Duration::from_secs(60));
    Options { acquire_timeout, deadline, ..Options::new(url) }
}

pub(crate) fn topic(text: &str) -> TopicId {
    text.parse().unwrap()
}

/// An installation above 2^63, as half of all random ones are.
pub(crate) const INSTALLATION: u64 = 0xf000_0000_0000_0007;

/// The entry of `topic` at (epoch, seq): message number `client_seq` of sender 7.
pub(crate) fn entry(topic: TopicId, epoch: u64, seq: u64, client_seq: u64) -> Entry {
    Entry {
        topic: topic.packed(),
        epoch,
        seq,
        time_ms: 1_000_000 + seq,
        sender: 7,
        installation: INSTALLATION,
        client_seq,
        kind: 1,
        body: format!("message {client_seq}").into(),
    }
}

/// A frame of a shard's log.
pub(crate) fn frame(epoch: u64, commit: u64, outcomes: impl IntoIterator<Item = Outcome>) -> LogFrame {
    LogFrame { epoch, commit, time_ms: 0, outcomes: outcomes.into_iter().map(Into::into).collect(), feeds: Vec::new() }
}

/// The frames as one batch of shard 3.
pub(crate) fn batch(frames: impl IntoIterator<Item = LogFrame>) -> ArchiveBatch {
    let mut batch = ArchiveBatch::new(3);
    for frame in frames {
        batch.take(frame).unwrap();
    }
    batch
}

/// Archives entries as one commit.
pub(crate) async fn archive(store: &Store, commit: u64, entries: impl IntoIterator<Item = Entry>) -> Result<Archived, Error> {
    store.archive(batch([frame(1, commit, entries.into_iter().map(Outcome::Entry))])).await
}

/// The places of entries.
pub(crate) fn places(entries: &[Entry]) -> Vec<Place> {
    entries.iter().map(Entry::place).collect()
}
