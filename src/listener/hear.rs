//! The conversation with supervisord: hears an event, has it on the disk, answers. A thread of its own, which waits for nothing else.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::event::{Change, Channel, Happening, Kind, Severity};
use super::lines::Lines;
use super::protocol::{Decoder, Event, Got};
use super::redact::redact;
use super::rules::Rules;
use super::spool::Spool;
use crate::clock::Clock;

/// After which silence what was read so far is all there is.
const IDLE: Duration = Duration::from_millis(500);
/// Without TICK_60 for so long, supervisord takes this listener for broken: only a new one is heard again.
pub(super) const DEAF: Duration = Duration::from_secs(200);
/// How often in a minute a pattern counts for a program; more is not told.
const MATCHES_PER_MIN: u32 = 20;
/// The most events that are known by what they are called; said again is only one over which its hearer died.
const KNOWN_MAX: usize = 10_000;
/// The most characters of a line that matched.
const DETAIL_CHARS: usize = 200;

/// How the conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// supervisord is gone.
    Gone,
    /// supervisord says nothing any more.
    Deaf,
}

/// What was heard, for who tells.
#[derive(Debug, Default)]
pub(super) struct Heard {
    changes: Mutex<Vec<Change>>,
    lines: Mutex<Lines>,
    /// Wakes who tells.
    pub(super) news: Notify,
}

impl Heard {
    pub(super) fn add(&self, change: Change) {
        lock(&self.changes).push(change);
        self.news.notify_one();
    }

    pub(super) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *lock(&self.changes))
    }

    pub(super) fn last_line(&self, program: &str) -> Option<String> {
        lock(&self.lines).last(program).map(str::to_owned)
    }
}

/// The data of a mutex. Whoever panicked with it held it between two whole states.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) spool: Arc<Mutex<Spool>>,
    pub(super) heard: Arc<Heard>,
    pub(super) rules: Arc<Rules>,
    pub(super) clock: Clock,
    /// Names this start of supervisord.
    pub(super) boot: String,
    /// What is spooled already, also before a death.
    pub(super) known: BTreeSet<String>,
    /// What supervisord said last of itself.
    pub(super) supervisor: Option<Kind>,
    pub(super) serials: Serials,
    pub(super) matches: HashMap<(String, String), (u64, u32)>,
    /// After how long without TICK_60 it ends; [`DEAF`], but for tests.
    pub(super) deaf: Duration,
}

impl Ear {
    /// Hears and answers until supervisord is gone.
    pub(super) fn run(mut self, input: impl Read + Send + 'static, mut output: impl Write) -> End {
        let pieces = pieces(input);
        let mut decoder = Decoder::default();
        let mut ticked = Instant::now();
        let mut say = |text: &[u8]| output.write_all(text).and_then(|()| output.flush()).is_ok();
        if !say(b"READY\n") {
            return End::Gone;
        }
        loop {
            let mut got = decoder.next_event().map(Got::Event);
            if got.is_none() {
                match pieces.recv_timeout(IDLE) {
                    Ok(bytes) => {
                        decoder.push(&bytes);
                        continue;
                    }
                    Err(RecvTimeoutError::Timeout) => got = decoder.idle(),
                    Err(RecvTimeoutError::Disconnected) => return End::Gone,
                }
            }
            let skipped = decoder.take_skipped();
            match got {
                None if ticked.elapsed() > self.deaf => return End::Deaf,
                None => continue,
                Some(Got::Garbage(bytes)) => self.unreadable(bytes),
                Some(Got::Event(event)) => {
                    if skipped > 0 {
                        self.unreadable(skipped);
                    }
                    if event.header.name == "TICK_60" {
                        ticked = Instant::now();
                    }
                    self.hear(&event);
                }
            }
            // Never FAIL: supervisord would say the same event again at once, for ever.
            if !(say(b"RESULT 2\nOK") && say(b"READY\n")) {
                return End::Gone;
            }
        }
    }

