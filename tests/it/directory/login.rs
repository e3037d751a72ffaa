//! Login and logout.

use std::time::{Duration, Instant};

use roger::clock::Clock;
use roger::model::{InstallationId, Reason, UserId, UserKind};
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::store::ChangesWanted;
use roger::token::{Claims, KeyPair, Signer};

use super::{CREW, Ground, NO_REDIS, START_MS, by_password, by_resume, log_in, refused};
use crate::support::eventually;

/// A ground with the crew on it.
async fn crew() -> Ground {
    let ground = Ground::new(NO_REDIS);
    ground.apply(CREW).await.unwrap();
    ground
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_a_token_that_edges_accept() {
    let ground = crew().await;
    let (running, _hand) = ground.start_still(&[]).await;
    let answer = log_in(&mut running.client().await, by_password("neil", "eagle")).await;
    assert_eq!((answer.nickname.as_str(), answer.kind()), ("Neil 🌕", v1::UserKind::Device));
    assert_eq!((answer.token_expires_ms, answer.resume_expires_ms), (START_MS + 900_000, START_MS + 2_592_000_000));
    let claims = ground.verifier().verify(&answer.token, START_MS).unwrap();
    let account = ground.store().await.account_by_name("neil").await.unwrap().unwrap();
    let expected = Claims {
        user: account.id,
        tenant: account.tenant,
        kind: UserKind::Device,
        installation: InstallationId(7),
        name: "Neil 🌕".to_owned(),
        expires_ms: START_MS + 900_000,
        issued_ms: START_MS,
        token_id: claims.token_id,
    };
    assert_eq!((claims, UserId(answer.user_id)), (expected, account.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_credentials_learns_nothing() {
    let ground = crew().await;
    let registry = ground.registry().await;
    registry.set_disabled("buzz", true).await.unwrap();
    let running = ground.start(&[]).await;
    let mut client = running.client().await;
    let void = "0".repeat(64);
    let attempts = [
        ("unknown name", by_password("nobody", "eagle")),
        ("wrong password", by_password("neil", "Eagle")),
        ("disabled account", by_password("buzz", "lunar")),
        ("void resume token", by_resume(&void, 7)),
        ("no resume token at all", by_resume("x", 7)),
    ];
    let mut answers = Vec::new();
    for (what, request) in attempts {
        let status = client.login(request).await.unwrap_err();
        assert_eq!(Refused::of(&status), Some(Reason::BadCredentials.into()), "{what}");
        answers.push((status.code(), status.message().to_owned()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "they differ: {answers:?}");

    // The same work: the medians may not tell them apart. Without it they would each time, twenty-fold; with it other tests may in one of five.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..15 {
            for (which, (name, password)) in [("nobody", "wrong"), ("neil", "wrong"), ("buzz", "lunar")].into_iter().enumerate() {
                let begun = Instant::now();
                client.login(by_password(name, password)).await.unwrap_err();
                times[which].push(begun.elapsed().as_secs_f64());
            }
        }
        let [unknown, known, disabled] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        if [unknown, disabled].iter().all(|time| (0.5..2.0).contains(&(time / known))) {
            return;
        }
        seen.push(format!("unknown names {unknown:.4} s, disabled accounts {disabled:.4} s, wrong passwords {known:.4} s"));
    }
    panic!("refusals take different times: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let ground = crew().await;
    let running = ground.start(&[]).await;
    let mut client = running.client().await;
    let neil = by_password("neil", "eagle");
    let cases = [
        ("installation_id", v1::LoginRequest { installation_id: 0, ..neil.clone() }),
        ("password", v1::LoginRequest { password: String::new(), ..neil.clone() }),
        ("password", v1::LoginRequest { password: "x".repeat(257), ..neil.clone() }),
        ("name", v1::LoginRequest { name: String::new(), ..neil.clone() }),
        ("name", v1::LoginRequest { name: "ü".repeat(65), ..neil.clone() }),
        ("app.kind", v1::LoginRequest { app: None, ..neil.clone() }),
        ("resume_token", v1::LoginRequest { resume_token: "0".repeat(64), ..neil.clone() }),
    ];
    for (field, request) in cases {
        assert_eq!(refused(client.login(request).await), Refused::new(Reason::FieldMissing).field(field));
    }
    log_in(&mut client, neil).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_token_is_good_once_and_for_its_installation() {
    let ground = crew().await;
    let (running, hand) = ground.start_still(&[("auth.resume_lifetime_s", "3600")]).await;
    let mut client = running.client().await;
    let void = Refused::from(Reason::BadCredentials);
    let first = log_in(&mut client, by_password("neil", "eagle")).await.resume_token;
    let second = log_in(&mut client, by_resume(&first, 7)).await;
    assert_eq!(second.nickname, "Neil 🌕");

    // Used twice: somebody has a copy, so neither it nor its successor is good any more.
    assert_eq!(refused(client.login(by_resume(&first, 7)).await), void);
    assert_eq!(refused(client.login(by_resume(&second.resume_token, 7)).await), void);

    // Shown by another installation: the same.
    let third = log_in(&mut client, by_password("neil", "eagle")).await.resume_token;
    assert_eq!(refused(client.login(by_resume(&third, 8)).await), void);
    assert_eq!(refused(client.login(by_resume(&third, 7)).await), void);

    // A further login of the installation voids the one before; that of another installation does not.
    let fourth = log_in(&mut client, by_password("neil", "eagle")).await.resume_token;
    let elsewhere = log_in(&mut client, v1::LoginRequest { installation_id: 9, ..by_password("neil", "eagle") }).await.resume_token;
    let fifth = log_in(&mut client, by_password("neil", "eagle")).await.resume_token;
    assert_eq!(refused(client.login(by_resume(&fourth, 7)).await), void);
    let elsewhere = log_in(&mut client, by_resume(&elsewhere, 9)).await.resume_token;

    // Not used in time.
    let fifth = log_in(&mut client, by_resume(&fifth, 7)).await.resume_token;
    hand.advance(Duration::from_secs(3_600));
    assert_eq!(refused(client.login(by_resume(&fifth, 7)).await), void);
    assert_eq!(refused(client.login(by_resume(&elsewhere, 9)).await), void);

    // The account is closed, or its password changed.
    for closing in ["disable", "password"] {
        let last = log_in(&mut client, by_password("capcom", "go")).await.resume_token;
        let registry = ground.registry().await;
        match closing {
            "disable" => {
                registry.set_disabled("capcom", true).await.unwrap();
                registry.set_disabled("capcom", false).await.unwrap();
            }
            _ => registry.set_password("capcom", "no go").await.unwrap(),
        }
        assert_eq!(refused(client.login(by_resume(&last, 7)).await), void, "{closing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_voids_the_resume_token() {
    let ground = crew().await;
    let (running, hand) = ground.start_still(&[]).await;
    let mut client = running.client().await;
    let login = log_in(&mut client, by_password("neil", "eagle")).await;
    let logout = |token: &str| v1::LogoutRequest { token: token.to_owned(), ..Default::default() };
    assert_eq!(refused(client.logout(logout("")).await), Refused::new(Reason::FieldMissing).field("token"));
    assert_eq!(refused(client.logout(logout("x")).await), Refused::new(Reason::TokenUnknown).field("token"));
    // One may leave with a token that ran out over night.
    hand.advance(Duration::from_secs(3_600));
    client.logout(logout(&login.token)).await.unwrap();
    client.logout(logout(&login.token)).await.unwrap();
    // It is on record once, as the account's own doing: the second one found nothing to void.
    let wanted = ChangesWanted { what: Some("tokens".to_owned()), limit: 10, ..ChangesWanted::default() };
    let changes = ground.store().await.changes(wanted).await.unwrap();
    assert_eq!(
        changes.iter().map(|change| (change.who.clone(), change.subject.clone())).collect::<Vec<_>>(),
        [(format!("account:{}", login.user_id), format!("account:{}", login.user_id))]
    );
    assert_eq!(refused(client.login(by_resume(&login.resume_token, 7)).await), Reason::BadCredentials.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_throttled_by_account_and_by_address() {
    let ground = crew().await;
    let limits = [("directory.account_logins_per_min", "3"), ("directory.address_logins_per_min", "6")];
    let running = ground.start(&limits).await;
    let mut client = running.client().await;
    let resume = log_in(&mut client, by_password("neil", "eagle")).await.resume_token;
    for _ in 0..2 {
        assert_eq!(refused(client.login(by_password("neil", "x")).await).reason, Reason::BadCredentials);
    }
    // The right password as well; a bucket of three a minute gives one each 20 s.
    let throttled = refused(client.login(by_password("neil", "eagle")).await);
    assert_eq!(throttled.reason, Reason::RateLimited);
    assert!(throttled.retry_after.is_some_and(|after| after > Duration::ZERO && after <= Duration::from_secs(20)), "{throttled:?}");
    // The one with a resume token is not kept out, and other accounts are not, until the address is.
    log_in(&mut client, by_resume(&resume, 7)).await;
    log_in(&mut client, by_password("buzz", "lunar")).await;
    assert_eq!(refused(client.login(by_password("nobody", "x")).await).reason, Reason::BadCredentials);
    assert_eq!(refused(client.login(by_password("capcom", "go")).await).reason, Reason::RateLimited);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_others_and_old_ones_are_refused_by_name() {
    let ground = crew().await;
    let (running, hand) = ground.start_still(&[]).await;
    let mut client = running.client().await;
    let token = log_in(&mut client, by_password("neil", "eagle")).await.token;
    let list = |token: &str| v1::GetGroupListRequest { token: token.to_owned(), ..Default::default() };
    client.get_group_list(list(&token)).await.unwrap();

    let other = tempfile::tempdir().unwrap();
    let signer = Signer::load(&KeyPair::create(other.path()).unwrap().secret).unwrap();
    let claims = ground.verifier().verify(&token, START_MS).unwrap();
    let of = |reason| Refused::new(reason).field("token");
    assert_eq!(refused(client.get_group_list(list(&signer.sign(&claims).unwrap())).await), of(Reason::TokenUnknown));
    assert_eq!(refused(client.get_group_list(list("v4.public.x")).await), of(Reason::TokenUnknown));
    assert_eq!(refused(client.get_group_list(list("")).await), of(Reason::FieldMissing));
    hand.advance(Duration::from_secs(900));
    assert_eq!(refused(client.get_group_list(list(&token)).await), of(Reason::TokenExpired));
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_on_record() {
    let ground = crew().await;
    let running = ground.start_at(&[], Clock::system()).await;
    let mut client = running.client().await;
    log_in(&mut client, by_password("neil", "eagle")).await;
    client.login(by_password("neil", "x")).await.unwrap_err();
    // Stopping waits for what is still to be written.
    running.stop().await;
    let store = ground.store().await;
    let user = store.account_by_name("neil").await.unwrap().unwrap().id;
    let outcomes = eventually("both logins are on record", || async {
        let records = store.login_records(user, 10).await.unwrap();
        assert!(
            records.iter().all(|record| record.peer == "127.0.0.1" && record.installation == InstallationId(7) && record.app == "tool")
        );
        (records.len() == 2).then(|| records.into_iter().map(|record| record.outcome).collect::<Vec<_>>())
    })
    .await;
    assert!(outcomes.contains(&"ok".to_owned()) && outcomes.contains(&"bad_credentials".to_owned()), "{outcomes:?}");
}
