//! What is no recording, and what is not there.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use roger::jobs::record::Step;
use roger::model::UserId;

use super::scene::{Running, Stage, tone};
use crate::support::eventually;

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_recording_is_a_dead_letter_by_name_and_holds_up_nobody() {
    let stage = Stage::new().await;
    let (group, neil) = (stage.group, stage.neil);
    let other_codec: Vec<u8> = {
        let bytes = tone(20);
        let at = bytes.windows(4).position(|window| window == b"opus").unwrap();
        [&bytes[..at], b"pcmu", &bytes[at + 4..]].concat()
    };
    let bad = [
        (stage.name(neil, 1), b"garbage".to_vec(), "it does not begin with MJR00002"),
        (
            stage.name(neil, 2),
            b"MJR00002\0\x02{}".to_vec(),
            "its head is no JSON with a codec \"c\" and times \"s\" and \"u\": missing field",
        ),
        (stage.name(neil, 3), other_codec, "its codec is \"pcmu\", and has to be opus"),
        (stage.name(UserId(999_999), 4), tone(20), "uid is no account"),
        (stage.name(stage.alexei, 5), tone(20), "uid and grp_id are of two companies"),
        (stage.name(neil, 6).replace(&format!("-{group}-"), "-999999-"), tone(20), "grp_id is no group"),
        ("holiday.mjr".to_owned(), tone(20), "its name is not audiobridge-GROUP-user-USER-MICROSECONDS-audio.mjr, as Janus gives it"),
    ];
    for (name, content, _) in &bad {
        stage.record(name, content);
    }
    // Empty bursts, as Janus leaves them, and one behind all of that.
    stage.record(&stage.name(neil, 7), b"MJR00002");
    stage.record(&stage.name(neil, 8), b"");
    stage.record(&stage.name(neil, 9), &tone(300));
    let running = Running::of(stage.recorder(LONG));
    let burst = stage.until_announced(1).await.remove(0);
    assert_eq!(burst.duration_ms, 300);
    eventually("it is put away", async || stage.files("").is_empty().then_some(())).await;
    let mut names: Vec<_> = bad.iter().map(|(name, ..)| name.clone()).collect();
    names.sort();
    assert_eq!((stage.files("bad"), stage.files("done").len()), (names, 1));
    let letters = stage.letters().await;
    assert_eq!(letters.len(), bad.len(), "{letters:?}");
    for (name, _, why) in &bad {
        assert!(letters.iter().any(|letter| letter.starts_with(&format!("{name}: {why}"))), "{name}: {letters:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for_and_said() {
    let stage = Stage::new().await;
    let name = stage.name(stage.neil, 1);
    // A device that is always full, where the converted recording should be written.
    let part = stage.recordings().join("work").join(name.replace(".mjr", ".part.opus"));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    symlink("/dev/full", &part).unwrap();
    stage.record(&name, &tone(400));
    let running = Running::of(stage.recorder(LONG));
    let said = async || running.readiness.waits_for().iter().any(|text| text.contains("room in the folder of recordings")).then_some(());
    eventually("it says that there is no room", said).await;
    assert_eq!((stage.files(""), stage.announced().len(), stage.letters().await.len()), (vec![name], 0, 0));
    fs::remove_file(&part).unwrap();
    assert_eq!(stage.until_announced(1).await[0].duration_ms, 400);
    eventually("it is ready again", async || running.readiness.is_ready().then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_cannot_be_written_are_waited_for() {
    let stage = Stage::new().await;
    let recorder = stage.recorder(LONG);
    // Where the folder of files should be made is a file.
    let blocked = stage.objects().join("files");
    fs::write(&blocked, b"").unwrap();
    stage.record(&stage.name(stage.neil, 1), &tone(400));
    let running = Running::of(recorder);
    let said = async || running.readiness.waits_for().iter().any(|text| text.contains("the place for objects")).then_some(());
    eventually("it says that objects cannot be written", said).await;
    assert_eq!((stage.files("").len(), stage.announced().len()), (1, 0));
    fs::remove_file(&blocked).unwrap();
    stage.until_announced(1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_recorder_of_the_folder_waits_until_the_first_is_gone() {
    let stage = Stage::new().await;
    let first = Running::of(stage.recorder(LONG));
    eventually("the first works", async || first.readiness.is_ready().then_some(())).await;
    let died = std::sync::Arc::new(|step: Step| panic!("{step:?} by the second"));
    let second = Running::of(stage.recorder(LONG).with_hook(died));
    let waits = async || second.readiness.waits_for().iter().any(|text| text.contains("the other program")).then_some(());
    eventually("the second says what it waits for", waits).await;
    stage.record(&stage.name(stage.neil, 1), &tone(100));
    stage.until_announced(1).await;
    // Stopped before it has put the recording away, the first would leave it to the second.
    eventually("it is put away", async || stage.files("").is_empty().then_some(())).await;
    first.stop().await;
    eventually("the second works", async || second.readiness.is_ready().then_some(())).await;
    second.stop().await;
}
