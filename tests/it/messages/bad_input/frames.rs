//! Bad messages and marks in a session that is open.

use roger::model::{Place, Reason, TopicId};
use roger::proto::v1;

use super::door::{Door, refusals};
use super::{Counted, Expected};
use crate::messages::radio::{Radio, message};
use crate::messages::stage::{hello, hello_at};

/// One change to a good message, and what it is refused with.
struct BadMessage {
    what: &'static str,
    change: Box<dyn Fn(v1::Message) -> v1::Message>,
    expected: Expected,
}

fn bad(what: &'static str, change: impl Fn(v1::Message) -> v1::Message + 'static, reason: Reason, field: &'static str) -> BadMessage {
    BadMessage { what, change: Box::new(change), expected: Expected { reason, field } }
}

fn bad_text(what: &'static str, text: impl Into<Vec<u8>>, reason: Reason) -> BadMessage {
    let text = bytes::Bytes::from(text.into());
    bad(what, move |good| v1::Message { text: text.clone(), ..good }, reason, "messages[0].text")
}

fn bad_topic(what: &'static str, to: Option<v1::Topic>, reason: Reason) -> BadMessage {
    bad(what, move |good| v1::Message { to, ..good }, reason, "messages[0].to")
}

/// All that can be wrong with one message. `foreign` is a group and `stranger` an inbox of another company.
fn bad_messages(foreign: TopicId, stranger: TopicId) -> Vec<BadMessage> {
    let topic = |kind: v1::TopicKind, id: u64| Some(v1::Topic { kind: kind.into(), id });
    let (kind, seq) = ("messages[0].kind", "messages[0].client_seq");
    vec![
        bad_topic("a group of another company", Some(foreign.into()), Reason::NotMember),
        bad_topic("a group that is not there", topic(v1::TopicKind::Group, 999_999), Reason::NotMember),
        bad_topic("somebody of another company", Some(stranger.into()), Reason::UnknownRecipient),
        bad_topic("nobody", topic(v1::TopicKind::User, 999_999), Reason::UnknownRecipient),
        bad_topic("no topic", None, Reason::FieldMissing),
        bad_topic("the id 0", topic(v1::TopicKind::Group, 0), Reason::FieldMissing),
        bad_topic("an id beyond all", topic(v1::TopicKind::Group, u64::MAX), Reason::FieldMissing),
        bad_topic("no kind of topic", topic(v1::TopicKind::Unspecified, 1), Reason::FieldMissing),
        bad_topic("an unknown kind of topic", Some(v1::Topic { kind: 77, id: 1 }), Reason::FieldMissing),
        bad_topic("a room", topic(v1::TopicKind::Room, 1), Reason::TopicClosed),
        bad_topic("an alert", topic(v1::TopicKind::AlertUser, 1), Reason::TopicClosed),
        bad_text("no text", "", Reason::TextEmpty),
        bad_text("a text above 64 KiB", vec![b'a'; 65_537], Reason::TextTooLarge),
        bad_text("a text that is not UTF-8", b"\xf0\x9f\x8c", Reason::TextNotUtf8),
        bad("no kind", |good| v1::Message { kind: 0, ..good }, Reason::UnknownKind, kind),
        bad("an unknown kind", |good| v1::Message { kind: 77, ..good }, Reason::UnknownKind, kind),
        bad("a kind of the fleet's own", |good| v1::Message { kind: 64, ..good }, Reason::UnknownKind, kind),
        bad("no client_seq", |good| v1::Message { client_seq: 0, ..good }, Reason::FieldMissing, seq),
        bad("a client_seq beyond all", |good| v1::Message { client_seq: u64::MAX, ..good }, Reason::FieldMissing, seq),
        bad("a client_seq that goes back", |good| v1::Message { client_seq: 1, predecessor: 0, ..good }, Reason::SequenceReused, seq),
        bad(
            "a predecessor that was never sent",
            |good| v1::Message { client_seq: 5_000, predecessor: 4_999, ..good },
            Reason::PredecessorMissing,
            "messages[0].predecessor",
        ),
        bad(
            "a predecessor that is not before",
            |good| v1::Message { predecessor: good.client_seq, ..good },
            Reason::PredecessorMissing,
            "messages[0].predecessor",
        ),
    ]
}

