//! The rules of a session, frame by frame.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::client::event::{Body, Event, Receipt};
use crate::model::InstallationId;
use crate::model::Reason;

const GROUP: &str = "g:5";
const PEER: &str = "u:9";

fn topic(text: &str) -> TopicId {
    text.parse().unwrap()
}

fn wire(text: &str) -> Option<v1::Topic> {
    Some(topic(text).into())
}

struct Case {
    core: Core,
    now: Instant,
}

impl Case {
    fn new() -> Self {
        Self::with(Memory::of(InstallationId(1)), Acknowledge::Delivered)
    }

    fn with(memory: Memory, acknowledge: Acknowledge) -> Self {
        let mut case = Self { core: Core::new(memory, acknowledge), now: Instant::now() };
        case.core.hello("token".to_owned());
        let welcome = v1::Welcome { session_id: 3, heartbeat_interval_ms: 1_000, user_id: 7, durability: 3 };
        assert_eq!(case.take(v1::ServerFrame { welcome: Some(welcome), ..Default::default() }), []);
        case
    }

    fn take(&mut self, frame: v1::ServerFrame) -> Vec<Event> {
        let mut events = Vec::new();
        self.core.take(frame, self.now, &mut events);
        events
    }

    fn entries(&mut self, places: &[(u64, u64)]) -> Vec<Event> {
        let entry = |&(epoch, seq): &(u64, u64)| v1::Entry {
            topic: wire(GROUP),
            epoch,
            seq,
            sender_id: 9,
            installation_id: 2,
            client_seq: seq,
            kind: 1,
            text: Bytes::from_static(b"hello"),
            ..Default::default()
        };
        self.take(v1::ServerFrame { entries: places.iter().map(entry).collect(), ..Default::default() })
    }

    fn refuse(&mut self, reason: Reason, client_seq: u64, client_seq_high: u64) -> Vec<Event> {
        let refusal = v1::Refusal { reason: reason as i32, topic: wire(PEER), client_seq, client_seq_high, ..Default::default() };
        self.take(v1::ServerFrame { refusals: vec![refusal], ..Default::default() })
    }

    /// The messages of the next frame: client_seq and predecessor.
    fn sent(&mut self) -> Vec<(u64, u64)> {
        let frame = self.core.next_frame(self.now).unwrap_or_default();
        frame.messages.iter().map(|message| (message.client_seq, message.predecessor)).collect()
    }

    fn marks(&mut self) -> Vec<(u64, u64)> {
        let frame = self.core.next_frame(self.now).unwrap_or_default();
        frame.marks.iter().map(|mark| mark.place.map(|place| (place.epoch, place.seq)).unwrap()).collect()
    }
}

#[test]
fn messages_share_a_frame_and_leave_at_once() {
    let mut case = Case::new();
    assert_eq!(case.core.due(case.now), None);
    for _ in 0..3 {
        case.core.send(topic(PEER), Bytes::from_static(b"x"));
    }
    assert_eq!(case.sent(), [(1, 0), (2, 1), (3, 2)]);
    assert_eq!((case.core.due(case.now), case.sent()), (None, vec![]));
    let receipt = v1::Receipt { topic: wire(PEER), client_seq: 2, durability: 3 };
    let told = case.take(v1::ServerFrame { receipts: vec![receipt, receipt], ..Default::default() });
    assert_eq!(told, [Event::Receipt(Receipt { topic: topic(PEER), client_seq: 2, durability: Durability::Fsync, messages: 2 })]);
    case.core.hello("token".to_owned());
    assert_eq!((case.sent(), case.core.unreceipted(), case.core.counts().resent), (vec![(3, 2)], 1, 1));
}

#[test]
fn a_frame_holds_no_more_than_a_fleet_takes() {
    let mut case = Case::new();
    for _ in 0..300 {
        case.core.send(topic(PEER), Bytes::from_static(b"x"));
    }
    let big = Bytes::from(vec![b'a'; 65_536]);
    for _ in 0..20 {
        case.core.send(topic(GROUP), big.clone());
    }
    let mut frames = Vec::new();
    while let Some(frame) = case.core.next_frame(case.now) {
        frames.push((frame.messages.len(), frame.messages.iter().map(|message| message.text.len()).sum::<usize>()));
    }
    assert!(frames.iter().all(|(messages, bytes)| (1..=256).contains(messages) && *bytes <= 512 << 10), "{frames:?}");
    assert_eq!(frames.iter().map(|(messages, _)| messages).sum::<usize>(), 320);
}

#[test]
fn entries_come_once_and_holes_are_counted() {
    let mut case = Case::new();
    assert_eq!(case.entries(&[(1, 1), (1, 2), (1, 2), (1, 1), (1, 3)]).len(), 3);
    assert_eq!((case.core.counts().repeats, case.core.counts().holes), (2, 0));
    case.entries(&[(1, 5)]);
    case.entries(&[(2, 6), (2, 8)]);
    assert_eq!((case.core.counts().entries, case.core.counts().holes), (6, 2));
}

