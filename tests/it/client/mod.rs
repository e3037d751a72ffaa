//! The client library against a fleet that misbehaves: every way in which an edge, or the network before it, lets a session down.

mod fleet;

use std::time::Duration;

use roger::client::{Acknowledge, Body, Disconnect, Event, Memory, Options, Session, StaticToken};
use roger::model::{InstallationId, Reason, TopicId};
use tokio::sync::mpsc::Receiver;

use fleet::{Fleet, Trick};

const DEADLINE: Duration = Duration::from_secs(20);

fn topic(text: &str) -> TopicId {
    text.parse().unwrap()
}

/// The token of the test fleet names the user.
fn options(fleet: &Fleet, user: u64) -> Options {
    Options::new(fleet.edges(), std::sync::Arc::new(StaticToken(user.to_string())), Memory::of(InstallationId(user)))
}

fn open(fleet: &Fleet, user: u64) -> (Session, Receiver<Event>) {
    Session::open(options(fleet, user)).unwrap()
}

async fn next(events: &mut Receiver<Event>) -> Event {
    tokio::time::timeout(DEADLINE, events.recv()).await.expect("no event came in time").expect("the session has ended")
}

/// The texts of the next `count` entries.
async fn texts(events: &mut Receiver<Event>, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        if let Event::Entry(entry) = next(events).await
            && let Body::Text(text) = entry.body
        {
            texts.push(String::from_utf8(text.to_vec()).unwrap());
        }
    }
    texts
}

async fn until(events: &mut Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = next(events).await;
        if wanted(&event) {
            return event;
        }
    }
}

async fn flushed(session: &Session) {
    tokio::time::timeout(DEADLINE, session.flush()).await.expect("receipts are missing").unwrap();
}

fn numbered(count: u64) -> Vec<String> {
    (1..=count).map(|number| format!("m{number}")).collect()
}

