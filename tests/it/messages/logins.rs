//! Several installations of one account.

use roger::proto::v1;

use super::radio::Radio;
use super::stage::{Stage, hello, hello_at};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_phones_with_one_device_account_the_last_login_wins_and_the_first_is_told() {
    let stage = Stage::start().await;
    let group = stage.group;
    let mut capcom = stage.radio(0, "capcom").await;
    let (one, two) = (stage.login("neil", 1).await, stage.login("neil", 2).await);
    let mut first = Radio::open(&stage.fleet.edge(0), hello(&one, 1)).await.unwrap();
    first.follows(group).await;
    first.say(group, 1, "from the first").await;
    first.receipt(group, 1).await;
    capcom.say(group, 1, "c1").await;
    first.hears(group, &["", "c1"]).await;
    first.mark(group, first.heard.place_of("c1")).await;
    first.beat().await;

    // At the same edge, at the other one, and back: whoever comes last has the session.
    let mut holder = first;
    for (edge, login, installation) in [(0, &two, 2), (1, &one, 1), (0, &two, 2)] {
        let next = Radio::open(&stage.fleet.edge(edge), hello(login, installation)).await.unwrap();
        assert_eq!(holder.closed().await.reason(), v1::Reason::Superseded);
        holder.until("the end of the stream", |heard| heard.ended.as_ref().map(|ended| assert!(ended.is_ok()))).await;
        holder = next;
    }
    // Nothing of it is lost or doubled for the others, and the holder hears what comes.
    holder.follows(group).await;
    holder.say(group, 1, "from the second").await;
    holder.receipt(group, 1).await;
    capcom.say(group, 2, "c2").await;
    capcom.hears(group, &["from the first", "", "from the second", ""]).await;
    holder.until("c2", |heard| heard.texts(group).ends_with(&["c2".to_owned()]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consoles_of_a_dispatcher_both_get_everything_each_with_its_own_marks() {
    let stage = Stage::start().await;
    let group = stage.group;
    let neil = stage.radio(0, "neil").await;
    let logins = [stage.login("capcom", 1).await, stage.login("capcom", 2).await];
    let open = async |number: usize| {
        let address = stage.fleet.edge(number);
        let mut console = Radio::open(&address, hello(&logins[number], number as u64 + 1)).await.unwrap();
        let follow = console.follows(group).await;
        (console, follow.mark)
    };
    let (mut left, _) = open(0).await;
    let (mut right, _) = open(1).await;
    for (number, text) in (1..).zip(["m1", "m2", "m3"]) {
        neil.say(group, number, text).await;
    }
    left.hears(group, &["m1", "m2", "m3"]).await;
    right.hears(group, &["m1", "m2", "m3"]).await;
    // What one says the other hears as anybody's; the numbers of the two are their own.
    left.say(group, 1, "from the left").await;
    right.hears(group, &["m1", "m2", "m3", "from the left"]).await;
    right.say(group, 1, "from the right").await;
    left.hears(group, &["m1", "m2", "m3", "", "from the right"]).await;
    assert!(left.heard.close.is_none() && right.heard.close.is_none());

    let (one, three) = (left.heard.place_of("m1"), left.heard.place_of("m3"));
    left.mark(group, three).await;
    right.mark(group, one).await;
    // The same installation comes back: it displaces itself and nobody else, and continues from its own mark.
    let back = async |number: usize, place: v1::Place| {
        crate::support::eventually("the mark is known", async || {
            let (console, mark) = open(number).await;
            (mark == Some(place)).then_some(console)
        })
        .await
    };
    let mut left_again = back(0, three).await;
    left_again.hears(group, &["", "from the right"]).await;
    assert_eq!(left.closed().await.reason(), v1::Reason::Superseded);
    right.beat().await;
    assert!(right.heard.close.is_none());
    let mut right_again = back(1, one).await;
    right_again.hears(group, &["m2", "m3", "from the left", ""]).await;
    drop(left_again);
    // An own mark in the hello counts before what the fleet knows.
    let mut console = Radio::open(&stage.fleet.edge(1), hello_at(&logins[0], 1, group, one)).await.unwrap();
    console.hears(group, &["m2", "m3", "", "from the right"]).await;
}
