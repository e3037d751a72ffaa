//! MJR, the files in which Janus records: `MJR00002`, a u16 length and JSON, then for each frame `MEET`, a u32 of milliseconds, a u16 length and
//! the RTP packet; numbers are big-endian (`record.c` of Janus 1.1.2).

use serde::Deserialize;

use super::FRAME_MS;
use super::rtp::Packet;

const MAGIC: &[u8; 8] = b"MJR00002";
const FRAME_MAGIC: &[u8; 4] = b"MEET";

/// A recording of Janus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mjr {
    /// `opus` in rooms of Janus; empty when the file ends before it says so.
    pub codec: String,
    /// When the file was begun, UTC microseconds; 0 when it does not say so.
    pub created_us: u64,
    /// When the first frame came, UTC microseconds; 0 when it does not say so.
    pub first_frame_us: u64,
    /// The frames that are there as a whole, in the order in which they came.
    pub frames: Vec<MjrFrame>,
    /// Whether the file ends where a frame does. Janus that was killed leaves files that do not.
    pub whole: bool,
}

/// A frame of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MjrFrame {
    /// When it came, milliseconds from the beginning of the file.
    pub at_ms: u32,
    /// The RTP packet, as it came.
    pub packet: Vec<u8>,
}

/// Why bytes are no recording of Janus.
#[derive(Debug, thiserror::Error)]
pub enum NotAnMjr {
    /// It begins otherwise.
    #[error("it does not begin with MJR00002")]
    Magic,
    /// What should be its head is none.
    #[error("its head is no JSON with a codec \"c\" and times \"s\" and \"u\"")]
    Head(#[source] serde_json::Error),
    /// It goes on otherwise than with frames.
    #[error("byte {at}: neither a frame nor the end")]
    Frame {
        /// Where.
        at: usize,
    },
}

#[derive(Deserialize)]
struct Head {
    c: String,
    #[serde(default)]
    s: u64,
    #[serde(default)]
    u: u64,
}

impl Mjr {
    /// Reads a recording. What is cut short, wherever, is read as far as it goes, down to no frames.
    ///
    /// # Errors
    /// [`NotAnMjr`] for what Janus never writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAnMjr> {
        let mut mjr = Self { codec: String::new(), created_us: 0, first_frame_us: 0, frames: Vec::new(), whole: false };
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return if MAGIC.starts_with(bytes) { Ok(mjr) } else { Err(NotAnMjr::Magic) };
        };
        // A burst without a frame has no head either.
        let Some((head, mut rest)) = counted(rest) else { return Ok(Self { whole: rest.is_empty(), ..mjr }) };
        let head: Head = serde_json::from_slice(head).map_err(NotAnMjr::Head)?;
        (mjr.codec, mjr.created_us, mjr.first_frame_us) = (head.c, head.s, head.u);
        while !rest.is_empty() {
            let magic = &rest[..rest.len().min(FRAME_MAGIC.len())];
            if !FRAME_MAGIC.starts_with(magic) {
                return Err(NotAnMjr::Frame { at: bytes.len() - rest.len() });
            }
            let frame = rest.get(FRAME_MAGIC.len()..).and_then(<[u8]>::split_first_chunk::<4>);
            let Some((at_ms, behind)) = frame else { return Ok(mjr) };
            let Some((packet, behind)) = counted(behind) else { return Ok(mjr) };
            mjr.frames.push(MjrFrame { at_ms: u32::from_be_bytes(*at_ms), packet: packet.to_vec() });
            rest = behind;
        }
        Ok(Self { whole: true, ..mjr })
    }

    /// How long it is, milliseconds: 20 for each frame.
    pub fn length_ms(&self) -> u64 {
        self.frames.len() as u64 * FRAME_MS
    }

    /// The payloads of its frames; what is no RTP is left out.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().filter_map(|frame| Packet::parse(&frame.packet).ok()).map(|packet| packet.payload)
    }

    /// The bytes of a file with these frames, as Janus writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut counted = |head: &[u8], body: &[u8]| {
            bytes.extend(head);
            // Janus writes no packet above its MTU.
            bytes.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(&body[..body.len().min(usize::from(u16::MAX))]);
        };
        let head = serde_json::json!({ "t": "a", "c": self.codec, "s": self.created_us, "u": self.first_frame_us });
        counted(&[], head.to_string().as_bytes());
        for MjrFrame { at_ms, packet } in &self.frames {
            counted(&[FRAME_MAGIC.as_slice(), &at_ms.to_be_bytes()].concat(), packet);
        }
        bytes
    }
}

