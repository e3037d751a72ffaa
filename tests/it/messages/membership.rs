//! Who hears what of a group: from joining on, up to leaving.

use roger::model::TopicId;
use roger::proto::v1;

use super::radio::Radio;
use super::stage::{Stage, hello, hello_at};
use crate::support::eventually;

impl Stage {
    /// Runs `roger member add` or `remove` for the group of apollo.
    fn member(&self, change: &[&str], name: &str) {
        self.fleet.roger(&[&["member"], change, &["loop", name, "--tenant", "apollo"]].concat()).succeeded();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_sees_nothing_earlier() {
    let stage = Stage::start().await;
    let group = stage.group;
    let mut neil = stage.radio(0, "neil").await;
    let login = stage.login("guest", 1).await;
    let mut online = Radio::open(&stage.fleet.edge(1), hello(&login, 1)).await.unwrap();
    neil.say(group, 1, "before").await;
    neil.receipt(group, 1).await;
    neil.hears(group, &[""]).await;
    stage.member(&["add"], "guest");
    // One who is there is told, and hears from then on without coming back.
    let joined = online.follows(group).await;
    assert_eq!(joined.mark, joined.head);
    online
        .until("the notice of the join", |heard| {
            let is_join =
                |entry: &&v1::Entry| matches!(&entry.notice, Some(v1::entry::Notice::Joined(notice)) if notice.group_id == group.id());
            heard.entries.iter().find(is_join).map(drop)
        })
        .await;
    neil.say(group, 2, "after").await;
    online.hears(group, &["after"]).await;
    // Neither by coming back without a mark …
    let mut again = Radio::open(&stage.fleet.edge(0), hello(&login, 1)).await.unwrap();
    again.hears(group, &["after"]).await;
    assert!(again.heard.gaps.is_empty(), "{:?}", again.heard);
    // … nor by asking for what was before: it is told why it does not get that.
    let start = v1::Place { epoch: 0, seq: 0 };
    let mut greedy = Radio::open(&stage.fleet.edge(0), hello_at(&login, 1, group, start)).await.unwrap();
    greedy.hears(group, &["after"]).await;
    let gap = v1::Gap { topic: Some(group.into()), from: Some(start), to: joined.head, reason: v1::GapReason::NotMember.into() };
    assert_eq!(greedy.heard.gaps, [gap]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_sees_nothing_later_and_can_fetch_what_was_before() {
    let stage = Stage::start().await;
    let group = stage.group;
    let mut neil = stage.radio(0, "neil").await;
    let mut online = stage.radio(0, "buzz").await;
    let absent = stage.login("mike", 1).await;
    let mut mike = stage.radio(1, "mike").await;
    neil.say(group, 1, "m1").await;
    mike.hears(group, &["m1"]).await;
    let one = mike.heard.place_of("m1");
    drop(mike);
    neil.say(group, 2, "m2").await;
    online.hears(group, &["m1", "m2"]).await;
    let two = online.heard.place_of("m2");

    // Changes of a group arrive in their order: with the second, both have.
    for name in ["mike", "buzz"] {
        stage.member(&["remove", "--yes"], name);
    }
    assert_eq!(online.leaves(group).await.head, Some(two), "the end is where it was when they left");
    neil.say(group, 3, "later").await;
    neil.hears(group, &["", "", ""]).await;
    // On the same edge: had it been for them, it would be on its way by now.
    online.beat().await;
    online.hears(group, &["m1", "m2"]).await;
    // Their own inbox says so, too: then the edge knows.
    let is_told = |entry: &v1::Entry| matches!(&entry.notice, Some(v1::entry::Notice::Left(left)) if left.group_id == group.id());
    online.until("it is told", |heard| heard.entries.iter().any(is_told).then_some(())).await;
    // They may not write any more, and are told so in the session.
    online.say(group, 1, "me too").await;
    let refusal = online.until("the refusal", |heard| heard.refusals.first().cloned()).await;
    assert_eq!((refusal.reason(), refusal.field.as_str()), (v1::Reason::NotMember, "messages[0].to"));

    // Who was away comes back behind their own mark and gets everything up to the end; and so again, without having acknowledged it.
    for edge in [1, 0] {
        let mut back = Radio::open(&stage.fleet.edge(edge), hello_at(&absent, 1, group, one)).await.unwrap();
        assert_eq!(back.leaves(group).await.head, Some(two));
        back.hears(group, &["m2"]).await;
    }
    // With everything up to the end acknowledged there is nothing to follow.
    let mut done = Radio::open(&stage.fleet.edge(1), hello_at(&absent, 1, group, two)).await.unwrap();
    done.follows(TopicId::inbox(absent.user)).await;
    // Asked behind what the edge asked for the one before: by then that is answered.
    drop(stage.radio(1, "capcom").await);
    done.say(group, 1, "me too").await;
    let refusal = done.until("the refusal", |heard| heard.refusals.first().cloned()).await;
    assert_eq!(refusal.reason(), v1::Reason::NotMember);
    assert!(done.heard.texts(group).is_empty() && done.heard.follow(group).is_none(), "{:?}", done.heard);
    neil.beat().await;
    neil.hears(group, &["", "", ""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_a_member_again_hears_what_comes_and_nothing_of_the_time_between_nor_twice() {
    let stage = Stage::start().await;
    let group = stage.group;
    let neil = stage.radio(0, "neil").await;
    let mut online = stage.radio(1, "buzz").await;
    neil.say(group, 1, "m1").await;
    online.hears(group, &["m1"]).await;
    // It stays in its session all the while and acknowledges nothing.
    stage.member(&["remove", "--yes"], "buzz");
    let end = online.leaves(group).await.head;
    neil.say(group, 2, "between").await;
    let mut mike = stage.radio(1, "mike").await;
    mike.hears(group, &["m1", "between"]).await;
    stage.member(&["add"], "buzz");
    let again = online.follows(group).await;
    neil.say(group, 3, "m3").await;
    online.until("m3", |heard| heard.texts(group).contains(&"m3".to_owned()).then_some(())).await;
    assert_eq!(online.heard.texts(group), ["m1", "m3"]);
    assert_eq!(again.mark, end);
    let gap = v1::Gap { topic: Some(group.into()), from: end, to: again.head, reason: v1::GapReason::NotMember.into() };
    assert_eq!(online.heard.gaps, [gap]);
    // So does one that comes back with nothing acknowledged, but for what it had and did not acknowledge.
    let login = stage.login("buzz", 1).await;
    let mut back = Radio::open(&stage.fleet.edge(0), hello(&login, 1)).await.unwrap();
    back.hears(group, &["m1", "m3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_just_put_into_a_group_may_write_there_before_the_edge_has_heard_of_it() {
    let mut stage = Stage::start().await;
    let group = stage.group;
    let mut neil = stage.radio(0, "neil").await;
    let own = TopicId::inbox(stage.login("neil", 1).await.user);
    let login = stage.login("guest", 1).await;
    let mut guest = Radio::open(&stage.fleet.edge(1), hello(&login, 1)).await.unwrap();
    guest.follows(TopicId::inbox(login.user)).await;
    // Stopped while it writes that down, the directory would hold the lock of the database.
    eventually("the login is on record", async || {
        let listed = stage.fleet.roger(&["sessions", "--account", "guest", "--json"]).succeeded().json();
        listed["logins"].as_array().is_some_and(|logins| !logins.is_empty()).then_some(())
    })
    .await;
    // By then the edge knows which groups there are.
    guest.say(own, 1, "may I come in?").await;
    guest.receipt(own, 1).await;
    // SQL knows, and whoever tells the shards does not get to it.
    stage.fleet.stop("directory");
    stage.member(&["add"], "guest");
    guest.say(group, 1, "here I am").await;
    guest.say(group, 2, "and I stay").await;
    guest.beat().await;
    stage.fleet.cont("directory");
    guest.receipt(group, 2).await;
    assert!(guest.heard.refusals.is_empty(), "{:?}", guest.heard.refusals);
    neil.hears(group, &["here I am", "and I stay"]).await;
}
