//! From the folder of Janus to radios, dispatchers and their downloads.

use std::fs;

use reqwest::StatusCode;
use roger::audio::OggOpus;
use roger::model::{GroupId, TopicId, UserId};

use super::scene::{files as names, tone};
use crate::support::company::Somebody;
use crate::support::eventually;
use crate::support::fleet::FleetOptions;
use crate::talk::scene::{Scene, files, talk};

/// How many recordings the fleet gets.
const RECORDINGS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn recordings_reach_radios_and_dispatchers_once_and_only_they_can_download_them() {
    let folder = tempfile::Builder::new().prefix("roger-rec-").tempdir().unwrap();
    let recordings = ("janus.recordings_dir", format!("{:?}", folder.path()));
    let mut scene = Scene::with(FleetOptions { gateway: true, overrides: vec![recordings], ..FleetOptions::default() }).await;
    let air = TopicId::room(GroupId(scene.air));
    let mut neil = scene.on(0, &scene.radios[0]).await;
    scene.enter(0, &mut neil, scene.air).await;
    let mut first = scene.on(1, &scene.first).await;

    for number in 1..=RECORDINGS {
        let name =
            format!("audiobridge-{}-user-{}-{}-audio.mjr", scene.air, scene.radios[1].id, 1_700_000_000_000_000 + number * 1_000_000);
        fs::write(folder.path().join("new"), tone(100 + number * 20)).unwrap();
        fs::rename(folder.path().join("new"), folder.path().join(name)).unwrap();
        if number % 4 == 0 {
            // In the middle of whatever it does.
            scene.fleet.kill9("janus-0");
            scene.fleet.relaunch("janus-0");
        }
    }
    let all = RECORDINGS as usize;
    neil.until("all of them", |heard| (files(heard, air).len() >= all).then_some(())).await;
    let desk = TopicId::inbox(UserId(scene.first.id));
    first.until("all of them", |heard| (files(heard, desk).len() >= all).then_some(())).await;
    let away = async || (names(folder.path()).is_empty() && names(&folder.path().join("done")).len() == all).then_some(());
    eventually("all are put away", away).await;
    neil.beat().await;
    let said = talk(&neil.heard, air);
    let mut lengths: Vec<u64> = said.iter().map(|notice| notice.duration_ms).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, (1..=RECORDINGS).map(|number| 100 + number * 20).collect::<Vec<_>>());
    assert!(said.iter().all(|notice| !notice.cut));
    assert_eq!(scene.letters(), []);

    let get = async |who: &Somebody, path: &str| {
        let url = format!("http://{}{path}", scene.fleet.gateway());
        reqwest::Client::new().get(url).bearer_auth(who.token()).send().await.unwrap()
    };
    drop(rustls::crypto::ring::default_provider().install_default());
    // A member, the speaker, a dispatcher who is a member, and the one whose group it is.
    for who in [&scene.radios[0], &scene.radios[1], &scene.second, &scene.first] {
        let answer = get(who, &said[0].file).await;
        assert_eq!((answer.status(), answer.headers()["content-type"].to_str().unwrap()), (StatusCode::OK, "audio/ogg"), "{who:?}");
        let copy = folder.path().join("copy.opus");
        fs::write(&copy, answer.bytes().await.unwrap()).unwrap();
        assert_eq!(OggOpus::read(&copy).unwrap().length_ms(), Ok(said[0].duration_ms));
    }
    assert_eq!(get(&scene.stranger, &said[0].file).await.status(), StatusCode::NOT_FOUND);
}
