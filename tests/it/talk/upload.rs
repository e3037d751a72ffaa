//! What is said without a media server: handed to the gateway, heard by those who were in the room.

use reqwest::{Client, Response, StatusCode};
use roger::audio::{Decoder, Encoder, OggOpus, Pcm};
use roger::model::{GroupId, TopicId, UserId};

use super::scene::{Scene, all, talk};
use crate::support::company::Somebody;
use crate::support::eventually;
use crate::support::fleet::FleetOptions;

fn opus(ms: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    OggOpus { packets: Encoder::packets(&Pcm::tone(440.0, ms)).unwrap() }.write(&mut bytes).unwrap();
    bytes
}

struct Door {
    http: Client,
    url: String,
}

impl Door {
    fn of(scene: &Scene) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        Self { http: Client::new(), url: format!("http://{}", scene.fleet.gateway()) }
    }

    async fn talk(&self, who: &Somebody, query: &str, body: Vec<u8>) -> Response {
        self.http.post(format!("{}/talk?{query}", self.url)).bearer_auth(who.token()).body(body).send().await.unwrap()
    }

    /// Once SQL knows in which room they are.
    async fn taken(&self, who: &Somebody, query: &str, body: &[u8]) -> serde_json::Value {
        let taken = async || {
            let answer = self.talk(who, query, body.to_vec()).await;
            (answer.status() != StatusCode::CONFLICT).then_some(answer)
        };
        let answer = eventually("the upload", taken).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_is_uploaded_is_heard_once_by_those_who_were_in_the_room() {
    let scene = Scene::with(FleetOptions { gateway: true, ..FleetOptions::default() }).await;
    let (air, room) = (scene.air, TopicId::room(GroupId(scene.air)));
    let [neil, buzz, mike] = [0, 1, 2].map(|radio| &scene.radios[radio]);
    let mut speaker = scene.on(0, neil).await;
    let mut here = scene.on(1, buzz).await;
    let mut gone = scene.on(0, mike).await;
    let mut desk = scene.on(1, &scene.first).await;
    let mut late = scene.on(1, &scene.second).await;
    for (edge, radio) in [(0, &mut speaker), (1, &mut here), (0, &mut gone)] {
        scene.enter(edge, radio, air).await;
    }
    // It was said while three were there; then one goes, and somebody comes.
    let said_ms = roger::clock::Clock::system().now_ms();
    scene.enter(0, &mut gone, scene.ground).await;
    scene.enter(1, &mut late, air).await;

    let door = Door::of(&scene);
    let query = format!("group={air}&burst=b-1&said_ms={said_ms}");
    let stored = door.taken(neil, &query, &opus(640)).await;
    assert_eq!(stored["duration_ms"], 640);
    let again = door.talk(neil, &query, opus(640)).await;
    assert_eq!(again.json::<serde_json::Value>().await.unwrap()["id"], stored["id"]);
    let file = format!("/files/{}", stored["id"].as_str().unwrap());

    // Somebody was not there: for each who was, it comes into the inbox.
    for (radio, who) in [(&mut speaker, neil), (&mut here, buzz), (&mut gone, mike), (&mut desk, &scene.first), (&mut late, &scene.second)]
    {
        // The one who came late is a dispatcher of the group, who hears all of it.
        let inbox = TopicId::inbox(UserId(who.id));
        radio.until("the burst", |heard| talk(heard, inbox).first().cloned()).await;
        radio.beat().await;
        assert_eq!(all(&radio.heard).get(&file), Some(&vec![inbox]), "{who:?}");
    }
    let notice = talk(&here.heard, TopicId::inbox(UserId(buzz.id))).remove(0);
    assert_eq!((notice.group_id, notice.speaker_id, notice.duration_ms, notice.spoken_ms), (air, neil.id, 640, said_ms));
    let answer = door.http.get(format!("{}{file}", door.url)).bearer_auth(buzz.token()).send().await.unwrap();
    let heard = OggOpus::read_from(std::io::Cursor::new(answer.bytes().await.unwrap()), "the answer".as_ref()).unwrap();
    assert!(Decoder::sound(heard.packets.iter().map(Vec::as_slice)).unwrap().loudness() > 0.1);

    // Said now, it is for who is there now.
    let stored = door.taken(neil, &format!("group={air}&burst=b-2"), &opus(100)).await;
    let file = format!("/files/{}", stored["id"].as_str().unwrap());
    late.until("the next burst", |heard| talk(heard, room).first().cloned()).await;
    here.until("the next burst", |heard| talk(heard, room).first().cloned()).await;
    gone.beat().await;
    assert!(!all(&gone.heard).contains_key(&file));
    assert_eq!(scene.letters(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_burst_of_the_caller_s_room_is_refused_by_name() {
    let scene =
        Scene::with(FleetOptions { gateway: true, overrides: vec![("floor.burst_ms", "1000".to_owned())], ..FleetOptions::default() })
            .await;
    let (air, neil, buzz) = (scene.air, &scene.radios[0], &scene.radios[1]);
    let mut speaker = scene.on(0, neil).await;
    scene.enter(0, &mut speaker, air).await;
    let door = Door::of(&scene);
    door.taken(neil, &format!("group={air}&burst=b-1"), &opus(1_000)).await;
    let now_ms = roger::clock::Clock::system().now_ms();
    let (old, ahead) = (now_ms - 86_500_000, now_ms + 120_000);
    let whole = opus(1_000);
    let checks = [
        (neil, format!("group={air}"), &whole[..], 422, "field_missing", "burst"),
        (neil, format!("group={air}&burst=../b"), &whole, 400, "field_invalid", "burst"),
        (neil, "group=x&burst=b".to_owned(), &whole, 400, "field_invalid", "group"),
        (neil, format!("group={air}&burst=b&said_ms={old}"), &whole, 400, "field_invalid", "said_ms"),
        (neil, format!("group={air}&burst=b&said_ms={ahead}"), &whole, 400, "field_invalid", "said_ms"),
        (neil, format!("group={}&burst=b", scene.ground), &whole, 403, "not_member", "group"),
        (&scene.stranger, format!("group={air}&burst=b"), &whole, 403, "not_member", "group"),
        (buzz, format!("group={air}&burst=b"), &whole, 409, "not_in_room", "group"),
        (neil, format!("group={air}&burst=b"), &b"RIFF"[..], 422, "not_opus", "body"),
        (neil, format!("group={air}&burst=b"), &whole[..whole.len() - 1], 422, "not_opus", "body"),
        (neil, format!("group={air}&burst=b"), &opus(1_220), 413, "too_long", "body"),
        (neil, format!("group={air}&burst=b-1"), &opus(400), 409, "burst_reused", "burst"),
    ];
    for (who, query, body, status, reason, field) in checks {
        let answer = door.talk(who, &query, body.to_vec()).await;
        let code = answer.status().as_u16();
        let refusal: serde_json::Value = answer.json().await.unwrap();
        assert_eq!((code, refusal["reason"].as_str(), refusal["field"].as_str()), (status, Some(reason), Some(field)), "{query}");
    }
    // And by the command line, into the room that it enters.
    let mut other = scene.on(1, buzz).await;
    scene.enter(1, &mut other, air).await;
    let terminal = super::cli::Terminal::of(&scene, neil);
    let said = terminal.run(&["talk", "--tone", "--upload", "--json"]).succeeded().json();
    assert_eq!(said["duration_ms"], 1_000);
    let room = TopicId::room(GroupId(air));
    other.until("what was handed over", |heard| (talk(heard, room).last()?.duration_ms == 1_000).then_some(())).await;
}
