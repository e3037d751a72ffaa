//! What a listener heard and has not told yet, in files of its own: an answer to supervisord means that the event is in there.
//!
//! A folder a listener. `events-<first seq>.jsonl` has a change a line, appended and flushed to the disk before supervisord is answered; at
//! [`SEGMENT_BYTES`] a new one begins, and one of which all is told is removed. `told.jsonl` has what became of them: who tells begins with
//! [`Mark::Composed`], so that after a death the same text goes out under the same key, and ends with [`Mark::Told`]. A last line that a death
//! cut off is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::event::{Change, Kind};

/// Bytes behind which a new file of events begins.
const SEGMENT_BYTES: u64 = 1024 * 1024;
/// The most bytes of marks before they are written anew.
const MARKS_BYTES: u64 = 1024 * 1024;
/// The most changes that wait; behind them the oldest notices, then the oldest of all, are given up and counted as lost.
pub(super) const PENDING_MAX: usize = 20_000;

/// A text that is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// Names it in every attempt, whoever sends it.
    pub(super) key: String,
    /// What it says, a text each.
    pub(super) texts: Vec<String>,
    /// To whom.
    pub(super) numbers: Vec<String>,
    /// Which changes it tells.
    pub(super) seqs: Vec<u64>,
    /// What both listeners call those.
    pub(super) ids: Vec<String>,
    /// When it was composed. UTC milliseconds.
    pub(super) at_ms: u64,
}

/// What became of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// They are in a text that goes out.
    Composed(Message),
    /// A text was taken for a number: text and number by their places.
    Sent {
        /// The message.
        key: String,
        /// Which of its texts.
        text: usize,
        /// To whom.
        number: String,
        /// Whether it was taken; otherwise it was given up.
        taken: bool,
    },
    /// The message is done.
    Told {
        /// The message.
        key: String,
        /// When. UTC milliseconds.
        at_ms: u64,
    },
    /// They need not be told by this listener: the other did, or there is nothing to tell.
    Settled(Vec<u64>),
}

/// What a spool holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Changes that are in no message, in order.
    pub(super) pending: BTreeMap<u64, Change>,
    /// The message on its way, with the changes it tells.
    pub(super) message: Option<(Message, Vec<Change>)>,
    /// Which texts of that message were taken or given up, by place and number.
    pub(super) sent: BTreeSet<(usize, String)>,
    /// What was told lately: the changes, and when. For repeats and for the budget.
    pub(super) told: Vec<(Vec<Change>, u64)>,
    /// What supervisord said last of itself.
    pub(super) supervisor: Option<Change>,
    /// Since when each program is in trouble, by the changes that wait no more, whoever told them.
    pub(super) trouble: BTreeMap<String, u64>,
    /// The ids of the last changes: supervisord says an event again to a listener that died over it.
    pub(super) ids: BTreeSet<String>,
    last_seq: u64,
}

/// The spool of this listener.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    events: File,
    events_bytes: u64,
    marks: File,
    marks_bytes: u64,
    last_seq: u64,
}

