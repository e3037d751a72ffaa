//! Who changed what.

use roger::clock::Clock;
use roger::model::{InstallationId, UserId, UserKind};
use roger::store::{Author, ChangeRecord, ChangesWanted, NewAccount, ResumeToken, Store};
use serde_json::{Value, json};

use super::{Database, over_both};

over_both!(every_change_leaves_a_row, what_fails_or_changes_nothing_leaves_none, changes_are_found_by_time_author_and_kind,);

const NOW_MS: u64 = 1_767_225_600_000;

fn by(database: &Database, author: Author, now_ms: u64) -> Store {
    database.store.on_behalf_of(author, Clock::manual(now_ms).0)
}

fn radio(name: &str, tenant: roger::model::TenantId) -> NewAccount {
    NewAccount {
        name: name.into(),
        nickname: name.into(),
        kind: UserKind::Device,
        tenant,
        password_hash: "$argon2id$secret".into(),
        parent: None,
    }
}

async fn list(store: &Store, wanted: ChangesWanted) -> Vec<ChangeRecord> {
    store.changes(ChangesWanted { limit: 1_000, ..wanted }).await.unwrap()
}

/// The changes since the last call, the oldest first.
async fn news(store: &Store, seen: &mut usize) -> Vec<(String, String, Value, Value)> {
    let mut all = list(store, ChangesWanted::default()).await;
    all.reverse();
    let new = all.split_off(*seen);
    *seen += new.len();
    assert!(new.iter().all(|change| change.time_ms == NOW_MS && change.who == "operator:ann"), "{new:?}");
    new.into_iter().map(|change| (change.what, change.subject, change.before, change.after)).collect()
}

fn row(what: &str, subject: &str, before: Value, after: Value) -> (String, String, Value, Value) {
    (what.to_owned(), subject.to_owned(), before, after)
}

async fn every_change_leaves_a_row(database: &Database) {
    let store = by(database, Author::Operator("ann".to_owned()), NOW_MS);
    let mut seen = 0;
    let tenant = store.ensure_tenant("Acme").await.unwrap().id();
    let neil = store.create_account(radio("neil", tenant), 5).await.unwrap();
    let after = json!({ "name": "neil", "nickname": "neil", "kind": "device", "tenant": 1, "password": true });
    let expected =
        [row("tenant.added", "tenant:1", Value::Null, json!({ "name": "Acme" })), row("account.added", "account:1", Value::Null, after)];
    assert_eq!(news(&store, &mut seen).await, expected);

    let dispatcher = NewAccount { kind: UserKind::Dispatcher, nickname: "Neil".into(), ..radio("neil", tenant) };
    store.ensure_account(dispatcher, 5).await.unwrap();
    store.set_password_hash(neil, "").await.unwrap();
    let token = ResumeToken { user: neil, installation: InstallationId(255), expires_ms: NOW_MS + 1 };
    for hash in [1, 2] {
        store.create_resume_token([hash; 32], token).await.unwrap();
    }
    store.revoke_resume_tokens(neil, Some(InstallationId(255))).await.unwrap();
    store.create_resume_token([3; 32], token).await.unwrap();
    store.set_disabled(neil, true).await.unwrap();
    store.set_disabled(neil, false).await.unwrap();
    let state = |nickname: &str, kind: &str| json!({ "name": "neil", "nickname": nickname, "kind": kind });
    let password = |set: bool| json!({ "name": "neil", "password": set });
    let disabled = |disabled: bool| json!({ "name": "neil", "disabled": disabled });
    let void = |void_ms: u64| json!({ "kept": null, "void_ms": void_ms });
    let tokens = |of: Value, count: u64| json!({ "installation": of, "resume_tokens": count });
    let expected = [
        row("account.changed", "account:1", state("neil", "device"), state("Neil", "dispatcher")),
        row("account.password_set", "account:1", password(true), password(false)),
        row("tokens.revoked", "account:1", json!({ "resume_tokens": 0 }), void(NOW_MS)),
        row("tokens.revoked", "account:1", tokens("ff".into(), 2), Value::Null),
        row("account.disabled", "account:1", disabled(false), disabled(true)),
        row("tokens.revoked", "account:1", json!({ "resume_tokens": 1 }), void(NOW_MS + 1)),
        row("account.enabled", "account:1", disabled(true), disabled(false)),
    ];
    assert_eq!(news(&store, &mut seen).await, expected);

    let buzz = store.create_account(radio("buzz", tenant), 5).await.unwrap();
    let group = store.create_group(tenant, "North").await.unwrap();
    store.join_group(group, neil, 5).await.unwrap();
    store.set_members(group, &[buzz], 5).await.unwrap();
    store.rename_group(group, "South", 5).await.unwrap();
    store.note_seed(json!({ "file": "crew.toml" })).await.unwrap();
    let member = |name: &str, id: u64| json!({ "group": "North", "account": id, "name": name });
    let mut left = member("neil", 1);
    left["why"] = json!("removed");
    let expected = [
        row("group.added", "group:1", Value::Null, json!({ "name": "North", "tenant": 1, "kind": "normal", "owner": null })),
        row("member.joined", "group:1", Value::Null, member("neil", 1)),
        row("member.left", "group:1", left, Value::Null),
        row("member.joined", "group:1", Value::Null, member("buzz", 2)),
        row("group.renamed", "group:1", json!({ "name": "North" }), json!({ "name": "South" })),
        row("seed.applied", "seed", Value::Null, json!({ "file": "crew.toml" })),
    ];
    assert_eq!(news(&store, &mut seen).await[1..], expected);
    let all = format!("{:?}", list(&store, ChangesWanted::default()).await);
    assert!(!all.contains("argon2") && !all.contains("secret"), "a hash is on record: {all}");
}