/// Sends m1 to m`count` from user 1 to group 5 while the fleet plays `tricks`, and checks that user 2 has each once and in order.
async fn everything_arrives_in_spite_of(tricks: &[Trick]) -> (Session, Session) {
    let fleet = Fleet::start(2).await;
    let (sender, mut sender_events) = open(&fleet, 1);
    let (receiver, mut receiver_events) = open(&fleet, 2);
    // Before that there is nothing to break.
    for events in [&mut sender_events, &mut receiver_events] {
        until(events, |event| matches!(event, Event::Connected { .. })).await;
    }
    tokio::spawn(async move { while sender_events.recv().await.is_some() {} });
    let count = 200;
    for (number, text) in numbered(count).into_iter().enumerate() {
        if number % 50 == 25 {
            for trick in tricks {
                fleet.play(*trick);
            }
        }
        sender.send(topic("g:5"), text).await.unwrap();
        if number % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    flushed(&sender).await;
    assert_eq!(texts(&mut receiver_events, count as usize).await, numbered(count), "{tricks:?}");
    let counts = receiver.counts();
    assert_eq!(counts.holes, 0, "{tricks:?}: {counts:?}");
    assert_eq!(fleet.log(topic("g:5")), numbered(count), "{tricks:?}: what the fleet has");
    (sender, receiver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_fleet_delivers() {
    let (sender, receiver) = everything_arrives_in_spite_of(&[]).await;
    assert_eq!((sender.counts().resent, receiver.counts().repeats), (0, 0));
    assert_eq!(sender.counts().receipted, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_receipt_is_asked_for_again() {
    let (sender, _) = everything_arrives_in_spite_of(&[Trick::LoseReceipts, Trick::BreakConnections]).await;
    assert!(sender.counts().connections > 1, "{:?}", sender.counts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_come_twice_are_dropped() {
    let (_, receiver) = everything_arrives_in_spite_of(&[Trick::RepeatEntries]).await;
    assert!(receiver.counts().repeats > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dying_edge_is_left_for_another() {
    everything_arrives_in_spite_of(&[Trick::BreakConnections]).await;
    everything_arrives_in_spite_of(&[Trick::Close(Reason::ShuttingDown, 20)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_for_now_keeps_the_order() {
    let (sender, _) = everything_arrives_in_spite_of(&[Trick::RefuseMessages(Reason::Backlog)]).await;
    assert!(sender.counts().deferred > 0, "{:?}", sender.counts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_says_nothing_is_left() {
    let fleet = Fleet::start(2).await;
    let (_session, mut events) = open(&fleet, 1);
    until(&mut events, |event| matches!(event, Event::Connected { .. })).await;
    fleet.play(Trick::FallSilent);
    until(&mut events, |event| matches!(event, Event::Disconnected { reason: Disconnect::Silent, .. })).await;
    until(&mut events, |event| matches!(event, Event::Connected { .. })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_counted() {
    let fleet = Fleet::start(1).await;
    let (sender, _sender_events) = open(&fleet, 1);
    let (receiver, mut events) = open(&fleet, 2);
    until(&mut events, |event| matches!(event, Event::Follow { .. })).await;
    fleet.play(Trick::LoseEntries);
    sender.send(topic("g:5"), "lost").await.unwrap();
    flushed(&sender).await;
    crate::support::eventually("it is lost", async || fleet.has_played().then_some(())).await;
    sender.send(topic("g:5"), "found").await.unwrap();
    assert_eq!(texts(&mut events, 1).await, ["found"]);
    assert_eq!(receiver.counts().holes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_over_session_stays_down() {
    let fleet = Fleet::start(2).await;
    let (session, mut events) = open(&fleet, 1);
    until(&mut events, |event| matches!(event, Event::Connected { .. })).await;
    // By an attempt of its own that came late: whoever is alive comes back.
    fleet.play(Trick::Close(Reason::Superseded, 10));
    until(&mut events, |event| matches!(event, Event::Connected { .. })).await;
    fleet.play(Trick::Close(Reason::Superseded, 0));
    let closed = until(&mut events, |event| matches!(event, Event::Closed { .. })).await;
    assert!(matches!(closed, Event::Closed { reason: Some(Reason::Superseded), .. }), "{closed:?}");
    assert!(session.send(topic("g:5"), "x").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ran_out_is_renewed() {
    let fleet = Fleet::start(1).await;
    let mut options = options(&fleet, 1);
    options.tokens = std::sync::Arc::new(fleet::Renewing::new("1"));
    let (_session, mut events) = Session::open(options).unwrap();
    until(&mut events, |event| matches!(event, Event::Connected { .. })).await;
    fleet.expire("1");
    fleet.play(Trick::Close(Reason::TokenExpired, 0));
    until(&mut events, |event| matches!(event, Event::Connected { .. })).await;
    assert_eq!(fleet.tokens(), ["1", "1.renewed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_token_that_ran_out_ends_the_session() {
    let fleet = Fleet::start(1).await;
    fleet.expire("1");
    let (_session, mut events) = open(&fleet, 1);
    let closed = until(&mut events, |event| matches!(event, Event::Closed { .. })).await;
    assert!(matches!(closed, Event::Closed { reason: Some(Reason::TokenExpired), .. }), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_died_continues_from_its_memory() {
    let fleet = Fleet::start(1).await;
    let (sender, _sender_events) = open(&fleet, 1);
    let mut explicit = options(&fleet, 2);
    explicit.acknowledge = Acknowledge::Explicit;
    let (receiver, mut events) = Session::open(explicit.clone()).unwrap();
    for text in numbered(10) {
        sender.send(topic("g:5"), text).await.unwrap();
    }
    let mut stored = Vec::new();
    while stored.len() < 4 {
        if let Event::Entry(entry) = next(&mut events).await {
            receiver.acknowledge(entry.topic, entry.place);
            stored.push(entry.place.seq);
        }
    }
    let memory = receiver.memory();
    // Nothing more is stored after this: as if killed.
    drop((receiver, events));
    explicit.memory = memory;
    let (receiver, mut events) = Session::open(explicit).unwrap();
    assert_eq!(texts(&mut events, 6).await, numbered(10)[4..]);
    assert_eq!((receiver.counts().repeats, receiver.counts().holes), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_nobody_may_write_is_told_and_those_behind_it_arrive() {
    let fleet = Fleet::start(1).await;
    let (sender, mut events) = open(&fleet, 1);
    let (_receiver, mut receiver_events) = open(&fleet, 2);
    sender.send(topic("g:5"), "m1").await.unwrap();
    flushed(&sender).await;
    fleet.play(Trick::RefuseMessages(Reason::NotMember));
    sender.send(topic("g:5"), "refused").await.unwrap();
    sender.send(topic("g:5"), "m2").await.unwrap();
    let refusal = until(&mut events, |event| matches!(event, Event::Refusal(_))).await;
    assert!(matches!(&refusal, Event::Refusal(refusal) if refusal.reason == Some(Reason::NotMember)), "{refusal:?}");
    flushed(&sender).await;
    let expected: Vec<_> = fleet.log(topic("g:5"));
    assert!(expected == ["m1", "m2"] || expected == ["m1"], "{expected:?}");
    assert_eq!(texts(&mut receiver_events, expected.len()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_does_not_read_is_waited_for() {
    let fleet = Fleet::start(1).await;
    let (sender, _sender_events) = open(&fleet, 1);
    let mut small = options(&fleet, 2);
    small.events = 4;
    let (receiver, mut events) = Session::open(small).unwrap();
    for text in numbered(100) {
        sender.send(topic("g:5"), text).await.unwrap();
    }
    flushed(&sender).await;
    // Heartbeats go on meanwhile: the fleet's interval is far shorter than this.
    tokio::time::sleep(fleet::HEARTBEAT * 5).await;
    assert_eq!(texts(&mut events, 100).await, numbered(100));
    assert_eq!(receiver.counts().connections, 1);
}