    pub(super) fn hear(&mut self, event: &Event) {
        let header = &event.header;
        let lost = self.serials.next(&self.boot, header.pool_serial);
        if lost > 0 {
            tracing::error!(lost, "the buffer of supervisord discarded events");
            self.put(Change { count: lost, ..self.own(Kind::Lost) });
        }
        let id = format!("{}/{}", self.boot, header.serial);
        let Some(happening) = Happening::of(event) else {
            tracing::error!(event.name = header.name, "an event does not say what its name promises");
            return self.unreadable(event.payload.len());
        };
        match happening {
            Happening::State { program, kind, pid, tries } => {
                if kind != Kind::Running {
                    let lines = lock(&self.heard.lines).end(&program);
                    self.look(&program, pid, Channel::Stdout, &lines, &id);
                }
                self.put(Change { id, program, pid, count: tries, ..self.own(kind) });
            }
            Happening::Printed { program, pid, channel, text } => {
                let lines = match channel {
                    Channel::Tagged => vec![text.split_whitespace().collect::<Vec<_>>().join(" ")],
                    _ => lock(&self.heard.lines).take(&program, pid, channel, &text),
                };
                self.look(&program, pid, channel, &lines, &id);
            }
            Happening::Began => {
                let stopped = matches!(self.supervisor, None | Some(Kind::SupervisorStops));
                let kind = if stopped { Kind::SupervisorBegan } else { Kind::SupervisorDied };
                self.put(Change { id, program: "supervisord".to_owned(), ..self.own(kind) });
                self.supervisor = Some(kind);
            }
            Happening::Stops => {
                self.put(Change { id, program: "supervisord".to_owned(), ..self.own(Kind::SupervisorStops) });
                self.supervisor = Some(Kind::SupervisorStops);
            }
            Happening::Tick | Happening::Nothing => {}
        }
    }

    /// Looks for patterns in lines.
    fn look(&mut self, program: &str, pid: u32, channel: Channel, lines: &[String], id: &str) {
        let rules = Arc::clone(&self.rules);
        for (at, line) in lines.iter().enumerate() {
            let Some((pattern, severity)) = rules.matched(program, channel, line) else { continue };
            if !self.counts(program, pattern) {
                continue;
            }
            let line: String = redact(line).chars().take(DETAIL_CHARS).collect();
            let detail = if pattern.is_empty() { line } else { format!("{pattern}: {line}") };
            self.put(Change { id: format!("{id}.{at}"), program: program.to_owned(), pid, severity, detail, ..self.own(Kind::Said) });
        }
    }

    fn counts(&mut self, program: &str, pattern: &str) -> bool {
        let now_ms = self.clock.now_ms();
        self.matches.retain(|_, (since, _)| *since + 60_000 > now_ms);
        let (_, count) = self.matches.entry((program.to_owned(), pattern.to_owned())).or_insert((now_ms, 0));
        *count += 1;
        *count <= MATCHES_PER_MIN
    }

    fn unreadable(&mut self, bytes: usize) {
        tracing::error!(bytes, "supervisord wrote what is no event");
        self.put(Change { count: bytes as u64, ..self.own(Kind::Unreadable) });
    }

    /// A change that nothing else is known of yet.
    fn own(&self, kind: Kind) -> Change {
        Change {
            seq: 0,
            id: String::new(),
            at_ms: self.clock.now_ms(),
            program: "sms-listener".to_owned(),
            kind,
            severity: kind.severity(),
            pid: 0,
            count: 0,
            detail: String::new(),
        }
    }

    fn put(&mut self, mut change: Change) {
        if !change.id.is_empty() && !self.known.insert(change.id.clone()) {
            return;
        }
        if self.known.len() > KNOWN_MAX {
            self.known.pop_first();
        }
        let severity: Severity = change.severity;
        tracing::info!(program = change.program, kind = ?change.kind, ?severity, "heard");
        let mut spool = lock(&self.spool);
        // Once more: a disk that was full may have room for a line.
        if let Err(error) = spool.put(&mut change).or_else(|_| spool.put(&mut change)) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the spool cannot be written: told only as long as this program lives"
            );
            spool.number(&mut change);
        }
        drop(spool);
        self.heard.add(change);
    }
}

/// Which event of the pool comes next, over the death of a listener.
#[derive(Debug)]
pub(super) struct Serials {
    file: Option<File>,
    last: Option<u64>,
}

impl Serials {
    /// From the file in a listener's folder; one of another start of supervisord says nothing.
    pub(super) fn open(dir: &Path, boot: &str) -> Self {
        let path = dir.join("serial");
        let last = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().strip_prefix(boot)?.trim().parse().ok());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        Self { file: file.ok(), last }
    }

    /// How many events were discarded before this one.
    fn next(&mut self, boot: &str, pool_serial: u64) -> u64 {
        let lost = self.last.map_or(0, |last| pool_serial.saturating_sub(last + 1));
        self.last = Some(self.last.map_or(pool_serial, |last| last.max(pool_serial)));
        if let Some(file) = &self.file {
            // Not flushed: it has to outlive the listener, and not the machine.
            let _unknown_later = file.write_all_at(format!("{boot} {pool_serial:020}\n").as_bytes(), 0);
        }
        lost
    }
}

/// What is read, as it comes, until the end.
fn pieces(mut input: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) if sender.send(buffer[..read].to_vec()).is_err() => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
    receiver
}
