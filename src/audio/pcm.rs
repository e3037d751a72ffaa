//! Sound as samples: read from WAV files, brought to the rate of talk, made.

use std::io::Read;
use std::path::{Path, PathBuf};

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Resampler as _, SincInterpolationParameters, WindowFunction};

use super::{FRAME_SAMPLES, TALK_HZ};

/// The rates that are read, samples in a second.
const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// The longest sound that is read, seconds.
const SECONDS_MAX: u32 = 600;
/// Samples that are brought to another rate at a time.
const CHUNK: usize = 1_024;
/// The length of the filter against aliases, samples.
const FILTER: usize = 128;

/// Mono sound at the rate of talk, samples from -1 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pcm {
    /// [`TALK_HZ`] of them make a second.
    pub samples: Vec<f32>,
}

/// Why a WAV file is no sound to talk with.
#[derive(Debug, thiserror::Error)]
pub enum WavUnusable {
    /// It cannot be read as WAV.
    #[error("cannot read {} as WAV", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: hound::Error,
    },
    /// It is WAV of a kind that is not taken.
    #[error("{}: {has}; it has to be PCM of 16 bits, mono or stereo, at 8000 to 192000 Hz, and 10 minutes at most", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it has instead.
        has: String,
    },
    /// Its rate cannot be changed to that of talk.
    #[error("{}: cannot bring {rate_hz} Hz to {TALK_HZ} Hz: {why}", path.display())]
    Rate {
        /// The file.
        path: PathBuf,
        /// Its rate.
        rate_hz: u32,
        /// What the resampler says.
        why: String,
    },
}

impl Pcm {
    /// A tone of one frequency at a quarter of full scale, without a click at its ends.
    pub fn tone(hertz: f32, length_ms: u64) -> Self {
        let count = (u64::from(TALK_HZ) * length_ms / 1_000) as usize;
        // 10 ms of rise and fall.
        let edge = (TALK_HZ / 100) as usize;
        let sample = |at: usize| {
            let gain = (at.min(count - 1 - at) as f32 / edge as f32).min(1.0);
            0.25 * gain * (std::f32::consts::TAU * hertz * at as f32 / TALK_HZ as f32).sin()
        };
        Self { samples: (0..count).map(sample).collect() }
    }

    /// Reads a WAV file; of two channels the mean, brought to the rate of talk.
    ///
    /// # Errors
    /// When it is no WAV, or none of 16 bits with one or two channels at a usual rate.
    pub fn read_wav(path: &Path) -> Result<Self, WavUnusable> {
        let unreadable = |source| WavUnusable::Unreadable { path: path.to_owned(), source };
        Self::of_wav(hound::WavReader::open(path).map_err(unreadable)?, path)
    }

    fn of_wav(mut wav: hound::WavReader<impl Read>, path: &Path) -> Result<Self, WavUnusable> {
        let hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format } = wav.spec();
        let kind = |has: String| WavUnusable::Kind { path: path.to_owned(), has };
        if sample_format != hound::SampleFormat::Int || bits_per_sample != 16 {
            return Err(kind(format!("{bits_per_sample} bits as {sample_format:?}")));
        }
        if !matches!(channels, 1 | 2) {
            return Err(kind(format!("{channels} channels")));
        }
        if !RATES_HZ.contains(&sample_rate) {
            return Err(kind(format!("{sample_rate} Hz")));
        }
        if wav.duration() / sample_rate >= SECONDS_MAX {
            return Err(kind(format!("{} seconds", wav.duration() / sample_rate)));
        }
        let samples: Result<Vec<i16>, hound::Error> = wav.samples::<i16>().collect();
        let samples = samples.map_err(|source| WavUnusable::Unreadable { path: path.to_owned(), source })?;
        let full_scale = f32::from(channels) * 32_768.0;
        let mono =
            samples.chunks_exact(usize::from(channels)).map(|one| one.iter().map(|&sample| f32::from(sample)).sum::<f32>() / full_scale);
        let rate = |why| WavUnusable::Rate { path: path.to_owned(), rate_hz: sample_rate, why };
        resampled(mono.collect(), sample_rate).map(|samples| Self { samples }).map_err(rate)
    }

    /// How long it is, milliseconds.
    pub fn length_ms(&self) -> u64 {
        self.samples.len() as u64 * 1_000 / u64::from(TALK_HZ)
    }

    /// The frames of it, the last one filled with silence.
    pub fn frames(&self) -> impl Iterator<Item = [f32; FRAME_SAMPLES]> {
        self.samples.chunks(FRAME_SAMPLES).map(|chunk| {
            let mut frame = [0.0; FRAME_SAMPLES];
            frame[..chunk.len()].copy_from_slice(chunk);
            frame
        })
    }

    /// The root of the mean square: how loud it is, from 0 to 1.
    pub fn loudness(&self) -> f32 {
        let power: f32 = self.samples.iter().map(|sample| sample * sample).sum();
        (power / self.samples.len().max(1) as f32).sqrt()
    }
}

