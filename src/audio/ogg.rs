//! Ogg Opus (RFC 7845), in which recordings are kept.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use ogg::{OggReadError, PacketReader};

use super::FRAME_MS;

/// The packets of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OggOpus {
    /// Packets of Opus, in order, without the two at the head.
    pub packets: Vec<Vec<u8>>,
}

/// Why a file is no Ogg Opus.
#[derive(Debug, thiserror::Error)]
pub enum NotOggOpus {
    /// It cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It breaks the rules of Ogg, or ends in the middle of a page.
    #[error("{} is no whole Ogg file", path.display())]
    Ogg {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: OggReadError,
    },
    /// It is Ogg, and does not begin as Ogg Opus does.
    #[error("{} is Ogg, and does not begin with OpusHead and OpusTags", path.display())]
    Head {
        /// The file.
        path: PathBuf,
    },
}

impl OggOpus {
    /// Reads a file, whole.
    ///
    /// # Errors
    /// [`NotOggOpus`], with the path and what is wrong.
    pub fn read(path: &Path) -> Result<Self, NotOggOpus> {
        let file = File::open(path).map_err(|source| NotOggOpus::Open { path: path.to_owned(), source })?;
        Self::of(BufReader::new(file), path)
    }

    fn of(bytes: impl Read + Seek, path: &Path) -> Result<Self, NotOggOpus> {
        let mut reader = PacketReader::new(bytes);
        let mut packets = Vec::new();
        while let Some(packet) = reader.read_packet().map_err(|source| NotOggOpus::Ogg { path: path.to_owned(), source })? {
            packets.push(packet.data);
        }
        let begins = |at: usize, magic: &[u8]| packets.get(at).is_some_and(|packet| packet.starts_with(magic));
        if !begins(0, b"OpusHead") || !begins(1, b"OpusTags") {
            return Err(NotOggOpus::Head { path: path.to_owned() });
        }
        packets.drain(..2);
        Ok(Self { packets })
    }

    /// How long it is, milliseconds: 20 for each packet.
    pub fn length_ms(&self) -> u64 {
        self.packets.len() as u64 * FRAME_MS
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ogg::{PacketWriteEndInfo, PacketWriter};

    use super::*;

    fn written(packets: &[&[u8]]) -> Vec<u8> {
        let mut writer = PacketWriter::new(Vec::new());
        for packet in packets {
            writer.write_packet(packet.to_vec(), 1, PacketWriteEndInfo::EndPage, 0).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn packets_come_without_the_head_and_a_cut_file_is_refused() {
        let read = |bytes: &[u8]| OggOpus::of(Cursor::new(bytes.to_vec()), Path::new("a.opus"));
        let bytes = written(&[b"OpusHead...", b"OpusTags...", b"one", b"two"]);
        let ogg = read(&bytes).unwrap();
        assert_eq!((ogg.packets.concat(), ogg.length_ms()), (b"onetwo".to_vec(), 40));
        for (bytes, expected) in [
            (&bytes[..bytes.len() - 1], "a.opus is no whole Ogg file"),
            (b"no Ogg, and a bit longer than the head of a page", "a.opus is no whole Ogg file"),
            (&written(&[b"vorbis", b"OpusTags"]), "a.opus is Ogg, and does not begin with OpusHead and OpusTags"),
            (b"", "a.opus is no whole Ogg file"),
        ] {
            assert_eq!(read(bytes).unwrap_err().to_string(), expected);
        }
    }
}
