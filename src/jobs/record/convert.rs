//! From a recording of Janus to a file that plays, by `janus-pp-rec`.
//!
//! It ends with 0 when the disk is full, and when there was nothing to convert: so what it made is read, whole, before it counts.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use md5::{Digest as _, Md5};
use sha2::Sha256;
use tokio::process::Command;

use super::Error;
use crate::audio::{Mjr, OggOpus, Packet};
use crate::model::Digest;

const TOOL: &str = "janus-pp-rec";
/// How long it may take: a burst takes it 60 ms.
const PATIENCE: Duration = Duration::from_secs(60);
/// What Ogg adds to a frame, at most: a page around it.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// What is known of a converted recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    /// Lower-case hexadecimal.
    pub(super) md5: String,
}

/// Makes `target` of a recording, whole and synced, or nothing.
pub(super) async fn convert(mjr: &Path, recording: &Mjr, target: &Path) -> Result<(), Error> {
    let part = target.with_extension("part.opus");
    // A frame that came twice is one.
    let frames: BTreeSet<u16> = recording.frames.iter().filter_map(|frame| Some(Packet::parse(&frame.packet).ok()?.sequence)).collect();
    let frames = frames.len();
    let bytes = recording.frames.iter().map(|frame| frame.packet.len() + FRAME_OVERHEAD_BYTES).sum::<usize>();
    match convert_into(mjr, &part, frames).await {
        Err(error @ (Error::Convert { .. } | Error::Short { .. } | Error::Output(_))) => {
            let path = part.clone();
            // The tool does not say so: there may be no room.
            match blocking(move || fill(&path, bytes)).await {
                Ok(()) => Err(error),
                Err(source) => Err(Error::NoRoom { path: part, bytes: bytes as u64, source }),
            }
        }
        Err(error) => Err(error),
        Ok(()) => {
            let (part, target) = (part, target.to_owned());
            let failed = Error::folder("keep what was made of a recording,", target.clone());
            blocking(move || settle(&part, &target)).await.map_err(failed)
        }
    }
}

async fn convert_into(mjr: &Path, part: &Path, frames: usize) -> Result<(), Error> {
    let mut command = Command::new(TOOL);
    command.arg("--disable-colors").arg(mjr).arg(part).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(output) => output.map_err(Error::Tool)?,
        Err(_) => return Err(Error::Convert { ended: format!("nothing within {} s", PATIENCE.as_secs()), said: String::new() }),
    };
    if !output.status.success() {
        return Err(Error::Convert { ended: output.status.to_string(), said: last_words(&output) });
    }
    let path = part.to_owned();
    let made = blocking(move || Ok(OggOpus::read(&path))).await.map_err(Error::folder("read", part))?;
    let packets = made.map_err(Error::Output)?.packets.len();
    if packets < frames { Err(Error::Short { packets, frames }) } else { Ok(()) }
}

fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty() && *line != "Bye!").unwrap_or_default();
    line.chars().take(200).collect()
}

/// Whether so much can be written there.
fn fill(path: &Path, bytes: usize) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&vec![0; bytes])?;
    file.sync_all()
}

fn settle(part: &Path, target: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    fs::rename(part, target)?;
    File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Opens and measures what was made.
pub(super) async fn measure(path: PathBuf) -> Result<(File, Measured), Error> {
    let failed = Error::folder("read", path.clone());
    let measured = blocking(move || {
        let content = fs::read(&path)?;
        let sha256 = Digest(Sha256::digest(&content).into());
        Ok((File::open(&path)?, Measured { bytes: content.len() as u64, sha256, md5: hex::encode(Md5::digest(&content)) }))
    });
    measured.await.map_err(failed)
}

/// Runs what blocks beside the runtime.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
