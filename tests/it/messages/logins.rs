//! Several installations of one account.

use std::time::{Duration, Instant};

use roger::client::{Directory, Event, Login, Memory, Options, ResumeTokens, Session};
use roger::model::{InstallationId, Reason};
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::proto::v1::web_service_client::WebServiceClient;
use roger::store::{Revoked, Store};
use tokio::sync::mpsc::Receiver;
use tonic::{Code, Status};

use super::radio::Radio;
use super::stage::{Stage, hello, hello_at};
use crate::support::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_phones_with_one_device_account_the_last_login_wins_and_the_first_is_told() {
    let stage = Stage::start().await;
    let group = stage.group;
    let mut capcom = stage.radio(0, "capcom").await;
    let (one, two) = (stage.login("neil", 1).await, stage.login("neil", 2).await);
    let mut first = Radio::open(&stage.fleet.edge(0), hello(&one, 1)).await.unwrap();
    first.follows(group).await;
    first.say(group, 1, "from the first").await;
    first.receipt(group, 1).await;
    capcom.say(group, 1, "c1").await;
    first.hears(group, &["", "c1"]).await;
    first.mark(group, first.heard.place_of("c1")).await;
    first.beat().await;

    // At the same edge, at the other one, and back: whoever comes last has the session.
    let mut holder = first;
    for (edge, login, installation) in [(0, &two, 2), (1, &one, 1), (0, &two, 2)] {
        let next = Radio::open(&stage.fleet.edge(edge), hello(login, installation)).await.unwrap();
        let close = holder.closed().await;
        assert_eq!((close.reason(), close.retry_after_ms), (v1::Reason::Superseded, 0));
        holder.until("the end of the stream", |heard| heard.ended.as_ref().map(|ended| assert!(ended.is_ok()))).await;
        holder = next;
    }
    // Nothing of it is lost or doubled for the others, and the holder hears what comes.
    holder.follows(group).await;
    holder.say(group, 1, "from the second").await;
    holder.receipt(group, 1).await;
    capcom.say(group, 2, "c2").await;
    capcom.hears(group, &["from the first", "", "from the second", ""]).await;
    holder.until("c2", |heard| heard.texts(group).ends_with(&["c2".to_owned()]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consoles_of_a_dispatcher_both_get_everything_each_with_its_own_marks() {
    let stage = Stage::start().await;
    let group = stage.group;
    let neil = stage.radio(0, "neil").await;
    let logins = [stage.login("capcom", 1).await, stage.login("capcom", 2).await];
    let open = async |number: usize| {
        let address = stage.fleet.edge(number);
        let mut console = Radio::open(&address, hello(&logins[number], number as u64 + 1)).await.unwrap();
        let follow = console.follows(group).await;
        (console, follow.mark)
    };
    let (mut left, _) = open(0).await;
    let (mut right, _) = open(1).await;
    for (number, text) in (1..).zip(["m1", "m2", "m3"]) {
        neil.say(group, number, text).await;
    }
    left.hears(group, &["m1", "m2", "m3"]).await;
    right.hears(group, &["m1", "m2", "m3"]).await;
    // What one says the other hears as anybody's; the numbers of the two are their own.
    left.say(group, 1, "from the left").await;
    right.hears(group, &["m1", "m2", "m3", "from the left"]).await;
    right.say(group, 1, "from the right").await;
    left.hears(group, &["m1", "m2", "m3", "", "from the right"]).await;
    assert!(left.heard.close.is_none() && right.heard.close.is_none());

    let (one, three) = (left.heard.place_of("m1"), left.heard.place_of("m3"));
    left.mark(group, three).await;
    right.mark(group, one).await;
    // Until they are answered the edge may not have read the marks.
    left.beat().await;
    right.beat().await;
    // The same installation comes back: it displaces itself and nobody else, and continues from its own mark.
    let back = async |number: usize, place: v1::Place| {
        eventually("the mark is known", async || {
            let (console, mark) = open(number).await;
            (mark == Some(place)).then_some(console)
        })
        .await
    };
    let mut left_again = back(0, three).await;
    left_again.hears(group, &["", "from the right"]).await;
    // Which may have been an attempt that came late: if somebody is behind the session that is over, they come back.
    let close = left.closed().await;
    assert_eq!((close.reason(), close.retry_after_ms), (v1::Reason::Superseded, 1_000));
    right.beat().await;
    assert!(right.heard.close.is_none());
    let mut right_again = back(1, one).await;
    right_again.hears(group, &["m2", "m3", "from the left", ""]).await;
    drop(left_again);
    // An own mark in the hello counts before what the fleet knows.
    let mut console = Radio::open(&stage.fleet.edge(1), hello_at(&logins[0], 1, group, one)).await.unwrap();
    console.hears(group, &["m2", "m3", "", "from the right"]).await;
}

/// How long a session that is over may live on: less than the directory takes to find by itself what was called back.
const AT_ONCE: Duration = Duration::from_secs(1);

fn reason_of(refused: &Status) -> Option<Reason> {
    Refused::of(refused).map(|refused| refused.reason)
}

/// Why an edge does not open a session; `None` when it does.
async fn refusal(edge: &str, login: &Login, installation: u64) -> Option<Reason> {
    let refused = Radio::open(edge, hello(login, installation)).await.err()?;
    assert_eq!(refused.code(), Code::Unauthenticated);
    reason_of(&refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_installation_is_closed_at_once_and_refused_by_every_edge_while_others_go_on() {
    let stage = Stage::start().await;
    let edges = [stage.fleet.edge(0), stage.fleet.edge(1)];
    let own = stage.login("capcom", 1).await;
    let mut left = Radio::open(&edges[0], hello(&own, 1)).await.unwrap();
    left.follows(stage.group).await;

    let mut web = WebServiceClient::connect(stage.fleet.directory()).await.unwrap();
    let mut took = Vec::new();
    // Tests that run beside may hold it up once.
    let revoked = loop {
        let login = stage.login("capcom", 2).await;
        let mut right = Radio::open(&edges[1], hello(&login, 2)).await.unwrap();
        right.follows(stage.group).await;
        let request = v1::RevokeSessionRequest { token: own.token.clone(), account_id: 0, installation_id: 2 };
        let begun = Instant::now();
        // The directory looks by itself every two seconds, and may have been faster than the call.
        let closed = web.revoke_session(request).await.unwrap().into_inner().closed;
        assert_eq!(right.closed().await.reason(), v1::Reason::SignedOut);
        took.push(begun.elapsed());
        for edge in &edges {
            assert_eq!(refusal(edge, &login, 2).await, Some(Reason::TokenRevoked), "{edge}");
        }
        if closed == 1 && took.iter().any(|took| *took < AT_ONCE) {
            break login;
        }
        assert!(took.len() < 5, "it took {took:?}, and closed {closed}");
    };

    // Redis forgets; the directory does not.
    stage.fleet.redis.flushall();
    for edge in &edges {
        eventually("the edge refuses the token again", async || {
            let opened = Radio::open(edge, hello(&revoked, 2)).await;
            opened.err().and_then(|refused| reason_of(&refused)).filter(|reason| *reason == Reason::TokenRevoked)
        })
        .await;
    }
    // Whatever slipped in meanwhile is over: only the other installation is left, and what logs in anew.
    let again = stage.login("capcom", 2).await;
    let mut right = Radio::open(&edges[1], hello(&again, 2)).await.unwrap();
    right.follows(stage.group).await;
    left.until("the session goes on", |heard| heard.follow(stage.group).map(drop)).await;
    left.beat().await;
    assert!(left.heard.close.is_none());
    eventually("both are listed", async || {
        let request = v1::ListSessionsRequest { token: own.token.clone(), account_id: 0 };
        let listed = web.clone().list_sessions(request).await.unwrap().into_inner();
        let connected = |session: &&v1::LiveSession| !session.edge.is_empty();
        let connected: Vec<_> = listed.sessions.iter().filter(connected).map(|session| (session.installation_id, session.own)).collect();
        (connected == [(1, true), (2, false)]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_locked_out_or_revoked_at_the_command_line_is_off_the_air() {
    let stage = Stage::start().await;
    let (neil, mut buzz) = (stage.login("neil", 1).await, stage.login("buzz", 0xabc).await);
    let mut neils = Radio::open(&stage.fleet.edge(0), hello(&neil, 1)).await.unwrap();
    let mut buzzs = Radio::open(&stage.fleet.edge(1), hello(&buzz, 0xabc)).await.unwrap();
    neils.follows(stage.group).await;
    buzzs.follows(stage.group).await;

    // A login is put on record after its answer.
    let listed = eventually("the login is on record", async || {
        let listed = stage.fleet.roger(&["sessions", "--account", "buzz", "--json"]).succeeded().json();
        listed["logins"].as_array().is_some_and(|logins| !logins.is_empty()).then_some(listed)
    })
    .await;
    assert_eq!(listed["resume_tokens"][0]["installation"], "abc");
    assert_eq!((&listed["sessions"][0]["edge_name"], &listed["logins"][0]["app"]), (&"edge-1".into(), &"tool".into()));
    let text = stage.fleet.roger(&["sessions", "--account", "buzz"]).succeeded().stdout;
    assert!(text.contains("MAY COME BACK UNTIL") && text.contains("edge-1"), "{text}");
    assert_eq!(stage.fleet.roger(&["sessions", "--account", "nobody"]).code, 64);

    let revoke = |more: &[&str]| stage.fleet.roger(&[&["sessions", "revoke", "buzz", "--json"], more].concat());
    assert_ne!(revoke(&[]).code, 0, "it is not done without --yes");
    assert_eq!(revoke(&["--installation", "x", "--yes"]).code, 64);
    assert_eq!(revoke(&["--installation", "1", "--yes"]).succeeded().json()["closed"], 0);
    let mut closed = revoke(&["--installation", "abc", "--yes"]).succeeded().json()["closed"].clone();
    assert_eq!(buzzs.closed().await.reason(), v1::Reason::SignedOut);
    for _ in 0..4 {
        // The directory looks by itself every two seconds, and may have been faster than the command.
        if closed == 1 {
            break;
        }
        buzz = stage.login("buzz", 0xabc).await;
        buzzs = Radio::open(&stage.fleet.edge(1), hello(&buzz, 0xabc)).await.unwrap();
        buzzs.follows(stage.group).await;
        closed = revoke(&["--installation", "abc", "--yes"]).succeeded().json()["closed"].clone();
        assert_eq!(buzzs.closed().await.reason(), v1::Reason::SignedOut);
    }
    assert_eq!(closed, 1);
    assert_eq!(refusal(&stage.fleet.edge(0), &buzz, 0xabc).await, Some(Reason::TokenRevoked));

    // This command does not reach for Redis: the directory does.
    neils.beat().await;
    stage.fleet.roger(&["account", "disable", "neil", "--yes"]).succeeded();
    assert_eq!(neils.closed().await.reason(), v1::Reason::SignedOut);
    assert_eq!(refusal(&stage.fleet.edge(1), &neil, 1).await, Some(Reason::TokenRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_token_was_called_back_goes_on_with_its_resume_token_or_ends() {
    let stage = Stage::start().await;
    let directory = Directory::new(&stage.fleet.directory()).unwrap();
    let login = stage.login("neil", 1).await;
    let store = Store::open(&format!("sqlite:{}", stage.fleet.folder().join("roger.db").display())).unwrap();
    let revoke = async || {
        store.revoke(login.user, Revoked::Installation(InstallationId(1))).await.unwrap();
        eventually("the edges refuse the token", async || {
            let refused = Radio::open(&stage.fleet.edge(0), hello(&login, 1)).await.err()?;
            (reason_of(&refused) == Some(Reason::TokenRevoked)).then_some(())
        })
        .await;
    };
    let open = |login: &Login| {
        let tokens = ResumeTokens::new(directory.clone(), "neil", InstallationId(1), login.clone(), |_| {});
        Session::open(Options::new(stage.fleet.edges(), tokens, Memory::of(InstallationId(1)))).unwrap()
    };
    // The access token is void, and so is the resume token behind it.
    revoke().await;
    let (_session, mut events) = open(&login);
    let ended = next(&mut events, |event| matches!(event, Event::Closed { .. })).await;
    assert!(matches!(ended, Event::Closed { reason: Some(Reason::BadCredentials), .. }), "{ended:?}");
    // The resume token is a newer one: the session asks for another access token, and goes on.
    let newer = stage.login("neil", 1).await;
    let mixed = Login { token: login.token.clone(), ..newer };
    let (_session, mut events) = open(&mixed);
    next(&mut events, |event| matches!(event, Event::Connected { .. })).await;
}

async fn next(events: &mut Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    tokio::time::timeout(PATIENCE, async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
    .unwrap()
}
