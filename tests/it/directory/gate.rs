//! Apps that are too old to log in.

use roger::model::{Digest, InstallationId, Reason};
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::store::{NewRelease, ReleaseAdded, ReleaseChange, Store};

use super::{CREW, Ground, NO_REDIS, START_MS, by_password, by_resume, log_in, refused};
use crate::support::eventually;

const PACKAGE: &str = "org.example.radio";
const ON: [(&str, &str); 1] = [("directory.releases_url", "https://gateway.example.org/")];

/// A release that so many of a hundred installations are to have.
async fn release(store: &Store, version_code: u64, percent: u8) {
    let (version_name, sha256, certificate) = (format!("1.{version_code}"), Digest([version_code as u8; 32]), Digest([1; 32]));
    let signature = "ab".repeat(64);
    let release = NewRelease { package: PACKAGE.to_owned(), version_code, version_name, bytes: 4_711, sha256, signature, certificate };
    let ReleaseAdded::Added(added) = store.add_release(release, START_MS).await.unwrap() else { panic!("it was not added") };
    store.change_release(added.id, ReleaseChange::Stage(percent)).await.unwrap();
}

fn device(package: &str, version_code: u64) -> Option<v1::App> {
    Some(v1::App { kind: v1::AppKind::Device.into(), package: package.to_owned(), version_code })
}

fn of(app: Option<v1::App>, request: v1::LoginRequest) -> v1::LoginRequest {
    v1::LoginRequest { app, ..request }
}

async fn crew() -> Ground {
    let ground = Ground::new(NO_REDIS);
    ground.apply(CREW).await.unwrap();
    ground
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_older_than_its_release_gets_that_and_no_token() {
    let ground = crew().await;
    let store = ground.store().await;
    release(&store, 11, 100).await;
    release(&store, 12, 100).await;
    release(&store, 13, 0).await;
    let running = ground.start(&ON).await;
    let mut client = running.client().await;
    let neil = by_password("neil", "eagle");
    let answer = log_in(&mut client, of(device(PACKAGE, 11), neil.clone())).await;
    let upgrade = v1::Upgrade {
        package: PACKAGE.to_owned(),
        version_code: 12,
        version_name: "1.12".to_owned(),
        url: "https://gateway.example.org/releases/org.example.radio/12.apk".to_owned(),
        bytes: 4_711,
        sha256: vec![12; 32].into(),
        signature: vec![0xab; 64].into(),
    };
    assert_eq!(answer, v1::LoginResponse { upgrade: Some(upgrade), ..v1::LoginResponse::default() });

    // Who has no credentials learns nothing of releases.
    let stranger = of(device(PACKAGE, 11), by_password("neil", "x"));
    assert_eq!(refused(client.login(stranger).await), Reason::BadCredentials.into());
    let tool = neil.app.clone();
    let web = Some(v1::App { kind: v1::AppKind::Web.into(), ..v1::App::default() });
    for app in [device(PACKAGE, 12), device(PACKAGE, 99), device("org.example.other", 1), tool, web] {
        let answer = log_in(&mut client, of(app.clone(), neil.clone())).await;
        assert!(answer.upgrade.is_none() && !answer.token.is_empty(), "{app:?}");
    }

    // A halt takes it back.
    let twelve = store.release(PACKAGE, 12).await.unwrap().unwrap().id;
    store.change_release(twelve, ReleaseChange::Halt).await.unwrap();
    assert!(log_in(&mut client, of(device(PACKAGE, 11), neil)).await.upgrade.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_asked_of_the_installations_it_is_meant_for() {
    let ground = crew().await;
    let store = ground.store().await;
    release(&store, 12, 50).await;
    let running = ground.start(&ON).await;
    let mut client = running.client().await;
    for installation in 1..=12 {
        let meant = store.release_for(PACKAGE, InstallationId(installation)).await.unwrap().is_some();
        let request = v1::LoginRequest { installation_id: installation, ..of(device(PACKAGE, 11), by_password("neil", "eagle")) };
        assert_eq!(log_in(&mut client, request).await.upgrade.is_some(), meant, "installation {installation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_token_is_as_good_after_the_upgrade() {
    let ground = crew().await;
    let store = ground.store().await;
    let running = ground.start(&ON).await;
    let mut client = running.client().await;
    let first = log_in(&mut client, of(device(PACKAGE, 12), by_password("neil", "eagle"))).await.resume_token;
    release(&store, 13, 100).await;
    for _ in 0..2 {
        let answer = log_in(&mut client, of(device(PACKAGE, 12), by_resume(&first, 7))).await;
        assert_eq!(answer.upgrade.unwrap().version_code, 13);
        assert_eq!((answer.token.as_str(), answer.resume_token.as_str(), answer.user_id), ("", "", 0));
    }
    let second = log_in(&mut client, of(device(PACKAGE, 13), by_resume(&first, 7))).await;
    assert!(second.upgrade.is_none() && !second.token.is_empty());
    // A void token is refused as ever, however old the app.
    for (void, installation) in [(first.as_str(), 7), ("0", 7), (&"0".repeat(64), 7)] {
        let request = of(device(PACKAGE, 12), by_resume(void, installation));
        assert_eq!(refused(client.login(request).await), Reason::BadCredentials.into());
    }

    running.stop().await;
    let user = store.account_by_name("neil").await.unwrap().unwrap().id;
    let records = eventually("the logins are on record", || async {
        let records = store.login_records(user, 10).await.unwrap();
        (records.len() == 5).then_some(records)
    })
    .await;
    let mut said: Vec<_> = records.iter().map(|record| format!("{} {}", record.outcome, record.app)).collect();
    said.sort();
    let on_record = ["ok", "ok", "resume_reused", "upgrade", "upgrade"].map(|outcome| outcome.to_owned());
    let versions = [12, 13, 12, 12, 12].map(|version| format!("{PACKAGE} {version}"));
    let expected: Vec<_> = on_record.iter().zip(&versions).map(|(outcome, app)| format!("{outcome} {app}")).collect();
    assert_eq!(said, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gateway_apps_of_any_age_log_in() {
    let ground = crew().await;
    release(&ground.store().await, 12, 100).await;
    let running = ground.start(&[]).await;
    let mut client = running.client().await;
    assert!(log_in(&mut client, of(device(PACKAGE, 1), by_password("neil", "eagle"))).await.upgrade.is_none());
    // What logs in has to be said all the same.
    let refusal = |reason, field: &'static str| Refused::new(reason).field(field);
    let cases = [
        (None, refusal(Reason::FieldMissing, "app.kind")),
        (device("", 1), refusal(Reason::FieldMissing, "app.package")),
        (device(PACKAGE, 0), refusal(Reason::FieldMissing, "app.version_code")),
        (device(&"x".repeat(201), 1), refusal(Reason::FieldInvalid, "app.package")),
    ];
    for (app, expected) in cases {
        assert_eq!(refused(client.login(of(app, by_password("neil", "eagle"))).await), expected);
    }
}
