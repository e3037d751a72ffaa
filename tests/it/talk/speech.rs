//! Real speech at the command line, by a real Janus, to those it is for.

use std::io::Cursor;

use roger::audio::{Decoder, OggOpus, Pcm};
use roger::model::{GroupId, TopicId, UserId};
use roger::proto::v1::TalkNotice;

use super::cli::Terminal;
use super::scene::{Scene, all, talk};
use crate::messages::Radio;
use crate::support::company::Somebody;
use crate::support::fleet::FleetOptions;
use crate::support::janus::Janus;
use crate::support::sound::{is_said, spoken, words};

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
    let talkers = [(neil, "air", "Front_Center"), (buzz, "air", "Front_Right"), (mike, "ground", "Side_Left")];
    let terminals = talkers.map(|(who, ..)| Terminal::of(&scene, who));
    for (terminal, (_, group, _)) in terminals.iter().zip(talkers) {
        terminal.run(&["room", group]).succeeded();
    }
    for (terminal, (_, _, text)) in terminals.iter().zip(talkers) {
        terminal.run(&["talk", spoken(text).to_str().unwrap(), "--json"]).succeeded();
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
        for (notice, (_, _, text)) in notices.iter().zip(expected) {
            let said = words(text);
            assert!(notice.duration_ms.abs_diff(said.length_ms()) <= 100, "{} of {} ms", notice.duration_ms, said.length_ms());
            is_said(&heard(&scene, who, notice).await, &said);
        }
    }
}
