//! Accounts in their tree, over their calls; and in seed files.

use std::time::Instant;

use roger::directory::seed;
use roger::model::Reason;
use roger::proto::status::Refused;
use roger::proto::v1::{self, UserKind};

use super::{CREW, Ground, NO_REDIS, SETTLES, by_password, refused};
use crate::support::company::{self, Desk, Somebody};
use crate::support::redis::Redis;

/// A root, a company of his, and two dispatchers of the company.
struct House {
    root: Somebody,
    company: Somebody,
    ann: Somebody,
    bob: Somebody,
}

impl House {
    async fn of(desk: &mut Desk) -> Self {
        let root = desk.root().await;
        let company = desk.account(&root, UserKind::Company, "acme").await;
        let ann = desk.account(&company, UserKind::Dispatcher, "ann").await;
        let bob = desk.account(&company, UserKind::Dispatcher, "bob").await;
        Self { root, company, ann, bob }
    }
}

fn create(token: &str, name: &str, kind: UserKind) -> v1::CreateAccountRequest {
    let (token, name, password) = (token.to_owned(), name.to_owned(), "tranquility".to_owned());
    v1::CreateAccountRequest { token, name, kind: kind.into(), password, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_made_seen_and_deleted_from_above() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    let store = ground.store().await;
    company::root(&store).await;
    let running = ground.start(&[]).await;
    let mut desk = Desk::at(&running.url).await;
    let House { root, company, ann, bob } = House::of(&mut desk).await;
    let web = &mut desk.web;

    let profile = Some(v1::AccountProfile { email: "walker@example.org".to_owned(), ..Default::default() });
    let wanted = v1::CreateAccountRequest { profile: profile.clone(), ..create(&ann.token(), "walker", UserKind::Device) };
    let walker = web.create_account(wanted).await.unwrap().into_inner().account_id;
    let get = |token: String, account_id, name: &str| v1::GetAccountRequest { token, account_id, name: name.to_owned() };
    let seen = web.get_account(get(ann.token(), walker, "")).await.unwrap().into_inner().account.unwrap();
    assert_eq!((seen.name.as_str(), seen.nickname.as_str(), seen.kind(), seen.parent_id), ("walker", "walker", UserKind::Device, ann.id));
    assert_eq!(seen.profile, profile);
    let own = web.get_account(get(ann.token(), 0, "")).await.unwrap().into_inner();
    assert_eq!((own.account.unwrap().parent_id, own.children, own.devices), (0, 0, 1), "what is above is not told");
    let from_above = web.get_account(get(company.token(), 0, "ann")).await.unwrap().into_inner().account.unwrap();
    assert_eq!((from_above.account_id, from_above.parent_id), (ann.id, company.id));

    let juniors = |token: String, account_id| v1::GetJuniorAccountRequest { token, account_id, ..Default::default() };
    let below = web.get_junior_account(juniors(root.token(), 0)).await.unwrap().into_inner();
    let ids: Vec<u64> = below.accounts.iter().map(|account| account.account_id).collect();
    assert_eq!((ids, below.more), (vec![company.id, ann.id, bob.id], false));
    let first = v1::GetJuniorAccountRequest { limit: 1, ..juniors(company.token(), 0) };
    let first = web.get_junior_account(first).await.unwrap().into_inner();
    assert_eq!((first.accounts[0].account_id, first.more), (ann.id, true));

    let not_permitted = Refused::from(Reason::NotPermitted);
    assert_eq!(refused(web.get_account(get(ann.token(), bob.id, "")).await), not_permitted);
    assert_eq!(refused(web.get_account(get(ann.token(), company.id, "")).await), not_permitted);
    assert_eq!(refused(web.get_account(get(ann.token(), 0, "nobody")).await), not_permitted);
    assert_eq!(refused(web.create_account(create(&ann.token(), "peer", UserKind::Dispatcher)).await), not_permitted);
    let field = |reason, field: &'static str| Refused::new(reason).field(field);
    assert_eq!(refused(web.create_account(create(&bob.token(), "walker", UserKind::Device)).await), field(Reason::NameTaken, "name"));
    let bad = [
        (field(Reason::FieldMissing, "kind"), create(&bob.token(), "x", UserKind::Unspecified)),
        (field(Reason::FieldInvalid, "name"), create(&bob.token(), "a/b", UserKind::Device)),
        (field(Reason::FieldInvalid, "name"), create(&bob.token(), "", UserKind::Device)),
        (
            field(Reason::FieldInvalid, "password"),
            v1::CreateAccountRequest { password: "1234567".to_owned(), ..create(&bob.token(), "x", UserKind::Device) },
        ),
        (
            field(Reason::FieldInvalid, "nickname"),
            v1::CreateAccountRequest { nickname: "x".repeat(101), ..create(&bob.token(), "x", UserKind::Device) },
        ),
    ];
    for (expected, request) in bad {
        assert_eq!(refused(web.create_account(request).await), expected);
    }

    let delete = |token: String, account_id| v1::DeleteAccountRequest { token, account_id };
    assert_eq!(refused(web.delete_account(delete(company.token(), ann.id)).await), Reason::InUse.into());
    assert_eq!(refused(web.delete_account(delete(ann.token(), ann.id)).await), not_permitted);
    web.delete_account(delete(ann.token(), walker)).await.unwrap();
    let begun = Instant::now();
    web.delete_account(delete(company.token(), ann.id)).await.unwrap();
    assert!(store.outbox_first().await.unwrap().is_none() || begun.elapsed() > SETTLES, "the shards have heard when the call answers");
    let gone = web.get_account(get(ann.token(), 0, "")).await;
    assert_eq!(refused(gone), Refused::new(Reason::TokenRevoked).field("token"));
    let mut talk = running.client().await;
    assert_eq!(refused(talk.login(by_password("ann", "a long password")).await), Reason::BadCredentials.into());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_disabled_and_renamed_from_above() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    company::root(&ground.store().await).await;
    let running = ground.start(&[]).await;
    let mut desk = Desk::at(&running.url).await;
    let House { company, ann, bob, .. } = House::of(&mut desk).await;
    let update = |who: &Somebody, account_id| v1::UpdateAccountRequest { token: who.token(), account_id, ..Default::default() };
    let web = &mut desk.web;
    let nickname = Some("O'Ann \"; DROP TABLE account".to_owned());
    web.update_account(v1::UpdateAccountRequest { nickname: nickname.clone(), ..update(&company, ann.id) }).await.unwrap();
    let own = v1::GetAccountRequest { token: ann.token(), ..Default::default() };
    assert_eq!(Some(web.get_account(own.clone()).await.unwrap().into_inner().account.unwrap().nickname), nickname);

    let mut disabling = v1::UpdateAccountRequest { disabled: Some(true), ..update(&bob, ann.id) };
    assert_eq!(refused(web.update_account(disabling.clone()).await), Reason::NotPermitted.into());
    disabling = v1::UpdateAccountRequest { disabled: Some(true), ..update(&ann, ann.id) };
    assert_eq!(refused(web.update_account(disabling.clone()).await), Refused::new(Reason::FieldInvalid).field("disabled"));
    disabling.token = company.token();
    web.update_account(disabling.clone()).await.unwrap();
    assert_eq!(refused(web.get_account(own.clone()).await).reason, Reason::TokenRevoked);
    let mut talk = running.client().await;
    assert_eq!(refused(talk.login(by_password("ann", "a long password")).await), Reason::BadCredentials.into());
    disabling.disabled = Some(false);
    web.update_account(disabling).await.unwrap();
    talk.login(by_password("ann", "a long password")).await.unwrap();
    assert_eq!(refused(web.update_account(update(&company, 0)).await), Refused::new(Reason::FieldMissing).field("account_id"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_says_who_stands_below_whom() {
    let ground = Ground::new(NO_REDIS);
    // The one above stands behind in the file.
    let seed = CREW.replacen("kind = \"device\"\n", "kind = \"device\"\nparent = \"capcom\"\n", 2);
    let first = ground.apply(&seed).await.unwrap();
    assert_eq!((first.accounts_created, first.accounts_changed), (4, 0));
    let store = ground.store().await;
    let account = |name: &'static str| {
        let store = store.clone();
        async move { store.account_by_name(name).await.unwrap().unwrap() }
    };
    let capcom = account("capcom").await;
    assert_eq!([account("neil").await.parent, account("buzz").await.parent], [capcom.id; 2]);
    assert!(!ground.apply(&seed).await.unwrap().changed());
    assert!(!ground.apply(CREW).await.unwrap().changed(), "a file that does not say it leaves it");

    let circle = CREW.replacen("kind = \"device\"\n", "kind = \"device\"\nparent = \"buzz\"\n", 1);
    assert!(matches!(ground.apply(&circle).await, Err(seed::Error::NotAbove { .. })));
    let nobody = CREW.replacen("kind = \"device\"\n", "kind = \"device\"\nparent = \"gene\"\n", 1);
    assert!(matches!(ground.apply(&nobody).await, Err(seed::Error::Unknown { kind: "account", .. })));
    let foreign = seed.replacen("kind = \"device\"\ntenant = \"soyuz\"", "kind = \"device\"\nparent = \"capcom\"\ntenant = \"soyuz\"", 1);
    assert!(matches!(ground.apply(&foreign).await, Err(seed::Error::Change { .. })));
}
