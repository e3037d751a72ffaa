//! Recordings: what Janus records becomes a file that members can download, and an item of the list that talk is read from.
//!
//! Consumes the folder that Janus records into (`janus.recordings_dir`), on its host. Janus names each burst by group, user and start, and
//! renames it when it is finished. The folder is the durable queue; one recorder works it off, the oldest first: a recording is read,
//! converted into `work`, stored as a file of the group's company, announced, and only then moved to `done`, if who took the announcement
//! is the primary of Redis still. A death between any two steps repeats them. Made again is nothing that was made: what lies in `work` is
//! taken as it is, the file has an id of name and content, and the script that announces has the id for a guard; beyond that SQL knows the
//! id. So each burst is announced once, and none is lost that Janus finished.
//!
//! Burst without a frame are dropped and counted. What is no recording, or of nobody, goes to `bad` with a dead letter, after a death just then with
//! two, and so does what could not be converted in `ATTEMPTS_MAX` attempts though there was room. All else waits, and is tried again for ever:
//! no room, no Redis, no SQL, no place for objects. Recordings do not fail for the quota of their company, and count towards it.
//!
//! What Janus left half written when it died is taken from it and announced as far as it goes, marked as cut: at once when somebody says that Janus
//! began anew ([`Wake::janus_began`]), else once nothing was written to it for longer than a burst may last.

mod convert;
mod error;
mod folder;
mod name;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::audio::Mjr;
use crate::broker::Redis;
use crate::clock::Clock;
use crate::model::{FilePurpose, TopicId};
use crate::objects::Objects;
use crate::retry::Delays;
use crate::shutdown::Shutdown;
use crate::store::{NewFile, Store};
use crate::talk::{ANNOUNCED_FOR, Burst, announcement, file_id};
use crate::worker::deadletter::{self, DeadLetter};
use crate::worker::{Part, chain};
use convert::{Measured, blocking, convert, measure};
pub use error::Error;
use folder::Folder;
use name::Name;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How often `done` and `work` are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often a recording is converted in vain before it is given up.
const ATTEMPTS_MAX: u32 = 8;
const DAY_MS: u64 = 86_400_000;

/// How the recorder works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder that Janus records into.
    pub folder: PathBuf,
    /// The list that recordings are announced on.
    pub list: String,
    /// The machine, as announcements name it.
    pub host: String,
    /// How long a burst may last.
    pub burst_max: Duration,
    /// How many days what was announced stays in the folder; 0: until the next sweep.
    pub done_days: u64,
    /// How many days members can download it; 0: for ever.
    pub keep_days: u64,
}

/// A step of the way of one recording; for tests that kill the recorder between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It was read, and is somebody's.
    Read,
    /// It lies in `work` as a file that plays.
    Converted,
    /// That file is stored.
    Stored,
    /// It is on the list.
    Announced,
    /// It lies in `done`.
    PutAway,
}

/// Looks at every step.
pub type Hook = Arc<dyn Fn(Step) + Send + Sync>;

/// By which others hasten the recorder. Clones wake the same one.
#[derive(Clone, Debug, Default)]
pub struct Wake {
    notify: Arc<Notify>,
    janus_since_ms: Arc<AtomicU64>,
}

impl Wake {
    /// A burst is over: there may be a recording.
    pub fn burst_ended(&self) {
        self.notify.notify_one();
    }

    /// Janus began anew, UTC milliseconds: what was written last before that, nobody goes on with.
    pub fn janus_began(&self, at_ms: u64) {
        self.janus_since_ms.fetch_max(at_ms, Ordering::Relaxed);
        self.notify.notify_one();
    }
}

/// The recorder.
#[derive(Clone)]
pub struct Recorder {
    redis: Redis,
    store: Store,
    objects: Objects,
    clock: Clock,
    settings: Arc<Settings>,
    folder: Folder,
    wake: Wake,
    hook: Option<Hook>,
}

/// Recordings that failed by themselves.
type Tried = HashMap<Name, (u32, Delays, Instant)>;

