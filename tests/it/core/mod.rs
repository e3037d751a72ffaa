//! The core against a small independent model of what it promises, in random interleavings.
//!
//! A failing case is printed as a list of operations and its seed is kept by proptest; `PROPTEST_CASES` runs more of them.

mod alerts;
mod cursor;
mod floor;
mod heard;
mod operations;
mod people;
mod recovery;
mod reference;
mod rooms;
mod steps;
mod talk;

use std::collections::BTreeMap;

use proptest::test_runner::{Config, RngSeed};
use roger::model::{Place, TopicId, UserId};
use roger::topic::frame::{Attach, InFrame, Input, Lane, LogFrame, Outcome, Output, forward_number, shard_producer};
use roger::topic::{Batch, Followers, Shard};

/// How often each property is tried, and from which seed: `PROPTEST_CASES` and `PROPTEST_RNG_SEED` change it.
fn config(cases: u32) -> Config {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("replay with PROPTEST_RNG_SEED={seed}");
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

/// What the owner of a topic answers to a session of a user that asks to follow it, with what it holds. Changes nothing.
fn attach(shard: &Shard, topic: TopicId, user: UserId, mark: Option<Place>) -> Output {
    let attach = Attach { topic: topic.packed(), user: user.0, installation: 1, session: 1, mark: mark.map(Into::into) };
    let (mut batch, mut followers) = (Batch::default(), Followers::default());
    let items = vec![Input::Attach(attach).into()];
    let frame = InFrame { producer: 88, number: 1, edge: "edge".to_owned(), seen: None, items };
    shard.clone().step(&mut batch, &mut followers, Lane::Normal, frame, 1).unwrap();
    let (_, outputs) = batch.outputs.into_edges().next().unwrap();
    outputs.into_iter().next().unwrap().output.unwrap()
}

/// What a commit of a shard forwards, by the shard and lane it is for.
fn forwards(shard: u32, shards: u32, log: &LogFrame) -> BTreeMap<(u32, Lane), InFrame> {
    let mut targets: BTreeMap<(u32, Lane), InFrame> = BTreeMap::new();
    for outcome in log.outcomes.iter().filter_map(|item| item.outcome.as_ref()) {
        let Outcome::Forward(forward) = outcome else { continue };
        let topic = match forward.item.input.as_ref().unwrap() {
            Input::Post(post) => post.topic,
            Input::Membership(membership) => membership.topic,
            Input::Move(step) => step.topic,
            Input::Moved(moved) => moved.topic,
            Input::Notice(notice) => notice.topic,
            Input::Presence(presence) => presence.topic,
            // For who works the media server.
            Input::Microphone(_) | Input::Seat(_) | Input::Unseat(_) => continue,
            other => panic!("{other:?}"),
        };
        let topic = TopicId::from_packed(topic).unwrap();
        let target = (topic.shard(shards), Lane::of(topic));
        let (producer, number) = (shard_producer(shard), forward_number(log.epoch, log.commit));
        targets.entry(target).or_insert_with(|| InFrame { producer, number, ..InFrame::default() }).items.push(forward.item.clone());
    }
    targets
}
