//! Spoken words to talk with, and whether what is heard is what was said.

use std::path::{Path, PathBuf};

use roger::audio::{Decoder, OggOpus, Pcm};

/// Where the Debian package alsa-utils has spoken words.
const SPOKEN: &str = "/usr/share/sounds/alsa";
/// A step of a contour: a twentieth of a second at the rate of talk.
const STEP: usize = 800;
/// How finely two sounds are laid over each other: where steps begin elsewhere in the words the same words have another contour.
const SLIDE: usize = STEP / 10;
/// How far what is heard may lie behind what was said, or before it, in samples.
const SHIFT_MAX: usize = 4 * STEP;
/// The least likeness of the same words. Not all words of the package are less alike than that: those of the test below are.
const SAME: f32 = 0.9;

/// The file of spoken words, as `Front_Center`.
#[track_caller]
pub fn spoken(name: &str) -> PathBuf {
    let path = Path::new(SPOKEN).join(format!("{name}.wav"));
    assert!(path.is_file(), "{} is missing; it is in the Debian package alsa-utils: scripts/setup installs it", path.display());
    path
}

/// Those words.
#[track_caller]
pub fn words(name: &str) -> Pcm {
    Pcm::read_wav(&spoken(name)).unwrap()
}

/// What is heard in a recording that Roger keeps.
#[track_caller]
pub fn heard(path: &Path) -> Pcm {
    let ogg = OggOpus::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Decoder::sound(ogg.packets.iter().map(Vec::as_slice)).unwrap()
}

/// Panics unless a sound is those words: as long within 100 ms, about as loud, and loud and silent where they are.
#[track_caller]
pub fn is_said(heard: &Pcm, said: &Pcm) {
    assert!(heard.length_ms().abs_diff(said.length_ms()) <= 100, "{} of {} ms", heard.length_ms(), said.length_ms());
    let loudness = heard.loudness() / said.loudness();
    assert!((0.8..1.2).contains(&loudness), "{loudness} times as loud");
    let alike = likeness(heard, said);
    assert!(alike > SAME, "{alike}: {:?}\n{:?}", contour(&said.samples), contour(&heard.samples));
}

/// How alike two sounds are by how loud they are when, from -1 to 1: the correlation of their contours, the best one of where they may lie.
pub fn likeness(one: &Pcm, other: &Pcm) -> f32 {
    let later =
        |one: &Pcm, other: &Pcm, by: usize| correlation(&contour(&one.samples), &contour(other.samples.get(by..).unwrap_or_default()));
    (0..=SHIFT_MAX).step_by(SLIDE).map(|by| later(one, other, by).max(later(other, one, by))).fold(-1.0, f32::max)
}

/// How alike words are to where they are in a longer sound most likely, from -1 to 1.
pub fn likeness_within(said: &Pcm, sound: &Pcm) -> f32 {
    let said = contour(&said.samples);
    let within = |by: usize| {
        let sound = contour(sound.samples.get(by..).unwrap_or_default());
        sound.windows(said.len()).map(|part| correlation(&said, part)).fold(-1.0, f32::max)
    };
    (0..STEP).step_by(SLIDE).map(within).fold(-1.0, f32::max)
}

/// How loud each step is.
fn contour(samples: &[f32]) -> Vec<f32> {
    samples.chunks(STEP).map(|chunk| (chunk.iter().map(|sample| sample * sample).sum::<f32>() / STEP as f32).sqrt()).collect()
}

/// Over what both have.
fn correlation(one: &[f32], other: &[f32]) -> f32 {
    let count = one.len().min(other.len());
    let (one, other) = (&one[..count], &other[..count]);
    let mean = |values: &[f32]| values.iter().sum::<f32>() / count as f32;
    let (a, b) = (mean(one), mean(other));
    let sum = |product: &dyn Fn(f32, f32) -> f32| one.iter().zip(other).map(|(x, y)| product(x - a, y - b)).sum::<f32>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[test]
fn words_are_like_themselves_and_not_like_others() {
    let names = ["Front_Center", "Front_Right", "Side_Left"];
    for one in names {
        is_said(&words(one), &words(one));
        for other in names.into_iter().filter(|other| *other != one) {
            let alike = likeness(&words(one), &words(other));
            assert!(alike < SAME - 0.1, "{one} and {other}: {alike}");
        }
    }
}
