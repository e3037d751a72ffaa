//! Radios that do not read what they are sent.

use std::time::{Duration, Instant};

use roger::model::TopicId;
use roger::proto::v1;

use super::radio::{Heard, Radio, message};
use super::stage::{Stage, hello, hello_at};
use crate::support::PATIENCE;
use crate::support::fleet::FleetOptions;

/// How many messages are sent, and how long each is: far more than a radio's window, an edge's queue and what lies between take.
const MESSAGES: u64 = 100;
const TEXT_BYTES: usize = 16_384;

/// A fleet with one edge that keeps little for a session.
async fn stage(slow_consumer_ms: u64) -> Stage {
    let overrides = vec![
        ("edge.queue_entries_max", "16".to_owned()),
        ("edge.queue_bytes_max", "131072".to_owned()),
        ("edge.slow_consumer_ms", slow_consumer_ms.to_string()),
    ];
    Stage::with(FleetOptions { edges: 1, overrides, ..FleetOptions::default() }).await
}

/// Says everything, while somebody reads all of it.
async fn talk(stage: &Stage) {
    let mut speaker = stage.radio(0, "neil").await;
    let mut listener = stage.radio(0, "mike").await;
    let speaking = async {
        for number in 1..=MESSAGES {
            speaker.say(stage.group, number, &format!("{number:>TEXT_BYTES$}")).await;
            if number % 10 == 0 {
                speaker.receipt(stage.group, number).await;
            }
        }
    };
    let has_all = |heard: &Heard| (numbers(heard, stage.group).len() as u64 == MESSAGES).then_some(());
    tokio::join!(speaking, listener.until("everything", has_all));
    assert!(numbers(&listener.heard, stage.group).into_iter().eq(1..=MESSAGES));
}

fn numbers(heard: &Heard, topic: TopicId) -> Vec<u64> {
    heard.texts(topic).iter().map(|text| text.trim().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_radio_that_reads_nothing_holds_up_nobody_and_then_gets_everything_once_in_order() {
    let stage = stage(60_000).await;
    let mut slow = stage.radio(0, "buzz").await;
    talk(&stage).await;
    assert!(slow.heard.texts(stage.group).is_empty(), "it was not asked to read");
    let has_all = |heard: &Heard| (numbers(heard, stage.group).len() as u64 >= MESSAGES).then_some(());
    slow.until("everything", has_all).await;
    // What comes now comes behind it.
    let speaker = stage.radio(0, "capcom").await;
    speaker.say(stage.group, 1, "1000").await;
    slow.until("the last word", |heard| numbers(heard, stage.group).contains(&1_000).then_some(())).await;
    assert!(numbers(&slow.heard, stage.group).into_iter().eq((1..=MESSAGES).chain([1_000])), "{:?}", numbers(&slow.heard, stage.group));
    assert!(slow.heard.close.is_none() && slow.heard.gaps.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_radio_that_reads_nothing_for_long_is_closed_with_a_reason_and_comes_back_for_the_rest() {
    let mut stage = stage(6_000).await;
    let group = stage.group;
    let login = stage.login("buzz", 1).await;
    let mut slow = Radio::open(&stage.fleet.edge(0), hello(&login, 1)).await.unwrap();
    slow.follows(group).await;
    talk(&stage).await;
    stage.fleet.program("edge-0").wait_for_log("slow_consumer");
    let close = slow.closed().await;
    assert_eq!(close.reason(), v1::Reason::SlowConsumer);
    assert!(close.retry_after_ms > 0 && !close.text.is_empty(), "{close:?}");
    let mut heard = numbers(&slow.heard, group);
    assert!((heard.len() as u64) < MESSAGES, "it was closed before it had everything");

    let hello = match slow.heard.entries.iter().rfind(|entry| entry.topic == Some(group.into())) {
        Some(last) => hello_at(&login, 1, group, v1::Place { epoch: last.epoch, seq: last.seq }),
        None => hello(&login, 1),
    };
    let mut back = Radio::open(&stage.fleet.edge(0), hello).await.unwrap();
    let missing = MESSAGES as usize - heard.len();
    back.until("the rest", |heard| (numbers(heard, group).len() >= missing).then_some(())).await;
    heard.extend(numbers(&back.heard, group));
    assert!(heard.iter().copied().eq(1..=MESSAGES), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_refusals_is_closed_before_they_fill_the_edge() {
    let mut stage = stage(60_000).await;
    let group = stage.group;
    let mut deaf = stage.radio(0, "buzz").await;
    // Each of them is refused, and none of the refusals is read.
    let bad: Vec<_> = (1..=256).map(|number| message(group, number, "")).collect();
    let begun = Instant::now();
    while !stage.fleet.program("edge-0").log().contains("slow_consumer") {
        assert!(begun.elapsed() < PATIENCE, "the edge keeps every refusal");
        // A send that waits is one that the edge no longer reads.
        let _full = tokio::time::timeout(Duration::from_millis(100), deaf.say_all(bad.clone())).await;
    }
    assert_eq!(deaf.closed().await.reason(), v1::Reason::SlowConsumer);
    assert!(deaf.heard.refusals.iter().all(|refusal| refusal.reason() == v1::Reason::TextEmpty));
    let mut again = stage.radio(0, "buzz").await;
    again.say(group, 1, "now with a text").await;
    again.receipt(group, 1).await;
}
