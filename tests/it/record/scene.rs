//! A recorder over a real Redis, SQL and folders, in this process, so that a test can look at each of its steps.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roger::audio::{Decoder, Encoder, Mjr, MjrFrame, OggOpus, PacketStream, Pcm};
use roger::broker::Redis;
use roger::clock::Clock;
use roger::jobs::record::{Recorder, Settings, Wake};
use roger::model::{GroupId, UserId, UserKind};
use roger::objects::Objects;
use roger::shutdown::Shutdown;
use roger::store::{NewAccount, Store, StoredFile};
use roger::talk::{Burst, Said, parse};
use roger::worker::{Readiness, deadletter};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::eventually;

pub const LIST: &str = "janusImUrlList";
/// When made recordings begin, UTC microseconds.
const START_US: u64 = 1_700_000_000_000_000;

pub struct Stage {
    pub server: crate::support::redis::Redis,
    pub redis: Redis,
    pub store: Store,
    pub neil: UserId,
    /// Of another company.
    pub alexei: UserId,
    pub group: GroupId,
    folder: TempDir,
}

/// A recorder at work.
pub struct Running {
    pub wake: Wake,
    pub readiness: Readiness,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Stage {
    pub async fn new() -> Self {
        let server = crate::support::redis::Redis::start();
        let folder = tempfile::Builder::new().prefix("roger-record-").tempdir().unwrap();
        fs::create_dir(folder.path().join("rec")).unwrap();
        let redis = crate::worker::handle(&server);
        let store = Store::open(&format!("sqlite:{}", folder.path().join("roger.db").display())).unwrap();
        store.migrate().await.unwrap();
        let (apollo, soyuz) = (store.ensure_tenant("apollo").await.unwrap().id(), store.ensure_tenant("soyuz").await.unwrap().id());
        let account = async |name: &str, tenant| {
            let (name, nickname, kind, password_hash) = (name.to_owned(), name.to_owned(), UserKind::Device, String::new());
            store.create_account(NewAccount { name, nickname, kind, tenant, password_hash, parent: None }, 5).await.unwrap()
        };
        let (neil, alexei) = (account("neil", apollo).await, account("alexei", soyuz).await);
        let group = store.create_group(apollo, "loop").await.unwrap();
        Self { server, redis, store, neil, alexei, group, folder }
    }

    /// The folder of recordings.
    pub fn recordings(&self) -> PathBuf {
        self.folder.path().join("rec")
    }

    /// Where objects lie.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    pub fn recorder(&self, burst_max: Duration) -> Recorder {
        let objects = Objects::open(&format!("file://{}", self.objects().display())).unwrap();
        let (folder, list, host) = (self.recordings(), LIST.to_owned(), "moon".to_owned());
        let settings = Settings { folder, list, host, burst_max, done_days: 7, keep_days: 0 };
        Recorder::new(self.redis.clone(), self.store.clone(), objects, Clock::system(), settings)
    }

    /// What is on the list, in order.
    pub fn announced(&self) -> Vec<Burst> {
        let burst = |line: &str| match parse(line.as_bytes()) {
            Ok(Said::Burst(burst)) => burst,
            other => panic!("{line}: {other:?}"),
        };
        self.server.cli(&["LRANGE", LIST, "0", "-1"]).lines().filter(|line| !line.is_empty()).map(burst).collect()
    }

    pub async fn until_announced(&self, count: usize) -> Vec<Burst> {
        let looked = async || Some(self.announced()).filter(|bursts| bursts.len() >= count);
        eventually(&format!("{count} announcements"), looked).await
    }

    /// The reasons of the dead letters.
    pub async fn letters(&self) -> Vec<String> {
        let letters = deadletter::list(&self.redis, None, 100).await.unwrap();
        letters.into_iter().map(|filed| filed.letter.reason).collect()
    }

    /// The stored file of a burst, and what is heard in it.
    pub async fn heard(&self, burst: &Burst) -> (StoredFile, Pcm) {
        let id = burst.file.strip_prefix("/files/").unwrap().parse().unwrap();
        let file = self.store.file(id, 1).await.unwrap().unwrap();
        let ogg = OggOpus::read(&self.objects().join(&file.object)).unwrap();
        (file, Decoder::sound(ogg.packets.iter().map(Vec::as_slice)).unwrap())
    }

    /// Puts a recording into the folder as Janus does, by a rename.
    pub fn record(&self, name: &str, content: &[u8]) {
        let (written, finished) = (self.recordings().join(format!("{name}.tmp")), self.recordings().join(name));
        fs::write(&written, content).unwrap();
        fs::rename(written, finished).unwrap();
    }

    /// The name of somebody's recording in the group; higher numbers are later.
    pub fn name(&self, user: UserId, number: u64) -> String {
        format!("audiobridge-{}-user-{user}-{}-audio.mjr", self.group, START_US + number * 1_000_000)
    }

    /// The files of a folder of the folder.
    pub fn files(&self, folder: &str) -> Vec<String> {
        files(&self.recordings().join(folder))
    }
}

impl Running {
    pub fn of(recorder: Recorder) -> Self {
        let (shutdown, readiness, wake) = (Shutdown::manual(), Readiness::new(), recorder.wake());
        let task = tokio::spawn(recorder.run(shutdown.clone(), readiness.part("recordings")));
        Self { wake, readiness, shutdown, task }
    }

    /// As SIGTERM does.
    pub async fn stop(self) {
        self.shutdown.start();
        self.task.await.unwrap();
    }

    /// Waits for its death by a panic.
    pub async fn dies(self) {
        assert!(self.task.await.unwrap_err().is_panic());
    }
}

/// The names of the files, no folders, in order.
pub fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// The file that Janus would write of a tone.
pub fn tone(length_ms: u64) -> Vec<u8> {
    let mut stream = PacketStream::new();
    let packets = Encoder::packets(&Pcm::tone(440.0, length_ms)).unwrap();
    let frame = |(at, packet): (usize, &Vec<u8>)| MjrFrame { at_ms: at as u32 * 20, packet: stream.next(packet, at == 0).to_bytes() };
    let frames = packets.iter().enumerate().map(frame).collect();
    Mjr { codec: "opus".to_owned(), created_us: START_US, first_frame_us: START_US, frames, whole: true }.to_bytes()
}
