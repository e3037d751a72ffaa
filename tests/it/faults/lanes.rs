//! Alerts and all else.

use prost::Message as _;
use roger::broker::{EdgeBeat, StreamEntry, StreamId, keys};
use roger::clock::Clock;
use roger::model::{MessageKind, TopicId, TopicKind};
use roger::topic::frame::{Attach, InFrame, Input, LogFrame, Notice, OutFrame, Outcome, Output, Post};

use super::{options, quiet};
use crate::support::eventually;
use crate::support::fleet::{Fleet, FleetOptions, SHARDS};
use crate::worker::handle;

const BACKLOG: u64 = 4_000;
const SESSION: u64 = 1;

/// A user whose inbox and alerts live in one shard.
fn user() -> (u64, TopicId, TopicId) {
    let topics = |id| (id, TopicId::checked(TopicKind::Inbox, id).unwrap(), TopicId::checked(TopicKind::AlertInbox, id).unwrap());
    (1..).map(topics).find(|(_, inbox, alerts)| inbox.shard(SHARDS) == alerts.shard(SHARDS)).unwrap()
}

fn frame(producer: u64, number: u64, edge: &str, item: Input) -> Vec<u8> {
    InFrame { producer, number, edge: edge.to_owned(), seen: None, items: vec![item.into()] }.encode_to_vec()
}

/// The first entry that came on a stream of an edge, and the id it came under.
fn first_entry(stream: &str, frames: &[StreamEntry]) -> Option<(StreamId, u64)> {
    frames.iter().find_map(|found| {
        let frame: OutFrame = found.decode(stream).ok()?;
        frame.items.into_iter().find_map(|item| match item.output {
            Some(Output::Entry(entry)) => Some((found.id, entry.topic)),
            _ => None,
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_overtakes_a_backlog_of_thousands() {
    let mut fleet = Fleet::start(FleetOptions { edges: 0, ..options() });
    fleet.terminate("delivery-0");
    let redis = handle(&fleet.redis);
    // The test is the edge, so that it sees what an edge is told.
    let boot = "ear-1";
    let beat = EdgeBeat { boot: boot.to_owned(), name: "ear".to_owned(), ..EdgeBeat::default() };
    redis.beat_edge(&beat, Clock::system().now_ms(), crate::support::PATIENCE * 4).await.unwrap();
    let (id, inbox, alerts) = user();
    let (shard, before) = (inbox.shard(SHARDS), inbox.packed());
    let attach = |topic: TopicId| Input::Attach(Attach { topic: topic.packed(), user: id, installation: 1, session: SESSION, mark: None });
    let noise = |number| frame(2, number, "", Input::Notice(Notice { topic: before, kind: MessageKind::Joined as u32, body: "".into() }));
    let mut frames = vec![(keys::input(shard), frame(1, 1, boot, attach(inbox)))];
    frames.extend((1..=BACKLOG).map(|number| (keys::input(shard), noise(number))));
    let alert = Post {
        topic: alerts.packed(),
        sender: 9,
        installation: 9,
        client_seq: 1,
        kind: MessageKind::Text as u32,
        body: "mayday".into(),
        ..Post::default()
    };
    frames.push((keys::urgent(shard), frame(1, 1, boot, attach(alerts))));
    frames.push((keys::urgent(shard), frame(3, 1, "", Input::Post(alert))));
    redis.add_all(&frames).await.unwrap();

    fleet.relaunch("delivery-0");
    let (urgent, normal) = (keys::out_urgent(boot), keys::out(boot));
    let all = async |stream: &str| redis.range(stream, StreamId(0, 0), StreamId(u64::MAX, u64::MAX), 100_000).await.ok();
    let at = eventually("the alert", async || first_entry(&urgent, &all(&urgent).await?)).await;
    quiet(&fleet).await;
    let (told, topic) = at;
    assert_eq!(topic, alerts.packed());
    let (noise, _) = first_entry(&normal, &all(&normal).await.unwrap()).unwrap();
    assert!(told <= noise, "the alert came at {told}, behind what came at {noise}");

    let log = keys::log(shard);
    let commits: Vec<LogFrame> = all(&log).await.unwrap().iter().map(|found| found.decode(&log).unwrap()).collect();
    let has = |frame: &LogFrame, topic: TopicId| {
        frame.outcomes.iter().any(|item| matches!(&item.outcome, Some(Outcome::Entry(entry)) if entry.topic == topic.packed()))
    };
    let first = |topic| commits.iter().position(|frame| has(frame, topic)).unwrap();
    assert!(first(alerts) < first(inbox), "the alert did not have a commit to itself, before all else");
    let of_first = &commits[first(alerts)].outcomes;
    assert!(matches!(&of_first[0].outcome, Some(Outcome::Entry(entry)) if entry.topic == alerts.packed()), "not first in its batch");
    let entries = commits.iter().filter(|frame| has(frame, inbox)).count();
    assert!(entries > 10, "a backlog of {entries} commits is none");
}

#[test]
fn what_may_lag_yields_the_processor_to_messages_and_those_to_sos() {
    let mut options = FleetOptions { edges: 1, sos: 1, gps: 1, ..options() };
    options.overrides.push(("processor.yield", "true".to_owned()));
    let mut fleet = Fleet::start(options);
    let mut niceness = |name: &str| procfs::process::Process::new(fleet.program(name).pid() as i32).unwrap().stat().unwrap().nice;
    let sos = niceness("sos-0");
    for (name, more) in [("edge-0", 5), ("delivery-0", 5), ("directory", 5), ("offline-0", 10), ("gps-0", 10)] {
        assert_eq!(niceness(name) - sos, more, "{name}");
    }
}
