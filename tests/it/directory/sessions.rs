//! Sessions that are listed and ended, and passwords that change.

use std::time::Duration;

use roger::broker;
use roger::model::{InstallationId, Reason, SessionId, UserId, UserKind};
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::proto::v1::web_service_client::WebServiceClient;
use roger::session::{Opened, Presence};
use tonic::transport::Channel;

use super::{CREW, Client, Ground, NO_REDIS, Running, START_MS, by_password, by_resume, log_in, refused};
use crate::support::eventually;
use crate::support::redis::Redis;
use crate::worker::handle;

/// The root, beside the crew.
const ROOT: &str = r#"
[[account]]
name = "flight"
kind = "root"
tenant = "apollo"
password = "kranz"
"#;

/// A ground with the crew and the root on it.
async fn ground(redis: &str) -> Ground {
    let ground = Ground::new(redis);
    ground.apply(&format!("{CREW}{ROOT}")).await.unwrap();
    ground
}

async fn web(running: &Running) -> WebServiceClient<Channel> {
    WebServiceClient::connect(running.url.clone()).await.unwrap()
}

async fn at(client: &mut Client, name: &str, password: &str, installation_id: u64) -> v1::LoginResponse {
    log_in(client, v1::LoginRequest { installation_id, ..by_password(name, password) }).await
}

/// What a token is good for now.
async fn judged(client: &mut Client, token: &str) -> Option<Refused> {
    let request = v1::GetGroupListRequest { token: token.to_owned(), ..Default::default() };
    client.get_group_list(request).await.err().map(|status| Refused::of(&status).unwrap())
}

fn revoked() -> Option<Refused> {
    Some(Refused::new(Reason::TokenRevoked).field("token"))
}

