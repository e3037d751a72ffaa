//! What Janus puts onto its list.

use std::time::Duration;

use roger::model::{GroupId, TopicId, UserId};
use roger::proto::v1;

use super::scene::{LIST, Scene, all, burst, enveloped, files, talk};
use crate::messages::hello;
use crate::support::eventually;
use crate::support::fleet::FleetOptions;

fn file(number: usize) -> String {
    format!("group1/M00/{number}.mp3")
}

async fn goes_to_whom_it_is_for(options: FleetOptions) {
    let scene = Scene::with(options).await;
    let (air, ground) = (TopicId::room(GroupId(scene.air)), TopicId::room(GroupId(scene.ground)));
    let desk_of = |who: u64| TopicId::inbox(UserId(who));
    let mut neil = scene.on(0, &scene.radios[0]).await;
    let mut buzz = scene.on(1, &scene.radios[1]).await;
    let mut mike = scene.on(0, &scene.radios[2]).await;
    let mut first = scene.on(1, &scene.first).await;
    let mut second = scene.on(0, &scene.second).await;
    let mut stranger = scene.on(1, &scene.stranger).await;
    scene.enter(0, &mut neil, scene.air).await;
    scene.enter(1, &mut buzz, scene.air).await;
    scene.enter(0, &mut mike, scene.ground).await;
    // A dispatcher may sit in the room as well, and hears it there then, and once.
    scene.enter(0, &mut second, scene.air).await;

    // Bare and in an envelope; and one of the two twice, once in another shape.
    let (one, two) = (burst(scene.radios[0].id, scene.air, 1), burst(scene.radios[2].id, scene.ground, 2));
    scene.push(&[
        r#"{"info":"init"}"#.to_owned(),
        one.to_string(),
        enveloped(&two).to_string(),
        enveloped(&one).to_string(),
        one.to_string(),
    ]);
    for (radio, topic, expected) in
        [(&mut neil, air, 1), (&mut buzz, air, 1), (&mut mike, ground, 2), (&mut second, air, 1), (&mut first, desk_of(scene.first.id), 2)]
    {
        radio.until("the talk", |heard| files(heard, topic).contains(&file(expected)).then_some(())).await;
    }
    let said = talk(&neil.heard, air).remove(0);
    assert_eq!((said.group_id, said.speaker_id, said.md5.as_str()), (scene.air, scene.radios[0].id, "md5"));
    assert_eq!((said.spoken_ms, said.duration_ms, said.nickname.as_str()), (1_700_000_001_000, 1_500, "237518"));

    // Who goes is not told what comes after, and who comes not what was before; who is off the air gets it on coming back.
    scene.enter(1, &mut buzz, 0).await;
    drop(neil);
    let three = burst(scene.radios[0].id, scene.air, 3);
    scene.push(&[three.to_string()]);
    second.until("the third", |heard| files(heard, air).contains(&file(3)).then_some(())).await;
    scene.enter(0, &mut mike, scene.air).await;
    let mut neil = scene.on(1, &scene.radios[0]).await;
    neil.until("what was missed", |heard| files(heard, air).contains(&file(3)).then_some(())).await;
    scene.push(&[burst(scene.radios[1].id, scene.air, 4).to_string()]);
    for radio in [&mut mike, &mut neil, &mut second] {
        radio.until("the fourth", |heard| files(heard, air).contains(&file(4)).then_some(())).await;
    }
    first.until("all four", |heard| (all(heard).len() == 4).then_some(())).await;
    for radio in [&mut neil, &mut buzz, &mut mike, &mut first, &mut second, &mut stranger] {
        radio.beat().await;
    }
    let once = |numbers: &[usize], topic: TopicId| numbers.iter().map(|number| (file(*number), vec![topic])).collect::<Vec<_>>();
    let heard = |radio: &crate::messages::Radio| all(&radio.heard).into_iter().collect::<Vec<_>>();
    assert_eq!(heard(&buzz), once(&[1], air));
    assert_eq!(heard(&second), once(&[1, 3, 4], air));
    assert_eq!(heard(&first), once(&[1, 2, 3, 4], desk_of(scene.first.id)));
    assert_eq!(heard(&stranger), []);
    let mut mikes = once(&[2], ground);
    mikes.extend(once(&[4], air));
    assert_eq!(heard(&mike), mikes);
    assert_eq!(scene.letters(), []);
    // Nothing is left behind.
    for key in [LIST, "{janusImUrlList}:hand", "{janusImUrlList}:in"] {
        let length = if key.ends_with("in") { "XLEN" } else { "LLEN" };
        eventually(&format!("{key} is empty"), async || (scene.fleet.redis.cli(&[length, key]).trim() == "0").then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_goes_once_to_who_is_in_the_room_and_to_the_dispatchers_of_the_group() {
    goes_to_whom_it_is_for(FleetOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_goes_once_to_whom_it_is_for_on_mariadb() {
    goes_to_whom_it_is_for(Scene::on_mariadb()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_understands_is_a_dead_letter_by_name_and_holds_up_nobody() {
    let scene = Scene::with(FleetOptions::default()).await;
    let air = TopicId::room(GroupId(scene.air));
    let mut neil = scene.on(0, &scene.radios[0]).await;
    scene.enter(0, &mut neil, scene.air).await;
    let speaker = scene.radios[0].id;
    let with = |field: &str, value: &str| {
        let mut item = burst(speaker, scene.air, 9);
        item[field] = value.into();
        item.to_string()
    };
    let bad = [
        ("not json".to_owned(), "the item is no JSON object"),
        (r#"{"msg_type":2,"signal_msg":{"signal_type":1}}"#.to_owned(), "a reply, and nobody asked"),
        (r#"{"msg_type":7}"#.to_owned(), "msg_type 7 is none of 1 (recording), 2 (reply), 3 (quality)"),
        (with("grp_id", "999999"), "grp_id is no group"),
        (with("uid", "999999"), "uid is no account"),
        (with("uid", &scene.stranger.id.to_string()), "uid and grp_id are of two companies"),
        (with("timestamp", "soon"), "timestamp has to be a time in seconds since 1970"),
        (with("file_path", ""), "file_path is missing"),
    ];
    let quality = r#"{"msg_type":3,"quality_msg":{"user_id":7,"rtt":20}}"#.to_owned();
    let mut items: Vec<String> = bad.iter().map(|(item, _)| item.clone()).collect();
    items.extend([quality, burst(speaker, scene.air, 1).to_string()]);
    scene.push(&items);
    neil.until("the good one", |heard| files(heard, air).contains(&file(1)).then_some(())).await;
    let expected: Vec<(String, String)> = bad.into_iter().map(|(item, why)| (item, why.to_owned())).collect();
    // They are filed behind what is announced.
    let mut letters = eventually("the dead letters", async || Some(scene.letters()).filter(|found| found.len() >= expected.len())).await;
    letters.sort();
    let mut sorted = expected;
    sorted.sort();
    assert_eq!(letters, sorted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_sql_is_away_waits_and_an_emptied_redis_makes_nothing_new_of_a_repeat() {
    let scene = Scene::with(Scene::on_mariadb()).await;
    let inbox = TopicId::inbox(UserId(scene.first.id));
    let speaker = scene.radios[0].id;
    let mut first = scene.on(0, &scene.first).await;
    let mariadb = scene.fleet.mariadb.as_ref().unwrap();
    mariadb.stop();
    scene.push(&[burst(speaker, scene.air, 1).to_string()]);
    // Nothing says that it waits but that it is still there.
    let waits = || async { (scene.fleet.redis.cli(&["XLEN", "{janusImUrlList}:in"]).trim() == "1").then_some(()) };
    eventually("it waits on the stream", waits).await;
    mariadb.resume();
    first.until("what waited", |heard| (files(heard, inbox) == [file(1)]).then_some(())).await;
    drop(first);

    scene.fleet.redis.flushall();
    scene.push(&[burst(speaker, scene.air, 1).to_string(), burst(speaker, scene.air, 2).to_string()]);
    let mut again = eventually("a session after the loss", async || {
        let mut radio = crate::messages::Radio::open(&scene.fleet.edge(1), hello(&scene.first.login, 7)).await.ok()?;
        radio.follows(inbox).await;
        Some(radio)
    })
    .await;
    again.until("the other one", |heard| files(heard, inbox).contains(&file(2)).then_some(())).await;
    again.beat().await;
    assert_eq!(files(&again.heard, inbox).iter().filter(|told| **told == file(2)).count(), 1);
    assert!(files(&again.heard, inbox).iter().filter(|told| **told == file(1)).count() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_front_of_what_waits_for_sql_is_one_dead_letter() {
    let overrides = vec![("log.level", "\"debug\"".to_owned())];
    let mut scene = Scene::with(FleetOptions { overrides, ..Scene::on_mariadb() }).await;
    let inbox = TopicId::inbox(UserId(scene.first.id));
    let mut first = scene.on(0, &scene.first).await;
    scene.fleet.mariadb.as_ref().unwrap().stop();
    scene.push(&["garbage".to_owned(), burst(scene.radios[0].id, scene.air, 1).to_string()]);
    // At least twice.
    scene.fleet.program("janus-0").wait_for_log("serving a shard failed again");
    scene.fleet.mariadb.as_ref().unwrap().resume();
    first.until("what waited", |heard| (files(heard, inbox) == [file(1)]).then_some(())).await;
    let letters = || async { (!scene.letters().is_empty()).then_some(()) };
    eventually("the garbage is told of", letters).await;
    assert_eq!(scene.letters(), [("garbage".to_owned(), "the item is no JSON object".to_owned())]);
}

mod long {
    use super::*;

    /// How many bursts; a tenth of them come twice, a tenth are garbage.
    const BURSTS: usize = 3_000;

    #[tokio::test(flavor = "multi_thread")]
    async fn janus_killed_again_and_again_loses_and_repeats_nothing() {
        let mut scene = Scene::with(Scene::on_mariadb()).await;
        let air = TopicId::room(GroupId(scene.air));
        let mut neil = scene.on(0, &scene.radios[0]).await;
        scene.enter(0, &mut neil, scene.air).await;
        let mut items: Vec<String> = (1..=BURSTS).map(|number| burst(scene.radios[1].id, scene.air, number).to_string()).collect();
        items.extend((1..=BURSTS).step_by(10).map(|number| enveloped(&burst(scene.radios[1].id, scene.air, number)).to_string()));
        items.extend((1..=BURSTS).step_by(10).map(|number| format!("garbage {number}")));
        // In no order that anybody could rely on, and yet the same each time.
        items.sort_by_key(|item| xxhash_rust::xxh3::xxh3_64(item.as_bytes()));
        for (round, items) in items.chunks(400).enumerate() {
            scene.push(items);
            // At another moment of its work each time.
            tokio::time::sleep(Duration::from_millis(37 * (round as u64 % 5))).await;
            scene.fleet.kill9("janus-0");
            scene.fleet.relaunch("janus-0");
        }
        // As a radio does: it gets more once it has said what it has.
        let mut marked = 0;
        while marked < BURSTS {
            let heard = neil.until("more bursts", |heard| Some(files(heard, air).len()).filter(|count| *count > marked)).await;
            marked = heard;
            let last = neil.heard.entries.iter().rfind(|entry| entry.topic == Some(air.into())).unwrap();
            neil.mark(air, v1::Place { epoch: last.epoch, seq: last.seq }).await;
        }
        // Some may be there twice, of those over which it was killed.
        let items = || scene.letters().into_iter().map(|(item, _)| item).collect::<std::collections::BTreeSet<_>>();
        let garbage = || async { (items().len() >= BURSTS / 10).then_some(()) };
        eventually("the garbage is told of", garbage).await;
        neil.beat().await;
        let mut came = files(&neil.heard, air);
        assert_eq!(came.len(), BURSTS);
        came.sort_unstable();
        came.dedup();
        assert_eq!(came.len(), BURSTS, "some came twice");
        // Numbers are in the order of the items.
        assert!(talk(&neil.heard, air).is_sorted_by_key(|said| said.recording_id));
        let mut letters: Vec<String> = scene.letters().into_iter().map(|(item, _)| item).collect();
        letters.sort();
        letters.dedup();
        assert_eq!(letters.len(), BURSTS / 10);
    }
}
