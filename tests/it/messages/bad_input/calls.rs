//! Calls that are refused as a whole: by a status with its reason and field.

use roger::client::Login;
use roger::model::{InstallationId, Reason};
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::token::{Signer, Verifier};
use tonic::{Code, Status};

use super::door::Door;
use super::frames::many_marks;
use super::{Counted, Expected};
use crate::messages::radio::{Radio, connect, message};
use crate::messages::stage::hello;

#[track_caller]
fn check(what: &str, status: &Status, expected: Expected) {
    let refused = Refused::of(status).unwrap_or_else(|| panic!("{what}: without a reason: {status:?}"));
    assert_eq!((refused.reason, &*refused.field), (expected.reason, expected.field), "{what}");
    assert_eq!(status.code(), roger::proto::status::code_of(expected.reason), "{what}");
}

/// Hellos that open no session.
fn bad_hellos(fleet: &Counted, login: &Login) -> Vec<(&'static str, v1::Hello, Expected)> {
    let folder = fleet.stage.fleet.folder();
    let good = hello(login, 1);
    let mut claims = Verifier::load(&folder.join("token.pub")).unwrap().verify(&login.token, 0).unwrap();
    claims.expires_ms = claims.issued_ms + 1;
    let expired = Signer::load(&folder.join("token.secret")).unwrap().sign(&claims).unwrap();
    claims.installation = InstallationId(2);
    let with_token = |token: &str| v1::Hello { token: token.to_owned(), ..good.clone() };
    let with_marks = |marks| v1::Hello { marks, ..good.clone() };
    let expect = |reason, field| Expected { reason, field };
    let (token, installation, marks) = ("hello.token", "hello.installation_id", "hello.marks");
    vec![
        ("no token", with_token(""), expect(Reason::TokenUnknown, token)),
        ("a token of nobody", with_token("v4.public.AAAA"), expect(Reason::TokenUnknown, token)),
        ("a token cut short", with_token(&login.token[..login.token.len() - 1]), expect(Reason::TokenUnknown, token)),
        ("a token that has run out", with_token(&expired), expect(Reason::TokenExpired, token)),
        ("no installation", v1::Hello { installation_id: 0, ..good.clone() }, expect(Reason::FieldMissing, installation)),
        ("another installation", v1::Hello { installation_id: 2, ..good.clone() }, expect(Reason::FieldMissing, installation)),
        ("more marks than 1,024", with_marks(many_marks()), expect(Reason::TooMany, marks)),
        ("a mark without a place", with_marks(vec![v1::Mark::default()]), expect(Reason::FieldMissing, marks)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_call_is_refused_by_a_status_with_its_reason_and_counted() {
    let fleet = Counted::start().await;
    let (stage, group) = (&fleet.stage, fleet.stage.group);
    let login = stage.login("neil", 1).await;
    for (what, hello, expected) in bad_hellos(&fleet, &login) {
        let reason = expected.reason.as_str();
        let streamed = fleet.counts(what, reason, 1, Radio::open(&fleet.edge(), hello.clone())).await;
        check(what, &streamed.err().unwrap(), expected);
        let subscribed = fleet.counts(what, reason, 1, Radio::subscribe(&fleet.edge(), hello)).await;
        check(what, &subscribed.err().unwrap(), expected);
    }
    let hello_expected = Expected { reason: Reason::HelloExpected, field: "hello" };
    for first in [
        v1::ClientFrame::default(),
        v1::ClientFrame { messages: vec![message(group, 1, "before the hello")], ..v1::ClientFrame::default() },
        v1::ClientFrame { marks: many_marks(), ..v1::ClientFrame::default() },
        v1::ClientFrame { goodbye: true, ..v1::ClientFrame::default() },
    ] {
        let begun = fleet.counts("no hello", "hello_expected", 1, Radio::begin(&fleet.edge(), first)).await;
        check("no hello", &begun.err().unwrap(), hello_expected);
    }
    let mut client = connect(&fleet.edge()).await;
    let nothing = fleet.counts("nothing", "hello_expected", 1, client.data_publish(tokio_stream::empty())).await;
    check("nothing", &nothing.err().unwrap(), hello_expected);

    // Calls beside a session that is not there.
    let unknown = Expected { reason: Reason::UnknownSession, field: "session_id" };
    for session_id in [0, 12_345] {
        let publish = v1::ImMessagePublishRequest { session_id, messages: vec![message(group, 1, "to whom?")] };
        let refused = fleet.counts("publish", "unknown_session", 1, client.im_message_publish(publish)).await;
        check("publish", &refused.err().unwrap(), unknown);
        let refused = client.acknowledge(v1::AcknowledgeRequest { session_id, marks: many_marks() });
        check("acknowledge", &fleet.counts("acknowledge", "unknown_session", 1, refused).await.err().unwrap(), unknown);
        let refused = client.heartbeat(v1::HeartbeatRequest { session_id, beat: None });
        check("heartbeat", &fleet.counts("heartbeat", "unknown_session", 1, refused).await.err().unwrap(), unknown);
    }
    let wrong_door = Expected { reason: Reason::WrongDoor, field: "" };
    let refused = fleet.counts("login", "wrong_door", 1, client.login(v1::LoginRequest::default())).await;
    check("login", &refused.err().unwrap(), wrong_door);

    // Calls with too much, beside one that is: it lives on.
    let mut door = Door::calls(&fleet.edge(), &login).await;
    door.radio().follows(group).await;
    let session_id = door.radio().heard.welcome.session_id;
    let messages = (1..=257).map(|number| message(group, number, "one of many")).collect();
    let publish = client.im_message_publish(v1::ImMessagePublishRequest { session_id, messages });
    let refused = fleet.counts("257 messages", "too_many", 1, publish).await;
    check("257 messages", &refused.err().unwrap(), Expected { reason: Reason::TooMany, field: "messages" });
    let acknowledge = client.acknowledge(v1::AcknowledgeRequest { session_id, marks: many_marks() });
    let refused = fleet.counts("1,025 marks", "too_many", 1, acknowledge).await;
    check("1,025 marks", &refused.err().unwrap(), Expected { reason: Reason::TooMany, field: "marks" });
    let messages = (1..=17).map(|number| message(group, number, "a".repeat(65_000))).collect();
    let refused = client.im_message_publish(v1::ImMessagePublishRequest { session_id, messages }).await;
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange, "a call above 1 MiB");
    door.says(group, 1, 0, "one").await;
    let mut listener = stage.radio(0, "buzz").await;
    door.says(group, 2, 1, "two").await;
    listener.until("two", |heard| heard.texts(group).ends_with(&["two".to_owned()]).then_some(())).await;
    assert!(!listener.heard.texts(group).contains(&"before the hello".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_ends_the_session_with_a_status_and_loses_nothing_accepted() {
    let fleet = Counted::start().await;
    let (stage, group) = (&fleet.stage, fleet.stage.group);
    let mut listener = stage.radio(0, "buzz").await;
    let login = stage.login("neil", 1).await;
    let mut radio = Radio::open(&fleet.edge(), hello(&login, 1)).await.unwrap();
    radio.follows(group).await;
    radio.say(group, 1, "m1").await;
    // Seventeen good messages that are together above 1 MiB.
    let messages = || (2..=18).map(|number| message(group, number, "a".repeat(65_000))).collect();
    let ended = async {
        radio.say_all(messages()).await;
        radio.until("the end of the stream", |heard| heard.ended.clone()).await
    };
    let status = fleet.counts("a frame above 1 MiB", "unreadable", 1, ended).await.unwrap_err();
    assert_eq!((status.code(), Refused::of(&status)), (Code::OutOfRange, None));
    assert!(radio.heard.close.is_none(), "the client did not sign out: {:?}", radio.heard.close);
    let address = fleet.edge();
    let first = Radio::begin(&address, v1::ClientFrame { messages: messages(), ..v1::ClientFrame::default() });
    let status = fleet.counts("a first frame above 1 MiB", "unreadable", 1, first).await.err().unwrap();
    assert_eq!(status.code(), Code::OutOfRange);

    let mut again = Radio::open(&fleet.edge(), hello(&login, 1)).await.unwrap();
    assert_eq!(again.follows(group).await.client_seq_high, 1);
    again.say(group, 2, "m2").await;
    again.receipt(group, 2).await;
    listener.hears(group, &["m1", "m2"]).await;
}
