//! Access that was called back.

use roger::clock::{Clock, Hand};
use roger::model::{InstallationId, TenantId, UserId, UserKind};
use roger::store::{Author, ChangesWanted, Error, NewAccount, ResumeToken, Revoked, Rotation, Store};

use super::{Database, INSTALLATION, over_both};

over_both!(
    a_row_of_its_own_keeps_an_installation_out_of_the_row_of_all,
    access_is_called_back_with_what_closes_an_account,
    who_logs_in_while_the_password_changes_is_out,
    revocations_come_in_pages_and_go_when_they_matter_no_more,
    accounts_of_others_are_out_of_reach,
);

const ONE: InstallationId = InstallationId(INSTALLATION);
const TWO: InstallationId = InstallationId(2);

async fn account(store: &Store, name: &str, kind: UserKind) -> UserId {
    let tenant: TenantId = store.ensure_tenant("Acme").await.unwrap().id();
    let (name, password_hash) = (name.to_owned(), "hash".to_owned());
    store.create_account(NewAccount { nickname: name.clone(), name, kind, tenant, password_hash, parent: None }, 5).await.unwrap()
}

/// The store at a time that the test sets.
fn at(store: &Store, now_ms: u64) -> (Store, Hand) {
    let (clock, hand) = Clock::manual(now_ms);
    (store.on_behalf_of(Author::Fleet, clock), hand)
}

/// Up to when signed tokens of an installation are void, as a caller learns it.
async fn void_ms(store: &Store, user: UserId, installation: InstallationId) -> u64 {
    for issued_ms in [1, 101, 201, 301, 302, 303] {
        if store.caller(user, installation, issued_ms).await.unwrap().is_some() {
            return issued_ms - 1;
        }
    }
    panic!("all tokens are void")
}

async fn log_in(store: &Store, user: UserId, installation: InstallationId, hash: u8) -> Option<u64> {
    let token = ResumeToken { user, installation, expires_ms: 9_000 };
    store.log_in([hash; 32], token, "hash").await.unwrap()
}

async fn a_row_of_its_own_keeps_an_installation_out_of_the_row_of_all(database: &Database) {
    let user = account(&database.store, "ann", UserKind::Dispatcher).await;
    let mut hash = 0;
    let mut revoke = async |now_ms: u64, revoked: Revoked, kept: &[InstallationId], expected: [u64; 2]| {
        let (store, _hand) = at(&database.store, now_ms);
        for installation in [ONE, TWO] {
            hash += 1;
            log_in(&store, user, installation, hash).await.unwrap();
        }
        store.revoke(user, revoked).await.unwrap();
        assert_eq!([void_ms(&store, user, ONE).await, void_ms(&store, user, TWO).await], expected, "{revoked:?} at {now_ms}");
        // Resume tokens went with them, and whoever logs in again learns behind what to sign.
        let good: Vec<_> = store.access(user, 0, 0).await.unwrap().resume_tokens.iter().map(|token| token.installation).collect();
        assert_eq!(good, kept, "{revoked:?} at {now_ms}");
        assert_eq!(log_in(&store, user, ONE, 200).await, Some(expected[0]));
        let Rotation::Rotated { void_ms, .. } = store.rotate_resume_token([200; 32], [201; 32], 0, 9_000).await.unwrap() else {
            panic!("it was not rotated")
        };
        assert_eq!(void_ms, expected[0]);
    };
    revoke(100, Revoked::AllBut(Some(ONE)), &[ONE], [0, 100]).await;
    revoke(200, Revoked::AllBut(Some(ONE)), &[ONE], [0, 200]).await;
    revoke(300, Revoked::AllBut(Some(TWO)), &[TWO], [300, 200]).await;
    // By a clock that is behind: what was signed behind the one before is void all the same.
    revoke(100, Revoked::AllBut(None), &[], [301, 301]).await;
    revoke(100, Revoked::Installation(TWO), &[ONE], [301, 302]).await;
}