impl Held {
    /// What stands in the folder of a listener, this one's or the other's.
    ///
    /// # Errors
    /// When its files cannot be read. A line that is none is skipped: it was cut off.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let mut held = Self::default();
        let (mut all, mut past) = (BTreeMap::new(), BTreeMap::new());
        for path in segments(dir)? {
            for change in lines::<Change>(&path)? {
                if matches!(change.kind, Kind::SupervisorBegan | Kind::SupervisorDied | Kind::SupervisorStops) {
                    held.supervisor = Some(change.clone());
                }
                held.last_seq = held.last_seq.max(change.seq);
                if !change.id.is_empty() {
                    held.ids.insert(change.id.clone());
                }
                all.insert(change.seq, change);
            }
        }
        for mark in lines::<Mark>(&dir.join("told.jsonl"))? {
            match mark {
                Mark::Composed(message) => {
                    let changes: Vec<Change> = message.seqs.iter().filter_map(|seq| all.remove(seq)).collect();
                    past.extend(changes.iter().map(|change| (change.seq, change.clone())));
                    held.last_seq = message.seqs.iter().copied().fold(held.last_seq, u64::max);
                    held.sent.clear();
                    held.message = Some((message, changes));
                }
                Mark::Sent { key, text, number, .. } if held.message.as_ref().is_some_and(|(message, _)| message.key == key) => {
                    held.sent.insert((text, number));
                }
                Mark::Told { key, at_ms } if held.message.as_ref().is_some_and(|(message, _)| message.key == key) => {
                    held.told.extend(held.message.take().map(|(_, changes)| (changes, at_ms)));
                }
                Mark::Sent { .. } | Mark::Told { .. } => {}
                Mark::Settled(seqs) => {
                    past.extend(seqs.iter().filter_map(|seq| all.remove(seq)).map(|change| (change.seq, change)));
                    // The other listener has taken the message over.
                    if held.message.as_ref().is_some_and(|(message, _)| message.seqs.iter().all(|seq| seqs.contains(seq))) {
                        held.message = None;
                    }
                    held.last_seq = seqs.iter().copied().fold(held.last_seq, u64::max);
                }
            }
        }
        for change in past.into_values() {
            match change.kind {
                Kind::Running | Kind::PeerBack => drop(held.trouble.remove(&change.program)),
                kind if kind.is_trouble() && kind != Kind::Said => drop(held.trouble.entry(change.program).or_insert(change.at_ms)),
                _ => {}
            }
        }
        held.pending = all;
        Ok(held)
    }
}

impl Spool {
    /// Opens the spool in a folder, which is made when there is none, and gives what it holds.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Held)> {
        fs::create_dir_all(dir)?;
        let held = Held::read(dir)?;
        let last_seq = held.last_seq;
        let (events, marks) = (append(&segment(dir, last_seq + 1))?, append(&dir.join("told.jsonl"))?);
        let marks_bytes = marks.metadata()?.len();
        File::open(dir)?.sync_all()?;
        let mut spool = Self { dir: dir.to_owned(), events, events_bytes: 0, marks, marks_bytes, last_seq };
        // A line that was cut off ends here, and is none for whoever reads.
        if marks_bytes > 0 {
            spool.marks.write_all(b"\n")?;
        }
        Ok((spool, held))
    }

    /// Appends a change under the next seq, which it gets; when this returns it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written: the caller keeps it, and may try again.
    pub(super) fn put(&mut self, change: &mut Change) -> io::Result<()> {
        if self.events_bytes >= SEGMENT_BYTES {
            self.events = append(&segment(&self.dir, self.last_seq + 1))?;
            self.events_bytes = 0;
            File::open(&self.dir)?.sync_all()?;
        }
        change.seq = self.last_seq + 1;
        self.events_bytes += write_line(&mut self.events, change)?;
        self.last_seq = change.seq;
        Ok(())
    }

    /// Gives a change that cannot be written its seq all the same: it is told as long as this listener lives.
    pub(super) fn number(&mut self, change: &mut Change) {
        self.last_seq += 1;
        change.seq = self.last_seq;
    }

    /// Appends what became of changes, and flushes it to the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn mark(&mut self, mark: &Mark) -> io::Result<()> {
        self.marks_bytes += write_line(&mut self.marks, mark)?;
        Ok(())
    }

    /// Removes files of which all is told, and writes the marks anew when they are many. `open` are the seqs that still wait, or were told so
    /// lately that it matters.
    ///
    /// # Errors
    /// When files cannot be removed or written: nothing is lost by it.
    pub(super) fn tidy(&mut self, open: &BTreeSet<u64>) -> io::Result<()> {
        let paths = segments(&self.dir)?;
        // The last one is written to.
        for pair in paths.windows(2) {
            if let (Some(first), Some(next)) = (first_seq(&pair[0]), first_seq(&pair[1]))
                && open.range(first..next).next().is_none()
            {
                fs::remove_file(&pair[0])?;
            }
        }
        if self.marks_bytes < MARKS_BYTES {
            return Ok(());
        }
        let kept = segments(&self.dir)?.first().and_then(|path| first_seq(path)).unwrap_or(0);
        let (path, beside) = (self.dir.join("told.jsonl"), self.dir.join("told.new"));
        let mut file = File::create(&beside)?;
        let mut keys = BTreeSet::new();
        for mark in lines::<Mark>(&path)? {
            let stays = match &mark {
                Mark::Composed(message) => message.seqs.iter().any(|seq| *seq >= kept) && keys.insert(message.key.clone()),
                Mark::Sent { key, .. } | Mark::Told { key, .. } => keys.contains(key),
                Mark::Settled(seqs) => seqs.iter().any(|seq| *seq >= kept),
            };
            if stays {
                let mut line = serde_json::to_vec(&mark)?;
                line.push(b'\n');
                file.write_all(&line)?;
            }
        }
        file.sync_data()?;
        fs::rename(&beside, &path)?;
        self.marks = append(&path)?;
        self.marks_bytes = self.marks.metadata()?.len();
        Ok(())
    }
}

