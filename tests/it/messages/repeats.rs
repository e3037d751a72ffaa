//! What is lost between a radio and its edge: receipts and acknowledgements.

use roger::proto::v1::Reason;

use super::radio::{Radio, message};
use super::stage::{Stage, hello, hello_at};
use super::wire::Wire;
use crate::support::eventually;
use crate::support::fleet::FleetOptions;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_again_after_a_lost_receipt_arrives_once_and_the_receipt_carries_the_highest_sequence() {
    let stage = Stage::start().await;
    let group = stage.group;
    let mut listener = stage.radio(1, "buzz").await;
    let login = stage.login("neil", 1).await;
    let wire = Wire::to(&stage.fleet.edge(0)).await;
    let mut first = Radio::open(wire.address(), hello(&login, 1)).await.unwrap();
    first.follows(group).await;
    wire.lose_down();
    for (number, text) in (1..).zip(["m1", "m2", "m3"]) {
        first.say(group, number, text).await;
    }
    // They are stored, and the receipts went into the cut line.
    listener.hears(group, &["m1", "m2", "m3"]).await;
    wire.cut();
    assert!(first.heard.receipts.is_empty(), "{:?}", first.heard);
    drop(first);

    // At either edge: the first repeat is answered with everything that is stored.
    for edge in [0, 1] {
        let mut again = Radio::open(&stage.fleet.edge(edge), hello(&login, 1)).await.unwrap();
        assert_eq!(again.follows(group).await.client_seq_high, 3);
        again.say(group, 1, "m1").await;
        assert_eq!(again.receipt(group, 1).await.client_seq, 3);
        again.say_all(vec![message(group, 2, "m2"), message(group, 3, "m3")]).await;
        again.beat().await;
        assert!(again.heard.refusals.is_empty(), "{:?}", again.heard);
    }
    let mut last = stage.radio(0, "neil").await;
    last.say_all(vec![message(group, 3, "m3"), message(group, 4, "m4")]).await;
    assert_eq!(last.receipt(group, 4).await.client_seq, 4);
    listener.hears(group, &["m1", "m2", "m3", "m4"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_radio_that_comes_back_gets_what_is_behind_its_own_mark_and_nothing_else() {
    let stage = Stage::start().await;
    let group = stage.group;
    let mut speaker = stage.radio(1, "neil").await;
    let login = stage.login("buzz", 1).await;
    let wire = Wire::to(&stage.fleet.edge(0)).await;
    let mut first = Radio::open(wire.address(), hello(&login, 1)).await.unwrap();
    first.follows(group).await;
    for (number, text) in (1..).zip(["m1", "m2", "m3"]) {
        speaker.say(group, number, text).await;
    }
    speaker.receipt(group, 3).await;
    first.hears(group, &["m1", "m2", "m3"]).await;
    let [one, three] = ["m1", "m3"].map(|text| first.heard.place_of(text));
    // The mark is lost: the fleet does not know that the radio has them.
    wire.lose_up();
    first.mark(group, three).await;
    wire.cut();
    drop(first);

    let mut second = Radio::open(&stage.fleet.edge(0), hello_at(&login, 1, group, three)).await.unwrap();
    assert_eq!(second.follows(group).await.mark, Some(three));
    speaker.say(group, 4, "m4").await;
    second.hears(group, &["m4"]).await;
    second.mark(group, three).await;
    second.beat().await;
    assert!(second.heard.refusals.is_empty() && second.heard.gaps.is_empty(), "{:?}", second.heard);
    drop(second);

    // The mark counts: without one of its own the radio continues from there.
    let without_marks = || async {
        let mut radio = Radio::open(&stage.fleet.edge(0), hello(&login, 1)).await.unwrap();
        let mark = radio.follows(group).await.mark;
        (mark == Some(three)).then_some(radio)
    };
    let mut third = eventually("the mark is known", without_marks).await;
    third.hears(group, &["m4"]).await;
    drop(third);

    // And the twin: with an older mark than the fleet's, what it asks for comes again.
    let mut fourth = Radio::open(&stage.fleet.edge(1), hello_at(&login, 1, group, one)).await.unwrap();
    assert_eq!(fourth.follows(group).await.mark, Some(one));
    speaker.say(group, 5, "m5").await;
    fourth.hears(group, &["m2", "m3", "m4", "m5"]).await;
    assert!(fourth.heard.gaps.is_empty(), "{:?}", fourth.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_may_be_said_again_however_old_it_is_and_costs_nothing() {
    // Room for each message once.
    let mut overrides = vec![("edge.rate_messages_per_s", "1".to_owned()), ("edge.rate_burst", "300".to_owned())];
    // Of what another owner knows the edge is not sure, and then repeats cost.
    overrides.push(("delivery.lease_ttl_ms", "10000".to_owned()));
    let stage = Stage::with(FleetOptions { edges: 1, overrides, ..FleetOptions::default() }).await;
    let group = stage.group;
    let mut neil = stage.radio(0, "neil").await;
    let all: Vec<_> = (1..=300).map(|number| message(group, number, number.to_string())).collect();
    for part in all.chunks(100) {
        neil.say_all(part.to_vec()).await;
    }
    neil.receipt(group, 300).await;
    neil.heard.receipts.clear();
    for part in all.chunks(100) {
        neil.say_all(part.to_vec()).await;
    }
    assert_eq!(neil.receipt(group, 1).await.client_seq, 300);
    neil.beat().await;
    assert!(neil.heard.refusals.is_empty(), "{:?}", neil.heard.refusals[0]);
    // What is still remembered is compared.
    neil.say(group, 299, "something else").await;
    let refused = neil.until("a refusal", |heard| heard.refusals.first().cloned()).await;
    assert_eq!((refused.reason(), refused.client_seq, refused.client_seq_high), (Reason::SequenceReused, 299, 300));
}
