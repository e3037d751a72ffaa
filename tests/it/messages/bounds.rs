//! What gives where a fleet is full.

use roger::model;
use roger::proto::status::Refused;
use roger::proto::v1::Reason;

use super::radio::{Heard, Radio, message};
use super::stage::{Stage, hello};
use crate::support::fleet::FleetOptions;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_a_backlog_goes_through_once_there_is_none() {
    let overrides = vec![
        ("delivery.batch_frames_max", "16".to_owned()),
        ("delivery.backlog_frames_max", "16".to_owned()),
        // It acknowledges nothing.
        ("edge.unacked_entries_max", "1000000".to_owned()),
        ("edge.rate_messages_per_s", "0".to_owned()),
        ("edge.rate_burst", "0".to_owned()),
    ];
    let mut stage = Stage::with(FleetOptions { edges: 1, overrides, ..FleetOptions::default() }).await;
    let group = stage.group;
    let (mut neil, mut buzz) = (stage.radio(0, "neil").await, stage.radio(0, "buzz").await);
    stage.fleet.stop("delivery-0");
    let (mut number, mut refused) = (0, None);
    while refused.is_none() {
        number += 1;
        neil.say(group, number, &number.to_string()).await;
        let answered = |heard: &Heard| {
            let receipted = heard.receipts.iter().any(|receipt| receipt.client_seq >= number);
            (receipted || !heard.refusals.is_empty()).then(|| heard.refusals.first().cloned())
        };
        refused = neil.until("an answer", answered).await;
    }
    let refused = refused.unwrap();
    assert_eq!((refused.reason(), refused.client_seq), (Reason::Backlog, number));
    assert!(refused.retry_after_ms > 0 && number > 16, "{refused:?}");
    stage.fleet.cont("delivery-0");
    let mut refusals = 1;
    while !neil.heard.receipts.iter().any(|receipt| receipt.client_seq >= number) {
        neil.say_all(vec![message(group, number, number.to_string())]).await;
        let answered = |heard: &Heard| {
            let receipted = heard.receipts.iter().any(|receipt| receipt.client_seq >= number);
            (receipted || heard.refusals.len() > refusals).then_some(heard.refusals.len())
        };
        refusals = neil.until("an answer", answered).await;
        assert!(neil.heard.refusals.iter().all(|refusal| refusal.reason() == Reason::Backlog), "{:?}", neil.heard.refusals);
    }
    let all: Vec<String> = (1..=number).map(|number| number.to_string()).collect();
    buzz.hears(group, &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_takes_as_many_sessions_as_it_may_and_refuses_the_next_by_name() {
    let overrides = vec![("edge.sessions_max", "2".to_owned())];
    let stage = Stage::with(FleetOptions { edges: 1, overrides, ..FleetOptions::default() }).await;
    let (neil, mut buzz) = (stage.radio(0, "neil").await, stage.radio(0, "buzz").await);
    let login = stage.login("mike", 1).await;
    let Err(refused) = Radio::open(&stage.fleet.edge(0), hello(&login, 1)).await else { panic!("a third session") };
    assert_eq!(Refused::of(&refused).unwrap().reason, model::Reason::EdgeFull);
    // The others go on.
    neil.say(stage.group, 1, "two of us").await;
    buzz.hears(stage.group, &["two of us"]).await;
}
