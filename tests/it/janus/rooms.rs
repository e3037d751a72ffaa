//! Rooms and seats of the AudioBridge.

use roger::janus::{Answered, Description, Event, Join, Media, Participant, Refusal, RoomEvent};
use roger::model::{GroupId, UserId};

use super::scene::{Radio, client, event, refusal, rooms};
use crate::support::eventually;
use crate::support::janus::Janus;

const AIR: GroupId = GroupId(100);
const GROUND: GroupId = GroupId(101);

/// What a browser offers, without candidates: those come later, or never in this test.
pub const OFFER: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Yf6o\r\na=ice-pwd:7b3c2d1e0f9a8b7c6d5e4f3a\r\n\
    a=ice-options:trickle\r\na=fingerprint:sha-256 \
    75:74:5A:A6:A4:E5:52:F4:A7:67:4C:01:C7:EE:91:3F:21:3D:A2:E3:53:7B:6F:30:86:F2:30:FF:A6:22:D2:04\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_made_and_ended_once_however_often_it_is_said() {
    let janus = Janus::start();
    let (client, _events) = client(&janus);
    let rooms = rooms(&janus, &client.create_session().await.unwrap()).await;
    assert_eq!(rooms.list().await.unwrap(), []);
    assert!(rooms.ensure(AIR, "air").await.unwrap());
    assert!(!rooms.ensure(AIR, "air").await.unwrap());
    assert!(rooms.ensure(GROUND, "ground").await.unwrap());
    let mut list = rooms.list().await.unwrap();
    list.sort_by_key(|room| room.group);
    let list: Vec<_> = list.into_iter().map(|room| (room.group, room.name, room.participants)).collect();
    assert_eq!(list, [(AIR, "air".to_owned(), 0), (GROUND, "ground".to_owned(), 0)]);
    assert_eq!(rooms.participants(AIR).await.unwrap(), []);
    assert!(rooms.destroy(AIR).await.unwrap());
    assert!(!rooms.destroy(AIR).await.unwrap());
    assert_eq!(refusal(rooms.participants(AIR).await), Refusal::NoSuchRoom);
    assert_eq!(rooms.list().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_press_and_a_release_are_one_recorded_burst_each_and_nothing_else_is_recorded() {
    let janus = Janus::start();
    let (client, _events) = client(&janus);
    let session = client.create_session().await.unwrap();
    let rooms = rooms(&janus, &session).await;
    rooms.ensure(AIR, "air").await.unwrap();
    let mut neil = Radio::new(100, 7).await;
    let (seat, to) = neil.sit(&session).await;
    assert_eq!(refusal(seat.join(&neil.join).await), Refusal::AlreadyJoined);
    // Nothing says that Janus heard the last packet.
    let heard = async || tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    neil.send(to, 5).await;
    heard().await;
    for burst in 1..=2 {
        seat.talk(true).await.unwrap();
        neil.send(to, 15).await;
        heard().await;
        seat.talk(false).await.unwrap();
        eventually("the burst is closed", || async { (janus.recorded().len() == burst).then_some(()) }).await;
        neil.send(to, 5).await;
        heard().await;
    }
    let recorded = janus.recorded();
    assert_eq!(recorded.len(), 2, "{recorded:?}");
    for name in &recorded {
        assert!(name.starts_with("audiobridge-100-user-7-") && name.ends_with("-audio.mjr"), "{name}");
        let bytes = std::fs::read(janus.recordings().join(name)).unwrap();
        let packets = bytes.windows(4).filter(|window| *window == b"MEET").count();
        assert!((10..=15).contains(&packets), "{packets} packets of the 15 between press and release");
    }
    seat.leave().await.unwrap();
    assert_eq!(refusal(seat.talk(true).await), Refusal::NotJoined);
    assert_eq!(refusal(seat.leave().await), Refusal::NotJoined);
    seat.detach().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_in_a_room_are_seen_heard_of_and_muted_and_thrown_out_by_its_secret() {
    let janus = Janus::start();
    let (client, mut events) = client(&janus);
    let session = client.create_session().await.unwrap();
    let rooms = rooms(&janus, &session).await;
    rooms.ensure(AIR, "air").await.unwrap();
    rooms.ensure(GROUND, "ground").await.unwrap();
    let (neil, buzz) = (Radio::new(100, 7).await, Radio::new(100, 8).await);
    let (neils, _) = neil.sit(&session).await;
    let joined = session.attach("uid:8").await.unwrap();
    let others = joined.join(&buzz.join).await.unwrap().others;
    let buzzs = joined;
    let one = |user: u64, muted: bool| Participant { user: UserId(user), display: format!("radio {user}"), setup: false, muted };
    assert_eq!(others, [one(7, true)]);
    let told = event(&mut events, "that he came", |event| said(event, neils.id())).await;
    let RoomEvent::Changed { room: AIR, participants } = told else { panic!("{told:?}") };
    assert_eq!(participants.iter().map(|one| one.user).collect::<Vec<_>>(), [UserId(8)]);

    rooms.unmute(AIR, UserId(7)).await.unwrap();
    let muted = |participants: Vec<Participant>| {
        let mut all: Vec<_> = participants.into_iter().map(|one| (one.user.0, one.muted)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(muted(rooms.participants(AIR).await.unwrap()), [(7, false), (8, true)]);
    rooms.mute(AIR, UserId(7)).await.unwrap();
    assert_eq!(muted(rooms.participants(AIR).await.unwrap()), [(7, true), (8, true)]);
    assert_eq!(refusal(rooms.mute(AIR, UserId(9)).await), Refusal::NoSuchUser);
    assert_eq!(refusal(rooms.mute(GroupId(9), UserId(7)).await), Refusal::NoSuchRoom);

    let there = neils.change_room(GROUND, UserId(7), "radio 7").await.unwrap();
    assert_eq!(there, []);
    assert_eq!(muted(rooms.participants(GROUND).await.unwrap()), [(7, true)]);
    assert_eq!(refusal(neils.change_room(GroupId(9), UserId(7), "radio 7").await), Refusal::NoSuchRoom);
    assert!(rooms.kick(AIR, UserId(8)).await.unwrap());
    eventually("he is out", || async { rooms.participants(AIR).await.unwrap().is_empty().then_some(()) }).await;
    assert!(!rooms.kick(AIR, UserId(8)).await.unwrap());
    assert_eq!(refusal(buzzs.talk(true).await), Refusal::NotJoined);

    // Others who may use the API and do not know the secret of the rooms.
    let other = roger::janus::RoomSettings::new(&roger::config::Secret::new("another one").unwrap(), None);
    let strangers = roger::janus::Rooms::new(session.attach("stranger").await.unwrap(), std::sync::Arc::new(other));
    assert_eq!(refusal(strangers.destroy(GROUND).await), Refusal::Unauthorized);
    assert_eq!(refusal(strangers.kick(GROUND, UserId(7)).await), Refusal::Unauthorized);
}

fn said(event: &Event, to: roger::janus::HandleNumber) -> Option<RoomEvent> {
    match event {
        Event::Said { handle, data, .. } if *handle == to => RoomEvent::of(data),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_the_seat_of_the_ghost_they_left() {
    let janus = Janus::start();
    let (crashed, _events) = client(&janus);
    let session = crashed.create_session().await.unwrap();
    let rooms_before = rooms(&janus, &session).await;
    rooms_before.ensure(AIR, "air").await.unwrap();
    Radio::new(100, 7).await.sit(&session).await;
    let (client, _events) = client(&janus);
    let session = client.create_session().await.unwrap();
    let rooms = rooms(&janus, &session).await;
    let neil = Radio::new(100, 7).await;
    let seat = session.attach("uid:7").await.unwrap();
    assert_eq!(refusal(seat.join(&neil.join).await), Refusal::IdExists);
    let joined = rooms.seat(&seat, &neil.join).await.unwrap();
    assert!(matches!(joined.media, Answered::Rtp { .. }));
    assert_eq!(rooms.participants(AIR).await.unwrap().len(), 1);
    seat.talk(true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_is_kept_over_a_broken_connection_and_a_restart_of_roger() {
    let janus = Janus::start();
    let (before, mut events) = client(&janus);
    let session = before.create_session().await.unwrap();
    rooms(&janus, &session).await.ensure(AIR, "air").await.unwrap();
    let (seat, _) = Radio::new(100, 7).await.sit(&session).await;
    seat.configure(false, false).await.unwrap();
    let numbers = (session.id(), seat.id());
    drop((before, session, seat));
    // The connection is gone with the last who used it.
    while events.recv().await.is_some() {}
    let (after, _events) = client(&janus);
    let session = after.claim(numbers.0).await.unwrap();
    let rooms = rooms(&janus, &session).await;
    let participants = rooms.participants(AIR).await.unwrap();
    assert_eq!(participants.iter().map(|one| (one.user, one.muted)).collect::<Vec<_>>(), [(UserId(7), false)]);
    session.handle(numbers.1).talk(false).await.unwrap();
    assert!(rooms.participants(AIR).await.unwrap()[0].muted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_janus_that_was_killed_has_no_rooms_and_gets_them_again() {
    let mut janus = Janus::start();
    let (client, mut events) = client(&janus);
    let session = client.create_session().await.unwrap();
    let rooms_before = rooms(&janus, &session).await;
    rooms_before.ensure(AIR, "air").await.unwrap();
    let neil = Radio::new(100, 7).await;
    let (seat, _) = neil.sit(&session).await;
    janus.restart();
    event(&mut events, "the loss", |event| (*event == Event::SessionLost(session.id())).then_some(())).await;
    assert!(seat.talk(true).await.unwrap_err().is_gone());
    assert!(rooms_before.list().await.unwrap_err().is_gone());
    let session = client.create_session().await.unwrap();
    let rooms = rooms(&janus, &session).await;
    assert_eq!(rooms.list().await.unwrap(), []);
    assert!(rooms.ensure(AIR, "air").await.unwrap());
    neil.sit(&session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_a_browser_is_answered() {
    let janus = Janus::start();
    let (client, _events) = client(&janus);
    let session = client.create_session().await.unwrap();
    let rooms = rooms(&janus, &session).await;
    rooms.ensure(AIR, "air").await.unwrap();
    let seat = session.attach("uid:7").await.unwrap();
    let offer = Description { kind: "offer".to_owned(), sdp: OFFER.to_owned() };
    let join = Join { room: AIR, user: UserId(7), display: "console".to_owned(), media: Media::WebRtc { offer } };
    let joined = seat.join(&join).await.unwrap();
    let Answered::WebRtc { answer } = joined.media else { panic!("{joined:?}") };
    assert_eq!(answer.kind, "answer");
    assert!(answer.sdp.contains("m=audio") && answer.sdp.contains("opus/48000"), "{}", answer.sdp);
    seat.trickle(None).await.unwrap();
    assert_eq!(rooms.participants(AIR).await.unwrap().len(), 1);
    // A description that is none is refused in the words of Janus.
    let bad = session.attach("uid:8").await.unwrap();
    let offer = Description { kind: "offer".to_owned(), sdp: "v=0".to_owned() };
    let join = Join { user: UserId(8), media: Media::WebRtc { offer }, ..join };
    assert!(matches!(bad.join(&join).await, Err(roger::janus::Error::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_janus_has_is_passed_over() {
    // Both begin at the same port.
    let januses = [Janus::start(), Janus::start()];
    let (mut kept, mut alive, mut ports) = (Vec::new(), Vec::new(), Vec::new());
    for janus in &januses {
        let (client, events) = client(janus);
        let session = client.create_session().await.unwrap();
        rooms(janus, &session).await.ensure(AIR, "air").await.unwrap();
        for user in [7, 8] {
            let (seat, to) = Radio::new(100, user).await.sit(&session).await;
            ports.push(to.port());
            kept.push(seat);
        }
        alive.push((session, events));
    }
    let different: std::collections::BTreeSet<u16> = ports.iter().copied().collect();
    assert_eq!(different.len(), ports.len(), "{ports:?}");
}
