//! What is said into a real Janus.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use md5::{Digest as _, Md5};
use roger::audio::Encoder;
use roger::clock::Clock;
use roger::model::{FilePurpose, TopicId};

use super::janus::Janus;
use super::scene::{Running, Stage, words};
use crate::support::eventually;

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn spoken_words_become_a_file_that_plays_and_one_announcement() {
    let stage = Stage::new().await;
    let janus = Janus::start(&stage.recordings()).await;
    let running = Running::of(stage.recorder(LONG));
    let mut neil = janus.speaker(stage.neil.0, stage.group.0).await;
    // Pressed and let go without a word: nothing to tell of.
    neil.press().await;
    neil.release().await;
    let words = words();
    let packets = Encoder::packets(&words).unwrap();
    neil.burst(&packets).await;
    running.wake.burst_ended();

    let burst = stage.until_announced(1).await.remove(0);
    assert_eq!((burst.speaker, burst.group, burst.host.as_str(), burst.cut), (stage.neil, stage.group, "moon", false));
    assert!(burst.duration_ms.abs_diff(words.length_ms()) <= 100, "{} of {} ms", burst.duration_ms, words.length_ms());
    let now_ms = Clock::system().now_ms();
    assert!(now_ms.abs_diff(burst.spoken_ms) < 30_000, "{} at {now_ms}", burst.spoken_ms);

    let (file, heard) = stage.heard(&burst).await;
    assert_eq!((file.purpose, file.topic, file.uploader), (FilePurpose::Recording, Some(TopicId::group(stage.group)), stage.neil));
    assert_eq!(file.media_type, "audio/ogg");
    let content = fs::read(stage.objects().join(&file.object)).unwrap();
    assert_eq!((burst.md5, file.bytes), (hex::encode(Md5::digest(&content)), content.len() as u64));
    assert!(heard.length_ms().abs_diff(words.length_ms()) <= 100, "{} of {} ms", heard.length_ms(), words.length_ms());
    assert!((heard.loudness() / words.loudness() - 1.0).abs() < 0.2, "{} of {}", heard.loudness(), words.loudness());
    // The words are where they were, and the silence between them too.
    let (said, came) = (contour(&words.samples), contour(&heard.samples));
    assert!(likeness(&said, &came) > 0.9, "{}: {said:?}\n{came:?}", likeness(&said, &came));

    let nothing = async || (stage.files("").is_empty() && stage.files("work").is_empty()).then_some(());
    eventually("nothing is left in the folder", nothing).await;
    assert_eq!((stage.files("done").len(), stage.files("bad").len(), stage.announced().len()), (1, 0, 1));
    assert_eq!(stage.letters().await, [""; 0]);
    running.stop().await;
}

/// How loud each tenth of a second is.
fn contour(samples: &[f32]) -> Vec<f32> {
    samples.chunks(1_600).map(|chunk| (chunk.iter().map(|sample| sample * sample).sum::<f32>() / 1_600.0).sqrt()).collect()
}

/// The correlation of two contours, the better of the two where one is up to a tenth of a second later.
fn likeness(one: &[f32], other: &[f32]) -> f32 {
    let at = |one: &[f32], other: &[f32]| {
        let count = one.len().min(other.len());
        let mean = |values: &[f32]| values[..count].iter().sum::<f32>() / count as f32;
        let (a, b) = (mean(one), mean(other));
        let sum = |f: &dyn Fn(f32, f32) -> f32| (0..count).map(|at| f(one[at] - a, other[at] - b)).sum::<f32>();
        sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
    };
    at(one, other).max(at(one, &other[1..])).max(at(&one[1..], other))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_janus_leaves_when_it_is_killed_is_announced_as_far_as_it_goes() {
    let stage = Stage::new().await;
    let mut janus = Janus::start(&stage.recordings()).await;
    let packets = Encoder::packets(&words()).unwrap();
    let running = Running::of(stage.recorder(LONG));
    {
        let mut neil = janus.speaker(stage.neil.0, stage.group.0).await;
        neil.press().await;
        // Said three times: Janus writes blocks of 4096 bytes.
        for _ in 0..3 {
            neil.voice.talk(neil.ear, packets.iter().map(Vec::as_slice)).await.unwrap();
        }
    }
    janus.kill();
    let [left] = &stage.files("")[..] else { panic!("{:?}", stage.files("")) };
    assert!(left.ends_with(".mjr.tmp"), "{left}");
    // Nobody knows yet that Janus is gone, and it may go on.
    eventually("the recorder has looked", async || running.readiness.is_ready().then_some(())).await;
    assert_eq!(stage.announced(), []);

    let again = Janus::start(&stage.recordings()).await;
    running.wake.janus_began(Clock::system().now_ms());
    let burst = stage.until_announced(1).await.remove(0);
    assert!(burst.cut);
    let sent_ms = packets.len() as u64 * 60;
    assert!((500..=sent_ms).contains(&burst.duration_ms), "{} of {sent_ms} ms", burst.duration_ms);
    let (_, heard) = stage.heard(&burst).await;
    assert!(heard.length_ms().abs_diff(burst.duration_ms) <= 100 && heard.loudness() > 0.01, "{} ms", heard.length_ms());

    // The new one records on.
    let mut neil = again.speaker(stage.neil.0, stage.group.0).await;
    neil.burst(&packets).await;
    let bursts = stage.until_announced(2).await;
    assert!(!bursts[1].cut && bursts[1].id != bursts[0].id);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_is_written_to_for_longer_than_a_burst_lasts_is_announced_too() {
    let stage = Stage::new().await;
    let whole = super::scene::tone(1_000);
    let left = stage.recordings().join(format!("{}.tmp", stage.name(stage.neil, 1)));
    fs::write(&left, &whole[..whole.len() * 2 / 3]).unwrap();
    let old = UNIX_EPOCH + Duration::from_millis(Clock::system().now_ms()) - Duration::from_secs(61);
    fs::File::options().append(true).open(&left).unwrap().set_modified(old).unwrap();
    // Another one is written just now.
    fs::write(stage.recordings().join(format!("{}.tmp", stage.name(stage.neil, 2))), &whole[..whole.len() / 2]).unwrap();
    let running = Running::of(stage.recorder(Duration::from_secs(60)));
    let burst = stage.until_announced(1).await.remove(0);
    assert!(burst.cut && (500..1_000).contains(&burst.duration_ms), "{burst:?}");
    let there = async || (stage.files("done").len() == 1).then_some(());
    eventually("it is put away", there).await;
    assert_eq!((stage.files(""), stage.announced().len()), (vec![format!("{}.tmp", stage.name(stage.neil, 2))], 1));
    running.stop().await;
}
