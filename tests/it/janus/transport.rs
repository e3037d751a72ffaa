//! The connection: requests, deadlines, sessions over its end.

use std::time::{Duration, Instant};

use roger::config::Secret;
use roger::janus::{Error, Event, HandleNumber, Janus as Client, RoomEvent, SessionNumber, Settings};
use roger::model::GroupId;
use roger::retry::ErrorClass;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::scene::{Radio, client, event, rooms, settings};
use crate::support::eventually;
use crate::support::janus::{Janus, JanusOptions};
use crate::support::link::Link;

#[tokio::test(flavor = "multi_thread")]
async fn sessions_begin_are_taken_over_by_their_number_and_end() {
    let janus = Janus::start();
    let (first, _events) = client(&janus);
    first.ping().await.unwrap();
    let session = first.create_session().await.unwrap();
    let handle = session.attach("uid:7").await.unwrap();
    drop(first);
    // What is kept of them elsewhere is two numbers.
    let (session, handle) = (session.id(), handle.id());
    let (second, _events) = client(&janus);
    let claimed = second.claim(session).await.unwrap();
    claimed.handle(handle).detach().await.unwrap();
    claimed.handle(handle).detach().await.unwrap();
    let gone = claimed.handle(handle).trickle(None).await.unwrap_err();
    assert!(matches!(gone, Error::HandleGone { handle: number, .. } if number == handle), "{gone:?}");
    claimed.destroy().await.unwrap();
    claimed.destroy().await.unwrap();
    let gone = second.claim(session).await.unwrap_err();
    assert_eq!(gone, Error::SessionGone { operation: "claim a session", session });
    assert!(gone.is_gone());
    assert_eq!(gone.class(), ErrorClass::Transient);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_janus_that_is_asked_for_speaks_http_and_tells_events() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let events = Some(format!("ws://{}", listener.local_addr().unwrap()));
    let mut janus = Janus::start_with(JanusOptions { http: true, events, ..JanusOptions::default() });
    // Its handler of events knocks.
    listener.accept().await.unwrap();
    let address = janus.http_url();
    let (host, path) = address.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("GET /{path}/info HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("server_info") && answer.contains("1.1.2"), "{answer}");
    assert!(janus.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused_by_name() {
    let janus = Janus::start();
    let (client, _events) = Client::connect(Settings { secret: Secret::new("not this one").unwrap(), ..settings(&janus) }).unwrap();
    let refused = client.create_session().await.unwrap_err();
    assert_eq!(refused, Error::Secret { operation: "create a session", url: janus.ws_url() });
    assert_eq!(refused.class(), ErrorClass::Permanent);
    assert!(refused.to_string().contains("janus.api_secret_file"), "{refused}");
    assert!(!refused.to_string().contains("not this one"));
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_by_name() {
    let janus = |url: &str| {
        let secret = Secret::new("any secret").unwrap();
        let settings =
            Settings { url: url.to_owned(), secret, request_timeout: Duration::from_secs(2), session_timeout: Duration::from_secs(60) };
        Client::connect(settings)
    };
    for url in ["", "127.0.0.1:8188", "http://127.0.0.1", "wss://127.0.0.1:8188"] {
        let error = janus(url).unwrap_err();
        assert!(matches!(&error, Error::Url { url: named, .. } if named == url), "{error:?}");
    }
    let (client, _events) = janus("ws://127.0.0.1:1").unwrap();
    let error = client.ping().await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { why, .. } if why.contains("refused")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_janus_that_hangs_with_its_port_open_is_noticed_within_the_deadline() {
    let janus = Janus::start();
    let (client, mut events) = client(&janus);
    let session = client.create_session().await.unwrap();
    janus.stop();
    let deadline = Duration::from_secs(2);
    let begun = Instant::now();
    let hung = client.within(deadline).ping().await.unwrap_err();
    assert!(matches!(hung, Error::NoAnswer { .. }), "{hung:?}");
    assert_eq!(hung.class(), ErrorClass::Transient);
    // Far from the time after which the kernel or a keepalive would notice.
    assert!((deadline..deadline + Duration::from_secs(8)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(std::net::TcpStream::connect(("127.0.0.1", janus.ws_port())).is_ok());
    janus.cont();
    eventually("it answers again", || async { client.ping().await.ok() }).await;
    session.attach("uid:7").await.unwrap();
    drop(client);
    drop(session);
    event(&mut events, "the connection at first", |event| (*event == Event::Connected).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_janus_loses_its_connection_and_gets_a_new_one_when_it_goes_on() {
    let janus = Janus::start();
    let (client, mut events) = Client::connect(Settings { request_timeout: Duration::from_secs(2), ..settings(&janus) }).unwrap();
    let session = eventually("a session", || async { client.create_session().await.ok() }).await;
    janus.stop();
    client.ping().await.unwrap_err();
    event(&mut events, "the end of the connection", |event| (*event == Event::Disconnected).then_some(())).await;
    let away = client.ping().await.unwrap_err();
    assert!(matches!(away, Error::Unreachable { .. }), "{away:?}");
    janus.cont();
    event(&mut events, "a new connection", |event| (*event == Event::Connected).then_some(())).await;
    // The session was claimed on it before anybody could ask for anything.
    eventually("the session is as it was", || async { session.attach("uid:7").await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_handles_outlive_a_connection_that_breaks() {
    let janus = Janus::start();
    let link = Link::to(janus.ws_port()).await;
    let url = format!("ws://127.0.0.1:{}", link.port());
    let (client, mut events) = Client::connect(Settings { url, ..settings(&janus) }).unwrap();
    let session = client.create_session().await.unwrap();
    rooms(&janus, &session).await.ensure(GroupId(100), "air").await.unwrap();
    let (handle, _) = Radio::new(100, 7).await.sit(&session).await;
    let others = super::scene::client(&janus).0.create_session().await.unwrap();
    for user in 8..11 {
        link.cut();
        event(&mut events, "the end of the connection", |event| (*event == Event::Disconnected).then_some(())).await;
        event(&mut events, "the next one", |event| (*event == Event::Connected).then_some(())).await;
        // What happens in the room is told on the connection that claimed the session.
        Radio::new(100, user).await.sit(&others).await;
        let told = event(&mut events, "who came", |event| match event {
            Event::Said { handle: told, data, .. } if *told == handle.id() => RoomEvent::of(data),
            _ => None,
        })
        .await;
        assert!(matches!(&told, RoomEvent::Changed { participants, .. } if participants[0].user.0 == user), "{told:?}");
    }
    handle.talk(true).await.unwrap();
    handle.trickle(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_janus_forgot_is_told_once_and_asked_for_by_name() {
    let mut janus = Janus::start();
    let (client, mut events) = client(&janus);
    let session = client.create_session().await.unwrap();
    janus.restart();
    let lost = event(&mut events, "the loss", |event| match event {
        Event::SessionLost(session) => Some(*session),
        _ => None,
    })
    .await;
    assert_eq!(lost, session.id());
    let gone = session.attach("uid:7").await.unwrap_err();
    assert_eq!(gone, Error::SessionGone { operation: "attach a handle", session: session.id() });
    assert!(client.create_session().await.is_ok());
    assert!(client.claim(SessionNumber(1)).await.unwrap_err().is_gone());
    let nobody = session.handle(HandleNumber(1)).detach().await;
    assert!(nobody.is_ok(), "a seat that is gone is given up already: {nobody:?}");
    let again = std::iter::from_fn(|| events.try_recv().ok()).filter(|event| matches!(event, Event::SessionLost(_))).count();
    assert_eq!(again, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_on_while_nobody_asks_for_anything() {
    let janus = Janus::start_with(JanusOptions { session_timeout_s: 8, ..JanusOptions::default() });
    let (client, _events) = Client::connect(Settings { session_timeout: Duration::from_secs(8), ..settings(&janus) }).unwrap();
    let kept = client.create_session().await.unwrap();
    let forgotten = client.create_session().await.unwrap();
    forgotten.forget();
    // Janus sweeps every two seconds, so it is gone after ten at the latest; the one that is kept would be, too.
    eventually("the one that nobody keeps is gone", || async {
        let told = janus.log().contains(&format!("Timeout expired for session {}", forgotten.id().0));
        told.then_some(())
    })
    .await;
    kept.attach("uid:7").await.unwrap();
    assert!(forgotten.attach("uid:8").await.unwrap_err().is_gone());
}