fn segment(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("events-{first:012}.jsonl"))
}

fn first_seq(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("events-")?.strip_suffix(".jsonl")?.parse().ok()
}

fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if first_seq(&path).is_some() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn write_line(file: &mut File, value: &impl Serialize) -> io::Result<u64> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    if let Err(error) = file.write_all(&line) {
        // Half a line must not become the beginning of the next one.
        let _full = file.write_all(b"\n");
        return Err(error);
    }
    file.sync_data()?;
    Ok(line.len() as u64)
}

fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::change;
    use super::*;

    fn message(key: &str, seqs: &[u64]) -> Message {
        Message {
            key: key.to_owned(),
            texts: vec!["t".to_owned()],
            numbers: vec!["+47".to_owned()],
            seqs: seqs.to_vec(),
            ids: vec![],
            at_ms: 9,
        }
    }

    #[test]
    fn what_was_put_is_there_after_a_death_at_any_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(folder.path()).unwrap();
        for at in 1..=3 {
            spool.put(&mut change("edge", Kind::Exited, at)).unwrap();
        }
        let path = segment(folder.path(), 1);
        let bytes = fs::read(&path).unwrap();
        let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        for cut in 0..=bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let held = Held::read(folder.path()).unwrap();
            // A line counts with its last byte, even before its end is written.
            assert_eq!(held.pending.len(), ends.iter().filter(|end| **end <= cut).count(), "cut at {cut}");
        }
    }

    #[test]
    fn a_message_is_the_same_after_a_death_and_gone_once_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(folder.path()).unwrap();
        for at in 1..=4 {
            spool.put(&mut change("edge", Kind::Exited, at)).unwrap();
        }
        spool.mark(&Mark::Composed(message("k", &[1, 3]))).unwrap();
        spool.mark(&Mark::Settled(vec![2])).unwrap();
        spool.mark(&Mark::Sent { key: "k".to_owned(), text: 0, number: "+47".to_owned(), taken: true }).unwrap();
        let (mut spool, held) = Spool::open(folder.path()).unwrap();
        let (on_its_way, changes) = held.message.unwrap();
        assert_eq!((on_its_way, changes.len(), held.sent.len()), (message("k", &[1, 3]), 2, 1));
        assert_eq!(held.pending.keys().copied().collect::<Vec<_>>(), [4]);
        spool.mark(&Mark::Told { key: "k".to_owned(), at_ms: 10 }).unwrap();
        let mut next = change("edge", Kind::Exited, 5);
        spool.put(&mut next).unwrap();
        let held = Held::read(folder.path()).unwrap();
        assert_eq!((next.seq, held.message.is_none(), held.told.len(), held.pending.len()), (5, true, 1, 2));
    }

    #[test]
    fn files_of_which_all_is_told_go() {
        let folder = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(folder.path()).unwrap();
        let mut long = change("edge", Kind::Said, 1);
        long.detail = "x".repeat(SEGMENT_BYTES as usize / 4);
        for _ in 0..12 {
            spool.put(&mut long).unwrap();
        }
        assert_eq!(segments(folder.path()).unwrap().len(), 3);
        for seq in 1..=11 {
            spool.mark(&Mark::Settled(vec![seq; 100_000])).unwrap();
        }
        spool.tidy(&BTreeSet::from([12])).unwrap();
        assert_eq!(segments(folder.path()).unwrap().len(), 1);
        assert!(fs::metadata(folder.path().join("told.jsonl")).unwrap().len() < 1_000_000);
        assert_eq!(Held::read(folder.path()).unwrap().pending.keys().copied().collect::<Vec<_>>(), [12]);
    }
}
