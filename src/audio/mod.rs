//! Sound: spoken texts from WAV files, Opus, the packets it travels in, and the recordings that Janus and Roger keep. No Redis, no SQL.
//!
//! Talk is mono at 16 kHz in frames of 20 ms. Nothing here trusts what it reads: a file or packet that is cut short or garbage is an error by
//! name, or is taken as far as it goes where that is said.

mod mjr;
mod ogg;
mod opus;
mod pcm;
mod rtp;

pub use mjr::{Mjr, MjrFrame, NotAnMjr};
pub use ogg::{NotOggOpus, OggOpus};
pub use opus::{CodecFailed, Decoder, Encoder};
pub use pcm::{Pcm, WavUnusable};
pub use rtp::{NotRtp, Packet, PacketStream, Sender};

/// Samples of talk in a second.
pub const TALK_HZ: u32 = 16_000;
/// How long a frame of talk is, milliseconds.
pub const FRAME_MS: u64 = 20;
/// The samples of a frame of talk.
pub const FRAME_SAMPLES: usize = 320;
/// A frame of Opus with silence in it: what opens the path to a participant that has said nothing yet.
pub const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
