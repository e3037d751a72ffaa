//! A radio that takes what it is sent and acknowledges none of it.

use super::radio::{Heard, message};
use super::stage::Stage;
use crate::support::fleet::FleetOptions;

#[tokio::test(flavor = "multi_thread")]
async fn a_radio_that_acknowledges_nothing_is_sent_no_more_than_its_bound_until_it_does() {
    let overrides = vec![("edge.unacked_entries_max", "20".to_owned()), ("edge.mark_linger_ms", "0".to_owned())];
    let stage = Stage::with(FleetOptions { edges: 1, overrides, ..FleetOptions::default() }).await;
    let group = stage.group;
    let mut lazy = stage.radio(0, "buzz").await;
    let mut speaker = stage.radio(0, "neil").await;
    speaker.say_all((1..=100).map(|number| message(group, number, number.to_string())).collect()).await;
    speaker.receipt(group, 100).await;
    let mut marked = 0;
    while marked < 100 {
        lazy.until("more", |heard| (numbers(heard, group).len() as u64 > marked).then_some(())).await;
        lazy.beat().await;
        let heard = numbers(&lazy.heard, group);
        assert!(heard.len() as u64 - marked <= 20, "{} entries wait for an acknowledgement", heard.len() as u64 - marked);
        marked = heard.len() as u64;
        let place = lazy.heard.place_of(&marked.to_string());
        lazy.mark(group, place).await;
    }
    assert!(numbers(&lazy.heard, group).into_iter().eq(1..=100), "{:?}", numbers(&lazy.heard, group));
}

fn numbers(heard: &Heard, topic: roger::model::TopicId) -> Vec<u64> {
    heard.texts(topic).iter().map(|text| text.parse().unwrap()).collect()
}
