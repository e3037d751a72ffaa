//! More than a session may send.

use std::time::{Duration, Instant};

use roger::proto::v1;

use super::Counted;
use super::door::Door;
use crate::messages::radio::{Radio, message};
use crate::messages::stage::hello;
use crate::support::PATIENCE;

/// How many messages are sent as fast as they go; the burst of the edge is 100.
const FLOOD: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_above_the_rate_is_refused_with_a_time_to_wait_and_loses_nothing_that_is_sent_again() {
    // So slow that what an edge misses while it stands still makes no burst.
    let fleet = Counted::with_rate(20).await;
    let (stage, group) = (&fleet.stage, fleet.stage.group);
    let mut listener = stage.radio(0, "mike").await;
    let numbers: Vec<String> = (1..=FLOOD).map(|number| number.to_string()).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let login = stage.login("neil", 1).await;
    let mut radio = Radio::open(&fleet.edge(), hello(&login, 1)).await.unwrap();
    radio.follows(group).await;
    radio.say_all((1..=FLOOD).map(|number| message(group, number, number.to_string())).collect()).await;
    radio.beat().await;
    let refused = std::mem::take(&mut radio.heard.refusals);
    let first = refused.first().expect("256 messages are more than the burst");
    assert_eq!(first.reason(), v1::Reason::RateLimited);
    assert_eq!(first.field, format!("messages[{}]", first.client_seq - 1));
    assert!(first.client_seq > 100, "the burst is taken: {first:?}");
    for refusal in &refused {
        // Behind the first one refused some would be in time again: they lack their predecessor.
        match refusal.reason() {
            v1::Reason::RateLimited => assert!(refusal.retry_after_ms > 0),
            reason => assert_eq!(reason, v1::Reason::PredecessorMissing),
        }
    }
    assert_eq!(refused.len() as u64, FLOOD + 1 - first.client_seq, "all behind the first one refused");
    let limited = refused.iter().filter(|refusal| refusal.reason() == v1::Reason::RateLimited).count();
    assert_eq!(fleet.refusals("rate_limited").await, limited as u64);

    // What was accepted stays; what was refused is sent again until it is taken.
    radio.receipt(group, first.client_seq - 1).await;
    let begun = Instant::now();
    let stored = |radio: &Radio| radio.heard.receipts.iter().map(|receipt| receipt.client_seq).max().unwrap_or(0);
    while stored(&radio) < FLOOD {
        assert!(begun.elapsed() < PATIENCE, "only {} are accepted", stored(&radio));
        radio.say_all((stored(&radio) + 1..=FLOOD).map(|number| message(group, number, number.to_string())).collect()).await;
        radio.beat().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    listener.hears(group, &numbers).await;
    assert!(radio.heard.close.is_none());

    // A browser's calls meet the same bound.
    let mut door = Door::calls(&fleet.edge(), &stage.login("buzz", 1).await).await;
    door.radio().follows(group).await;
    let refused = door.refused_messages((1..=FLOOD).map(|number| message(group, number, format!("b{number}"))).collect(), 1).await;
    assert_eq!(refused[0].reason(), v1::Reason::RateLimited);
    let last = refused[0].client_seq - 1;
    assert!(last >= 100, "{:?}", refused[0]);
    listener.until("what was accepted", |heard| heard.texts(group).contains(&format!("b{last}")).then_some(())).await;
}
