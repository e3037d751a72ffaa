//! Real speech at the command line, by a real Janus, to those it is for.

use std::io::Cursor;

use roger::audio::{Decoder, FRAME_SAMPLES, OggOpus, Pcm};
use roger::model::{GroupId, TopicId, UserId};
use roger::proto::v1::TalkNotice;

use super::cli::{Terminal, spoken};
use super::scene::{Scene, all, talk};
use crate::messages::Radio;
use crate::support::company::Somebody;
use crate::support::fleet::FleetOptions;
use crate::support::janus::Janus;

/// By how many frames of 20 ms what is heard may begin later or earlier than what was said.
const SHIFT_MAX: usize = 10;

/// How loud each 20 ms of it are.
fn envelope(sound: &Pcm) -> Vec<f32> {
    sound
        .samples
        .chunks(FRAME_SAMPLES)
        .map(|frame| (frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len() as f32).sqrt())
        .collect()
}

/// How alike two of them are, from -1 to 1.
fn alike(one: &[f32], other: &[f32]) -> f32 {
    let count = one.len().min(other.len()) as f32;
    let mean = |values: &[f32]| values.iter().take(count as usize).sum::<f32>() / count;
    let (mine, theirs) = (mean(one), mean(other));
    let pairs = || one.iter().zip(other).map(|(one, other)| (one - mine, other - theirs));
    let both: f32 = pairs().map(|(one, other)| one * other).sum();
    let each: f32 = pairs().map(|(one, _)| one * one).sum::<f32>() * pairs().map(|(_, other)| other * other).sum::<f32>();
    both / each.sqrt()
}

/// Whether somebody could understand what was said: as loud, as long, and loud when that was.
fn check(said: &Pcm, heard: &Pcm) {
    assert!(heard.length_ms().abs_diff(said.length_ms()) <= 100, "{} of {} ms", heard.length_ms(), said.length_ms());
    let louder = heard.loudness() / said.loudness();
    assert!((0.7..1.3).contains(&louder), "{louder} times as loud");
    let (said, heard) = (envelope(said), envelope(heard));
    let shifted = (0..=SHIFT_MAX).flat_map(|by| [alike(&said[by..], &heard), alike(&said, &heard[by..])]);
    let best = shifted.fold(f32::MIN, f32::max);
    assert!(best > 0.85, "its loudness follows what was said by {best}");
    // Noise of the same length would not.
    let noise: Vec<f32> = (0..said.len()).map(|at| (at as f32 * 12.9898).sin().abs()).collect();
    assert!(alike(&said, &noise) < 0.5);
}

async fn heard(scene: &Scene, who: &Somebody, notice: &TalkNotice) -> Pcm {
    drop(rustls::crypto::ring::default_provider().install_default());
    let url = format!("http://{}{}", scene.fleet.gateway(), notice.file);
    let answer = reqwest::Client::new().get(url).bearer_auth(who.token()).send().await.unwrap();
    let file = OggOpus::read_from(Cursor::new(answer.error_for_status().unwrap().bytes().await.unwrap()), "the answer".as_ref()).unwrap();
    Decoder::sound(file.packets.iter().map(Vec::as_slice)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_devices_in_two_groups_are_heard_by_exactly_their_rooms_and_desks() {
    let janus = Janus::start();
    let scene = Scene::with(FleetOptions { gateway: true, overrides: janus.overrides(), ..FleetOptions::default() }).await;
    let [neil, buzz, mike] = [0, 1, 2].map(|radio| &scene.radios[radio]);
    let (air, ground) = (TopicId::room(GroupId(scene.air)), TopicId::room(GroupId(scene.ground)));
    // Of the dispatchers one is on the air, in the room; the other one is at home.
    let mut second = scene.on(0, &scene.second).await;
    scene.enter(0, &mut second, scene.air).await;
    let talkers = [(neil, "air", "Front_Left"), (buzz, "air", "Front_Right"), (mike, "ground", "Rear_Center")];
    let terminals = talkers.map(|(who, ..)| Terminal::of(&scene, who));
    for (terminal, (_, group, _)) in terminals.iter().zip(talkers) {
        terminal.run(&["room", group]).succeeded();
    }
    for (terminal, (_, _, words)) in terminals.iter().zip(talkers) {
        terminal.run(&["talk", &spoken(words), "--json"]).succeeded();
    }

    let inbox = |who: &Somebody| TopicId::inbox(UserId(who.id));
    let everybody = [
        (neil, air, &talkers[..2]),
        (buzz, air, &talkers[..2]),
        (mike, ground, &talkers[2..]),
        (&scene.first, inbox(&scene.first), &talkers[..]),
        (&scene.stranger, inbox(&scene.stranger), &[]),
    ];
    let mut listeners: Vec<(&Somebody, TopicId, &[_], Radio)> = Vec::new();
    for (who, topic, expected) in everybody {
        listeners.push((who, topic, expected, scene.on(1, who).await));
    }
    listeners.push((&scene.second, air, &talkers[..2], second));
    for (who, topic, expected, mut radio) in listeners {
        radio.until("all that was said", |heard| (talk(heard, topic).len() >= expected.len()).then_some(())).await;
        radio.beat().await;
        let notices = talk(&radio.heard, topic);
        let speakers: Vec<u64> = notices.iter().map(|notice| notice.speaker_id).collect();
        assert_eq!(speakers, expected.iter().map(|(speaker, ..)| speaker.id).collect::<Vec<_>>(), "{who:?}");
        assert!(all(&radio.heard).values().all(|topics| *topics == [topic]), "{who:?}");
        for (notice, (_, _, words)) in notices.iter().zip(expected) {
            let said = Pcm::read_wav(spoken(words).as_ref()).unwrap();
            assert!(notice.duration_ms.abs_diff(said.length_ms()) <= 100, "{} of {} ms", notice.duration_ms, said.length_ms());
            check(&said, &heard(&scene, who, notice).await);
        }
    }
}