#[test]
fn acknowledgements_wait_for_64_entries_or_50_ms_or_a_frame() {
    let mut case = Case::new();
    case.entries(&(1..=63).map(|seq| (1, seq)).collect::<Vec<_>>());
    assert_eq!((case.marks(), case.core.due(case.now)), (vec![], Some(case.now + Duration::from_millis(50))));
    case.entries(&[(1, 64)]);
    assert_eq!((case.marks(), case.core.due(case.now)), (vec![(1, 64)], None));
    case.entries(&[(1, 65)]);
    case.now += Duration::from_millis(50);
    assert_eq!(case.marks(), [(1, 65)]);
    case.entries(&[(1, 66)]);
    case.core.send(topic(PEER), Bytes::from_static(b"x"));
    let frame = case.core.next_frame(case.now).unwrap();
    assert_eq!((frame.messages.len(), frame.marks.len()), (1, 1));
}

#[test]
fn only_what_the_app_stored_is_acknowledged_and_remembered() {
    let mut case = Case::with(Memory::of(InstallationId(1)), Acknowledge::Explicit);
    assert_eq!(case.entries(&[(1, 1), (1, 2), (1, 3)]).len(), 3);
    assert_eq!(case.core.due(case.now), None);
    case.core.acknowledge(topic(GROUP), Place::new(1, 2), case.now);
    assert_eq!(case.core.memory().topics[&topic(GROUP)].mark, Some(Place::new(1, 2)));
    let hello = case.core.hello("token".to_owned()).hello.unwrap();
    assert_eq!(hello.marks, [v1::Mark { topic: wire(GROUP), place: Some(v1::Place { epoch: 1, seq: 2 }) }]);
    // Asked for again by this very mark: no repeat, and nothing the app has not seen.
    assert_eq!((case.entries(&[(1, 3), (1, 4)]).len(), case.core.counts().repeats), (1, 0));
}

#[test]
fn what_is_refused_for_now_is_sent_again_later_and_in_order() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.core.send(topic(PEER), Bytes::from_static(b"x"));
    }
    case.sent();
    assert_eq!(case.refuse(Reason::RateLimited, 2, 0), []);
    assert_eq!(case.refuse(Reason::PredecessorMissing, 3, 1), []);
    let receipt = v1::Receipt { topic: wire(PEER), client_seq: 1, durability: 3 };
    case.take(v1::ServerFrame { receipts: vec![receipt], ..Default::default() });
    assert_eq!(case.sent(), []);
    case.now = case.core.due(case.now).unwrap();
    assert_eq!(case.sent(), [(2, 1), (3, 2)]);
    assert_eq!(case.core.counts().deferred, 1);
}

#[test]
fn what_is_refused_for_good_is_told_and_stepped_over() {
    let mut case = Case::new();
    for _ in 0..2 {
        case.core.send(topic(PEER), Bytes::from_static(b"x"));
    }
    case.sent();
    let told = case.refuse(Reason::UnknownRecipient, 1, 0);
    let message = Some((topic(PEER), 1));
    assert!(matches!(&told[..], [Event::Refusal(refusal)] if refusal.message == message), "{told:?}");
    assert_eq!(case.refuse(Reason::PredecessorMissing, 2, 0), []);
    assert_eq!((case.sent(), case.core.unreceipted()), (vec![(2, 0)], 1));
}

#[test]
fn a_message_rejected_after_its_receipt_for_its_predecessor_is_sent_again_under_a_new_number() {
    let mut case = Case::new();
    for _ in 0..2 {
        case.core.send(topic(PEER), Bytes::from_static(b"x"));
    }
    case.sent();
    let receipt = v1::Receipt { topic: wire(PEER), client_seq: 2, durability: 3 };
    case.take(v1::ServerFrame { receipts: vec![receipt], ..Default::default() });
    let rejected = |seq, client_seq, reason: Reason| v1::Entry {
        topic: wire("u:7"),
        epoch: 1,
        seq,
        kind: 0,
        notice: Some(v1::entry::Notice::Rejected(v1::Rejected {
            topic: wire(PEER),
            installation_id: 1,
            client_seq,
            reason: reason as i32,
            client_seq_high: 0,
        })),
        ..Default::default()
    };
    let entries = vec![rejected(1, 1, Reason::UnknownRecipient), rejected(2, 2, Reason::PredecessorMissing)];
    assert_eq!(case.take(v1::ServerFrame { entries, ..Default::default() }).len(), 2);
    assert_eq!((case.sent(), case.core.unreceipted()), (vec![(3, 0)], 1));
    assert_eq!((case.core.counts().refused, case.core.counts().resent), (1, 1));
    // The notice of a refusal was lost, and the number sent again.
    let entries = vec![rejected(3, 3, Reason::SequenceReused)];
    case.take(v1::ServerFrame { entries, ..Default::default() });
    assert_eq!((case.sent(), case.core.unreceipted()), (vec![(4, 0)], 1));
}