/// All that can be wrong with one mark of a session that follows `group`.
fn bad_marks(group: TopicId, foreign: TopicId) -> Vec<(&'static str, v1::Mark, Expected)> {
    let at = |epoch, seq| Some(v1::Place::from(Place::new(epoch, seq)));
    let of = |topic: TopicId, place| v1::Mark { topic: Some(topic.into()), place };
    let expected = |reason| Expected { reason, field: "marks[0]" };
    vec![
        ("an epoch that never was", of(group, at(99, 1)), expected(Reason::WrongEpoch)),
        ("a place beyond the head", of(group, at(1, 99_999)), expected(Reason::WrongEpoch)),
        ("a topic of others", of(foreign, at(1, 1)), expected(Reason::NotMember)),
        ("no place", of(group, None), expected(Reason::FieldMissing)),
        ("no topic", v1::Mark { topic: None, place: at(1, 1) }, expected(Reason::FieldMissing)),
    ]
}

#[track_caller]
fn check(what: &str, refusals: &[v1::Refusal], expected: Expected) {
    let [refusal] = refusals else { panic!("{what}: one refusal, not {refusals:?}") };
    assert_eq!((refusal.reason(), &*refusal.field), (expected.reason.into(), expected.field), "{what}");
    assert!(!refusal.text.is_empty(), "{what}");
}

