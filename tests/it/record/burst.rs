//! What is said into a real Janus.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use md5::{Digest as _, Md5};
use roger::audio::Encoder;
use roger::clock::Clock;
use roger::model::{FilePurpose, TopicId};

use super::scene::{Running, Stage};
use super::speaker::Speaker;
use crate::support::eventually;
use crate::support::janus::Janus;
use crate::support::sound::{is_said, words};

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn spoken_words_become_a_file_that_plays_and_one_announcement() {
    let stage = Stage::new().await;
    let janus = Janus::start();
    let running = Running::of(stage.recorder(LONG));
    let mut neil = Speaker::new(&janus, &stage).await;
    // Pressed and let go without a word: nothing to tell of.
    neil.press().await;
    neil.release().await;
    let words = words("Front_Center");
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
    is_said(&heard, &words);

    let nothing = async || (stage.files("").is_empty() && stage.files("work").is_empty()).then_some(());
    eventually("nothing is left in the folder", nothing).await;
    assert_eq!((stage.files("done").len(), stage.files("bad").len(), stage.announced().len()), (1, 0, 1));
    assert_eq!(stage.letters().await, [""; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_janus_leaves_when_it_is_killed_is_announced_as_far_as_it_goes() {
    let stage = Stage::new().await;
    let mut janus = Janus::start();
    let packets = Encoder::packets(&words("Front_Center")).unwrap();
    let running = Running::of(stage.recorder(LONG));
    {
        let mut neil = Speaker::new(&janus, &stage).await;
        neil.press().await;
        // Said three times: Janus writes blocks of 4096 bytes.
        for _ in 0..3 {
            neil.say(&packets).await;
        }
    }
    janus.kill();
    let [left] = &stage.files("")[..] else { panic!("{:?}", stage.files("")) };
    assert!(left.ends_with(".mjr.tmp"), "{left}");
    // Nobody knows yet that Janus is gone, and it may go on.
    eventually("the recorder has looked", async || running.readiness.is_ready().then_some(())).await;
    assert_eq!(stage.announced(), []);

    janus.restart();
    running.wake.janus_began(Clock::system().now_ms());
    let burst = stage.until_announced(1).await.remove(0);
    assert!(burst.cut);
    let sent_ms = packets.len() as u64 * 60;
    assert!((500..=sent_ms).contains(&burst.duration_ms), "{} of {sent_ms} ms", burst.duration_ms);
    let (_, heard) = stage.heard(&burst).await;
    assert!(heard.length_ms().abs_diff(burst.duration_ms) <= 100 && heard.loudness() > 0.01, "{} ms", heard.length_ms());

    // The new one records on.
    let mut neil = Speaker::new(&janus, &stage).await;
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
