//! What happens when nobody acknowledges.

use std::collections::BTreeSet;

use roger::alert::{Chain, ChainStep};
use roger::model::UserId;
use roger::proto::v1::AlertEvent;

use super::scene::{Scene, alerts, events, hears};
use crate::messages::{Heard, Radio};
use crate::support::{PATIENCE, eventually, wait_for, wait_until};
use crate::worker::handle;

const NUMBERS: [&str; 2] = ["+4712345678", "+4787654321"];

async fn with_chain(scene: &Scene, wait_ms: u64) {
    let step = ChainStep { account: UserId(scene.second.id), name: String::new(), wait_ms };
    let numbers = NUMBERS.map(str::to_owned).to_vec();
    let chain = Chain { first_wait_ms: wait_ms, steps: vec![step], numbers, text_every_ms: 10_000 };
    // The company's chain holds for its desks.
    scene.store.put_escalation(UserId(scene.company.id), Some(chain)).await.unwrap();
    let redis = handle(&scene.fleet.redis);
    let first = UserId(scene.first.id);
    let known = || async { redis.alert_desk(first).await.unwrap().filter(|desk| desk.contains("first_wait_ms")) };
    eventually("the chain is where alerts are", known).await;
}

fn own(id: u64) -> roger::model::TopicId {
    roger::model::TopicId::alert_inbox(UserId(id))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_is_told_and_then_telephones_until_somebody_has_it() {
    let scene = Scene::start().await;
    with_chain(&scene, 1_000).await;
    let (neil, mut first) = (scene.on(0, &scene.radios[0]).await, scene.on(0, &scene.first).await);
    let mut second = scene.on(1, &scene.second).await;
    scene.press(0, &neil, 1, None).await;
    let raised = hears(&mut first, own(scene.first.id), AlertEvent::Raised).await;
    let told = hears(&mut second, own(scene.second.id), AlertEvent::Escalated).await;
    assert_eq!((told.alert_id, told.by_id, told.by_name.as_str()), (raised.alert_id, scene.second.id, "second"));
    hears(&mut second, own(scene.second.id), AlertEvent::Texted).await;
    wait_until("both telephones are told", || scene.texts().len() >= 2);
    let texts = scene.texts();
    let numbers: BTreeSet<&str> = texts.iter().map(|text| text.number.as_str()).collect();
    assert_eq!(numbers, NUMBERS.into());
    assert!(texts.iter().all(|text| text.text.starts_with("SOS ") && text.text.len() <= 160), "{texts:?}");
    // Whoever was told may have it, and then nothing more happens by itself.
    scene.acknowledge(1, &second, raised.alert_id).await.unwrap();
    let held = hears(&mut first, own(scene.first.id), AlertEvent::Acknowledged).await;
    assert_eq!(held.holder_name, "second");
    let nothing_due = async || {
        let state = scene.store.alerts(true, None, 10).await.unwrap();
        (state.iter().map(|kept| kept.alert.due_ms).collect::<Vec<_>>() == [None]).then_some(())
    };
    eventually("SQL knows that nothing is due", nothing_due).await;
    let all = [AlertEvent::Raised, AlertEvent::Escalated, AlertEvent::Texted, AlertEvent::Acknowledged];
    assert_eq!(events(&first.heard, raised.alert_id), all);
}

/// How often the second one was told, and the telephones.
fn steps(heard: &Heard) -> (usize, usize) {
    let count = |event| alerts(heard).iter().filter(|(_, notice)| notice.event() == event).count();
    (count(AlertEvent::Escalated), count(AlertEvent::Texted))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_in_the_middle_neither_skips_a_step_nor_repeats_one() {
    let mut scene = Scene::start().await;
    with_chain(&scene, 1_500).await;
    let (neil, mut second): (Radio, Radio) = (scene.on(0, &scene.radios[0]).await, scene.on(1, &scene.second).await);
    scene.press(0, &neil, 1, None).await;
    // It dies again and again, all through the escalation, and each time at another moment of it.
    for death in 1..=40_u64 {
        scene.fleet.restart("sos-0");
        let life = std::time::Duration::from_millis(death * 37 % 400);
        let texted = second.until("telephones are told", |heard| (steps(heard).1 > 0).then_some(()));
        if tokio::time::timeout(life, texted).await.is_ok() {
            break;
        }
    }
    second.until("telephones are told", |heard| (steps(heard).1 > 0).then_some(())).await;
    assert_eq!(steps(&second.heard), (1, 1));
    // The same text may be handed over twice by whoever died over it; it has the same key then. While one lies with the dead the next round may
    // have begun, which has other keys.
    let keys = || {
        let keys: BTreeSet<String> = scene.texts().into_iter().map(|text| text.key).collect();
        keys.into_iter().filter(|key| key.split('-').nth(1) == Some("3")).count()
    };
    wait_for("both telephones are told", PATIENCE * 2, || (keys() >= 2).then_some(()));
    assert_eq!(keys(), 2);
}
