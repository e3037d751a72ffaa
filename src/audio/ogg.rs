//! Ogg Opus (RFC 7845), in which recordings are kept.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use ogg::{OggReadError, PacketReader, PacketWriteEndInfo, PacketWriter};

use super::opus::{CodecFailed, packet_ms};
use super::{FRAME_MS, TALK_HZ};

/// The clock of Ogg Opus, whatever was encoded.
const TICKS_PER_MS: u64 = 48;
/// What a decoder leaves out at the beginning, in ticks: what libopus needs to find its feet.
const PRE_SKIP: u16 = 312;
/// Which stream of the file it is; there is one.
const SERIAL: u32 = 1;

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
        Self::read_from(BufReader::new(file), path)
    }

    /// Reads what is at hand. Errors name it as `path`.
    ///
    /// # Errors
    /// As [`OggOpus::read`].
    pub fn read_from(bytes: impl Read + Seek, path: &Path) -> Result<Self, NotOggOpus> {
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

    /// How long it is, milliseconds.
    ///
    /// # Errors
    /// The first packet that is no Opus.
    pub fn length_ms(&self) -> Result<u64, CodecFailed> {
        self.packets.iter().map(|packet| packet_ms(packet)).sum()
    }

    /// Writes packets of 20 ms of mono.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend(TALK_HZ.to_le_bytes());
        // No gain, and the only channel is the first.
        head.extend([0; 3]);
        let vendor = b"roger";
        let mut tags = b"OpusTags".to_vec();
        tags.extend((vendor.len() as u32).to_le_bytes());
        tags.extend(vendor);
        tags.extend(0_u32.to_le_bytes());
        let mut writer = PacketWriter::new(to);
        for header in [head, tags] {
            writer.write_packet(header, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        }
        for (number, packet) in (1..).zip(&self.packets) {
            let end = if number == self.packets.len() as u64 { PacketWriteEndInfo::EndStream } else { PacketWriteEndInfo::NormalPacket };
            writer.write_packet(packet.as_slice(), SERIAL, end, number * FRAME_MS * TICKS_PER_MS)?;
        }
        writer.into_inner().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::audio::{Decoder, Encoder, Pcm};

    fn written(packets: &[&[u8]]) -> Vec<u8> {
        let mut writer = PacketWriter::new(Vec::new());
        for packet in packets {
            writer.write_packet(packet.to_vec(), 1, PacketWriteEndInfo::EndPage, 0).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn packets_come_without_the_head_and_a_cut_file_is_refused() {
        let read = |bytes: &[u8]| OggOpus::read_from(Cursor::new(bytes.to_vec()), Path::new("a.opus"));
        // Of 20 ms, and of two frames of 60.
        let bytes = written(&[b"OpusHead...", b"OpusTags...", b"\x08", b"\x19\x00\x00"]);
        let ogg = read(&bytes).unwrap();
        assert_eq!((ogg.packets.concat(), ogg.length_ms()), (b"\x08\x19\x00\x00".to_vec(), Ok(140)));
        assert!(OggOpus { packets: vec![Vec::new()] }.length_ms().is_err());
        for (bytes, expected) in [
            (&bytes[..bytes.len() - 1], "a.opus is no whole Ogg file"),
            (b"no Ogg, and a bit longer than the head of a page", "a.opus is no whole Ogg file"),
            (&written(&[b"vorbis", b"OpusTags"]), "a.opus is Ogg, and does not begin with OpusHead and OpusTags"),
            (b"", "a.opus is no whole Ogg file"),
        ] {
            assert_eq!(read(bytes).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn what_is_written_is_read_and_sounds_the_same() {
        let tone = Pcm::tone(440.0, 500);
        let ogg = OggOpus { packets: Encoder::packets(&tone).unwrap() };
        let mut bytes = Vec::new();
        ogg.write(&mut bytes).unwrap();
        let read = OggOpus::read_from(Cursor::new(bytes), Path::new("a.opus")).unwrap();
        assert_eq!((&read, read.length_ms()), (&ogg, Ok(500)));
        let heard = Decoder::sound(read.packets.iter().map(Vec::as_slice)).unwrap();
        assert!((heard.loudness() / tone.loudness() - 1.0).abs() < 0.2);
    }
}