async fn what_fails_or_changes_nothing_leaves_none(database: &Database) {
    let store = by(database, Author::Operator("ann".to_owned()), NOW_MS);
    let (tenant, other) = (store.ensure_tenant("Acme").await.unwrap().id(), store.ensure_tenant("Other").await.unwrap().id());
    let neil = store.create_account(radio("neil", tenant), 5).await.unwrap();
    let stranger = store.create_account(radio("alexei", other), 5).await.unwrap();
    let group = store.create_group(tenant, "North").await.unwrap();
    store.join_group(group, neil, 5).await.unwrap();
    let before = list(&store, ChangesWanted::default()).await;

    store.ensure_tenant("Acme").await.unwrap();
    store.ensure_account(radio("neil", tenant), 5).await.unwrap();
    store.set_password_hash(neil, "$argon2id$secret").await.unwrap();
    store.set_disabled(neil, false).await.unwrap();
    store.revoke_resume_tokens(neil, None).await.unwrap();
    store.ensure_group(tenant, "North").await.unwrap();
    store.join_group(group, neil, 5).await.unwrap();
    store.rename_group(group, "North", 5).await.unwrap();
    store.create_account(radio("neil", tenant), 5).await.unwrap_err();
    // Buzz is noted and the stranger refused: neither stays.
    let buzz = UserId(stranger.0 + 1);
    store.set_members(group, &[buzz, stranger], 5).await.unwrap_err();
    store.set_password_hash(buzz, "").await.unwrap_err();
    assert_eq!(list(&store, ChangesWanted::default()).await, before);
}

async fn changes_are_found_by_time_author_and_kind(database: &Database) {
    let ann = by(database, Author::Operator("ann".to_owned()), NOW_MS);
    let seven = by(database, Author::Account(UserId(7)), NOW_MS + 10);
    ann.ensure_tenant("Acme").await.unwrap();
    let tenant = seven.ensure_tenant("Other").await.unwrap().id();
    let fleet = by(database, Author::default(), NOW_MS + 20);
    fleet.create_account(radio("neil", tenant), 5).await.unwrap();

    let found = async |wanted: ChangesWanted| {
        let found = list(&ann, wanted).await;
        found.into_iter().map(|change| format!("{} {}", change.who, change.what)).collect::<Vec<_>>()
    };
    let all = ["fleet account.added", "account:7 tenant.added", "operator:ann tenant.added"];
    let wanted = ChangesWanted::default;
    assert_eq!(found(wanted()).await, all);
    assert_eq!(found(ChangesWanted { since_ms: NOW_MS + 10, ..wanted() }).await, all[..2]);
    for (who, expected) in [("ann", &all[2..]), ("operator:ann", &all[2..]), ("7", &all[1..2]), ("fleet", &all[..1]), ("an", &[])] {
        assert_eq!(found(ChangesWanted { who: Some(who.to_owned()), ..wanted() }).await, expected, "{who}");
    }
    for (what, expected) in [("tenant", &all[1..]), ("tenant.added", &all[1..]), ("account", &all[..1]), ("acc", &[]), ("member", &[])] {
        assert_eq!(found(ChangesWanted { what: Some(what.to_owned()), ..wanted() }).await, expected, "{what}");
    }
    let two = ann.changes(ChangesWanted { limit: 2, ..wanted() }).await.unwrap();
    assert_eq!(two.len(), 2);
}