async fn access_is_called_back_with_what_closes_an_account(database: &Database) {
    let (store, hand) = at(&database.store, 100);
    let user = account(&store, "ann", UserKind::Device).await;
    log_in(&store, user, ONE, 1).await.unwrap();
    store.set_password_hash(user, "hash").await.unwrap();
    assert_eq!(void_ms(&store, user, ONE).await, 0, "the same password changes nothing");
    store.set_password_hash(user, "other").await.unwrap();
    assert_eq!(void_ms(&store, user, ONE).await, 100);
    assert_eq!(store.resume_token([1; 32], 0).await.unwrap(), None);
    hand.advance(std::time::Duration::from_millis(100));
    store.set_disabled(user, true).await.unwrap();
    assert_eq!(store.caller(user, ONE, 9_000).await.unwrap(), None, "a disabled account is nobody");
    store.set_disabled(user, false).await.unwrap();
    assert_eq!(void_ms(&store, user, ONE).await, 200);
    let wanted = ChangesWanted { what: Some("tokens".to_owned()), limit: 10, ..ChangesWanted::default() };
    let changes = store.changes(wanted).await.unwrap();
    let said: Vec<_> = changes.iter().map(|change| (change.before.to_string(), change.after.to_string())).collect();
    let said_of =
        |tokens: u32, void_ms: u32| (format!(r#"{{"resume_tokens":{tokens}}}"#), format!(r#"{{"kept":null,"void_ms":{void_ms}}}"#));
    assert_eq!(said, [said_of(0, 200), said_of(1, 100)]);
}

async fn who_logs_in_while_the_password_changes_is_out(database: &Database) {
    let (store, _hand) = at(&database.store, 100);
    let user = account(&store, "ann", UserKind::Device).await;
    assert!(store.change_password(user, "other", Some("hash"), Some(ONE)).await.unwrap());
    // The login compared the password with the hash of before; so did another change.
    assert_eq!(log_in(&store, user, TWO, 1).await, None);
    assert!(!store.change_password(user, "third", Some("hash"), Some(ONE)).await.unwrap());
    assert_eq!(store.account(user).await.unwrap().unwrap().password_hash, "other");
    store.set_disabled(user, true).await.unwrap();
    let token = ResumeToken { user, installation: TWO, expires_ms: 9_000 };
    assert_eq!(store.log_in([2; 32], token, "other").await.unwrap(), None);
    let nobody = ResumeToken { user: UserId(999), ..token };
    assert_eq!(store.log_in([2; 32], nobody, "other").await.unwrap(), None);
    assert_eq!(store.resume_token([2; 32], 0).await.unwrap(), None);

    // Many at once: whoever got in before the change has nothing that is good behind it.
    store.set_disabled(user, false).await.unwrap();
    let logins: Vec<_> = (10..30)
        .map(|hash| {
            let store = store.clone();
            tokio::spawn(async move {
                let token = ResumeToken { user, installation: InstallationId(hash.into()), expires_ms: 9_000 };
                store.log_in([hash; 32], token, "other").await.unwrap()
            })
        })
        .collect();
    store.set_password_hash(user, "fourth").await.unwrap();
    for login in logins {
        login.await.unwrap();
    }
    assert_eq!(store.access(user, 0, 0).await.unwrap().resume_tokens, []);
}

async fn revocations_come_in_pages_and_go_when_they_matter_no_more(database: &Database) {
    let store = &database.store;
    let mut users = Vec::new();
    for n in 0..5 {
        users.push(account(store, &format!("user {n}"), UserKind::Dispatcher).await);
        at(store, 100 * (n + 1)).0.revoke(users[n as usize], Revoked::AllBut(Some(ONE))).await.unwrap();
    }
    let page = async |after, since_ms, limit| {
        let page = store.revocations(after, since_ms, limit).await.unwrap();
        page.iter().map(|revocations| revocations.user).collect::<Vec<_>>()
    };
    assert_eq!(page(UserId(0), 0, 3).await, users[..3]);
    assert_eq!(page(users[2], 0, 3).await, users[3..]);
    assert_eq!(page(UserId(0), 300, 9).await, users[2..]);
    let mut of = store.revocations_of(users[2]).await.unwrap().void_ms;
    of.sort_unstable();
    assert_eq!(of, [(InstallationId(0), 300), (ONE, 0)]);
    assert_eq!(store.revocations(users[1], 300, 1).await.unwrap()[0].void_ms.len(), 2);
    // What keeps an installation out goes with what it is kept out of, and not before.
    assert_eq!(store.purge_revocations(300).await.unwrap(), 4);
    assert_eq!(page(UserId(0), 0, 9).await, users[2..]);
    assert_eq!(store.revocations_of(users[2]).await.unwrap().void_ms.len(), 2);
    assert_eq!(store.revocations_of(users[0]).await.unwrap().void_ms, []);
    assert_eq!(store.purge_revocations(501).await.unwrap(), 6);
}

async fn accounts_of_others_are_out_of_reach(database: &Database) {
    let store = &database.store;
    let (ann, bob) = (account(store, "ann", UserKind::Dispatcher).await, account(store, "bob", UserKind::Device).await);
    let root = account(store, "root", UserKind::Root).await;
    let by_at = |user, now_ms| store.on_behalf_of(Author::Account(user), Clock::manual(now_ms).0);
    let by = |user| by_at(user, 100);
    for stranger in [bob, UserId(999)] {
        assert!(matches!(by(ann).revoke(stranger, Revoked::AllBut(None)).await, Err(Error::NotPermitted { .. })));
        assert!(matches!(by(ann).access(stranger, 0, 9).await, Err(Error::NotPermitted { .. })));
        assert!(matches!(by(ann).change_password(stranger, "x", None, None).await, Err(Error::NotPermitted { .. })));
    }
    assert_eq!(void_ms(store, bob, ONE).await, 0);
    by(bob).revoke(bob, Revoked::Installation(ONE)).await.unwrap();
    assert_eq!(void_ms(store, bob, ONE).await, 100);
    by_at(root, 200).revoke(bob, Revoked::AllBut(None)).await.unwrap();
    assert_eq!(void_ms(store, bob, TWO).await, 200);
}