/// Sends everything bad through one door, a good message behind each; returns the good texts.
async fn try_everything(fleet: &Counted, mut door: Door) -> Vec<String> {
    let stage = &fleet.stage;
    let (foreign, stranger) = (stage.group_of("alexei").await, TopicId::inbox(stage.login("alexei", 1).await.user));
    door.radio().follows(stage.group).await;
    let mut number = 1;
    let mut good = vec!["good 1".to_owned()];
    door.says(stage.group, 1, 0, "good 1").await;
    for BadMessage { what, change, expected } in bad_messages(foreign, stranger) {
        let sent = change(v1::Message { predecessor: number, ..message(stage.group, number + 1, "bad") });
        let refused = door.refused_messages(vec![sent.clone()], 1);
        let refused = fleet.counts(what, expected.reason.as_str(), 1, refused).await;
        check(what, &refused, expected);
        assert_eq!((refused[0].topic, refused[0].client_seq), (sent.to, sent.client_seq), "{what}");
        if matches!(expected.reason, Reason::SequenceReused | Reason::PredecessorMissing) {
            assert_eq!(refused[0].client_seq_high, number, "{what}");
        }
        // The number of a refused message is not used again.
        good.push(format!("good {}", number + 2));
        door.says(stage.group, number + 2, number, &format!("good {}", number + 2)).await;
        number += 2;
    }
    for (what, mark, expected) in bad_marks(stage.group, foreign) {
        let refused = fleet.counts(what, expected.reason.as_str(), 1, door.refused_marks(vec![mark])).await;
        check(what, &refused, expected);
        assert_eq!(refused[0].topic, mark.topic, "{what}");
    }
    // Good and bad in one frame: the good ones count.
    let sent = vec![
        v1::Message { predecessor: number, ..message(stage.group, number + 1, "good beside bad") },
        v1::Message { to: None, ..message(stage.group, 9, "bad") },
        v1::Message { text: bytes::Bytes::new(), ..message(stage.group, number + 2, "") },
        message(stage.group, number + 2, "good behind bad"),
    ];
    let refused = door.refused_messages(sent, 2).await;
    let fields: Vec<_> = refused.iter().map(|refusal| refusal.field.as_str()).collect();
    assert_eq!(fields, ["messages[1].to", "messages[2].text"]);
    good.extend(["good beside bad", "good behind bad", "last"].map(str::to_owned));
    door.says(stage.group, number + 3, number + 2, "last").await;
    assert!(door.radio().heard.close.is_none() && door.radio().heard.refusals.is_empty(), "{:?}", door.radio().heard.refusals);
    good
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_message_and_mark_is_refused_by_name_and_counted_and_the_session_lives_on() {
    let fleet = Counted::start().await;
    let (stage, group) = (&fleet.stage, fleet.stage.group);
    let mut listener = stage.radio(0, "mike").await;
    let stream = Door::stream(&fleet.edge(), &stage.login("neil", 1).await).await;
    let mut expected = try_everything(&fleet, stream).await;
    let calls = Door::calls(&fleet.edge(), &stage.login("buzz", 1).await).await;
    expected.extend(try_everything(&fleet, calls).await);
    // Of everything that was tried, all that was accepted arrived, and nothing else.
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    listener.hears(group, &expected).await;

    // Who is in no group of the company is refused as if there were none.
    let login = stage.login("guest", 1).await;
    let mut guest = Door::stream(&fleet.edge(), &login).await;
    guest.radio().follows(TopicId::inbox(login.user)).await;
    let not_member = Expected { reason: Reason::NotMember, field: "messages[0].to" };
    let refused = guest.refused_messages(vec![message(group, 1, "let me in")], 1);
    check("a guest", &fleet.counts("a guest", "not_member", 1, refused).await, not_member);
    let neil = TopicId::inbox(stage.login("neil", 1).await.user);
    guest.says(neil, 1, 0, "a private word").await;
    listener.beat().await;
    listener.hears(group, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_with_too_much_or_in_the_wrong_place_are_refused_and_the_session_lives_on() {
    let fleet = Counted::start().await;
    let (stage, group) = (&fleet.stage, fleet.stage.group);
    let mut listener = stage.radio(0, "mike").await;
    let login = stage.login("neil", 1).await;
    let mut radio = Radio::open(&fleet.edge(), hello(&login, 1)).await.unwrap();
    radio.follows(group).await;
    radio.say(group, 1, "m1").await;
    listener.hears(group, &["m1"]).await;
    radio.hears(group, &[""]).await;
    let place = Place::from(listener.heard.place_of("m1"));

    let frames = [
        ("more marks than 1,024", v1::ClientFrame { marks: many_marks(), ..v1::ClientFrame::default() }, Reason::TooMany, "marks"),
        ("a second hello", v1::ClientFrame { hello: Some(hello(&login, 1)), ..v1::ClientFrame::default() }, Reason::HelloExpected, "hello"),
    ];
    for (number, (what, frame, reason, field)) in (2..).zip(frames) {
        let refused = async {
            // What else is in the frame is taken.
            let messages = vec![message(group, number, format!("m{number}"))];
            radio.send(v1::ClientFrame { messages, ..frame }).await;
            refusals(&mut radio, 1).await
        };
        let refused = fleet.counts(what, reason.as_str(), 1, refused).await;
        check(what, &refused, Expected { reason, field });
        radio.receipt(group, number).await;
    }
    // Of more than 256 messages those above are refused, one by one.
    let messages = (0..258).map(|number| message(group, if number < 256 { 1 + number % 3 } else { 4 }, format!("m{}", 1 + number % 3)));
    radio.say_all(messages.collect()).await;
    let refused = refusals(&mut radio, 2).await;
    let rate_limited = refused.iter().filter(|refusal| refusal.reason() == v1::Reason::RateLimited).count();
    let too_many: Vec<_> = refused.iter().filter(|refusal| refusal.reason() == v1::Reason::TooMany).collect();
    assert_eq!((too_many.len(), too_many.len() + rate_limited), (2, refused.len()), "{refused:?}");
    assert!(too_many.iter().all(|refusal| refusal.client_seq == 4 && refusal.field.starts_with("messages")), "{too_many:?}");

    // Marks of a hello that are none of the topic's: told, and the session continues from what the fleet knows.
    radio.mark(group, place.into()).await;
    radio.beat().await;
    for wrong in [Place::new(77, 1), Place::new(place.epoch, 88_888)] {
        let open = async {
            let mut radio = Radio::open(&fleet.edge(), hello_at(&login, 1, group, wrong.into())).await.unwrap();
            let refused = refusals(&mut radio, 1).await;
            (radio, refused)
        };
        let (mut again, refused) = fleet.counts("a wrong mark in a hello", "wrong_epoch", 1, open).await;
        check("a wrong mark in a hello", &refused, Expected { reason: Reason::WrongEpoch, field: "hello.marks" });
        assert_eq!(refused[0].topic, Some(group.into()));
        again.follows(group).await;
        radio = again;
    }
    radio.say(group, 4, "m4").await;
    radio.receipt(group, 4).await;
    listener.hears(group, &["m1", "m2", "m3", "m4"]).await;
}

/// One more than a frame may have.
pub(super) fn many_marks() -> Vec<v1::Mark> {
    let mark = |id| v1::Mark { topic: Some(v1::Topic { kind: 2, id }), place: Some(v1::Place { epoch: 1, seq: 1 }) };
    (1..=1_025).map(mark).collect()
}