/// What a u16 says the length of, and what comes behind; `None` when there is less.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recording(packets: Vec<Vec<u8>>) -> Mjr {
        let frames = (0..).zip(packets).map(|(at, packet)| MjrFrame { at_ms: at * 20, packet }).collect();
        Mjr { codec: "opus".to_owned(), created_us: 1_700_000_000_000_000, first_frame_us: 1_700_000_000_020_000, frames, whole: true }
    }

    #[test]
    fn a_recording_reads_as_janus_wrote_it() {
        let bytes = b"MJR00002\0\x38{\"t\":\"a\",\"c\":\"opus\",\"s\":1700000000000000,\"u\":1700000001}MEET\0\0\0\x14\0\x0f\
                      \x80\x6f\0\x01\0\0\0\x02\0\0\0\x03abcMEET\0\0\0\x28\0\x01x";
        let mjr = Mjr::parse(bytes).unwrap();
        assert_eq!((mjr.codec.as_str(), mjr.created_us, mjr.first_frame_us), ("opus", 1_700_000_000_000_000, 1_700_000_001));
        assert_eq!((mjr.frames[0].at_ms, mjr.frames[1].at_ms, mjr.length_ms(), mjr.whole), (20, 40, 40, true));
        assert_eq!(mjr.payloads().collect::<Vec<_>>(), [b"abc"]);
    }

    #[test]
    fn an_empty_burst_has_no_frames_and_garbage_is_refused_by_name() {
        for (bytes, whole) in [(&b""[..], false), (b"MJR0", false), (b"MJR00002", true), (b"MJR00002\0\x99{", false)] {
            let mjr = Mjr::parse(bytes).unwrap();
            assert_eq!((mjr.frames.len(), mjr.whole), (0, whole), "{bytes:?}");
        }
        for (bytes, expected) in [
            (&b"RIFF"[..], "it does not begin with MJR00002"),
            (b"MJR00002\0\x02{}", "its head is no JSON with a codec \"c\" and times \"s\" and \"u\""),
            (b"MJR00002\0\x02[]", "its head is no JSON with a codec \"c\" and times \"s\" and \"u\""),
            (b"MJR00002\0\x0c{\"c\":\"opus\"}MEXT", "byte 22: neither a frame nor the end"),
        ] {
            assert_eq!(Mjr::parse(bytes).unwrap_err().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_file_cut_anywhere_has_the_frames_before_the_cut(packets: Vec<Vec<u8>>, cut: prop::sample::Index) {
            let mjr = recording(packets);
            let bytes = mjr.to_bytes();
            prop_assert_eq!(&Mjr::parse(&bytes).unwrap(), &mjr);
            let end = cut.index(bytes.len());
            let part = Mjr::parse(&bytes[..end]).unwrap();
            prop_assert!(mjr.frames.starts_with(&part.frames));
            // As many as fit.
            let head = bytes.len() - mjr.frames.iter().map(|frame| frame.packet.len() + 10).sum::<usize>();
            let mut fits = 0;
            let mut behind = head;
            for frame in &mjr.frames {
                behind += frame.packet.len() + 10;
                fits += usize::from(behind <= end);
            }
            prop_assert_eq!(part.frames.len(), fits);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, packets: Vec<Vec<u8>>, at: prop::sample::Index, byte: u8) {
            drop(Mjr::parse(&bytes));
            drop(Mjr::parse(&[MAGIC.as_slice(), &bytes].concat()));
            let mut damaged = recording(packets).to_bytes();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            drop(Mjr::parse(&damaged));
        }
    }
}
