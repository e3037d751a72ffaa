//! Opus (RFC 6716), by libopus.

use opusic_c::{Application, Bitrate, Channels, ErrorCode, SampleRate};

use super::{FRAME_SAMPLES, Pcm, TALK_HZ};

/// The longest packet that is written, bytes: what a frame of 20 ms never reaches at the rate of speech.
const PACKET_BYTES_MAX: usize = 1_275;
/// Of speech at 16 kHz, bits in a second.
const BITS_PER_S: u32 = 24_000;
/// The most samples a packet may hold, 120 ms.
const PACKET_SAMPLES_MAX: usize = TALK_HZ as usize * 120 / 1_000;

/// The codec did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {operation} Opus: libopus says {code:?}")]
pub struct CodecFailed {
    operation: &'static str,
    code: ErrorCode,
}

fn failed(operation: &'static str) -> impl Fn(ErrorCode) -> CodecFailed {
    move |code| CodecFailed { operation, code }
}

/// How long the sound of a packet is, milliseconds.
///
/// # Errors
/// When it is empty or no Opus.
pub(super) fn packet_ms(packet: &[u8]) -> Result<u64, CodecFailed> {
    let samples = opusic_c::utils::get_nb_samples(packet, SampleRate::Hz48000).map_err(failed("measure"))?;
    Ok(samples as u64 * 1_000 / 48_000)
}

/// From frames of talk to packets of Opus. Packets of one sound belong to one encoder, in order.
pub struct Encoder(opusic_c::Encoder);

impl Encoder {
    /// An encoder for speech.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Self, CodecFailed> {
        let mut encoder =
            opusic_c::Encoder::new(Channels::Mono, SampleRate::Hz16000, Application::Voip).map_err(failed("begin to encode"))?;
        encoder.set_bitrate(Bitrate::Value(BITS_PER_S)).map_err(failed("begin to encode"))?;
        Ok(Self(encoder))
    }

    /// The packet of a frame.
    ///
    /// # Errors
    /// When libopus fails: a defect.
    pub fn encode(&mut self, frame: &[f32; FRAME_SAMPLES]) -> Result<Vec<u8>, CodecFailed> {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        let bytes = self.0.encode_float_to_slice(frame, &mut packet).map_err(failed("encode"))?;
        packet.truncate(bytes);
        Ok(packet)
    }

    /// The packets of a whole sound, one for every 20 ms of it.
    ///
    /// # Errors
    /// When libopus fails.
    pub fn packets(sound: &Pcm) -> Result<Vec<Vec<u8>>, CodecFailed> {
        let mut encoder = Self::new()?;
        sound.frames().map(|frame| encoder.encode(&frame)).collect()
    }
}

/// From packets of Opus to samples of talk.
pub struct Decoder(opusic_c::Decoder);

impl Decoder {
    /// A decoder.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Self, CodecFailed> {
        opusic_c::Decoder::new(Channels::Mono, SampleRate::Hz16000).map(Self).map_err(failed("begin to decode"))
    }

    /// The samples of the next packet, at the rate of talk.
    ///
    /// # Errors
    /// When the packet is empty or no Opus; the decoder may go on with the next one.
    pub fn decode(&mut self, packet: &[u8]) -> Result<Vec<f32>, CodecFailed> {
        if packet.is_empty() {
            // To libopus that is a loss.
            return Err(failed("decode")(ErrorCode::InvalidPacket));
        }
        let mut samples = vec![0.0; PACKET_SAMPLES_MAX];
        let count = self.0.decode_float_to_slice(packet, &mut samples, false).map_err(failed("decode"))?;
        samples.truncate(count);
        Ok(samples)
    }

    /// The sound of packets in their order.
    ///
    /// # Errors
    /// The first that is no Opus.
    pub fn sound<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Result<Pcm, CodecFailed> {
        let mut decoder = Self::new()?;
        let mut sound = Pcm::default();
        for packet in packets {
            sound.samples.extend(decoder.decode(packet)?);
        }
        Ok(sound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::SILENCE;

    #[test]
    fn a_tone_is_as_long_and_as_loud_behind_the_codec_and_much_smaller() {
        let tone = Pcm::tone(440.0, 1_000);
        let packets = Encoder::packets(&tone).unwrap();
        assert_eq!(packets.len(), 50);
        assert!(packets.iter().map(Vec::len).sum::<usize>() < 5_000);
        let heard = Decoder::sound(packets.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(heard.length_ms(), 1_000);
        assert!((heard.loudness() / tone.loudness() - 1.0).abs() < 0.2, "{} of {}", heard.loudness(), tone.loudness());
    }

    #[test]
    fn the_packet_of_silence_is_one_frame_of_silence() {
        let heard = Decoder::sound([&SILENCE[..]]).unwrap();
        assert_eq!((heard.samples.len(), heard.loudness()), (FRAME_SAMPLES, 0.0));
    }

    #[test]
    fn garbage_is_refused_and_the_next_packet_is_taken() {
        let mut decoder = Decoder::new().unwrap();
        for garbage in [&[][..], &[0xff], &[0x03, 0xff, 0xff]] {
            assert!(decoder.decode(garbage).is_err(), "{garbage:?}");
        }
        assert_eq!(decoder.decode(&SILENCE).unwrap().len(), FRAME_SAMPLES);
    }
}