impl Recorder {
    /// The recorder of a folder.
    pub fn new(redis: Redis, store: Store, objects: Objects, clock: Clock, settings: Settings) -> Self {
        let folder = Folder::new(settings.folder.clone());
        Self { redis, store, objects, clock, settings: Arc::new(settings), folder, wake: Wake::default(), hook: None }
    }

    /// The same with a hook.
    pub fn with_hook(self, hook: Hook) -> Self {
        Self { hook: Some(hook), ..self }
    }

    /// By which to wake it.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Works recordings off until `shutdown`. Whatever fails is said by `part` and in the log, once for each way, and tried again.
    pub async fn run(self, shutdown: Shutdown, part: Part) {
        let mut tried = Tried::new();
        let (mut lock, mut swept, mut said) = (None, None, String::new());
        let mut delays = Delays::reconnecting();
        while !shutdown.is_cancelled() {
            let worked = tokio::select! {
                worked = self.turn(&mut lock, &mut swept, &mut tried) => worked,
                // Broken off in the middle it is as if it had died there.
                () = shutdown.cancelled() => return,
            };
            let pause = match worked {
                Ok(()) => {
                    part.goes_on();
                    delays.reset();
                    said.clear();
                    LOOK_EVERY
                }
                Err(error) => {
                    part.waits_for(error.waits_for());
                    metrics::counter!("roger_recordings_held_up_total", "waits_for" => error.waits_for()).increment(1);
                    let text = chain(&error);
                    if text != said {
                        tracing::warn!(error = text, "recordings wait for {}", error.waits_for());
                        said = text;
                    }
                    delays.next_delay()
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake.notify.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn turn(&self, lock: &mut Option<std::fs::File>, swept: &mut Option<Instant>, tried: &mut Tried) -> Result<(), Error> {
        if lock.is_none() {
            *lock = Some(self.folder.open()?);
        }
        let now_ms = self.clock.now_ms();
        let untouched = now_ms.saturating_sub(u64::try_from(self.settings.burst_max.as_millis()).unwrap_or(u64::MAX));
        count("salvaged", self.folder.salvage(untouched.max(self.wake.janus_since_ms.load(Ordering::Relaxed)))?);
        let listing = self.folder.list()?;
        metrics::gauge!("roger_recordings_waiting").set((listing.finished.len() + listing.strange.len()) as f64);
        for file in listing.strange {
            self.give_up(&file, "its name is not audiobridge-GROUP-user-USER-MICROSECONDS-audio.mjr, as Janus gives it").await?;
        }
        tried.retain(|name, _| listing.finished.contains(name));
        for name in listing.finished {
            if tried.get(&name).is_some_and(|(.., due)| *due > Instant::now()) {
                continue;
            }
            match self.work_off(&name).await {
                Err(error) if error.is_of_one() => self.failed(name, &error, tried).await?,
                worked => worked?,
            }
        }
        if swept.is_none_or(|last| last.elapsed() >= SWEEP_EVERY) {
            self.folder.sweep(now_ms.saturating_sub(self.settings.done_days * DAY_MS))?;
            *swept = Some(Instant::now());
        }
        Ok(())
    }

    /// Counts what lies in the recording itself, and gives it up in the end.
    async fn failed(&self, name: Name, error: &Error, tried: &mut Tried) -> Result<(), Error> {
        count("failed", 1);
        let (attempts, delays, due) = tried.entry(name.clone()).or_insert_with(|| (0, Delays::reconnecting(), Instant::now()));
        *attempts += 1;
        if *attempts < ATTEMPTS_MAX {
            *due = Instant::now() + delays.next_delay();
            tracing::warn!(error = chain(error), recording = name.id, attempts, "recording not announced yet");
            return Ok(());
        }
        self.give_up(&name.file(), &chain(error)).await?;
        tried.remove(&name);
        Ok(())
    }

    async fn work_off(&self, name: &Name) -> Result<(), Error> {
        let path = self.folder.at(&name.file());
        let read = path.clone();
        let bytes = blocking(move || std::fs::read(&read)).await.map_err(Error::folder("read", path.clone()))?;
        let recording = match Mjr::parse(&bytes) {
            Ok(recording) => recording,
            Err(error) => return self.give_up(&name.file(), &chain(&error)).await,
        };
        if recording.frames.is_empty() {
            count("empty", 1);
            return self.folder.drop(path);
        }
        if recording.codec != "opus" {
            return self.give_up(&name.file(), &format!("its codec is {:?}, and has to be opus", recording.codec)).await;
        }
        let mut burst = self.burst(name, &recording);
        let tenant = match self.store.tenant_of_talk(burst.clone()).await.map_err(Error::Store)? {
            Ok(tenant) => tenant,
            Err(why) => return self.give_up(&name.file(), why).await,
        };
        self.at(Step::Read);

        let work = self.folder.work(name);
        if !work.exists() {
            convert(&path, &recording, &work).await?;
        }
        self.at(Step::Converted);

        let (content, Measured { bytes, sha256, md5 }) = measure(work.clone()).await?;
        let now_ms = self.clock.now_ms();
        let file = NewFile {
            id: file_id(&name.id, &sha256.0),
            tenant,
            uploader: name.user,
            purpose: FilePurpose::Recording,
            topic: Some(TopicId::group(name.group)),
            name: format!("talk-{}-{}-{}.opus", name.group, name.user, name.start_us),
            media_type: "audio/ogg".to_owned(),
            bytes,
            sha256,
            expires_ms: if self.settings.keep_days == 0 { u64::MAX } else { now_ms + self.settings.keep_days * DAY_MS },
        };
        burst.file = format!("/files/{}", file.id);
        burst.md5 = md5;
        if self.store.file(file.id, now_ms).await.map_err(Error::Store)?.is_none() {
            self.objects.keep(&self.store, &self.clock, file, &content, 0).await.map_err(Error::Keep)?;
        }
        self.at(Step::Stored);

        let (list, item) = (&self.settings.list, announcement(&burst));
        let first = self.redis.announce_talk(list, &burst.id, &item, ANNOUNCED_FOR).await.map_err(Error::Broker)?;
        count(if first { "announced" } else { "repeated" }, 1);
        self.at(Step::Announced);

        self.folder.put_away(&name.file(), "done")?;
        self.at(Step::PutAway);
        self.folder.drop(work)
    }

    fn burst(&self, name: &Name, recording: &Mjr) -> Burst {
        let duration_ms = recording.length_ms();
        let spoken_ms = name.start_us / 1_000 + duration_ms;
        Burst {
            id: name.id.clone(),
            speaker: name.user,
            group: name.group,
            file: String::new(),
            md5: String::new(),
            spoken_ms,
            over_ms: spoken_ms,
            duration_ms,
            host: self.settings.host.clone(),
            cut: name.cut || !recording.whole,
        }
    }

    /// Files a dead letter about a file of the folder, then puts it away.
    async fn give_up(&self, file: &str, why: &str) -> Result<(), Error> {
        let path = self.folder.at("bad").join(file);
        let letter = DeadLetter {
            stream: self.settings.folder.display().to_string(),
            entry: file.to_owned(),
            job: "record".to_owned(),
            reason: format!("{file}: {why}"),
            attempts: 1,
            deliveries: 1,
            time_ms: self.clock.now_ms(),
            summary: format!("a recording, now {}", path.display()),
            ..DeadLetter::default()
        };
        deadletter::add(&self.redis, &letter).await.map_err(Error::Bury)?;
        count("bad", 1);
        self.folder.put_away(file, "bad")
    }

    fn at(&self, step: Step) {
        if let Some(hook) = &self.hook {
            hook(step);
        }
    }
}

fn count(outcome: &'static str, recordings: u64) {
    metrics::counter!("roger_recordings_total", "outcome" => outcome).increment(recordings);
}
