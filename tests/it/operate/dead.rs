//! `roger dead`: letters by what is known of them, one or many.

use prost::Message as _;
use roger::broker::{StreamId, keys};
use roger::topic::frame::{InFrame, Input, Post};
use roger::worker::deadletter::{self, DeadLetter};
use serde_json::Value;

use super::Site;
use crate::worker::handle;

const HOUR_MS: u64 = 3_600_000;

fn frame(sender: u64) -> Vec<u8> {
    let post = Post { topic: 17 << 3 | 2, sender, client_seq: 1, body: "top secret".into(), ..Post::default() };
    InFrame { producer: 9, number: sender, items: vec![Input::Post(post).into()], ..InFrame::default() }.encode_to_vec()
}

/// Thirty letters of a job that fails, and one of another.
async fn plant(site: &Site) {
    let redis = handle(&site.redis);
    let now_ms = roger::clock::Clock::system().now_ms();
    for sender in 1..=30 {
        let about = DeadLetter::about(&keys::input(3), StreamId(sender, 1), Some(&frame(sender)));
        // The first ten are old.
        let time_ms = now_ms - if sender <= 10 { 3 * HOUR_MS } else { 0 };
        let letter = DeadLetter { job: "deliver".into(), reason: "Panicked three times".into(), time_ms, ..about };
        deadletter::add(&redis, &letter).await.unwrap();
    }
    let empty =
        DeadLetter { job: "talk".into(), reason: "no JSON".into(), time_ms: now_ms, ..DeadLetter::about("x", StreamId(1, 1), None) };
    deadletter::add(&redis, &empty).await.unwrap();
}

fn list(site: &Site, args: &[&str]) -> Vec<Value> {
    let args = [&["dead", "list", "--json"], args].concat();
    site.roger(&args).succeeded().json().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_found_by_what_is_known_of_them_and_shown_without_what_was_said() {
    let site = Site::new();
    plant(&site).await;
    for (args, count) in [
        (&[][..], 31),
        (&["--job", "deliver"], 30),
        (&["--stream", "{s3}"], 30),
        (&["--sender", "7"], 1),
        (&["--text", "panicked"], 30),
        (&["--text", "panicked", "--older-than", "2h"], 10),
        (&["--since", "2h"], 21),
        (&["--job", "gps"], 0),
        (&["--job", "deliver", "--limit", "5"], 5),
    ] {
        assert_eq!(list(&site, args).len(), count, "{args:?}");
    }
    let letter = list(&site, &["--sender", "7"]).remove(0);
    assert!(letter.get("payload").is_none());
    let id = letter["id"].as_str().unwrap();
    let shown = site.roger(&["dead", "show", id]).succeeded().stdout;
    assert!(shown.contains("sender: 7") && shown.contains("<10 bytes>") && !shown.contains("secret"), "{shown}");
    let raw = site.roger(&["dead", "show", id, "--raw", "--json"]).succeeded().json();
    assert_eq!(raw["payload"], hex::encode(frame(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_redriven_at_their_rate_or_dropped_and_only_when_it_is_said_twice() {
    let site = Site::new();
    plant(&site).await;
    let refused = |args: &[&str], words: &str| {
        let answer = site.roger(&[&["dead"], args].concat());
        assert!(answer.code == 64 && answer.stderr.contains(words), "{}", answer.stderr);
    };
    refused(&["redrive"], "which?");
    refused(&["drop", "--yes"], "which?");
    refused(&["redrive", "--job", "deliver"], "30 would be put back. Add --yes");
    refused(&["drop", "1-1", "--all"], "cannot be used with");
    assert_eq!(list(&site, &[]).len(), 31);

    let begun = std::time::Instant::now();
    let done = site.roger(&["dead", "redrive", "--all", "--rate", "20", "--yes", "--json"]).succeeded();
    // The last waits behind thirty others.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(1_450), "{:?}", begun.elapsed());
    assert_eq!(done.json()["done"], 30);
    assert!(done.stderr.contains("has no payload to put back"), "{}", done.stderr);
    assert_eq!(site.redis.cli(&["XLEN", &keys::input(3)]).trim(), "30");
    assert_eq!(list(&site, &[]).len(), 1);
    assert_eq!(site.roger(&["dead", "drop", "--job", "talk", "--yes", "--json"]).succeeded().json()["done"], 1);
    assert_eq!(list(&site, &[]), Vec::<Value>::new());
}
