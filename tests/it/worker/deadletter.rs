//! Letters: listed, shown, dropped, put back.

use prost::Message as _;
use roger::broker::{StreamId, keys};
use roger::topic::frame::{InFrame, Input, Post};
use roger::worker::deadletter::{self, DeadLetter};

use super::handle;
use crate::support::redis;

#[tokio::test]
async fn a_letter_is_listed_shown_redriven_and_dropped() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let post = Post { topic: 8 << 3 | 1, sender: 4, client_seq: 2, ..Post::default() };
    let frame = InFrame { producer: 9, number: 77, items: vec![Input::Post(post).into()], ..InFrame::default() };
    let about = |reason: &str| DeadLetter {
        reason: reason.to_owned(),
        ..DeadLetter::about(&keys::input(3), StreamId(1, 2), Some(&frame.encode_to_vec()))
    };
    let first = deadletter::add(&redis, &about("first")).await.unwrap().to_string();
    let second = deadletter::add(&redis, &about("second")).await.unwrap().to_string();

    let page = deadletter::list(&redis, None, 1).await.unwrap();
    assert_eq!(page.iter().map(|filed| filed.letter.reason.as_str()).collect::<Vec<_>>(), ["first"]);
    let page = deadletter::list(&redis, Some(&page[0].id), 10).await.unwrap();
    assert_eq!(page.iter().map(|filed| &filed.id).collect::<Vec<_>>(), [&second]);
    assert_eq!(deadletter::show(&redis, &first).await.unwrap().letter, about("first"));

    let added = deadletter::redrive(&redis, &first, 7).await.unwrap();
    let entries = redis.range(&keys::input(3), StreamId::default(), StreamId(u64::MAX, u64::MAX), 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [added]);
    let again: InFrame = entries[0].decode("in").unwrap();
    assert_ne!(again.producer, 9);
    let Some(Input::Post(message)) = again.items[0].input.clone() else { panic!("{again:?}") };
    assert_eq!((again.number, message.topic, message.sender, message.client_seq), (1, 8 << 3 | 1, 4, 1));
    assert_ne!(message.installation, 0, "a new message of an installation of its own");
    assert!(server.cli(&["XRANGE", &keys::input(3), "-", "+"]).contains(&first), "the new entry names its letter");

    // It fails again: the next letter knows of the first.
    let about = DeadLetter { reason: "third".to_owned(), ..DeadLetter::about(&keys::input(3), added, Some(b"x")) };
    let third = deadletter::add(&redis, &about).await.unwrap().to_string();
    let [past] = deadletter::show(&redis, &third).await.unwrap().letter.history.try_into().unwrap();
    assert_eq!((past.letter, past.reason.as_str(), past.redriven_ms), (first.clone(), "first", 7));
    deadletter::drop(&redis, &third).await.unwrap();

    deadletter::drop(&redis, &second).await.unwrap();
    for gone in [&first, &second, "5-5"] {
        assert!(matches!(deadletter::show(&redis, gone).await, Err(deadletter::Error::NotFound(_))), "{gone}");
    }
    assert!(matches!(deadletter::show(&redis, "nonsense").await, Err(deadletter::Error::BadId(_))));
}