/// Samples brought to the rate of talk, behind a filter that keeps away what that rate cannot hold.
fn resampled(samples: Vec<f32>, from_hz: u32) -> Result<Vec<f32>, String> {
    if from_hz == TALK_HZ || samples.is_empty() {
        return Ok(samples);
    }
    let ratio = f64::from(TALK_HZ) / f64::from(from_hz);
    let filter = SincInterpolationParameters::new(FILTER, WindowFunction::BlackmanHarris2);
    let resampler = Async::<f32>::new_sinc(ratio, 1.0, &filter, CHUNK, 1, FixedAsync::Input);
    let mut resampler = resampler.map_err(|error| error.to_string())?;
    let input = InterleavedSlice::new(&samples, 1, samples.len()).map_err(|error| error.to_string())?;
    let output = resampler.process_all(&input, samples.len(), None).map_err(|error| error.to_string())?;
    Ok(output.take_data())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(rate_hz: u32, channels: u16, bits: u16, sample: impl Fn(u32, u16) -> i32, count: u32) -> Vec<u8> {
        let spec = hound::WavSpec { channels, sample_rate: rate_hz, bits_per_sample: bits, sample_format: hound::SampleFormat::Int };
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        for at in 0..count {
            for channel in 0..channels {
                writer.write_sample(sample(at, channel)).unwrap();
            }
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    fn read(bytes: &[u8]) -> Result<Pcm, WavUnusable> {
        let path = Path::new("a.wav");
        let wav = hound::WavReader::new(bytes).map_err(|source| WavUnusable::Unreadable { path: path.to_owned(), source })?;
        Pcm::of_wav(wav, path)
    }

    /// How much of one frequency is in a sound, from 0 to 1 (Goertzel's sum, over whole samples).
    fn share_of(pcm: &Pcm, hertz: f32) -> f32 {
        let step = std::f32::consts::TAU * hertz / TALK_HZ as f32;
        let part = |wave: fn(f32) -> f32| pcm.samples.iter().enumerate().map(|(at, sample)| sample * wave(step * at as f32)).sum::<f32>();
        let amplitude = part(f32::sin).hypot(part(f32::cos)) * 2.0 / pcm.samples.len() as f32;
        amplitude * amplitude / 2.0 / pcm.loudness().powi(2)
    }

    #[test]
    fn a_tone_of_any_usual_rate_comes_out_as_the_same_tone() {
        for rate_hz in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000] {
            for channels in [1, 2] {
                let tone = |at: u32, _| (8_000.0 * (std::f64::consts::TAU * 1_000.0 * f64::from(at) / f64::from(rate_hz)).sin()) as i32;
                let pcm = read(&wav(rate_hz, channels, 16, tone, rate_hz / 2)).unwrap();
                assert!(pcm.length_ms().abs_diff(500) <= 1, "{rate_hz} Hz: {} ms", pcm.length_ms());
                assert!((pcm.loudness() - 8_000.0 / 32_768.0 / 2_f32.sqrt()).abs() < 0.01, "{rate_hz} Hz: {}", pcm.loudness());
                assert!(share_of(&pcm, 1_000.0) > 0.98, "{rate_hz} Hz: {}", share_of(&pcm, 1_000.0));
            }
        }
    }

    #[test]
    fn what_the_rate_of_talk_cannot_hold_is_silent_and_no_other_tone() {
        let tone = |at: u32, _| (8_000.0 * (std::f64::consts::TAU * 15_000.0 * f64::from(at) / 48_000.0).sin()) as i32;
        let pcm = read(&wav(48_000, 1, 16, tone, 24_000)).unwrap();
        assert!(pcm.loudness() < 0.01, "{}", pcm.loudness());
    }

    #[test]
    fn two_channels_become_their_mean() {
        let pcm = read(&wav(TALK_HZ, 2, 16, |_, channel| if channel == 0 { 16_384 } else { 0 }, 3)).unwrap();
        assert_eq!(pcm.samples, [0.25, 0.25, 0.25]);
    }

    #[test]
    fn what_is_no_sound_to_talk_with_is_refused_by_name() {
        let silence = |_, _| 0;
        for (bytes, expected) in [
            (b"no wav".to_vec(), "cannot read a.wav as WAV"),
            (wav(16_000, 1, 24, silence, 9), "a.wav: 24 bits as Int; "),
            (wav(16_000, 3, 16, silence, 9), "a.wav: 3 channels; "),
            (wav(4_000, 1, 16, silence, 9), "a.wav: 4000 Hz; "),
            (wav(8_000, 1, 16, silence, 4_800_000), "a.wav: 600 seconds; "),
        ] {
            let error = read(&bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let cut = wav(16_000, 1, 16, silence, 100);
        assert!(read(&cut[..cut.len() - 51]).is_err());
    }

    #[test]
    fn frames_are_all_whole() {
        let tone = Pcm::tone(440.0, 50);
        let frames: Vec<_> = tone.frames().collect();
        assert_eq!((tone.length_ms(), frames.len(), frames[2][FRAME_SAMPLES / 2..].iter().all(|sample| *sample == 0.0)), (50, 3, true));
        assert!((tone.loudness() - 0.25 / 2_f32.sqrt()).abs() < 0.03, "{}", tone.loudness());
        assert_eq!(Pcm::tone(440.0, 0).frames().count(), 0);
    }
}
