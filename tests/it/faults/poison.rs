//! Inputs that panic the core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roger::client::Body;
use roger::clock::Clock;
use roger::jobs::deliver::Hook;
use roger::model::{Reason, TopicId};
use roger::topic::frame::Input;
use serde_json::Value;

use super::cast::{Cast, said, word};
use crate::support::eventually;
use crate::support::world::World;

/// The word that does harm, as alice says it.
const POISON: u64 = 6;

/// Whether an input is that word.
pub fn is_poison(input: &Input) -> bool {
    matches!(input, Input::Post(post) if post.body == said("alice", POISON))
}

/// Why alice's messages to a topic were refused after their receipts, as her inbox says.
pub fn rejected(cast: &Cast, topic: TopicId) -> Vec<Option<Reason>> {
    let heard = cast.heard("alice");
    let reason = |body: &Body| match body {
        Body::Rejected { topic: of, reason, .. } if *of == topic => Some(*reason),
        _ => None,
    };
    heard.entries.iter().filter_map(|entry| reason(&entry.body)).collect()
}

fn words(cast: &Cast, name: &str, topic: TopicId) -> Vec<u64> {
    let text = |body: &Body| if let Body::Text(text) = body { Some(word(text)) } else { None };
    cast.heard(name).of(topic).iter().filter_map(|entry| text(&entry.body)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_panics_three_times_is_put_aside_told_and_said_again_by_a_redrive() {
    let (armed, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(std::sync::atomic::AtomicU64::new(0)));
    let hook: Hook = Arc::new({
        let (armed, tries) = (armed.clone(), tries.clone());
        move |input| {
            if is_poison(input) && armed.load(Ordering::SeqCst) {
                tries.fetch_add(1, Ordering::SeqCst);
                panic!("planted");
            }
        }
    });
    let mut world = World::start(Clock::system(), &[], Some(hook)).await;
    world.start_edge("edge-0").await;
    let mut cast = Cast::new(&world.config, Clock::system(), world.edges.clone()).await;
    cast.join(["alice", "bob"]).await;
    let topic = cast.group("air", ["alice", "bob"]).await;
    for name in ["alice", "bob"] {
        cast.on(name, 0);
        cast.follows(name, topic).await;
    }
    cast.say("alice", topic, 20).await;
    cast.say("bob", topic, 20).await;
    for listener in ["alice", "bob"] {
        cast.hears(listener, topic, "alice", 20).await;
        cast.hears(listener, topic, "bob", 20).await;
    }
    assert_eq!(tries.load(Ordering::SeqCst), 3, "times it was tried");
    let but_poison: Vec<u64> = (1..=20).filter(|word| *word != POISON).collect();
    let heard: Vec<u64> = words(&cast, "bob", topic);
    assert_eq!(heard.len(), 39, "everything but the poison: {heard:?}");
    cast.check(topic);
    eventually("alice is told", async || rejected(&cast, topic).contains(&Some(Reason::Quarantined)).then_some(())).await;

    let letters = world.roger(&["--json", "dead", "list", "--raw"]).succeeded().json();
    let [letter] = letters.as_array().unwrap().as_slice() else { panic!("not one letter: {letters}") };
    assert_eq!((letter["job"].as_str(), letter["attempts"].as_u64()), (Some("deliver"), Some(3)));
    assert_eq!(letter["reason"], "panicked the core three times");
    assert!(letter["payload"].as_str().is_some_and(|payload| !payload.is_empty()), "{letter}");

    armed.store(false, Ordering::SeqCst);
    let id = letter["id"].as_str().unwrap();
    world.roger(&["dead", "redrive", id, "--yes"]).succeeded();
    for listener in ["alice", "bob"] {
        cast.hears(listener, topic, "alice", POISON).await;
    }
    assert_eq!(words(&cast, "bob", topic).len(), 40);
    assert_eq!(words(&cast, "bob", topic).last(), Some(&POISON), "a new message comes last");
    assert_eq!(rejected(&cast, topic).iter().filter(|reason| **reason == Some(Reason::Quarantined)).count(), 1);
    let of_alice = |entry: &&roger::client::Entry| entry.sender == cast.user("alice");
    let heard = cast.heard("bob").of(topic);
    let order: Vec<u64> =
        heard.iter().filter(of_alice).map(|entry| if let Body::Text(text) = &entry.body { word(text) } else { 0 }).collect();
    assert_eq!(order[..19], but_poison);
    assert_eq!(world.roger(&["--json", "dead", "list"]).succeeded().json(), Value::Array(Vec::new()));
    world.stop("edge-0").await;
}