#[test]
fn a_follow_tells_receipts_that_were_lost_but_nothing_of_other_memories() {
    let mut case = Case::new();
    for _ in 0..2 {
        case.core.send(topic(GROUP), Bytes::from_static(b"x"));
    }
    let follow = |high| v1::Follow {
        topic: wire(GROUP),
        head: Some(v1::Place { epoch: 1, seq: 4 }),
        mark: Some(v1::Place { epoch: 1, seq: 4 }),
        client_seq_high: high,
        following: true,
    };
    let told = case.take(v1::ServerFrame { follows: vec![follow(1)], ..Default::default() });
    assert!(matches!(told[..], [Event::Receipt(Receipt { client_seq: 1, .. }), Event::Follow { .. }]), "{told:?}");
    case.take(v1::ServerFrame { follows: vec![follow(9)], ..Default::default() });
    assert_eq!(case.core.unreceipted(), 1, "2 waits still: the fleet's 9 is not of this memory");
    assert_eq!(case.core.send(topic(GROUP), Bytes::from_static(b"x")), 10);
    assert_eq!((case.sent(), case.core.at(topic(GROUP))), (vec![(2, 1), (10, 9)], Some(Place::new(1, 4))));
}

#[test]
fn an_own_entry_is_a_receipt_and_gets_its_text_back() {
    let mut case = Case::new();
    case.core.send(topic(GROUP), Bytes::from_static(b"roger"));
    case.sent();
    let own =
        v1::Entry { topic: wire(GROUP), epoch: 1, seq: 1, sender_id: 7, installation_id: 1, client_seq: 1, kind: 1, ..Default::default() };
    let told = case.take(v1::ServerFrame { entries: vec![own], ..Default::default() });
    assert!(
        matches!(&told[..], [Event::Receipt(_), Event::Entry(entry)] if entry.body == Body::Text(Bytes::from_static(b"roger"))),
        "{told:?}"
    );
}

#[test]
fn a_memory_given_back_continues_where_it_was() {
    let mut case = Case::new();
    case.entries(&[(1, 1)]);
    for _ in 0..2 {
        case.core.send(topic(GROUP), Bytes::from_static(b"x"));
    }
    case.sent();
    let memory: Memory = serde_json::from_str(&serde_json::to_string(&case.core.memory()).unwrap()).unwrap();
    let mut case = Case::with(memory, Acknowledge::Delivered);
    assert_eq!((case.sent(), case.core.unreceipted()), (vec![(1, 0), (2, 1)], 2));
    assert_eq!((case.entries(&[(1, 1), (1, 2)]).len(), case.core.counts().repeats), (1, 1));
    assert_eq!(case.core.send(topic(GROUP), Bytes::from_static(b"x")), 3);
}

#[test]
fn a_message_that_a_fleet_decided_anew_is_handed_over_once() {
    let mut case = Case::new();
    let entry = |epoch, seq, client_seq| v1::Entry {
        topic: wire(GROUP),
        epoch,
        seq,
        sender_id: 9,
        installation_id: 2,
        client_seq,
        kind: 1,
        text: Bytes::from_static(b"x"),
        ..Default::default()
    };
    let said = |entries| v1::ServerFrame { entries, ..Default::default() };
    assert_eq!(case.take(said(vec![entry(1, 1, 4), entry(1, 2, 5)])).len(), 2);
    // The fleet lost the place of the last one and not its input.
    let mut case = Case::with(case.core.memory(), Acknowledge::Explicit);
    assert_eq!(case.take(said(vec![entry(2, 2, 5)])), []);
    assert_eq!((case.core.counts().echoes, case.core.counts().holes), (1, 0));
    // Nothing waits for the app to store it, so the place counts as received.
    case.now += ACKNOWLEDGE_LINGER;
    assert_eq!(case.marks(), [(2, 2)]);
    assert_eq!(case.take(said(vec![entry(2, 3, 6)])).len(), 1);
    // And here something does.
    assert_eq!(case.take(said(vec![entry(3, 4, 6)])), []);
    case.now += ACKNOWLEDGE_LINGER;
    assert_eq!(case.marks(), [(0, 0); 0]);
}

#[test]
fn what_stands_behind_entries_is_taken_behind_them() {
    let mut case = Case::new();
    let entry = |seq| v1::Entry { topic: wire(GROUP), epoch: 1, seq, kind: 1, text: Bytes::from_static(b"x"), ..Default::default() };
    let place = |seq| Some(v1::Place { epoch: 1, seq });
    let gap = v1::Gap { topic: wire(GROUP), from: place(3), to: place(7), reason: v1::GapReason::NotMember as i32 };
    let follow = v1::Follow { topic: wire(GROUP), head: place(9), mark: place(7), following: true, ..Default::default() };
    let frame = v1::ServerFrame { entries: (1..=3).map(entry).collect(), gaps: vec![gap], follows: vec![follow], ..Default::default() };
    let events = case.take(frame);
    assert!(matches!(&events[..], [Event::Entry(_), Event::Entry(_), Event::Entry(_), Event::Gap(_), Event::Follow { .. }]), "{events:?}");
    let counts = case.core.counts();
    assert_eq!((counts.entries, counts.repeats, counts.holes), (3, 0, 0));
    assert_eq!(case.entries(&[(1, 8)]).len(), 1);
    assert_eq!(case.core.counts().holes, 0);
}
