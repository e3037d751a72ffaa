//! Messages from one to another, and how far their recipient got.

use roger::model::{TopicId, UserId};

use super::radio::{Heard, Radio};
use super::stage::{Stage, hello};

/// Waits until the sender was told that everything up to a number was delivered.
async fn delivered(sender: &mut Radio, inbox: TopicId, client_seq: u64) {
    let told = |heard: &Heard| {
        let mut of_topic = heard.dispositions.iter().filter(|told| told.topic == Some(inbox.into()));
        of_topic.any(|told| told.delivered_client_seq >= client_seq).then_some(())
    };
    sender.until(&format!("{client_seq} is delivered"), told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_hears_how_far_the_recipient_got_whoever_owns_the_shard() {
    let mut stage = Stage::start().await;
    let mut neil = stage.radio(0, "neil").await;
    let login = stage.login("buzz", 1).await;
    let mut buzz = Radio::open(&stage.fleet.edge(1), hello(&login, 1)).await.unwrap();
    buzz.follows(stage.group).await;
    let inbox = TopicId::inbox(UserId(buzz.heard.welcome.user_id));
    neil.say(inbox, 1, "a word").await;
    neil.receipt(inbox, 1).await;
    buzz.hears(inbox, &["a word"]).await;
    assert!(neil.heard.dispositions.is_empty(), "nothing was acknowledged");
    buzz.mark(inbox, buzz.heard.place_of("a word")).await;
    delivered(&mut neil, inbox, 1).await;

    neil.say(inbox, 2, "another").await;
    buzz.hears(inbox, &["a word", "another"]).await;
    stage.fleet.restart("delivery-0");
    buzz.mark(inbox, buzz.heard.place_of("another")).await;
    delivered(&mut neil, inbox, 2).await;
}