fn not_permitted() -> Refused {
    Reason::NotPermitted.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_tokens_and_logins_of_an_account_are_listed() {
    let server = Redis::start();
    let ground = ground(&server.url()).await;
    let (running, _hand) = ground.start_still(&[]).await;
    let (mut client, mut web) = (running.client().await, web(&running).await);
    let (one, two) = (at(&mut client, "capcom", "go", 1).await, at(&mut client, "capcom", "go", 2).await);
    let user = UserId(one.user_id);
    // One is connected, and one was connected before its token ran out.
    for (installation, edge) in [(1, "east"), (3, "west")] {
        let presence = Presence::new(user, InstallationId(installation), SessionId(installation), &format!("{edge}-1"), edge, START_MS);
        let opened = presence.open(&handle(&server), ground.shards.into(), UserKind::Dispatcher, START_MS + 60_000).await.unwrap();
        assert_eq!(opened, Opened::Open(Vec::new()));
    }
    let ask = |token: &str, account_id| v1::ListSessionsRequest { token: token.to_owned(), account_id };
    let session = |installation_id, edge: &str, since_ms, resume_expires_ms, own| {
        let edge = edge.to_owned();
        v1::LiveSession { installation_id, edge, since_ms, resume_expires_ms, own }
    };
    let expected = |own| {
        let (first, second) = (one.resume_expires_ms, two.resume_expires_ms);
        let connected =
            [session(1, "east", START_MS, first, own), session(2, "", 0, second, false), session(3, "west", START_MS, 0, false)];
        connected.to_vec()
    };
    let listed = eventually("both logins are on record", async || {
        let listed = web.clone().list_sessions(ask(&one.token, 0)).await.unwrap().into_inner();
        (listed.logins.len() == 2).then_some(listed)
    })
    .await;
    assert_eq!(listed.sessions, expected(true));
    let login = |entry: &v1::LoginEntry| (entry.outcome.clone(), entry.peer.clone(), entry.app.clone());
    let expected_login = ("ok".to_owned(), "127.0.0.1".to_owned(), "tool".to_owned());
    assert!(listed.logins.iter().all(|entry| login(entry) == expected_login), "{:?}", listed.logins);

    // The root sees them as well; a mate does not, and cannot tell whether there is such an account.
    let root = at(&mut client, "flight", "kranz", 9).await;
    assert_eq!(web.list_sessions(ask(&root.token, user.0)).await.unwrap().into_inner().sessions, expected(false));
    let neil = at(&mut client, "neil", "eagle", 7).await;
    for account in [user.0, 999] {
        assert_eq!(refused(web.list_sessions(ask(&neil.token, account)).await), not_permitted());
        let revoke = v1::RevokeSessionRequest { token: neil.token.clone(), account_id: account, installation_id: 0 };
        assert_eq!(refused(web.revoke_session(revoke).await), not_permitted());
        let request = change(&neil.token, account, "", "a new password");
        assert_eq!(refused(web.change_password(request).await), not_permitted());
    }
    assert_eq!(judged(&mut client, &one.token).await, None);
}

fn change(token: &str, account_id: u64, old: &str, new: &str) -> v1::ChangePasswordRequest {
    let (token, old_password, new_password) = (token.to_owned(), old.to_owned(), new.to_owned());
    v1::ChangePasswordRequest { token, account_id, old_password, new_password }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_calls_all_tokens_back_but_those_of_who_changes_it() {
    // Redis may be away: the directory knows by itself.
    let ground = ground(NO_REDIS).await;
    let running = ground.start(&[]).await;
    let (mut client, mut web) = (running.client().await, web(&running).await);
    let (own, other) = (at(&mut client, "capcom", "go", 1).await, at(&mut client, "capcom", "go", 2).await);
    let invalid = Refused::new(Reason::FieldInvalid).field("new_password");
    assert_eq!(refused(web.change_password(change(&own.token, 0, "go", "7 bytes")).await), invalid);
    assert_eq!(refused(web.change_password(change(&own.token, 0, "go", &"x".repeat(257))).await), invalid);
    let missing = Refused::new(Reason::FieldMissing).field("old_password");
    assert_eq!(refused(web.change_password(change(&own.token, 0, "", "no go, no go")).await), missing);
    let wrong = Refused::new(Reason::BadCredentials).field("old_password");
    assert_eq!(refused(web.change_password(change(&own.token, 0, "stay", "no go, no go")).await), wrong);
    assert_eq!(judged(&mut client, &other.token).await, None);

    web.change_password(change(&own.token, 0, "go", "no go, no go")).await.unwrap();
    assert_eq!(judged(&mut client, &own.token).await, None);
    assert_eq!(judged(&mut client, &other.token).await, revoked());
    let void = Refused::from(Reason::BadCredentials);
    assert_eq!(refused(client.login(by_resume(&other.resume_token, 2)).await), void);
    assert_eq!(refused(client.login(by_password("capcom", "go")).await), void);
    let own = log_in(&mut client, by_resume(&own.resume_token, 1)).await;
    let other = at(&mut client, "capcom", "no go, no go", 2).await;
    assert_eq!(judged(&mut client, &other.token).await, None);

    // By whoever manages the account, without the old one: nobody is spared, and what comes later is good.
    let root = at(&mut client, "flight", "kranz", 9).await;
    web.change_password(change(&root.token, own.user_id, "", "go for landing")).await.unwrap();
    assert_eq!(judged(&mut client, &root.token).await, None);
    for token in [&own.token, &other.token] {
        assert_eq!(judged(&mut client, token).await, revoked());
    }
    let again = at(&mut client, "capcom", "go for landing", 1).await;
    assert_eq!(judged(&mut client, &again.token).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_the_old_password_is_throttled_with_the_logins() {
    let ground = ground(NO_REDIS).await;
    let running = ground.start(&[("directory.account_logins_per_min", "3")]).await;
    let (mut client, mut web) = (running.client().await, web(&running).await);
    let token = at(&mut client, "neil", "eagle", 1).await.token;
    for _ in 0..2 {
        assert_eq!(refused(web.change_password(change(&token, 0, "x", "columbia")).await).reason, Reason::BadCredentials);
    }
    let throttled = refused(web.change_password(change(&token, 0, "eagle", "columbia")).await);
    assert_eq!(throttled.reason, Reason::RateLimited);
    assert!(throttled.retry_after.is_some_and(|after| after > Duration::ZERO));
    assert_eq!(refused(client.login(by_password("neil", "eagle")).await).reason, Reason::RateLimited);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_installation_is_out_and_the_others_stay() {
    let ground = ground(NO_REDIS).await;
    let running = ground.start(&[]).await;
    let (mut client, mut web) = (running.client().await, web(&running).await);
    let mut tokens = Vec::new();
    for installation in 1..=3 {
        tokens.push(at(&mut client, "capcom", "go", installation).await);
    }
    let revoke =
        |token: &str, account_id, installation_id| v1::RevokeSessionRequest { token: token.to_owned(), account_id, installation_id };
    web.revoke_session(revoke(&tokens[0].token, 0, 2)).await.unwrap();
    assert_eq!(judged(&mut client, &tokens[0].token).await, None);
    assert_eq!(judged(&mut client, &tokens[1].token).await, revoked());
    assert_eq!(judged(&mut client, &tokens[2].token).await, None);
    assert_eq!(refused(client.login(by_resume(&tokens[1].resume_token, 2)).await), Reason::BadCredentials.into());
    // All but one's own; then, by the root, all.
    web.revoke_session(revoke(&tokens[0].token, 0, 0)).await.unwrap();
    assert_eq!(judged(&mut client, &tokens[0].token).await, None);
    assert_eq!(judged(&mut client, &tokens[2].token).await, revoked());
    let root = at(&mut client, "flight", "kranz", 9).await;
    web.revoke_session(revoke(&root.token, tokens[0].user_id, 0)).await.unwrap();
    assert_eq!(judged(&mut client, &tokens[0].token).await, revoked());
    // So does who may not log in any more, whoever forbids it.
    let neil = at(&mut client, "neil", "eagle", 1).await;
    ground.registry().await.set_disabled("neil", true).await.unwrap();
    assert_eq!(judged(&mut client, &neil.token).await, revoked());
    ground.registry().await.set_disabled("neil", false).await.unwrap();
    assert_eq!(judged(&mut client, &neil.token).await, revoked());
    let back = at(&mut client, "neil", "eagle", 1).await;
    assert_eq!(judged(&mut client, &back.token).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_after_a_revocation_is_good_whatever_the_clocks_say() {
    let ground = ground(NO_REDIS).await;
    // The operator's clock is months ahead of the directory's.
    let (running, _hand) = ground.start_still(&[]).await;
    let mut client = running.client().await;
    let before = at(&mut client, "neil", "eagle", 1).await;
    ground.registry().await.set_password("neil", "columbia").await.unwrap();
    assert_eq!(judged(&mut client, &before.token).await, revoked());
    let after = at(&mut client, "neil", "columbia", 1).await;
    assert_eq!(judged(&mut client, &after.token).await, None);
    let resumed = log_in(&mut client, by_resume(&after.resume_token, 1)).await;
    assert_eq!(judged(&mut client, &resumed.token).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_called_back_reaches_a_redis_that_comes_later_and_one_that_was_emptied() {
    let server = Redis::start();
    let ground = ground(&server.url()).await;
    let user = ground.store().await.account_by_name("neil").await.unwrap().unwrap().id;
    ground.registry().await.set_disabled("neil", true).await.unwrap();
    let _running = ground.start(&[]).await;
    let (redis, key) = (handle(&server), broker::keys::revoked(user, ground.shards.into()));
    let known = async || {
        eventually("Redis knows that all is void", async || {
            server.cli(&["HGET", &key, "0"]).trim().parse::<u64>().ok().filter(|void_ms| *void_ms > START_MS)
        })
        .await
    };
    let void_ms = known().await;
    let ttl: i64 = server.cli(&["PTTL", &key]).trim().parse().unwrap();
    assert!((1..=900_000).contains(&ttl), "{ttl}");
    server.flushall();
    assert_eq!(known().await, void_ms);
    // A session of a token from before is refused, one from behind is not.
    let presence = Presence::new(user, InstallationId(1), SessionId(1), "east-1", "east", void_ms);
    let open = async |presence: &Presence| presence.open(&redis, ground.shards.into(), UserKind::Device, u64::MAX >> 12).await.unwrap();
    assert_eq!(open(&presence).await, Opened::Revoked);
    let later = Presence { issued_ms: void_ms + 1, ..presence };
    assert_eq!(open(&later).await, Opened::Open(Vec::new()));
}
